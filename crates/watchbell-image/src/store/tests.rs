//! Names, removal, and what a damaged store says.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::Reference;
use crate::testing::{RawTar, TestLayer, TestStore, file, names, record, store};

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn layer(content: &str) -> TestLayer {
    TestLayer::gzip(&RawTar::of(&[file("f", content)]))
}

fn listed(t: &TestStore) -> Vec<(String, Vec<String>)> {
    let list = t.store.list().unwrap();
    list.into_iter()
        .map(|s| (s.digest.to_string(), s.references.iter().map(Reference::familiar).collect()))
        .collect()
}

fn keep_none(_: &Digest) -> bool {
    false
}

#[test]
fn it_is_readable_by_its_owner_alone() {
    let t = store();
    for dir in ["images", "layers", "images/ingest"] {
        let mode = t.data().join(dir).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{dir}");
    }
}

#[test]
fn a_name_finds_its_image_in_all_its_spellings() {
    let t = store();
    let image = record(&t.store, "busybox:bar", &[layer("1")]);
    for name in ["busybox:bar", "docker.io/busybox:bar", "docker.io/library/busybox:bar"] {
        let found = t.store.resolve(&reference(name)).unwrap().unwrap();
        assert_eq!(found.digest, image.digest, "{name}");
    }
    let by_digest = format!("busybox@{}", image.digest);
    assert_eq!(t.store.resolve(&reference(&by_digest)).unwrap().unwrap().digest, image.digest);
    assert!(t.store.resolve(&reference("busybox:foo")).unwrap().is_none());
    // A digest is of a repository: the same bytes elsewhere were not asked for.
    let elsewhere = format!("quay.io/busybox@{}", image.digest);
    assert!(t.store.resolve(&reference(&elsewhere)).unwrap().is_none());
}

#[test]
fn a_moved_tag_leaves_the_old_image_known_by_digest_until_it_is_pruned() {
    let t = store();
    let old = record(&t.store, "a:1", &[layer("old")]);
    let new = record(&t.store, "b:1", &[layer("new")]);
    t.store.tag(&reference("b:1"), &reference("a:1")).unwrap();
    assert_eq!(t.store.resolve(&reference("a:1")).unwrap().unwrap().digest, new.digest);
    let by_digest = reference(&format!("a@{}", old.digest));
    assert!(t.store.resolve(&by_digest).unwrap().is_some());

    // In use: it stays.
    let report = t.store.prune(&|digest| *digest == old.digest).unwrap();
    assert_eq!(report, PruneReport::default());
    assert!(t.store.resolve(&by_digest).unwrap().is_some());

    let report = t.store.prune(&keep_none).unwrap();
    assert_eq!((report.images, report.blobs), (vec![old.digest], 3));
    assert!(t.store.resolve(&by_digest).unwrap().is_none());
    assert!(t.store.resolve(&reference("a:1")).unwrap().is_some());
}

#[test]
fn removing_the_last_name_removes_image_and_layers() {
    let t = store();
    let shared = || layer("shared");
    let one = record(&t.store, "one:1", &[shared(), layer("one")]);
    record(&t.store, "two:1", &[shared()]);
    t.store.tag(&reference("one:1"), &reference("uno:1")).unwrap();
    t.store.unpacked_layers(&one).unwrap();

    t.store.remove(&reference("one:1"), &keep_none).unwrap();
    assert_eq!(t.store.resolve(&reference("uno:1")).unwrap().unwrap().digest, one.digest);
    let report = t.store.remove(&reference("uno:1"), &keep_none).unwrap();
    // Its own layer, configuration and manifest go, and one unpacked layer; the shared one stays.
    assert_eq!((report.blobs, report.layers), (3, 1));
    assert_eq!(listed(&t).len(), 1);
    let two = t.store.resolve(&reference("two:1")).unwrap().unwrap();
    assert_eq!(t.store.unpacked_layers(&two).unwrap().len(), 1);

    let error = t.store.remove(&reference("one:1"), &keep_none).unwrap_err();
    assert_eq!(error.to_string(), "no image one:1 in the store; pull or import it first");
}

#[test]
fn a_sweep_waits_for_those_who_add() {
    let t = store();
    let image = record(&t.store, "a:1", &[layer("a")]);
    let using = t.store.in_use().unwrap();
    let report = t.store.remove(&reference("a:1"), &keep_none).unwrap();
    assert!(report.deferred && report.blobs == 0);
    drop(using);
    assert_eq!(t.store.prune(&keep_none).unwrap().blobs, 3);
    assert!(!t.store.has_blob(&image.digest, 1).unwrap());
}

