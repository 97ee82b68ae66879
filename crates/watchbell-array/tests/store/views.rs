use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use watchbell_array::{Array, Digest, Disk, Entry, Error, Limits, Run, Step};
use watchbell_zarr::OnConflict;

use crate::place::{Place, all, at, by_time, commit, contents, files, hierarchy_of, run};

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

/// Pods ask for it again and again, as long as an object is missing.
#[test]
fn a_view_that_cannot_be_made_leaves_nothing() {
    let place = Place::new();
    for path in files(&place.array().dir().join("objects")) {
        std::fs::remove_file(path).unwrap();
    }
    let array = Array::open(&place.path("array"), Disk::default()).unwrap();
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let manifest = array.manifest(snapshot.manifest).unwrap();
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let parents = BTreeSet::from(["t/c/7".to_owned()]);
    for _ in 0..2 {
        let made = [
            array.view(snapshot.manifest, &manifest).map(drop),
            array.view_at(&manifest, |_| true, &place.path("array/views/at")),
            draft.view_with(&parents).map(drop),
            draft.view_of(0, |_| true).map(drop),
            draft.preview(&BTreeSet::new()).map(drop),
        ];
        for made in made {
            assert!(matches!(made, Err(Error::Damaged { .. })), "{made:?}");
        }
    }
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let views = names(&array.dir().join("views"));
    assert_eq!(views.len(), 1, "{views:?}");
    let boot = views.into_iter().next().unwrap();
    assert_eq!(names(&array.dir().join("views").join(&boot)), BTreeSet::new());
    let dir = array.dir().join("drafts/r1");
    let of_draft = ["draft.json", "indices", "lock", "objects", &format!("own-{boot}")].map(str::to_owned);
    assert_eq!(names(&dir), of_draft.into());
    assert_eq!(names(&dir.join(format!("own-{boot}"))), BTreeSet::new());
    // What a program left that was killed goes with the next.
    drop(draft);
    for half in
        ["view-BOOT.next-0", "own-BOOT/0.next-0", "own-BOOT/.removed-1.next-0", "preview-BOOT-a.next-0"]
    {
        std::fs::create_dir_all(dir.join(half.replace("BOOT", &boot)).join("t/c")).unwrap();
    }
    std::fs::create_dir_all(dir.join(format!("own-{boot}/1"))).unwrap();
    array.draft("r1").unwrap();
    assert_eq!(names(&dir).len(), 5);
    assert_eq!(names(&dir.join(format!("own-{boot}"))), BTreeSet::from(["1".to_owned()]));
}

/// The first view of a boot writes what packs hold as files: it takes no room that is kept for the machine.
#[test]
fn a_view_leaves_the_reserve_alone() {
    let place = Place::new();
    let array = place.array();
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let manifest = array.manifest(snapshot.manifest).unwrap();
    let full = array.clone().within(Limits { reserve_bytes: u64::MAX, ..Limits::default() });
    assert!(matches!(full.view(snapshot.manifest, &manifest), Err(Error::Full { .. })));
    // What is there already takes no room.
    let view = array.view(snapshot.manifest, &manifest).unwrap();
    assert_eq!(full.view(snapshot.manifest, &manifest).unwrap(), view);
}

/// What it unpacked would keep the disk full, for everybody and as long as the machine is up.
#[test]
fn a_view_that_does_not_fit_leaves_nothing_unpacked() {
    let place = Place::new();
    let array = place.array();
    let head = array.head().unwrap().unwrap();
    let manifest = array.manifest(array.snapshot(head).unwrap().manifest).unwrap();
    let unpacked = || files(&array.dir().join("unpacked")).len();
    // Nothing is begun that does not fit as a whole.
    let mut large = manifest.clone();
    large.entries.last_mut().unwrap().size = u64::MAX / 2;
    let unwatched = Disk::watched(|_| Ok(()));
    let reserved = Limits { reserve_bytes: 1, ..Limits::default() };
    let within = Array::open(array.dir(), unwatched.clone()).unwrap().within(reserved);
    let made = within.view_at(&large, |_| true, &place.path("view"));
    assert!(matches!(made, Err(Error::Full { .. })), "{made:?}");
    assert_eq!(unpacked(), 0);
    // Nor does it stay when others have filled the disk meanwhile.
    let count = std::sync::atomic::AtomicU32::new(0);
    let view = place.path("view");
    let of_view = view.to_string_lossy().into_owned();
    let full = Disk::watched(move |step| match step {
        Step::Write(path) if path.to_string_lossy().starts_with(&of_view) => {
            match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Ok(()),
                _ => {
                    let source = std::io::Error::from_raw_os_error(28);
                    Err(Error::Io { step: "write", path: path.clone(), source })
                }
            }
        }
        _ => Ok(()),
    });
    let filled = Array::open(array.dir(), full).unwrap();
    assert!(filled.view_at(&manifest, |_| true, &view).is_err());
    assert!(!view.exists());
    assert_eq!(unpacked(), 0);
    // Of one that is there, nothing goes.
    array.view_at(&manifest, |_| true, &view).unwrap();
    let made = unpacked();
    assert_ne!(made, 0);
    assert!(filled.view_at(&manifest, |_| true, &place.path("other")).is_ok());
    assert_eq!(unpacked(), made);
}

/// A commit leaves no less than the reserve, and its run is published then: at the reserve nobody makes room.
#[test]
fn what_is_committed_is_published_out_of_the_reserve() {
    let place = Place::new();
    let array = place.array();
    let first = array.head().unwrap().unwrap();
    let plan = by_time(&hierarchy_of(&array));
    let upper = |index: u32| place.upper(&format!("u{index}"), &[(&format!("t/c/{}/0", 2 * index), "new")]);
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    for index in 0..4 {
        commit(&draft, &plan, index, &upper(index)).unwrap();
    }
    drop(draft);
    let disk = rustix::fs::statvfs(array.dir()).unwrap();
    let reserve_bytes = disk.f_bavail * disk.f_frsize / 2 * 3;
    let low = array.clone().within(Limits { reserve_bytes, ..Limits::default() });
    let late = low.begin(&run("r2"), &BTreeMap::new()).unwrap();
    assert!(matches!(commit(&late, &plan, 0, &upper(0)), Err(Error::Full { .. })));
    let full = || array.clone().within(Limits { reserve_bytes: u64::MAX, ..Limits::default() });
    let publish = |array: Array| {
        let draft = array.draft("r1")?;
        draft.publish(&all(4), OnConflict::Fail, None, "", at(2_000))
    };
    assert!(matches!(publish(full()), Err(Error::Full { .. })));
    publish(low).unwrap();
    // The manifest of an older snapshot is there.
    let by = Run { name: "rollback".to_owned(), ..Run::default() };
    assert!(full().rollback(first, &by, "", at(3_000)).unwrap().is_some());
}
