//! The verbs of an array, each stopped before any of its changes of the disk, and the machine with it: what is then there is as before the
//! verb or as after it, whole, and the verb done again ends as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use watchbell_array::{Array, Attempt, Completeness, Disk, Error, KeptSource, Kind, export, verify};
use watchbell_zarr::{Judge, OnConflict, Split, plan};

use crate::crash::{Journal, key, unwatched};
use crate::place::{Place, all, at, contents, hierarchy_of, import_at, key_file, run, write};

/// What who opens the array can see: the content of the head and how it came, tags and their contents, the quota.
#[derive(Debug, PartialEq)]
struct Seen {
    head: BTreeMap<String, String>,
    message: String,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    quota: Option<u64>,
}

fn seen(place: &Place, array: &Array) -> Seen {
    let exported = |snapshot| {
        let dir = tempfile::tempdir_in(place.dir.path()).unwrap();
        export(array, snapshot, dir.path(), &mut |_, _| {}).unwrap();
        contents(dir.path())
    };
    let head = array.head().unwrap().unwrap();
    Seen {
        head: exported(head),
        message: array.snapshot(head).unwrap().message,
        tags: array.tags().unwrap().into_iter().map(|(tag, snapshot)| (tag, exported(snapshot))).collect(),
        quota: array.quota_bytes().unwrap(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The program alone.
    Killed,
    /// The machine loses what no sync has covered.
    WithoutPower,
}

struct Verb<'a> {
    prepare: &'a dyn Fn() -> Place,
    open: &'a dyn Fn(&Place, Disk) -> Array,
    run: &'a dyn Fn(&Place, &Array) -> Result<(), Error>,
    /// So many changes of the disk it has at least: fewer would be none that are watched.
    steps_min: usize,
}

/// Whether damage is found before: a verb that mends ends without.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Whole,
    Damaged,
}

fn check(verb: &Verb<'_>, state: Before) {
    let place = (verb.prepare)();
    let before = (state == Before::Whole).then(|| seen(&place, &(verb.open)(&place, unwatched())));
    (verb.run)(&place, &(verb.open)(&place, unwatched())).unwrap();
    let after = seen(&place, &(verb.open)(&place, unwatched()));
    if state == Before::Whole {
        assert_ne!(before.as_ref(), Some(&after), "it changes something");
    }
    for how in [Ends::Killed, Ends::WithoutPower] {
        let mut stop_at = 0;
        loop {
            let place = (verb.prepare)();
            let (journal, disk) = Journal::stopping_at(stop_at);
            let ended = (verb.run)(&place, &(verb.open)(&place, disk));
            if let Ends::WithoutPower = how {
                journal.lock().unwrap().lose();
            }
            let array = (verb.open)(&place, unwatched());
            let shown = format!("{how:?} before step {stop_at}");
            if let Some(before) = &before {
                let now = seen(&place, &array);
                assert!(now == *before || now == after, "{shown}: {now:?}");
                assert_eq!(verify(&array).unwrap().damage, [], "{shown}");
            }
            (verb.run)(&place, &array).unwrap_or_else(|error| panic!("{shown}, then again: {error}"));
            let array = (verb.open)(&place, unwatched());
            assert_eq!(seen(&place, &array), after, "{shown}, then again");
            assert_eq!(verify(&array).unwrap().damage, [], "{shown}, then again");
            if ended.is_ok() {
                assert!(stop_at >= verb.steps_min, "only {stop_at} steps were seen");
                break;
            }
            stop_at += 1;
        }
    }
}

fn open(place: &Place, disk: Disk) -> Array {
    Array::open(&place.path("array"), disk).unwrap()
}

fn open_sealed(place: &Place, disk: Disk) -> Array {
    open(place, disk).unlock(&key(place).key().unwrap()).unwrap()
}

/// Two snapshots, the first of which is tagged.
fn with_history(array: &Array, place: &Place) {
    array.tag("first", array.head().unwrap().unwrap()).unwrap();
    let plain = place.path("plain");
    write(&plain, "t/c/0/0", b"second");
    write(&plain, "t/c/7/1", &[b'x'; 300_000]);
    import_at(array, &plain, 2_000).unwrap();
}