#[test]
fn a_changed_blob_is_noticed_before_it_decides_anything() {
    let t = store();
    let image = record(&t.store, "a:1", &[layer("a")]);
    let path = t.store.blob_path(&image.config_digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = t.store.resolve(&reference("a:1")).unwrap_err().to_string();
    assert!(error.contains("does not match its digest") && error.contains("pull it again"), "{error}");
    assert_eq!(listed(&t), []);
    std::fs::remove_file(&path).unwrap();
    let error = t.store.resolve(&reference("a:1")).unwrap_err().to_string();
    assert!(error.contains("is not in the store"), "{error}");
}

#[test]
fn a_broken_index_is_named_with_the_way_out() {
    let t = store();
    std::fs::write(t.data().join("images/index.json"), "{").unwrap();
    let error = t.store.list().unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("restore the file"), "{error}");
}

#[test]
fn many_at_once_lose_nothing() {
    let t = store();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = Store::open(&t.data()).unwrap().unpacking_by(crate::Unpacker::Thread);
            scope.spawn(move || {
                for n in 0..8 {
                    record(&store, &format!("image{thread}:{n}"), &[layer(&format!("{thread} {n}"))]);
                }
            });
        }
    });
    assert_eq!(listed(&t).len(), 32);
    assert!(names(&t.data().join("images/ingest")).is_empty());
}

#[test]
fn what_is_attached_stays_as_long_as_its_image() {
    let t = store();
    let image = record(&t.store, "a:1", &[layer("1")]);
    let (a, b) = (reference("a:1"), reference("b:1"));
    let attached = |of: &Reference| t.store.attached(of, &image.digest, 6);
    assert!(attached(&a).unwrap().is_none(), "nobody has looked yet");
    t.store.keep_attached(&a, &image.digest, &[]).unwrap();
    assert!(attached(&a).unwrap().unwrap().is_empty());
    assert!(attached(&b).unwrap().is_none(), "another repository was not asked");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    std::fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = crate::Layout::open(dir.path()).unwrap();
    let tag = crate::Attachment::Signatures.tag(&image.digest);
    let blob =
        crate::NewBlob { media_type: "text/plain".into(), bytes: b"signed".into(), annotations: vec![] };
    layout.attach(&crate::NewManifest::Tagged { tag }, &[blob]).unwrap();
    let artifacts = layout.attached(&image.digest, &|_, _| true).unwrap();
    t.store.keep_attached(&a, &image.digest, &artifacts).unwrap();
    // Who may see less takes nothing away.
    t.store.keep_attached(&a, &image.digest, &[]).unwrap();
    let too_large = t.store.attached(&a, &image.digest, 5).unwrap().unwrap();
    assert!(too_large.is_empty() && too_large.gap().unwrap().contains("no more than 5 bytes"));

    let check = || {
        let kept = attached(&a).unwrap().unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(
            (kept[0].attachment, &kept[0].manifest),
            (artifacts[0].attachment, &artifacts[0].manifest)
        );
        assert_eq!(kept[0].blobs[0].bytes, b"signed");
    };
    check();
    t.store.prune(&keep_none).unwrap();
    check();
    // A blob of it that was lost is fetched again with the others; the image stays.
    std::fs::remove_file(t.data().join("images/blobs/sha256").join(Digest::of(b"signed").hex())).unwrap();
    assert!(attached(&a).is_err());
    t.store.prune(&keep_none).unwrap();
    assert!(attached(&a).unwrap().is_none());
    t.store.keep_attached(&a, &image.digest, &artifacts).unwrap();
    t.store.remove(&reference("a:1"), &keep_none).unwrap();
    assert!(names(&t.data().join("images/attached/sha256")).is_empty());
    assert!(names(&t.data().join("images/blobs/sha256")).is_empty());
}

#[test]
fn a_lent_image_is_a_layout_of_its_own() {
    let t = store();
    let image = record(&t.store, "a:1", &[layer("1"), layer("2"), layer("1")]);
    record(&t.store, "b:1", &[layer("3")]);
    let lent = t.store.lend(&image).unwrap();
    let opened =
        crate::ImageContent::open(lent.path(), None, &image.config.platform(), &crate::Limits::default())
            .unwrap();
    assert_eq!(opened.image.digest, image.digest);
    // Manifest, configuration, two different layers; nothing of the other image.
    assert_eq!(names(&lent.path().join("blobs/sha256")).len(), 4);
    drop(lent);
    assert_eq!(names(&t.data().join("images/ingest")), [""; 0]);
    let gone = t.data().join("images/blobs/sha256").join(image.layers[0].digest.hex());
    std::fs::remove_file(gone).unwrap();
    assert!(matches!(t.store.lend(&image), Err(Error::MissingBlob { .. })));
    assert_eq!(names(&t.data().join("images/ingest")), [""; 0]);
}

#[test]
fn what_would_fill_the_disk_is_not_unpacked() {
    let t = store();
    let image = record(&t.store, "a:1", &[layer("a")]);
    let full = t.store.clone().leaving_free(u64::MAX);
    assert!(!full.has_room().unwrap());
    let error = full.unpacked_layers(&image).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NoRoom { .. }) && text.contains("image prune"), "{text}");
    t.assert_nothing_unpacked();
    // Another's share is not there to be taken; it comes back.
    let some = t.store.clone().leaving_free(1);
    let (first, second) = (some.share(&"a").unwrap(), some.share(&"b").unwrap());
    assert!(second.bytes <= first.bytes && second.bytes > 0);
    drop((first, second));
    assert_eq!(some.unpacked_layers(&image).unwrap().len(), 1);
}

