//! Archives of both forms, made byte by byte, and those of skopeo where it is installed.

use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::testing::{Raw, RawTar, TestStore, dir, file, gzip, names, raw, store, symlink, zstd};
use crate::{BuildSpec, Digest, Limits, Silent, build_scratch};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A docker-archive under construction: its files by name.
struct Saved {
    files: Vec<(String, Vec<u8>)>,
    manifest: String,
}

fn layer_tar(content: &str) -> Vec<u8> {
    RawTar::of(&[file("hello", content)])
}

fn config_of(diff_ids: &[Digest]) -> String {
    let ids: Vec<String> = diff_ids.iter().map(|d| format!("\"{d}\"")).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/hello"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
}

fn saved(layer: Vec<u8>, diff_id: &Digest) -> Saved {
    let config = config_of(std::slice::from_ref(diff_id));
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    Saved {
        manifest: format!(
            r#"[{{"Config":"{config_name}","RepoTags":["busybox:bar"],"Layers":["l/layer.tar"]}}]"#
        ),
        files: vec![(config_name, config.into_bytes()), ("l/layer.tar".into(), layer)],
    }
}

impl Saved {
    fn tar(&self) -> Vec<u8> {
        let mut tar = RawTar::default();
        for (name, content) in &self.files {
            tar.push(&Raw { content, ..raw(name, b'0') });
        }
        tar.push(&file("manifest.json", &self.manifest));
        tar.end()
    }
}

fn import(t: &TestStore, archive: &[u8], name: Option<&str>) -> Result<Vec<Imported>, Error> {
    let name = name.map(|n| Reference::parse(n).unwrap());
    import_stream(&t.store, archive, name.as_ref(), &Silent)
}

/// Refused with `message`; no image is known and nothing is left in the way.
fn check_refused(archive: &[u8], message: &str) {
    check_refused_by(&store(), archive, message);
}

fn check_refused_by(t: &TestStore, archive: &[u8], message: &str) {
    let error = import(t, archive, None).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert!(t.store.list().unwrap().is_empty());
    assert!(names(&t.data().join("images/ingest")).is_empty());
    assert_eq!(names(t.outside.path()), ["data"]);
}

fn content_of(t: &TestStore, image: &Image) -> String {
    let roots = t.store.unpacked_layers(image).unwrap();
    std::fs::read_to_string(roots.last().unwrap().join("hello")).unwrap()
}

#[test]
fn a_saved_image_is_known_by_its_tag() {
    let tar = layer_tar("hi");
    for layer in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let t = store();
        let imported = import(&t, &saved(layer, &Digest::of(&tar)).tar(), None).unwrap();
        assert_eq!(imported[0].reference.as_ref().unwrap().familiar(), "busybox:bar");
        let image = t.store.resolve(&Reference::parse("busybox:bar").unwrap()).unwrap().unwrap();
        assert_eq!(content_of(&t, &image), "hi");
        assert_eq!(image.config.cmd, ["/hello"]);
    }
}

#[test]
fn the_whole_archive_may_be_compressed_and_renamed() {
    let tar = layer_tar("hi");
    let archive = saved(tar.clone(), &Digest::of(&tar)).tar();
    for archive in [gzip(&archive), zstd(&archive)] {
        let t = store();
        import(&t, &archive, Some("mine:1")).unwrap();
        assert!(t.store.resolve(&Reference::parse("mine:1").unwrap()).unwrap().is_some());
        assert!(t.store.resolve(&Reference::parse("busybox:bar").unwrap()).unwrap().is_none());
    }
}

#[test]
fn archives_that_lie_are_refused_whole() {
    let tar = layer_tar("hi");
    let diff_id = Digest::of(&tar);
    let good = || saved(tar.clone(), &diff_id);
    // The layer is not the one of the configuration, in plain and in compressed form.
    let other = Digest::of(b"other");
    check_refused(&saved(tar.clone(), &other).tar(), "does not match its digest");
    check_refused(&saved(gzip(&tar), &other).tar(), "does not match its digest");
    // The configuration is not what its name says.
    let mut archive = good();
    archive.files[0].1.push(b' ');
    check_refused(&archive.tar(), "does not match its digest");
    // Names that lead out.
    let mut archive = good();
    archive.manifest = archive.manifest.replace("l/layer.tar", "../../etc/passwd");
    check_refused(&archive.tar(), "lacks the layer");
    let mut archive = good();
    archive.files[1].0 = "../layer.tar".into();
    check_refused(&archive.tar(), "has no name that an image archive uses");
    // A layer that is a link to a file of the host.
    let mut linked = RawTar::default();
    let g = good();
    linked.push(&Raw { content: &g.files[0].1, ..raw(&g.files[0].0, b'0') });
    linked
        .push(&dir("l/"))
        .push(&symlink("l/layer.tar", "/etc/passwd"))
        .push(&file("manifest.json", &g.manifest));
    let t = store();
    let error = import(&t, &linked.end(), None).unwrap_err().to_string();
    assert!(error.contains("lacks the layer") || error.contains("links out"), "{error}");
    // Fewer layers than the configuration says, none at all, no image, no JSON.
    let mut archive = good();
    archive.manifest = archive.manifest.replace("\"l/layer.tar\"", "");
    check_refused(&archive.tar(), "names 0 layers, the image configuration 1");
    let mut archive = good();
    archive.manifest = "[]".into();
    check_refused(&archive.tar(), "holds no image");
    archive.manifest = "[".into();
    check_refused(&archive.tar(), "manifest.json is not valid");
    check_refused(&RawTar::of(&[file("etc/passwd", "x")]), "image build");
    check_refused(b"no archive at all", "no tar archive");
    check_refused(b"", "holds neither");
}