fn in_the_clear() -> Place {
    let place = Place::in_memory();
    drop(place.array());
    with_history(&open(&place, unwatched()), &place);
    place
}

fn encrypted() -> Place {
    let place = Place::in_memory();
    let source = key(&place);
    let sealed = Some((source.kept(), &source.key().unwrap()));
    let array = Array::create_of(&place.path("array"), unwatched(), Kind::Zarr, sealed).unwrap();
    import_at(&array, &place.plain(), 1_000).unwrap();
    with_history(&array, &place);
    place
}

/// Each verb on an array in the clear, and on one that is encrypted.
fn check_both(run: &dyn Fn(&Place, &Array) -> Result<(), Error>, steps_min: usize) {
    check(&Verb { prepare: &in_the_clear, open: &open, run, steps_min }, Before::Whole);
    check(&Verb { prepare: &encrypted, open: &open_sealed, run, steps_min }, Before::Whole);
}

#[test]
fn a_rollback_leaves_the_old_head_or_the_new() {
    let back = |_: &Place, array: &Array| {
        array.rollback(array.resolve("first")?, &run("hand"), "worse", at(3_000)).map(drop)
    };
    check_both(&back, 8);
}

#[test]
fn a_tag_is_where_it_was_or_where_it_was_put() {
    let moved = |_: &Place, array: &Array| array.tag("first", array.resolve("head")?);
    check_both(&moved, 4);
    let new = |_: &Place, array: &Array| array.tag("second", array.resolve("head")?);
    check_both(&new, 4);
    let gone = |_: &Place, array: &Array| match array.remove_tag("first") {
        Err(Error::UnknownSnapshot(_)) => Ok(()),
        removed => removed,
    };
    check_both(&gone, 2);
}

#[test]
fn a_quota_is_the_old_or_the_new() {
    check_both(&|_: &Place, array: &Array| array.set_quota(Some(1 << 30)), 4);
    let bounded = || {
        let place = in_the_clear();
        open(&place, unwatched()).set_quota(Some(1 << 20)).unwrap();
        place
    };
    let lifted = |_: &Place, array: &Array| array.set_quota(None);
    check(&Verb { prepare: &bounded, open: &open, run: &lifted, steps_min: 2 }, Before::Whole);
}

/// A run whose indices leave models and reports, promoted by a head that is signed.
#[test]
fn artifacts_are_promoted_whole_or_not_at_all() {
    let prepare = || {
        let place = Place::in_memory();
        Array::create_of(&place.path("array"), unwatched(), Kind::Artifacts, None).unwrap();
        for index in 0..2 {
            let (model, report) = (format!("{index}/model/w.bin"), format!("{index}/report"));
            place.upper(&format!("u{index}"), &[(&model, "weights"), (&report, &format!("of {index}"))]);
        }
        place
    };
    let signed = |place: &Place, disk: Disk| {
        open(place, disk).signing(Arc::new(|said: &str| Ok(format!("signed: {said}"))))
    };
    let promote = |place: &Place, array: &Array| {
        let head = array.snapshot(array.head()?.unwrap())?;
        if head.by.uid != "r1" || array.drafts()?.contains(&"r1".to_owned()) {
            let plan = plan(&hierarchy_of(array), &Split::Artifacts, &[], None, 2).unwrap();
            let draft = array.begin(&run("r1"), &BTreeMap::new())?;
            for index in 0..2 {
                let judge = Judge { plan: &plan, index, max_chunk_bytes: 1 << 20 };
                let upper = place.path(&format!("u{index}"));
                draft.commit(&judge, &Attempt::default(), &upper, Completeness::Required)?;
            }
            draft.publish(&all(2), OnConflict::Fail, None, "promoted", at(9))?;
            draft.remove()?;
        }
        // Who moved the head said so before.
        let head = array.head()?.unwrap();
        assert!(array.signature(head)?.unwrap().starts_with(b"signed: watchbell.dev/array-head"));
        Ok(())
    };
    check(&Verb { prepare: &prepare, open: &signed, run: &promote, steps_min: 30 }, Before::Whole);
}