#[test]
fn what_a_pod_pulled_is_for_who_shows_the_same() {
    use super::Shown;
    use crate::CredentialSource::{Anonymous, DockerConfigJson};

    let t = store();
    let image = record(&t.store, "made:1", &[layer("a")]);
    let private = reference("r.example/team/private:1");
    let with = |password: &str| {
        let auths = format!(r#"{{"auths":{{"r.example":{{"username":"u","password":"{password}"}}}}}}"#);
        DockerConfigJson(crate::Secret(auths.into_bytes()))
    };
    let may = |credentials: &crate::CredentialSource| {
        t.store.may_use(&private, &image.digest, credentials).unwrap()
    };
    let line = || {
        let descriptor = t.store.entries().unwrap().remove(0).descriptor;
        super::IndexEntry { descriptor, reference: Some(private.clone()), chosen_from: None }
    };
    let shown = |password: &str| Shown::Credentials(with(password).proof(&private).unwrap().unwrap());
    t.store.record_pulled(line(), shown("alpha")).unwrap();
    assert!(may(&with("alpha")) && !may(&with("beta")) && !may(&Anonymous));
    t.store.record_pulled(line(), shown("beta")).unwrap();
    assert!(may(&with("alpha")) && may(&with("beta")) && !may(&with("gamma")) && !may(&Anonymous));
    // The same image under another name of this machine says nothing of it.
    assert!(t.store.may_use(&reference("made:1"), &image.digest, &Anonymous).unwrap());
    let files = || names(&t.data().join("images/pulled/sha256"));
    let path = t.data().join("images/pulled/sha256").join(&files()[0]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("alpha") && !text.contains("beta"), "{text}");
    // A file that was damaged lets nobody in.
    std::fs::write(&path, "{").unwrap();
    assert!(!may(&with("alpha")) && !may(&Anonymous));
    // What needs no credentials is for all, and what was noted goes with the image.
    t.store.record_pulled(line(), Shown::Nothing).unwrap();
    assert!(may(&Anonymous) && files().len() == 1);
    t.store.remove(&private, &keep_none).unwrap();
    assert_eq!(files(), [""; 0]);
    // One that the administrator brought stays for all, whoever pulls it besides.
    t.store.record(line()).unwrap();
    t.store.record_pulled(line(), shown("alpha")).unwrap();
    assert!(may(&Anonymous) && files().is_empty());
}

#[test]
fn what_the_administrator_brings_meanwhile_does_not_go_with_what_pods_brought() {
    use super::{IndexEntry, Shown};

    let t = store();
    let image = record(&t.store, "made:1", &[layer("a")]);
    let descriptor = t.store.entries().unwrap().remove(0).descriptor;
    t.store.remove(&reference("made:1"), &|_| true).unwrap();
    let name = reference("r.example/a:1");
    let line = |reference: Option<&Reference>| IndexEntry {
        descriptor: descriptor.clone(),
        reference: reference.cloned(),
        chosen_from: None,
    };
    let pull = || t.store.record_pulled(line(Some(&name)), Shown::Nothing).unwrap();
    let of_pods = || t.store.pulled_for_pods().unwrap();
    let forget_all = || {
        let all = t.store.change_index(|entries| Ok(std::mem::take(entries)));
        drop(all.unwrap());
    };
    let goes = || !t.store.remove_pulled_for_pods(&image.digest, &keep_none).unwrap().images.is_empty();

    // Pulled, or imported under its name, after it was chosen to go.
    forget_all();
    pull();
    assert_eq!(of_pods(), [(image.digest.clone(), name.clone())]);
    t.store.record(line(Some(&name))).unwrap();
    assert!(!goes());
    // The same of a pull that finds it here.
    forget_all();
    pull();
    assert!(t.store.keep_for_all(&name, &image.digest).unwrap() && !goes());
    // Imported without a name, before or after.
    forget_all();
    pull();
    t.store.record(line(None)).unwrap();
    assert!(of_pods().is_empty() && !goes());
    forget_all();
    t.store.record(line(None)).unwrap();
    pull();
    assert!(of_pods().is_empty() && !goes());
    // Under a name that no pod pulled.
    forget_all();
    pull();
    t.store.record(line(Some(&reference("built:1")))).unwrap();
    assert!(of_pods().is_empty() && !goes());
    // What is used stays too, and what nobody else brought goes with all its names.
    forget_all();
    pull();
    t.store.record_pulled(line(Some(&reference("r.example/a:2"))), Shown::Nothing).unwrap();
    assert!(t.store.remove_pulled_for_pods(&image.digest, &|_| true).unwrap().images.is_empty());
    assert!(goes() && listed(&t).is_empty());
    assert!(!t.store.keep_for_all(&name, &image.digest).unwrap(), "it must be pulled again");
}
