//! Who wrote what; what a run does without waiting for others; and files that change while they are taken over.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use watchbell_array::{Array, Attempt, Completeness, Disk, Error, Step};
use watchbell_zarr::{Extend, Judge, OnConflict, grow};

use crate::place::{Place, all, at, by_time, commit, hierarchy_of, run};

/// Of a rerun in another name and of another image each chunk tells who wrote it.
#[test]
fn each_chunk_names_the_image_and_the_user_of_its_own_attempt() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let by =
        |number, image: &str, user: &str| Attempt { number, image: image.to_owned(), user: user.to_owned() };
    let attempts = [
        by(0, "sha256:aa", "ann"),
        by(0, "sha256:aa", "ann"),
        by(3, "sha256:bb", "bob"),
        by(4, "sha256:bb", "ann"),
    ];
    for (index, attempt) in attempts.iter().enumerate() {
        let upper = place.upper(&format!("u{index}"), &[(&format!("t/c/{}/0", 2 * index), "new")]);
        let judge = Judge { plan: &plan, index: index as u32, max_chunk_bytes: 1 << 20 };
        let made = draft.commit(&judge, attempt, &upper, Completeness::Optional).unwrap();
        assert_eq!(made.attempt, *attempt);
    }
    // One was committed before attempts were kept: it is read with what its run says.
    let path = array.dir().join("drafts/r1/indices/1");
    let of_run = draft.committed(1).unwrap().unwrap();
    let old = postcard::to_allocvec(&(1u32, 7u32, &of_run.written, &of_run.removed)).unwrap();
    let bytes = [b"WBARIX\x00\x01".as_slice(), blake3::hash(&old).as_bytes(), &old].concat();
    fs::write(path, bytes).unwrap();
    let user = "system:serviceaccount:ml:default";
    assert_eq!(draft.committed(1).unwrap().unwrap().attempt, by(7, "sha256:aa", user));

    let made = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap();
    let manifest = array.manifest(made.snapshot.manifest).unwrap();
    let wrote = |key: &str| {
        let (run, writer) = manifest.writer(manifest.get(key).unwrap());
        assert_eq!((run.uid.as_str(), run.started_at), ("r1", 5));
        (writer.index, by(writer.attempt, &run.image, &run.user))
    };
    assert_eq!(wrote("t/c/0/0"), (0, attempts[0].clone()));
    assert_eq!(wrote("t/c/2/0"), (1, by(7, "sha256:aa", user)));
    assert_eq!(wrote("t/c/4/0"), (2, attempts[2].clone()));
    assert_eq!(wrote("t/c/6/0"), (3, attempts[3].clone()));
    let all = (made.snapshot.by.image.as_str(), made.snapshot.by.user.as_str());
    assert_eq!(all, ("sha256:aa, sha256:bb", "ann, bob, system:serviceaccount:ml:default"));
}

/// An array may have tens of thousands of snapshots.
#[test]
fn a_new_run_begins_without_reading_all_of_the_history() {
    let place = Place::new();
    let array = place.array();
    let first = array.head().unwrap().unwrap();
    let publish = |uid: &str, content: &str| {
        let plan = by_time(&hierarchy_of(&array));
        let draft = array.begin(&run(uid), &BTreeMap::new()).unwrap();
        for index in 0..4 {
            commit(
                &draft,
                &plan,
                index,
                &place.upper(&format!("{uid}-{index}"), &[(&format!("t/c/{}/0", 2 * index), content)]),
            )
            .unwrap();
        }
        let made = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap();
        draft.remove().unwrap();
        made.digest
    };
    publish("r1", "one");
    // A store from before there were notes of it.
    fs::remove_dir_all(array.dir().join("published")).unwrap();
    let is_published =
        |uid: &str| matches!(array.begin(&run(uid), &BTreeMap::new()), Err(Error::Published { .. }));
    assert!(is_published("r1"));
    publish("r2", "two");
    assert!(is_published("r1") && is_published("r2"));
    // Who reads to the end of it fails.
    let record = array.dir().join("snapshots").join(first.to_string());
    fs::rename(&record, place.path("kept")).unwrap();
    assert!(array.published_by("r3").unwrap().is_none());
    publish("r3", "three");
    assert!(is_published("r3") && is_published("r1"));
}