/// A run on an encrypted array, which begins anew what is not committed.
#[test]
fn a_run_on_an_encrypted_array_is_published_whole_or_not_at_all() {
    let prepare = || {
        let place = encrypted();
        for index in 0..2 {
            let keys: Vec<(String, String)> = (0..4)
                .map(|n| (format!("t/c/{}/{}", index * 4 + n / 2 * 2, n % 2), format!("run {index} {n}")))
                .collect();
            let keys: Vec<(&str, &str)> = keys.iter().map(|(key, text)| (&**key, &**text)).collect();
            place.upper(&format!("u{index}"), &keys);
        }
        place
    };
    let publish = |place: &Place, array: &Array| {
        let is_done = array.snapshot(array.head()?.unwrap())?.by.uid == "r1";
        if is_done && !array.drafts()?.contains(&"r1".to_owned()) {
            return Ok(());
        }
        let split = Split::Dimension { dimension: "time".to_owned(), into: 2 };
        let plan = plan(&hierarchy_of(array), &split, &[], None, 2).unwrap();
        let draft = array.begin(&run("r1"), &BTreeMap::new())?;
        for index in 0..2 {
            let judge = Judge { plan: &plan, index, max_chunk_bytes: 1 << 20 };
            let upper = place.path(&format!("u{index}"));
            draft.commit(&judge, &Attempt::default(), &upper, Completeness::Optional)?;
        }
        draft.publish(&all(2), OnConflict::Fail, None, "nightly", at(9))?;
        draft.remove()
    };
    check(&Verb { prepare: &prepare, open: &open_sealed, run: &publish, steps_min: 30 }, Before::Whole);
}

/// Damage in a file of its own and in a pack is mended by an import of the same, stopped anywhere.
#[test]
fn what_an_import_mends_is_damaged_or_whole() {
    fn damage(dir: &Path, text: &[u8]) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                damage(&path, text);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(text.len()).position(|part| part == text) {
                bytes[at] ^= 1;
                fs::remove_file(&path).unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    let prepare = || {
        let place = in_the_clear();
        let objects = place.path("array/objects");
        damage(&objects, &[b'x'; 300_000]);
        // In a pack, of which the whole content is put in place before the pack goes.
        damage(&objects, b"old 3 1");
        assert_eq!(verify(&open(&place, unwatched())).unwrap().damage.len(), 2);
        place
    };
    let mend = |place: &Place, array: &Array| import_at(array, &place.path("plain"), 3_000).map(drop);
    check(&Verb { prepare: &prepare, open: &open, run: &mend, steps_min: 10 }, Before::Damaged);
}

/// Under the old key or the new, and never under neither.
#[test]
fn a_key_is_changed_or_it_is_not() {
    let keys = |place: &Place| [key(place).key().unwrap(), key_file(place, "new", 9).key().unwrap()];
    let mut found = Vec::new();
    for stop_at in 0.. {
        let place = encrypted();
        let before = seen(&place, &open_sealed(&place, unwatched()));
        let [old, next] = keys(&place);
        // Who has it open goes on.
        let beside = open_sealed(&place, unwatched());
        let (journal, disk) = Journal::stopping_at(stop_at);
        let ended = open(&place, disk).rekey(&old, &next, KeptSource::Named("next".to_owned()));
        journal.lock().unwrap().lose();
        let opens = [&old, &next].map(|key| open(&place, unwatched()).unlock(key).ok());
        assert_eq!(opens.iter().flatten().count(), 1, "before step {stop_at}");
        for array in opens.iter().flatten().chain([&beside]) {
            assert_eq!(seen(&place, array), before);
            assert_eq!(verify(array).unwrap().damage, []);
        }
        found.push(opens[1].is_some());
        if ended.is_ok() {
            let array = opens[1].as_ref().unwrap();
            assert_eq!(array.key_source().unwrap(), Some(KeptSource::Named("next".to_owned())));
            assert!(matches!(open(&place, unwatched()).unlock(&old), Err(Error::WrongKey)));
            assert!(array.rekey(&old, &next, KeptSource::Command).is_err(), "the old key changes nothing");
            break;
        }
    }
    assert!(found.len() > 4 && found.is_sorted(), "{found:?}");
    let (place, clear) = (encrypted(), in_the_clear());
    let [old, next] = keys(&place);
    assert!(open(&clear, unwatched()).rekey(&old, &next, KeptSource::Command).is_err());
}
