use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use watchbell_array::{Digest, Entry};

use crate::place::{Place, contents, files};

#[test]
fn a_view_is_the_snapshot_and_is_shared() {
    let place = Place::new();
    let array = place.array();
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let manifest = array.manifest(snapshot.manifest).unwrap();
    let view = array.view(snapshot.manifest, &manifest).unwrap();
    assert_eq!(contents(&view), contents(&place.plain()));
    assert_eq!(array.view(snapshot.manifest, &manifest).unwrap(), view);
    let metadata = std::fs::metadata(view.join("t/c/0/0")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o644, 2));
    assert_eq!(std::fs::metadata(view.join("t/c/0")).unwrap().mode() & 0o7777, 0o777);
}

/// Objects were for nobody to write to once; a task that changes a chunk in place could not.
#[test]
fn what_an_older_store_holds_is_seen_as_its_owner_s_to_write() {
    let place = Place::new();
    let array = place.array();
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let manifest = array.manifest(snapshot.manifest).unwrap();
    array.view(snapshot.manifest, &manifest).unwrap();
    let older = files(array.dir());
    assert!(older.iter().any(|path| path.starts_with(array.dir().join("unpacked"))), "{older:?}");
    for path in older {
        std::fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    }
    let view = place.path("view");
    array.view_at(&manifest, |_| true, &view).unwrap();
    assert_eq!(contents(&view), contents(&place.plain()));
    for path in files(&view) {
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644, "{}", path.display());
    }
}

/// ext4 gives an inode 65,000 links, and equal chunks are one object.
#[test]
fn more_equal_chunks_than_an_inode_has_links_are_seen() {
    let place = Place::new();
    let array = place.array();
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let mut manifest = array.manifest(snapshot.manifest).unwrap();
    let chunk = manifest.get("t/c/0/0").unwrap().clone();
    manifest.entries = (0..100_000).map(|n| Entry { key: format!("t/c/{n:05}"), ..chunk.clone() }).collect();
    let view = array.view(Digest::of(&manifest.encode()), &manifest).unwrap();
    let found = contents(&view);
    assert_eq!(found.len(), 100_000);
    assert!(found.values().all(|content| content == "old 0 0"));
}