/// A commit copies for long, and holds the lock with others.
#[test]
fn a_lease_waits_for_no_commit_and_giving_up_nothing_for_nobody() {
    let place = Place::new();
    let array = place.array();
    let head = array.head().unwrap().unwrap();
    let lock = fs::File::open(array.dir().join("lock")).unwrap();
    lock.lock_shared().unwrap();
    at_once(&lock, || {
        array.lease("run-1", head).unwrap();
        assert_eq!(array.leased("run-1").unwrap(), Some(head));
        assert_eq!(array.lease_names().unwrap(), ["run-1"]);
    });
    // Two at once do not meet in one file.
    std::thread::scope(|threads| {
        (0..8).for_each(|_| drop(threads.spawn(|| array.lease("run-1", head).unwrap())));
    });
    assert_eq!(array.leased("run-1").unwrap(), Some(head));
    lock.lock().unwrap();
    at_once(&lock, || array.abandon("another").unwrap());
}

/// Fails where it would wait for a lock that the test holds.
fn at_once(lock: &fs::File, work: impl FnOnce() + Send) {
    std::thread::scope(|threads| {
        let (done, end) = std::sync::mpsc::channel();
        threads.spawn(move || {
            work();
            let _ = done.send(());
        });
        let ended = end.recv_timeout(std::time::Duration::from_secs(60));
        lock.unlock().unwrap();
        ended.expect("it waits for a lock that is held, or failed");
    });
}

/// What lies in the upper is opened a second time to be copied: whatever it is by then.
#[test]
fn a_file_that_is_swapped_during_the_walk_gets_nowhere() {
    type Swap = fn(&Path, &Path);
    let swaps: [(&str, Swap); 5] = [
        ("a link", |file, other| symlink(other, file).unwrap()),
        ("another name", |file, other| fs::hard_link(other, file).unwrap()),
        ("a longer one", |file, _| fs::write(file, "as long as it likes").unwrap()),
        ("a directory", |file, _| fs::create_dir(file).unwrap()),
        ("a pipe", |file, _| {
            rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        }),
    ];
    for (name, swap) in swaps {
        let place = Place::new();
        let quiet = place.array();
        let head = quiet.snapshot(quiet.head().unwrap().unwrap()).unwrap();
        let documents = quiet.documents(&quiet.manifest(head.manifest).unwrap()).unwrap();
        let (hierarchy, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 40 }).unwrap();
        let split = watchbell_zarr::Split::Dimension { dimension: "time".to_owned(), into: 2 };
        let plan = watchbell_zarr::plan(&hierarchy, &split, &[], Some(&grown), 2).unwrap();
        let keys: Vec<String> = (0..20).map(|n| format!("t/c/{}/{}", 8 + n / 2, n % 2)).collect();
        let files: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "12345")).collect();
        let upper = place.upper("upper", &files);
        let other = place.path("secret");
        fs::write(&other, "other").unwrap();
        // All was judged when the pack is begun, and nothing is opened.
        let (file, swapped) = (upper.join(&keys[11]), Arc::new(AtomicBool::new(false)));
        let has_swapped = swapped.clone();
        let swap_now = move || {
            fs::remove_file(&file).unwrap();
            swap(&file, &other);
        };
        let disk = Disk::watched(move |step| {
            if let Step::Write(path) = step
                && path.parent().is_some_and(|dir| dir.ends_with("drafts/r1/objects/packs"))
                && !has_swapped.swap(true, Ordering::SeqCst)
            {
                swap_now();
            }
            Ok(())
        });
        let array = Array::open(quiet.dir(), disk).unwrap();
        let draft = array.begin(&run("r1"), &grown.documents).unwrap();
        let error = commit(&draft, &plan, 0, &upper).unwrap_err().to_string();
        assert!(swapped.load(Ordering::SeqCst), "{name}: {error}");
        assert!(error.contains(&keys[11]), "{name}: {error}");
        assert_eq!(draft.committed(0).unwrap(), None, "{name}");
        assert_eq!(fs::read_dir(array.dir().join("drafts/r1/objects/packs")).unwrap().count(), 0, "{name}");
        // An attempt that leaves its files alone is taken.
        commit(&draft, &plan, 0, &place.upper("next", &files)).unwrap();
        commit(&draft, &plan, 1, &place.upper("other", &[])).unwrap();
        draft.publish(&all(2), OnConflict::Fail, None, "", at(9)).unwrap();
        assert_eq!(place.exported(&quiet)[&keys[11]], "12345");
    }
}