#[test]
fn bombs_are_refused_early() {
    let limits = Limits { archive_bytes_max: 1 << 20, ratio_free_bytes: 1 << 20, ..Limits::default() };
    let t = crate::testing::store_with(limits);
    let bomb = gzip(&vec![0u8; 8 << 20]);
    check_refused_by(&t, &bomb, "unpacks to more than 1048576 bytes");
    check_refused_by(&t, &vec![0u8; 2 << 20], "more than 1048576 bytes");
    let t = crate::testing::store_with(Limits { archive_entries_max: 3, ..Limits::default() });
    check_refused_by(
        &t,
        &RawTar::of(&[file("a", ""), file("b", ""), file("c", ""), file("d", "")]),
        "more than 3 entries",
    );
}

#[test]
fn several_images_keep_their_own_names_only() {
    let tar = layer_tar("hi");
    let mut archive = saved(tar.clone(), &Digest::of(&tar));
    let one = archive.manifest.trim_matches(['[', ']']).to_owned();
    archive.manifest = format!("[{one},{}]", one.replace("busybox:bar", "busybox:baz"));
    let t = store();
    assert_eq!(import(&t, &archive.tar(), None).unwrap().len(), 2);
    let error = import(&t, &archive.tar(), Some("mine:1")).unwrap_err().to_string();
    assert!(error.contains("import without a name"), "{error}");
}

/// An OCI layout folder made by our own build: another store's `images` directory is one.
fn layout() -> (TestStore, PathBuf, Digest) {
    let t = store();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("hello"), "from a layout").unwrap();
    let spec =
        BuildSpec { copies: vec![(home.path().to_path_buf(), PathBuf::from("/"))], ..BuildSpec::default() };
    let image = build_scratch(&t.store, &spec, &Reference::parse("made:1").unwrap()).unwrap();
    let folder = t.data().join("images");
    (t, folder, image.digest)
}

#[test]
fn a_layout_folder_is_imported_by_digest() {
    let (_source, folder, digest) = layout();
    let t = store();
    let imported = import_path(&t.store, &folder, None, &Silent).unwrap();
    assert_eq!(imported[0].image.digest, digest);
    assert_eq!(imported[0].reference.as_ref().unwrap().familiar(), "made:1");
    assert_eq!(content_of(&t, &imported[0].image), "from a layout");
}

#[test]
fn a_layout_folder_without_a_name_stores_nothing() {
    let (_source, folder, digest) = layout();
    let path = folder.join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    index["manifests"][0].as_object_mut().unwrap().remove("annotations").unwrap();
    std::fs::write(&path, index.to_string()).unwrap();
    let t = store();
    let error = import_path(&t.store, &folder, None, &Silent).unwrap_err().to_string();
    assert!(error.contains("give one with --name"), "{error}");
    let blobs = t.data().join("images/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs).map_or(0, Iterator::count), 0);
    let name = Reference::parse("named:1").unwrap();
    assert_eq!(import_path(&t.store, &folder, Some(&name), &Silent).unwrap()[0].image.digest, digest);
}

#[test]
fn a_layout_folder_that_lies_is_refused() {
    let (_source, folder, digest) = layout();
    let blob = folder.join("blobs/sha256").join(digest.hex());
    let original = std::fs::read(&blob).unwrap();
    let mut changed = original.clone();
    *changed.last_mut().unwrap() = b' ';
    std::fs::write(&blob, changed).unwrap();
    let t = store();
    let error = import_path(&t.store, &folder, None, &Silent).unwrap_err().to_string();
    assert!(error.contains("does not match its digest"), "{error}");
    // A blob that is a link to a file of the host is not followed.
    std::fs::remove_file(&blob).unwrap();
    let target = t.outside.path().join("secret");
    std::fs::write(&target, original).unwrap();
    std::os::unix::fs::symlink(&target, &blob).unwrap();
    assert!(import_path(&t.store, &folder, None, &Silent).is_err());
    assert!(t.store.list().unwrap().is_empty());
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
#[test]
fn skopeo_and_the_importer_agree() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!(
            "NOT TESTED: skopeo is not installed (Debian package skopeo), so its archives are not tried"
        );
        return;
    }
    let (_source, folder, digest) = layout();
    let out = tempfile::tempdir().unwrap();
    for (form, is_oci) in [("docker-archive", false), ("oci-archive", true)] {
        let archive = out.path().join(format!("{form}.tar"));
        // Its reader of layouts checks ours; the name's annotation is the whole reference.
        let from = format!("oci:{}:docker.io/library/made:1", folder.display());
        let to = format!("{form}:{}:{}", archive.display(), "docker.io/library/made:2");
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "--tmpdir"])
            .arg(out.path())
            .args(["copy", &from, &to])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{form}: {}", String::from_utf8_lossy(&copied.stderr));
        let t = store();
        let imported = import_path(&t.store, &archive, None, &Silent).unwrap();
        assert_eq!(imported[0].reference.as_ref().unwrap().familiar(), "made:2", "{form} ({REF_NAME})");
        assert_eq!(content_of(&t, &imported[0].image), "from a layout");
        // Only the OCI form keeps the manifest as it was (skopeo compresses neither here).
        assert!(!is_oci || imported[0].image.config_digest.as_str().starts_with("sha256:"));
        let _ = &digest;
    }
}
