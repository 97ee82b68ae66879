use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use watchbell_array::{Array, Digest, Disk, Retention, sweep, verify};
use watchbell_zarr::OnConflict;

use crate::place::{Place, all, at, by_time, commit, contents, hierarchy_of, import_at, run, write};

const DAY: i64 = 86_400;

/// Ten snapshots, a day apart, each with a chunk of its own content; the newest last.
fn ten(place: &Place) -> (Array, Vec<Digest>) {
    let array = place.array();
    let plain = place.plain();
    let made = (1..=10).map(|day| {
        write(&plain, "t/c/7/1", format!("day {day}").as_bytes());
        import_at(&array, &plain, day * DAY).unwrap().publication.unwrap().digest
    });
    let made = made.collect();
    (array, made)
}

#[test]
fn a_sweep_keeps_what_is_asked_for_and_what_is_in_use() {
    let place = Place::new();
    let (array, made) = ten(&place);
    array.tag("release", made[1]).unwrap();
    array.lease("run-7", made[2]).unwrap();
    let held = array.view(array.snapshot(made[2]).unwrap().manifest, &manifest(&array, made[2])).unwrap();
    let not = array.view(array.snapshot(made[3]).unwrap().manifest, &manifest(&array, made[3])).unwrap();
    let retention = Retention { last: 2, daily: 3, weekly: 0 };
    let swept = sweep(&array, Some(&retention)).unwrap();
    let mut left = array.snapshots().unwrap();
    left.sort();
    let mut expected = vec![made[1], made[2], made[7], made[8], made[9]];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!((swept.snapshots, swept.objects, swept.views), (6, 5, 1));
    assert!(held.exists() && !not.exists());
    assert_eq!(verify(&array).unwrap().damage, []);
    // Given back, it goes; a tag goes on keeping.
    array.give_back("run-7").unwrap();
    array.remove_tag("release").unwrap();
    assert_eq!(sweep(&array, Some(&retention)).unwrap().snapshots, 2);
    assert_eq!(sweep(&array, Some(&retention)).unwrap(), Default::default());
}

