//! Many at work on one store at once, each as a program of its own.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use watchbell_array::{Array, Conflict, Disk, Error, Retention, sweep, verify};
use watchbell_zarr::OnConflict;

use crate::place::{Place, all, at, by_time, commit, hierarchy_of, import_at, run, write};

const ROUNDS: i64 = 50;
/// Written by each run, one by each index, and by each import.
const KEYS: [&str; 4] = ["t/c/0/0", "t/c/2/0", "t/c/4/0", "t/c/6/0"];

fn open(place: &Place) -> Array {
    Array::open(&place.path("array"), Disk::watched(|_| Ok(()))).unwrap()
}

/// Runs that write all keys; another takes the place of one that somebody's import came before.
fn runs(place: &Place) {
    for round in 0..ROUNDS {
        for again in 0.. {
            let array = open(place);
            let uid = format!("run-{round}-{again}");
            let plan = by_time(&hierarchy_of(&array));
            let draft = array.begin(&run(&uid), &BTreeMap::new()).unwrap();
            std::thread::scope(|threads| {
                for (index, key) in KEYS.iter().enumerate() {
                    let (draft, plan) = (&draft, &plan);
                    let content = format!("{uid} {key}");
                    threads.spawn(move || {
                        let upper =
                            place.upper(&format!("{uid}-{index}", uid = draft.run().uid), &[(key, &content)]);
                        commit(draft, plan, index as u32, &upper).unwrap();
                    });
                }
            });
            let made = draft.publish(&all(4), OnConflict::Rebase, None, "", at(10_000 + round));
            draft.remove().unwrap();
            match made {
                Ok(_) => break,
                Err(Error::Conflict(_)) => {}
                Err(error) => panic!("{uid}: {error}"),
            }
        }
    }
}

/// More of them than a pack takes. One that a run came before is made again.
fn imports(place: &Place) {
    for round in 0..ROUNDS {
        let plain = place.path("plain");
        for n in 0..16 {
            let key = format!("t/c/{}/{}", n / 2, n % 2);
            write(&plain, &key, format!("import-{round} {key}").as_bytes());
        }
        let made = loop {
            match import_at(&open(place), &plain, 20_000 + round) {
                Err(Error::Conflict(Conflict::Import { .. })) => {}
                made => break made.unwrap(),
            }
        };
        assert!(made.publication.is_some(), "import {round}");
    }
}

/// A reader sees one snapshot whole, whatever is swept meanwhile.
fn read(place: &Place) {
    let array = open(place);
    let head = array.head().unwrap().unwrap();
    match array.lease("run-reader", head) {
        // It was swept before it was held.
        Err(Error::UnknownSnapshot(_)) => return,
        leased => leased.unwrap(),
    }
    let manifest = array.snapshot(head).unwrap().manifest;
    let view = array.view(manifest, &array.manifest(manifest).unwrap()).unwrap();
    let found = KEYS.map(|key| fs::read_to_string(view.join(key)).unwrap());
    let by = found[0].split(' ').next().unwrap();
    for (key, content) in KEYS.iter().zip(&found) {
        assert_eq!(*content, format!("{by} {key}"), "of one run or import: {found:?}");
    }
    array.give_back("run-reader").unwrap();
}

#[test]
fn runs_imports_sweeps_and_views_do_not_harm_each_other() {
    let place = Place::in_memory();
    drop(place.array());
    // All keys are there and of one hand before anybody reads.
    for key in KEYS {
        write(&place.path("plain"), key, format!("first {key}").as_bytes());
    }
    import_at(&open(&place), &place.path("plain"), 2_000).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for work in [read, |place: &Place| {
            let _ = sweep(&open(place), Some(&LAST)).unwrap();
        }] {
            let (place, is_over) = (&place, &is_over);
            threads.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    work(place);
                    std::thread::yield_now();
                }
            });
        }
        let over = Over(&is_over);
        std::thread::scope(|writers| {
            writers.spawn(|| runs(&place));
            writers.spawn(|| imports(&place));
        });
        drop(over);
    });
    let array = open(&place);
    assert_eq!(verify(&array).unwrap().damage, []);
    assert_eq!((array.drafts().unwrap().len(), array.lease_names().unwrap().len()), (0, 0));
    // Each was published once: what is swept has left its record.
    assert_eq!(records(&array), 2 + 2 * ROUNDS as usize);
    sweep(&array, Some(&LAST)).unwrap();
    assert_eq!(array.snapshots().unwrap().len(), 1);
    read(&place);
    assert_eq!(verify(&array).unwrap().damage, []);
}

const LAST: Retention = Retention { last: 1, daily: 0, weekly: 0 };

fn records(array: &Array) -> usize {
    fs::read_dir(array.dir().join("snapshots")).unwrap().count()
}

/// Ends the others also when a writer panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
