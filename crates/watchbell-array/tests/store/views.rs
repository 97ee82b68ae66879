use std::os::unix::fs::MetadataExt as _;

use watchbell_array::{Digest, Entry};

use crate::place::{Place, contents};

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
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o444, 2));
    assert_eq!(std::fs::metadata(view.join("t/c/0")).unwrap().mode() & 0o7777, 0o777);
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