/// The second sweep still finds what the first one kept behind the hole that it made.
#[test]
fn a_sweep_again_keeps_the_same() {
    let place = Place::new();
    let array = place.array();
    let plain = place.plain();
    for hour in (24..96).step_by(12) {
        write(&plain, "t/c/7/1", format!("hour {hour}").as_bytes());
        import_at(&array, &plain, hour * 3600).unwrap();
    }
    let retention = Retention { last: 1, daily: 3, weekly: 0 };
    assert_eq!(sweep(&array, Some(&retention)).unwrap().snapshots, 4);
    let kept = array.snapshots().unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(sweep(&array, Some(&retention)).unwrap(), Default::default());
    assert_eq!(array.snapshots().unwrap(), kept);
    let mut told = 0;
    array
        .log(|_, _| {
            told += 1;
            true
        })
        .unwrap();
    assert_eq!(told, 3);
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// A reader that was killed before it had written its lease holds nothing.
#[test]
fn an_empty_lease_of_a_dead_reader_stops_nobody() {
    let place = Place::new();
    let array = place.array();
    fs::write(array.dir().join("leases/reader-1-0000000000000000"), "").unwrap();
    sweep(&array, None).unwrap();
    assert!(fs::read_dir(array.dir().join("leases")).unwrap().next().is_none());
    for name in ["reader-x", "run.next"] {
        assert!(array.lease(name, array.head().unwrap().unwrap()).is_err());
    }
}

/// Where a file holds a text.
fn at_in(path: &std::path::Path, text: &str) -> Option<usize> {
    fs::read(path).unwrap().windows(text.len()).position(|part| part == text.as_bytes())
}

fn manifest(array: &Array, snapshot: Digest) -> watchbell_array::Manifest {
    array.manifest(array.snapshot(snapshot).unwrap().manifest).unwrap()
}

#[test]
fn a_sweep_beside_a_draft_takes_nothing_of_it() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    // A content that only the base has: the draft counts on the object in place.
    commit(&draft, &plan, 3, &place.upper("u", &[("t/c/7/0", "old 0 0"), ("t/c/7/1", "mine")])).unwrap();
    let plain = place.plain();
    write(&plain, "t/c/0/0", b"no longer");
    import_at(&array, &plain, 2_000).unwrap();
    sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
    draft.publish(&[3].into(), watchbell_zarr::OnConflict::Rebase, None, "", crate::place::at(9)).unwrap();
    assert_eq!(place.exported(&array)["t/c/7/0"], "old 0 0");
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// Whether somebody waits for the lock of a file: the kernel says so.
fn is_waited_for(inode: u64) -> bool {
    let all = fs::read_to_string("/proc/locks").unwrap();
    all.lines().any(|line| line.contains("-> FLOCK") && line.contains(&format!(":{inode} ")))
}

/// Manifests are read before the lock is held, and what an index commits meanwhile is not taken from it.
#[test]
fn a_sweep_reads_before_it_locks_and_looks_again_when_it_has() {
    let place = Place::new();
    let (array, made) = ten(&place);
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let lock = fs::File::open(array.dir().join("lock")).unwrap();
    // As a commit holds it.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    let inode = lock.metadata().unwrap().ino();
    let manifest = array.snapshot(made[9]).unwrap().manifest;
    let manifest = array.dir().join("manifests").join(manifest.to_string());
    let bytes = fs::read(&manifest).unwrap();
    let other = Array::open(array.dir(), Disk::default()).unwrap();
    std::thread::scope(|scope| {
        let sweeping = scope.spawn(|| sweep(&other, Some(&Retention { last: 1, ..Retention::default() })));
        while !is_waited_for(inode) {
            assert!(!sweeping.is_finished(), "it did not wait");
            std::thread::yield_now();
        }
        // It has been read: who reads it now would find damage.
        fs::write(&manifest, "nothing").unwrap();
        // The content of a snapshot that is about to go.
        let upper = place.upper("u3", &[("t/c/7/1", "day 3")]);
        commit(&draft, &plan, 3, &upper).unwrap();
        drop(lock);
        let swept = sweeping.join().unwrap().unwrap();
        assert_eq!((swept.snapshots, swept.objects), (10, 8), "all but what the index wrote, and the head's");
    });
    fs::write(&manifest, bytes).unwrap();
    for index in 0..3 {
        commit(&draft, &plan, index, &place.upper(&format!("u{index}"), &[])).unwrap();
    }
    draft.publish(&all(4), OnConflict::Fail, None, "", at(11 * DAY)).unwrap();
    draft.remove().unwrap();
    assert_eq!(verify(&array).unwrap().damage, []);
    assert_eq!(place.exported(&array)["t/c/7/1"], "day 3");
}

#[test]
fn every_kind_of_damage_is_found() {
    let place = Place::new();
    let (array, made) = ten(&place);
    assert_eq!(verify(&array).unwrap().damage, []);
    let pack = |content: &str| {
        let mut packs =
            fs::read_dir(array.dir().join("objects/packs")).unwrap().flatten().map(|of| of.path());
        packs.find(|path| at_in(path, content).is_some()).unwrap()
    };
    let path = pack("day 3");
    let mut bytes = fs::read(&path).unwrap();
    bytes[at_in(&path, "day 3").unwrap() + 4] = b'4';
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::remove_file(pack("day 5")).unwrap();
    let snapshot = array.dir().join("snapshots").join(made[5].to_string());
    fs::write(&snapshot, fs::read_to_string(&snapshot).unwrap().replace("imported", "exported")).unwrap();
    let manifest = array.dir().join("manifests").join(array.snapshot(made[6]).unwrap().manifest.to_string());
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[40] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let damage = verify(&array).unwrap().damage;
    let found: Vec<&str> = damage.iter().map(|damage| damage.problem.as_str()).collect();
    assert_eq!(damage.len(), 4, "{damage:?}");
    for problem in ["it is not there", "its content has the digest"] {
        assert!(found.iter().any(|found| found.contains(problem)), "{damage:?}");
    }
    assert_eq!(found.iter().filter(|found| found.contains("its content has another digest")).count(), 2);
}

/// Unless somebody is at them.
/// An import of what an array holds already puts whole objects in the place of damaged ones, and says which.
#[test]
fn an_import_of_the_same_mends_what_is_damaged() {
    let place = Place::new();
    let array = place.array();
    let plain = place.plain();
    // Those that are there and the documents lie in one pack, this in another, and what is large is a file.
    write(&plain, "t/c/7/0", b"alone");
    write(&plain, "t/c/7/1", &vec![b'x'; 3 << 20]);
    import_at(&array, &plain, 2_000).unwrap();
    let head = array.head().unwrap();
    let entries = manifest(&array, head.unwrap()).entries;
    let large = entries.iter().find(|entry| entry.key == "t/c/7/1").unwrap().digest.to_string();
    let large = array.dir().join("objects").join(&large[..2]).join(&large[2..]);
    let damage = |path: &std::path::Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let pack_with = |text: &str| {
        let packs = fs::read_dir(array.dir().join("objects/packs")).unwrap();
        packs.map(|pack| pack.unwrap().path()).find_map(|pack| Some((at_in(&pack, text)?, pack))).unwrap()
    };
    damage(&large, 2 << 20);
    for text in ["old 3 1", "alone"] {
        let (at, pack) = pack_with(text);
        damage(&pack, at);
    }
    let again = Array::open(array.dir(), Disk::default()).unwrap();
    assert_eq!(verify(&again).unwrap().damage.len(), 3);
    let done = import_at(&again, &plain, 3_000).unwrap();
    assert_eq!(done.mended, ["t/c/3/1", "t/c/7/0", "t/c/7/1"]);
    assert_eq!((done.publication, again.head().unwrap()), (None, head));
    assert_eq!(verify(&again).unwrap().damage, []);
    assert_eq!(place.exported(&again), contents(&plain));
    assert_eq!(import_at(&again, &plain, 4_000).unwrap().mended, [""; 0]);

    // What is gone comes back, too: a file, and all that lay in a pack whose index is damaged.
    fs::remove_file(&large).unwrap();
    let (_, pack) = pack_with("old 3 0");
    damage(&pack, fs::metadata(&pack).unwrap().len() as usize - 20);
    let again = Array::open(array.dir(), Disk::default()).unwrap();
    let done = import_at(&again, &plain, 5_000).unwrap();
    // All but the two that are files since they were mended.
    assert_eq!((done.mended.len(), done.publication), (entries.len() - 2, None));
    let damage = verify(&again).unwrap().damage;
    assert!(damage.len() == 1 && damage[0].what.starts_with("pack "), "{damage:?}");
    sweep(&again, None).unwrap();
    assert_eq!(verify(&Array::open(array.dir(), Disk::default()).unwrap()).unwrap().damage, []);
    assert_eq!(place.exported(&again), contents(&plain));
}

#[test]
fn what_was_begun_and_not_finished_is_removed() {
    let place = Place::new();
    let array = place.array();
    let drafts = array.dir().join("drafts");
    for name in ["import-0123456789ab", "r0"] {
        write(&drafts.join(name), "objects/aa", b"staged");
        write(&drafts.join(name), "lock", b"");
    }
    let held = fs::File::open(drafts.join("import-0123456789ab/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(sweep(&array, None).unwrap().staged, 1);
    assert!(array.clone().delete().unwrap_err().to_string().starts_with("import-0123456789ab still needs"));
    drop(held);
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    assert_eq!(sweep(&array, None).unwrap().staged, 1);
    assert!(array.abandon("r1").unwrap_err().to_string().starts_with("another program holds the draft r1"));
    assert!(array.clone().delete().is_err());
    drop(draft);
    array.abandon("r1").unwrap();
    array.abandon("r1").unwrap();
    assert!(fs::read_dir(&drafts).unwrap().next().is_none());
}

#[test]
fn an_array_that_was_made_anew_is_another() {
    let place = Place::new();
    let array = place.array();
    let before = array.clone();
    array.delete().unwrap();
    let error = before.begin(&run("r1"), &BTreeMap::new()).err().unwrap().to_string();
    assert!(error.ends_with("was deleted, or made anew, while this program used it"), "{error}");
    place.array();
    assert!(sweep(&before, None).is_err());
}

/// Small chunks that were written at once lie in one pack; what of it is dead is not kept for ever, and what lives is.
#[test]
fn a_pack_is_written_anew_without_what_is_dead() {
    let place = Place::new();
    let array = place.array();
    let plain = place.plain();
    let packs = || fs::read_dir(array.dir().join("objects/packs")).unwrap().count();
    // The documents and chunks of the first import.
    assert_eq!(packs(), 1);
    for time in 0..8 {
        (0..2).for_each(|lat| {
            write(&plain, &format!("t/c/{time}/{lat}"), format!("second {time} {lat}").as_bytes());
        });
    }
    import_at(&array, &plain, DAY).unwrap();
    (0..6).for_each(|time| write(&plain, &format!("t/c/{time}/0"), b"third"));
    import_at(&array, &plain, 2 * DAY).unwrap();
    let held = array
        .view(
            array.snapshot(array.head().unwrap().unwrap()).unwrap().manifest,
            &manifest(&array, array.head().unwrap().unwrap()),
        )
        .unwrap();
    let expected = contents(&plain);
    assert_eq!(contents(&held), expected);
    let before = array.used_bytes().unwrap();
    let swept = sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
    // Six of the second; of the first little is dead beside the documents, which live.
    assert_eq!((swept.snapshots, swept.objects, swept.views), (2, 6, 1));
    assert_eq!(packs(), 3);
    assert!(array.used_bytes().unwrap() < before);
    assert_eq!(verify(&array).unwrap().damage, []);
    assert_eq!(place.exported(&array), expected);
    // Another program finds it too, and nothing more is to be done.
    let again = Array::open(array.dir(), Disk::default()).unwrap();
    assert_eq!(place.exported(&again), expected);
    assert_eq!(
        sweep(&again, Some(&Retention { last: 1, ..Retention::default() })).unwrap(),
        Default::default()
    );
    // Nothing is left of what was unpacked for the view.
    let unpacked = array.dir().join("unpacked");
    assert!(contents(&unpacked).is_empty());
}

/// Who had the damaged pack open reads the new one: also a server whose runs began before.
#[test]
fn what_was_mended_is_read_by_who_was_there_before() {
    let place = Place::new();
    let array = place.array();
    let reader = Array::open(array.dir(), Disk::default()).unwrap();
    let expected = place.exported(&reader);
    let pack = fs::read_dir(array.dir().join("objects/packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[at_in(&pack, "old 3 1").unwrap()] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert_eq!(import_at(&array, &place.plain(), 2_000).unwrap().mended, ["t/c/3/1"]);
    assert_eq!(place.exported(&reader), expected);
    let head = array.snapshot(reader.head().unwrap().unwrap()).unwrap().manifest;
    let view = reader.view(head, &reader.manifest(head).unwrap()).unwrap();
    assert_eq!(contents(&view), expected);
}

/// What is in place is hashed before an import holds the lock: others wait no longer for it the more it is.
#[test]
fn an_import_hashes_before_it_locks() {
    let place = Place::new();
    let array = place.array();
    let plain = place.plain();
    write(&plain, "t/c/7/1", &vec![b'x'; 3 << 20]);
    import_at(&array, &plain, 2_000).unwrap();
    let entries = manifest(&array, array.head().unwrap().unwrap()).entries;
    let large = entries.iter().find(|entry| entry.key == "t/c/7/1").unwrap().digest.to_string();
    let large = array.dir().join("objects").join(&large[..2]).join(&large[2..]);
    let lock = fs::File::open(array.dir().join("lock")).unwrap();
    // As a commit holds it.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    let inode = lock.metadata().unwrap().ino();
    let other = Array::open(array.dir(), Disk::default()).unwrap();
    std::thread::scope(|scope| {
        let importing = scope.spawn(|| import_at(&other, &plain, 3_000));
        while !is_waited_for(inode) {
            assert!(!importing.is_finished(), "it did not wait");
            std::thread::yield_now();
        }
        // It has been read: who reads it now would find damage.
        fs::remove_file(&large).unwrap();
        fs::write(&large, "nothing").unwrap();
        drop(lock);
        assert_eq!(importing.join().unwrap().unwrap().mended, [""; 0]);
    });
    // The next one finds it.
    assert_eq!(import_at(&array, &plain, 4_000).unwrap().mended, ["t/c/7/1"]);
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// What a sweep removes while all is verified is no damage; what stays and is not whole still is.
#[test]
fn what_a_sweep_removes_meanwhile_is_no_damage() {
    let place = Place::new();
    let (array, made) = ten(&place);
    let pack_with = |content: &str| {
        let packs =
            fs::read_dir(array.dir().join("objects/packs")).unwrap().map(|entry| entry.unwrap().path());
        packs.into_iter().find(|path| at_in(path, content).is_some()).unwrap()
    };
    // As a sweep holds it that is half done: the record is still there when it is looked for.
    let lock = fs::File::open(array.dir().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let inode = lock.metadata().unwrap().ino();
    // Of a snapshot that is about to go, and of the head.
    for content in ["day 4", "day 10"] {
        fs::remove_file(pack_with(content)).unwrap();
    }
    let snapshot = array.snapshot(made[4]).unwrap().manifest;
    fs::remove_file(array.dir().join("manifests").join(snapshot.to_string())).unwrap();
    let other = Array::open(array.dir(), Disk::default()).unwrap();
    std::thread::scope(|scope| {
        let verifying = scope.spawn(|| verify(&other).unwrap());
        while !is_waited_for(inode) {
            assert!(!verifying.is_finished(), "it did not wait");
            std::thread::yield_now();
        }
        for gone in [made[3], made[4]] {
            fs::remove_file(array.dir().join("snapshots").join(gone.to_string())).unwrap();
        }
        drop(lock);
        let damage = verifying.join().unwrap().damage;
        assert!(damage.len() == 1 && damage[0].what.starts_with("t/c/7/1, object "), "{damage:?}");
    });
}

/// What is large is written as it is read; when somebody has it already, nothing of that stays, and none of it is counted.
#[test]
fn an_import_keeps_no_second_copy_of_what_is_there() {
    let place = Place::new();
    let array = place.array();
    let plain = place.plain();
    for lat in 0..2 {
        write(&plain, &format!("t/c/7/{lat}"), &vec![b'x' + lat; 3 << 20]);
    }
    import_at(&array, &plain, 2_000).unwrap();
    let used = array.used_bytes().unwrap();
    write(&plain, "t/c/0/0", b"new");
    let by = watchbell_array::Run::default();
    let quota = Some(used + (1 << 20));
    let imported =
        watchbell_array::import(&array, &plain, &by, quota, "", at(3_000), &mut |_, _| {}).unwrap();
    assert!(imported.publication.is_some() && imported.mended.is_empty());
    assert!(array.used_bytes().unwrap() < used + (1 << 20));
    assert_eq!(verify(&array).unwrap().damage, []);
    // A run that writes it again does the same.
    array.set_quota(quota).unwrap();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let content = "x".repeat(3 << 20);
    commit(&draft, &plan, 0, &place.upper("u", &[("t/c/0/1", &content)])).unwrap();
    let staged = fs::read_dir(array.dir().join("drafts/r1/objects")).unwrap().flatten();
    assert_eq!(staged.filter(|entry| entry.path().is_file()).count(), 0);
}

/// A pack of which something could not be read may be readable again; it goes once nothing is missing.
#[test]
fn a_pack_that_was_set_aside_stays_as_long_as_it_may_be_needed() {
    let place = Place::new();
    let array = place.array();
    let pack = fs::read_dir(array.dir().join("objects/packs")).unwrap().next().unwrap().unwrap().path();
    let aside = pack.with_file_name("unread-1");
    fs::rename(&pack, &aside).unwrap();
    sweep(&array, None).unwrap();
    assert!(aside.exists());
    assert!(!import_at(&array, &place.plain(), 2_000).unwrap().mended.is_empty());
    let damage = verify(&array).unwrap().damage;
    assert!(damage.len() == 1 && damage[0].what == "pack unread-1", "{damage:?}");
    sweep(&array, None).unwrap();
    assert!(!aside.exists());
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// Whether it is whole nobody knows: it is not removed, and what is held open of it counts for nothing.
#[test]
fn a_sweep_removes_no_pack_that_it_cannot_read_now() {
    let place = Place::new();
    let array = place.array();
    let pack = fs::read_dir(array.dir().join("objects/packs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(verify(&array).unwrap().damage, []);
    let aside = array.dir().join("aside");
    fs::rename(&pack, &aside).unwrap();
    // Nobody can open that.
    std::os::unix::fs::symlink(&pack, &pack).unwrap();
    for array in [array.clone(), Array::open(array.dir(), Disk::default()).unwrap()] {
        let error = sweep(&array, None).unwrap_err().to_string();
        assert!(error.contains(pack.to_str().unwrap()), "{error}");
        assert!(fs::symlink_metadata(&pack).is_ok());
    }
    let damage = verify(&array).unwrap().damage;
    assert!(damage.iter().any(|d| d.problem.starts_with("it cannot be read")), "{damage:?}");
    fs::rename(&aside, &pack).unwrap();
    assert_eq!(sweep(&array, None).unwrap(), Default::default());
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// Who read its index before it was damaged does not take it for its own replacement.
#[test]
fn a_damaged_pack_does_not_replace_itself() {
    let place = Place::new();
    let array = place.array();
    let pack = fs::read_dir(array.dir().join("objects/packs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(verify(&array).unwrap().damage, []);
    let whole = fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() - 20] ^= 1;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    sweep(&array, None).unwrap();
    assert!(pack.exists());
    fs::write(&pack, whole).unwrap();
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// What a failed run staged is no reason to keep a damaged pack.
#[test]
fn a_damaged_pack_goes_beside_a_draft() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    commit(&draft, &plan, 3, &place.upper("u", &[("t/c/7/0", "mine")])).unwrap();
    let pack = array.dir().join("objects/packs").join(format!("pack-{}", "0".repeat(64)));
    fs::write(&pack, [0; 100]).unwrap();
    sweep(&array, None).unwrap();
    assert!(!pack.exists());
    draft.publish(&[3].into(), OnConflict::Fail, None, "", at(9)).unwrap();
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// A pack whose index is damaged holds nothing, and a byte of a chunk is missed.
#[test]
fn a_damaged_pack_is_found() {
    let place = Place::new();
    let array = place.array();
    let pack = fs::read_dir(array.dir().join("objects/packs")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&pack).unwrap();
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
        verify(&Array::open(array.dir(), Disk::default()).unwrap()).unwrap().damage
    };
    let damage = damaged(whole.len() - 100);
    assert!(
        damage.iter().any(|d| d.what.starts_with("pack ") && d.problem == "its index is damaged"),
        "{damage:?}"
    );
    assert!(
        damage.iter().any(|d| d.what.contains("t/c/0/0") && d.problem == "it is not there"),
        "{damage:?}"
    );
    let damage = damaged(9);
    assert_eq!(damage.len(), 1, "{damage:?}");
    let error = array.view(
        array.snapshot(array.head().unwrap().unwrap()).unwrap().manifest,
        &manifest(&array, array.head().unwrap().unwrap()),
    );
    assert!(error.is_err() || damage[0].what.contains("zarr.json"), "{damage:?}");
}
