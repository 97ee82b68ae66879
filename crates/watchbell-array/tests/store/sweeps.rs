use std::collections::BTreeMap;
use std::fs;

use watchbell_array::{Array, Digest, Disk, Retention, sweep, verify};

use crate::place::{Place, by_time, commit, contents, hierarchy_of, import_at, run, write};

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
