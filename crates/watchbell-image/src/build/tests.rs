//! What is built is what was named, the same on every machine, and nothing more.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::{TestStore, names, store};

fn reference() -> Reference {
    Reference::parse("demo:1").unwrap()
}

fn spec(copies: &[(&Path, &str)]) -> BuildSpec {
    BuildSpec {
        copies: copies.iter().map(|(from, to)| (from.to_path_buf(), PathBuf::from(to))).collect(),
        entrypoint: vec!["/app".into()],
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::host() },
        ..BuildSpec::default()
    }
}

fn check_refused(spec: &BuildSpec, message: &str) {
    let t = store();
    let error = build_scratch(&t.store, spec, &reference()).unwrap_err().to_string();
    assert!(error.starts_with("cannot build demo:1: ") && error.contains(message), "{error}");
    assert!(t.store.list().unwrap().is_empty());
    assert!(names(&t.data().join("images/ingest")).is_empty());
}

fn tree() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("app");
    fs::write(&app, b"\x7fELF").unwrap();
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(home.path().join("data/inner")).unwrap();
    fs::write(home.path().join("data/inner/x"), b"x").unwrap();
    fs::hard_link(home.path().join("data/inner/x"), home.path().join("data/y")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.path().join("data/link")).unwrap();
    home
}

fn unpacked(t: &TestStore, image: &Image) -> PathBuf {
    let [root] = t.store.unpacked_layers(image).unwrap().try_into().unwrap();
    root
}

#[test]
fn files_and_trees_come_out_where_they_were_copied_to() {
    let home = tree();
    let t = store();
    let spec = spec(&[(&home.path().join("app"), "/app"), (&home.path().join("data"), "/srv/data")]);
    let image = build_scratch(&t.store, &spec, &reference()).unwrap();
    let root = unpacked(&t, &image);
    assert_eq!(names(&root), ["app", "srv"]);
    assert_eq!(names(&root.join("srv/data")), ["inner", "link", "y"]);
    let app = root.join("app").metadata().unwrap();
    assert_eq!((app.mode() & 0o7777, app.uid(), app.mtime()), (0o755, 0, 0));
    // A link of the tree stays a link: the host's file is not copied through it.
    assert_eq!(fs::read_link(root.join("srv/data/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(root.join("srv/data/y").metadata().unwrap().nlink(), 2);
    assert_eq!(image.config.entrypoint, ["/app"]);
    assert_eq!(t.store.resolve(&reference()).unwrap().unwrap().digest, image.digest);
}

#[test]
fn the_same_input_gives_the_same_digest() {
    let digest = || {
        let home = tree();
        let t = store();
        build_scratch(&t.store, &spec(&[(home.path(), "/")]), &reference()).unwrap().digest
    };
    assert_eq!(digest(), digest());
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let home = tree();
    let app = home.path().join("app");
    check_refused(&spec(&[(&app, "/../app")]), "goes up (..)");
    check_refused(&spec(&[(&app, "/")]), "is no directory");
    check_refused(&spec(&[(&app, "/a"), (&home.path().join("data/y"), "/a")]), "would become /a");
    check_refused(&spec(&[(&app, "/.wh.a")]), "whiteout");
    check_refused(&spec(&[(&home.path().join("absent"), "/a")]), "cannot read");
    check_refused(&BuildSpec { env: vec!["NAME".into()], ..spec(&[(&app, "/app")]) }, "is not NAME=value");
    let by_digest = Reference::parse(&format!("demo@{}", Digest::of(b""))).unwrap();
    let t = store();
    let error = build_scratch(&t.store, &spec(&[(&app, "/app")]), &by_digest).unwrap_err().to_string();
    assert!(error.contains("write name:tag"), "{error}");
}

#[test]
fn a_file_that_is_replaced_by_a_link_while_it_is_read_is_not_followed() {
    let home = tree();
    let path = home.path().join("data/inner/x");
    let metadata = fs::symlink_metadata(&path).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let spec = spec(&[]);
    let mut tree = Tree { files: BTreeMap::new(), links: HashMap::new(), spec: &spec };
    let mut writer = Writer::new(Vec::new());
    // The metadata of the file it was, with one name so that no link entry is made of it.
    let single = fs::symlink_metadata(home.path().join("app")).unwrap();
    assert!(metadata.is_file());
    let error = tree.append(&mut writer, &path, &single, vec![b"x".to_vec()], 0).unwrap_err();
    assert!(error.contains("cannot read"), "{error}");
}
