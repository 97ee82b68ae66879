//! The program is stopped before each of its changes of the disk, and the machine with it: what is then on the disk is the old
//! snapshot or the new one, and going on ends as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use watchbell_array::{
    Array, Attempt, Committed, Completeness, Digest, Disk, Draft, Error, IndexCommit, KeySource, Kind, Part,
    Refused, Retention, Step, export, finish_publications, publish_together, sweep, verify,
};
use watchbell_zarr::{Extend, Judge, OnConflict, grow};

use crate::place::{
    Place, all, at, by_time, commit, contents, hierarchy_of, import_at, key_file, run, write,
};

/// What of the changes a loss of power takes back: those that no sync has covered.
#[derive(Default)]
pub(crate) struct Journal {
    steps: usize,
    stop_at: usize,
    /// Names that changed, with what the name was before.
    names: Vec<(Changed, PathBuf)>,
    /// Files whose content no sync has covered.
    contents: Vec<PathBuf>,
}

pub(crate) enum Changed {
    Made(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, before: Option<Vec<u8>> },
}

impl Journal {
    /// And the disk whose steps it watches, of which this one is never done.
    pub(crate) fn stopping_at(stop_at: usize) -> (Arc<Mutex<Self>>, Disk) {
        let journal = Arc::new(Mutex::new(Self { stop_at, ..Self::default() }));
        let watching = journal.clone();
        (journal, Disk::watched(move |step| watching.lock().unwrap().before(step)))
    }

    pub(crate) fn before(&mut self, step: &Step) -> Result<(), Error> {
        if self.steps == self.stop_at {
            return Err(Error::Stopped);
        }
        self.steps += 1;
        let parent = |path: &Path| path.parent().unwrap().to_owned();
        match step {
            Step::Write(path) => {
                if !path.exists() {
                    self.names.push((Changed::Made(path.clone()), parent(path)));
                }
                self.contents.push(path.clone());
            }
            Step::Append(path) | Step::Remove(path) => self.contents.retain(|other| other != path),
            Step::MakeDir(path) => {
                if !path.exists() {
                    self.names.push((Changed::Made(path.clone()), parent(path)));
                }
            }
            Step::Link(_, to) => self.names.push((Changed::Made(to.clone()), parent(to))),
            Step::Rename(from, to) => {
                let renamed =
                    Changed::Renamed { from: from.clone(), to: to.clone(), before: fs::read(to).ok() };
                self.names.push((renamed, parent(to)));
                for path in &mut self.contents {
                    if path == from {
                        path.clone_from(to);
                    } else if let Ok(below) = path.strip_prefix(from) {
                        *path = to.join(below);
                    }
                }
            }
            Step::SyncFile(path) => self.contents.retain(|other| other != path),
            Step::SyncDir(dir) => self.names.retain(|(_, parent)| parent != dir),
            Step::SyncAll(_) => {
                self.names.clear();
                self.contents.clear();
            }
        }
        Ok(())
    }

    /// The power is gone: the file system kept all names, and no content that nobody synced.
    fn lose_contents(&mut self) {
        for path in self.contents.drain(..).filter(|path| path.is_file()) {
            fs::File::create(path).unwrap();
        }
    }

    /// The power is gone.
    pub(crate) fn lose(&mut self) {
        for path in self.contents.drain(..) {
            if path.is_file() {
                fs::remove_file(&path).unwrap();
                fs::write(&path, "lost").unwrap();
            }
        }
        for (changed, _) in self.names.drain(..).rev() {
            match changed {
                Changed::Made(path) if path.is_dir() => fs::remove_dir_all(path).unwrap(),
                Changed::Made(path) => {
                    let _ = fs::remove_file(path);
                }
                Changed::Renamed { from, to, before } => {
                    // What was renamed further, or removed, is not there.
                    if to.exists() && !from.exists() && from.parent().is_some_and(Path::exists) {
                        fs::rename(&to, &from).unwrap();
                        if let Some(bytes) = before {
                            fs::write(&to, bytes).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// No other test pulls the plug: nothing has to wait for the disk.
pub(crate) fn unwatched() -> Disk {
    Disk::watched(|_| Ok(()))
}

/// A run that grows the array, of two indices, and then a sweep.
fn scenario(place: &Place, disk: Disk, rows: u64) -> Result<(), Error> {
    let array = Array::open(&place.path("array"), disk)?;
    let head = array.head()?.unwrap();
    let is_done = array.snapshot(head)?.by.uid == "r1";
    if !is_done || array.drafts()?.contains(&"r1".to_owned()) {
        let base = if is_done { array.snapshot(head)?.parent.unwrap() } else { head };
        let manifest = array.manifest(array.snapshot(base)?.manifest)?;
        let extend = Extend { dimension: "time".to_owned(), by: 2 * rows };
        let (hierarchy, grown) = grow(&array.documents(&manifest)?, &extend)?;
        let split = watchbell_zarr::Split::Dimension { dimension: "time".to_owned(), into: 2 };
        let plan = watchbell_zarr::plan(&hierarchy, &split, &[], Some(&grown), 2).unwrap();
        let draft = array.begin(&run("r1"), &grown.documents)?;
        draft.view()?;
        for index in 0..2 {
            commit(&draft, &plan, index, &place.path(&format!("u{index}")))?;
        }
        draft.publish(&all(2), OnConflict::Fail, None, "", at(9))?;
        draft.remove()?;
    }
    sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).map(drop)
}

fn prepared(rows: u64) -> (Place, BTreeMap<String, String>) {
    let place = Place::in_memory();
    drop(place.array());
    for index in 0..2 {
        let upper = place.upper(&format!("u{index}"), &[]);
        for row in 0..rows / 2 {
            let row = 8 + index * rows / 2 + row;
            // One content is there already, one is new.
            write(&upper, &format!("t/c/{row}/0"), b"old 0 0");
            write(&upper, &format!("t/c/{row}/1"), format!("new {row}").as_bytes());
        }
    }
    let before = contents(&place.plain());
    (place, before)
}

/// `rows` of chunks are added: many are written into packs.
fn check(lose: bool, rows: u64) {
    let (place, _) = prepared(rows);
    scenario(&place, unwatched(), rows).unwrap();
    assert_eq!(place.path("array/objects/packs").read_dir().unwrap().count(), if rows > 16 { 3 } else { 1 });
    let after = exported(&place);
    let mut stop_at = 0;
    loop {
        let (place, before) = prepared(rows);
        let (journal, disk) = Journal::stopping_at(stop_at);
        let ended = scenario(&place, disk, rows);
        if lose {
            journal.lock().unwrap().lose();
        }
        let now = exported(&place);
        assert!(now == before || now == after, "stopped before step {stop_at}: {now:?}");
        let array = Array::open(&place.path("array"), unwatched()).unwrap();
        let damage = verify(&array).unwrap().damage;
        assert_eq!(damage, [], "stopped before step {stop_at}");
        scenario(&place, unwatched(), rows).unwrap();
        assert_eq!(exported(&place), after, "going on after step {stop_at}");
        assert!(array.drafts().unwrap().is_empty());
        assert_eq!(verify(&array).unwrap().damage, []);
        if ended.is_ok() {
            assert!(stop_at > 40, "only {stop_at} steps were seen");
            return;
        }
        stop_at += 1;
    }
}

fn exported(place: &Place) -> BTreeMap<String, String> {
    let array = Array::open(&place.path("array"), unwatched()).unwrap();
    let dir = tempfile::tempdir_in(place.dir.path()).unwrap();
    export(&array, array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
    contents(dir.path())
}

#[test]
fn a_run_that_is_killed_before_any_step_leaves_the_old_or_the_new() {
    check(false, 2);
    check(false, 20);
}

#[test]
fn a_machine_that_loses_power_before_any_step_leaves_the_old_or_the_new() {
    check(true, 2);
    check(true, 20);
}

#[test]
fn an_import_that_is_stopped_goes_on() {
    let mut stop_at = 0;
    loop {
        let place = Place::in_memory();
        let array = Array::open(place.array().dir(), unwatched()).unwrap();
        let plain = place.plain();
        let before = contents(&plain);
        (0..20).for_each(|n| {
            write(&plain, &format!("t/c/{}/{}", n % 8, n / 8 % 2), format!("n {n}").as_bytes());
        });
        let (journal, disk) = Journal::stopping_at(stop_at);
        let ended = import_at(&Array::open(array.dir(), disk).unwrap(), &plain, 2_000);
        journal.lock().unwrap().lose();
        let now = exported(&place);
        assert!(now == before || now == contents(&plain), "stopped before step {stop_at}");
        assert_eq!(verify(&array).unwrap().damage, [], "stopped before step {stop_at}");
        import_at(&array, &plain, 3_000).unwrap();
        assert_eq!(exported(&place), contents(&plain));
        if ended.is_ok() {
            return;
        }
        stop_at += 1;
    }
}

/// What was made in this boot of the machine is of another boot.
fn boot_again(place: &Place) {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for part in ["views", "unpacked"] {
        let dir = place.path("array").join(part);
        let _ = fs::rename(dir.join(id.trim()), dir.join("another"));
    }
}

/// No sync makes a view durable.
#[test]
fn a_machine_that_loses_power_gives_no_task_half_a_view() {
    let mut stop_at = 0;
    loop {
        let place = Place::in_memory();
        let array = Array::open(place.array().dir(), unwatched()).unwrap();
        // Of packs and of files of their own.
        let plain = place.path("plain");
        (0..16).for_each(|n| write(&plain, &format!("t/c/{}/{}", n / 2, n % 2), format!("n {n}").as_bytes()));
        write(&plain, "t/c/0/0", &[b'x'; 300_000]);
        import_at(&array, &plain, 2_000).unwrap();
        let head = array.head().unwrap().unwrap();
        array.lease("run", head).unwrap();
        let (journal, disk) = Journal::stopping_at(stop_at);
        let view = |disk| {
            let array = Array::open(&place.path("array"), disk)?;
            let manifest = array.snapshot(head)?.manifest;
            array.view(manifest, &array.manifest(manifest)?)
        };
        let ended = view(disk);
        journal.lock().unwrap().lose_contents();
        boot_again(&place);
        assert_eq!(contents(&view(unwatched()).unwrap()), contents(&plain), "stopped before step {stop_at}");
        for part in ["views", "unpacked"] {
            assert!(!place.path("array").join(part).join("another").exists(), "{part}, step {stop_at}");
        }
        if ended.is_ok() {
            assert!(stop_at > 20, "only {stop_at} steps were seen");
            return;
        }
        stop_at += 1;
    }
}

const TWO: [&str; 2] = ["array", "second"];

pub(crate) fn key(place: &Place) -> KeySource {
    key_file(place, "key", 7)
}

/// One of the two: the second is encrypted.
fn opened(place: &Place, name: &str, disk: Disk) -> Array {
    Array::open(&place.path(name), disk).unwrap().unlock(&key(place).key().unwrap()).unwrap()
}

/// Two arrays, and a run that has begun in both.
fn two_begun() -> Place {
    let place = Place::in_memory();
    drop(place.array());
    let source = key(&place);
    let sealed = Some((source.kept(), &source.key().unwrap()));
    let second = Array::create_of(&place.path("second"), unwatched(), Kind::Zarr, sealed).unwrap();
    import_at(&second, &place.path("plain"), 1_000).unwrap();
    for name in TWO {
        opened(&place, name, unwatched()).begin(&run("r1"), &BTreeMap::new()).unwrap();
    }
    place
}

/// The same, when its indices have written both.
fn two_arrays() -> Place {
    let place = two_begun();
    for name in TWO {
        let array = opened(&place, name, unwatched());
        let plan = by_time(&hierarchy_of(&array));
        let draft = array.draft("r1").unwrap();
        for index in 0..4 {
            let key = format!("t/c/{}/0", 2 * index);
            let upper = place.upper(&format!("{name}-{index}"), &[(&key, &format!("{name} {index}"))]);
            commit(&draft, &plan, index, &upper).unwrap();
        }
    }
    place
}

fn heads(place: &Place) -> [Digest; 2] {
    TWO.map(|name| opened(place, name, unwatched()).head().unwrap().unwrap())
}

fn publish_two(place: &Place, disk: &Disk, quotas: [Option<u64>; 2]) -> Result<[Digest; 2], Refused> {
    let drafts = TWO.map(|name| opened(place, name, disk.clone()).draft("r1"));
    let mut parts = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        let draft = draft.as_ref().map_err(|_| Refused { at, error: Error::Stopped })?;
        parts.push(Part { draft, on_conflict: OnConflict::Fail, quota_bytes: quotas[at] });
    }
    let made = publish_together(&parts, &all(4), "", at(9))?;
    Ok([made[0].digest, made[1].digest])
}

/// An attempt of index 0, which writes both arrays. The attempts that count in them, and the rows that those say they wrote.
fn index_of_two(place: &Place, disk: &Disk, number: u32) -> Result<[Committed; 2], Refused> {
    let stopped = |error| Refused { at: 0, error };
    let drafts = TWO.map(|name| opened(place, name, disk.clone()).draft("r1"));
    let [first, second] = &drafts;
    let both = [first, second].map(|draft| draft.as_ref());
    let [Ok(first), Ok(second)] = both else { return Err(stopped(Error::Stopped)) };
    let made = attempt_of(place, &TWO, &[first, second], number)?;
    Ok(<[Committed; 2]>::try_from(made).unwrap())
}

/// The same of drafts that are open, each of the array of that name.
fn attempt_of(
    place: &Place,
    names: &[&str],
    drafts: &[&Draft],
    number: u32,
) -> Result<Vec<Committed>, Refused> {
    let split = watchbell_zarr::Split::Dimension { dimension: "time".to_owned(), into: 1 };
    let hierarchy = hierarchy_of(&opened(place, "array", unwatched()));
    let plan = watchbell_zarr::plan(&hierarchy, &split, &[], None, 1).unwrap();
    let mut begun = IndexCommit::begin(drafts, 0)?;
    for (at, name) in names.iter().enumerate() {
        // One content is in place already, and the others are new: so many go into a pack.
        let content = format!("{name} of attempt {number}");
        let upper = place.upper(
            &format!("{name}-attempt-{number}"),
            &[("t/c/0/0", content.as_str()), ("t/c/0/1", "old 3 0"), ("t/c/1/0", content.as_str())],
        );
        for row in 2..8 {
            write(&upper, &format!("t/c/{row}/1"), format!("{content}, row {row}").as_bytes());
        }
        let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: 1 << 20 };
        let attempt = Attempt { number, ..Attempt::default() };
        let upper = fs::File::open(upper).unwrap();
        let staged = begun.stage(at, &judge, &attempt, upper.as_fd(), Completeness::Optional, 1 << 20);
        staged.map_err(|error| Refused { at, error })?;
    }
    begun.commit()
}

/// What the drafts of the two have staged in packs, finished or not.
fn packs_of_two(place: &Place) -> [usize; 2] {
    let dirs = TWO.map(|name| place.path(name).join("drafts/r1/objects/packs"));
    dirs.map(|dir| fs::read_dir(dir).map_or(0, Iterator::count))
}

/// Stopped before any step of it, an attempt of an index counts in both arrays or in none, whatever is swept before the next one comes.
fn check_index_of_two(lose: bool, sweeps: bool) {
    let (mut stop_at, mut went_on) = (0, 0);
    loop {
        let place = two_begun();
        let (journal, disk) = Journal::stopping_at(stop_at);
        let ended = index_of_two(&place, &disk, 0);
        if lose {
            journal.lock().unwrap().lose();
        }
        if sweeps {
            // What the index found in place is only what its record names.
            write(&place.path("plain"), "t/c/3/0", b"no longer");
            for name in TWO {
                let array = opened(&place, name, unwatched());
                import_at(&array, &place.path("plain"), 2_000).unwrap();
                sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
            }
        }
        let made = index_of_two(&place, &unwatched(), 1).unwrap();
        let numbers = made.each_ref().map(|made| made.attempt.number);
        assert_eq!(numbers[0], numbers[1], "stopped before step {stop_at}");
        assert!(ended.is_err() || numbers[0] == 0);
        went_on += usize::from(ended.is_err() && numbers[0] == 0);
        // Nothing is left of an attempt that counts nowhere.
        assert_eq!(packs_of_two(&place), [1, 1], "stopped before step {stop_at}");
        for name in TWO {
            let array = opened(&place, name, unwatched());
            let draft = array.draft("r1").unwrap();
            draft.publish(&all(1), OnConflict::Rebase, None, "", at(9)).unwrap();
            draft.remove().unwrap();
            assert_eq!(verify(&array).unwrap().damage, [], "{name}, stopped before step {stop_at}");
            let content = format!("{name} of attempt {}", numbers[0]);
            let dir = tempfile::tempdir_in(place.dir.path()).unwrap();
            export(&array, array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
            let exported = contents(dir.path());
            assert_eq!((&exported["t/c/0/0"], &exported["t/c/1/0"]), (&content, &content));
            assert_eq!(exported["t/c/0/1"], "old 3 0");
            assert_eq!(exported["t/c/7/1"], format!("{content}, row 7"));
        }
        if ended.is_ok() {
            assert!(stop_at > 20 && went_on > 1, "{stop_at} steps, {went_on} between the arrays");
            return;
        }
        stop_at += 1;
    }
}

#[test]
fn an_index_counts_in_all_its_arrays_or_in_none() {
    for (lose, sweeps) in [(false, false), (true, false), (false, true), (true, true)] {
        check_index_of_two(lose, sweeps);
    }
}

/// Where one array refuses what the index wrote, or the disk fails, nothing of the attempt is left in the others.
#[test]
fn an_attempt_that_failed_leaves_no_record() {
    let place = two_begun();
    let records =
        || TWO.map(|name| fs::read_dir(place.path(name).join("drafts/r1/indices")).unwrap().count());
    for end in ["second/drafts/r1/indices/0.due.next", "second/drafts/r1/objects/packs/new-0"] {
        let refused = index_of_two(&place, &full_at(end), 0).unwrap_err();
        assert!(matches!(refused.error, Error::Io { .. }), "{refused:?}");
        assert_eq!(records()[0], 0, "{end}");
        assert_eq!(packs_of_two(&place)[0], 0, "{end}");
    }
    // The last name of all.
    let second = place.path("second/drafts/r1/indices/0");
    let disk = Disk::watched(move |step| match step {
        Step::Rename(_, to) if *to == second => Err(Error::Stopped),
        _ => Ok(()),
    });
    assert_eq!(index_of_two(&place, &disk, 0).unwrap_err().at, 1);
    assert_eq!(records()[0], 0);
    let made = index_of_two(&place, &unwatched(), 1).unwrap();
    assert_eq!(made.map(|made| made.attempt.number), [1, 1]);
    assert_eq!(records(), [1, 1]);
}

/// What is removed with an attempt is not found by the next one, which writes the same.
#[test]
fn what_a_failed_attempt_staged_is_staged_again() {
    let place = two_begun();
    let is_full = Arc::new(AtomicBool::new(true));
    let full = is_full.clone();
    let disk = Disk::watched(move |step| match step {
        Step::Write(path) if full.load(Ordering::SeqCst) && path.ends_with("indices/0.due.next") => {
            // Of the second: the first has its own.
            if path.to_string_lossy().contains("/second/") { Err(Error::Stopped) } else { Ok(()) }
        }
        _ => Ok(()),
    });
    let drafts = TWO.map(|name| opened(&place, name, disk.clone()).draft("r1").unwrap());
    assert_eq!(attempt_of(&place, &TWO, &drafts.each_ref(), 0).unwrap_err().at, 1);
    assert_eq!(packs_of_two(&place), [0, 0]);
    is_full.store(false, Ordering::SeqCst);
    attempt_of(&place, &TWO, &drafts.each_ref(), 0).unwrap();
    assert_eq!(packs_of_two(&place), [1, 1]);
    for (name, draft) in TWO.iter().zip(&drafts) {
        draft.publish(&all(1), OnConflict::Fail, None, "", at(9)).unwrap();
        assert_eq!(verify(&opened(&place, name, unwatched())).unwrap().damage, [], "{name}");
    }
}

/// An index counts in two of three arrays when the disk fails. Stopped at any step while that is taken back, it counts in all or in none.
#[test]
fn what_is_taken_back_counts_nowhere_or_everywhere() {
    let names = ["array", "second", "third"];
    for steps in 0.. {
        let place = two_begun();
        let third = Array::create(&place.path("third"), unwatched()).unwrap();
        import_at(&third, &place.path("plain"), 1_000).unwrap();
        third.begin(&run("r1"), &BTreeMap::new()).unwrap();
        let left = Arc::new(Mutex::new(None));
        let (counted, last) = (left.clone(), place.path("third/drafts/r1/indices/0"));
        let disk = Disk::watched(move |step| {
            let mut left = counted.lock().unwrap();
            match (*left, step) {
                (None, Step::Rename(_, to)) if *to == last => *left = Some(steps),
                (None, _) => return Ok(()),
                (Some(0), _) => {}
                (Some(more), _) => {
                    *left = Some(more - 1);
                    return Ok(());
                }
            }
            Err(Error::Stopped)
        });
        let attempt = |disk: &Disk, number| {
            let drafts = names.map(|name| opened(&place, name, disk.clone()).draft("r1").unwrap());
            attempt_of(&place, &names, &drafts.each_ref(), number)
        };
        assert_eq!(attempt(&disk, 0).unwrap_err().at, 2);
        let made = attempt(&unwatched(), 1).unwrap();
        let numbers: Vec<u32> = made.iter().map(|made| made.attempt.number).collect();
        assert!(numbers == [0; 3] || numbers == [1; 3], "stopped after {steps} steps: {numbers:?}");
        if *left.lock().unwrap() != Some(0) {
            assert!(steps > 6 && numbers == [1; 3], "only {steps} steps were seen");
            return;
        }
    }
}

/// An older program knows no records that are due, and removes what only they name.
#[test]
fn a_record_of_what_is_gone_does_not_count() {
    let place = two_begun();
    let (is_stopped, last) = (AtomicBool::new(false), place.path("second/drafts/r1/indices/0"));
    let disk = Disk::watched(move |step| {
        if matches!(step, Step::Rename(_, to) if *to == last) {
            is_stopped.store(true, Ordering::SeqCst);
        }
        if is_stopped.load(Ordering::SeqCst) { Err(Error::Stopped) } else { Ok(()) }
    });
    index_of_two(&place, &disk, 0).unwrap_err();
    let indices = TWO.map(|name| place.path(name).join("drafts/r1/indices"));
    let names = |dir: &PathBuf| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let records = || indices.each_ref().map(names);
    assert_eq!(records(), [["0"], ["0.due"]]);
    fs::remove_dir_all(place.path("second/drafts/r1/objects/packs")).unwrap();
    // It commits the index where it finds no record, beside one that was due.
    fs::copy(indices[0].join("0"), indices[0].join("0.due")).unwrap();
    let made = index_of_two(&place, &unwatched(), 1).unwrap();
    assert_eq!(made.map(|made| made.attempt.number), [0, 1]);
    assert_eq!(records(), [["0"], ["0"]]);
    for name in TWO {
        let array = opened(&place, name, unwatched());
        array.draft("r1").unwrap().publish(&all(1), OnConflict::Fail, None, "", at(9)).unwrap();
        assert_eq!(verify(&array).unwrap().damage, [], "{name}");
    }
}

/// Stopped before any step of it, a publication of two arrays has moved both heads or none, also for who reads without carrying it
/// out. What comes next, whoever does it, ends with one head in each and nothing left.
fn check_two(lose: bool, next: impl Fn(&Place, bool)) {
    let (mut stop_at, mut stopped_between) = (0, 0);
    loop {
        let place = two_arrays();
        let before = heads(&place);
        let (journal, disk) = Journal::stopping_at(stop_at);
        let ended = publish_two(&place, &disk, [None; 2]);
        if lose {
            journal.lock().unwrap().lose();
        }
        let now = heads(&place);
        let is_published = now != before;
        for (name, head) in TWO.iter().zip(now) {
            let by = opened(&place, name, unwatched()).snapshot(head).unwrap().by.uid;
            assert_eq!(is_published, by == "r1", "{name}, stopped before step {stop_at}");
        }
        let kept = fs::read_to_string(place.path("second/refs/head")).unwrap();
        stopped_between += usize::from(is_published && kept.starts_with(&before[1].to_string()));
        next(&place, is_published);
        assert_eq!(publish_two(&place, &unwatched(), [None; 2]).unwrap(), heads(&place));
        for name in TWO {
            let array = opened(&place, name, unwatched());
            assert_eq!(array.snapshot(array.head().unwrap().unwrap()).unwrap().by.uid, "r1");
            assert_eq!(verify(&array).unwrap().damage, [], "going on after step {stop_at}");
            assert!(!place.path(name).join("refs/next").exists());
        }
        finish_publications(place.dir.path(), &unwatched()).unwrap();
        let left = fs::read_dir(place.path(".publications")).unwrap().count();
        assert_eq!(left, 0, "after step {stop_at}");
        if ended.is_ok() {
            assert!(
                stop_at > 20 && stopped_between > 1,
                "{stop_at} steps, {stopped_between} between the heads"
            );
            return;
        }
        stop_at += 1;
    }
}

#[test]
fn several_arrays_are_published_together_or_not_at_all() {
    check_two(false, |_, _| {});
    check_two(true, |_, _| {});
}

#[test]
fn who_changes_an_array_first_carries_its_publication_out() {
    check_two(true, |place, is_published| {
        for name in TWO {
            let array = opened(place, name, unwatched());
            let head = array.head().unwrap().unwrap();
            sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
            assert_eq!(array.head().unwrap(), Some(head));
            assert!(!place.path(name).join("refs/next").exists());
            assert_eq!(is_published, array.snapshot(head).unwrap().by.uid == "r1");
        }
    });
}

#[test]
fn the_next_start_carries_publications_out() {
    check_two(true, |place, is_published| {
        let heads_before = heads(place);
        finish_publications(place.dir.path(), &unwatched()).unwrap();
        for (name, head) in TWO.iter().zip(heads_before) {
            let kept = fs::read_to_string(place.path(name).join("refs/head")).unwrap();
            assert!(kept.starts_with(&head.to_string()), "{name}, published: {is_published}");
        }
    });
}

/// Nothing of an array that could be published is seen or left when another cannot be.
#[test]
fn one_refusal_leaves_all_arrays_as_they_were() {
    let place = two_arrays();
    let before = heads(&place);
    let refused = publish_two(&place, &unwatched(), [None, Some(1)]).unwrap_err();
    assert!(refused.at == 1 && matches!(refused.error, Error::Quota { .. }), "{refused:?}");
    // The disk fails when the second is at work.
    let second = place.path("second/manifests");
    let disk = Disk::watched(move |step| match step {
        Step::Write(path) if path.starts_with(&second) => Err(Error::Stopped),
        _ => Ok(()),
    });
    let refused = publish_two(&place, &disk, [None; 2]).unwrap_err();
    assert!(refused.at == 1 && matches!(refused.error, Error::Stopped), "{refused:?}");
    assert_eq!(heads(&place), before);
    for name in TWO {
        let array = opened(&place, name, unwatched());
        assert_eq!(array.snapshots().unwrap().len(), 1, "{name}");
    }
    publish_two(&place, &unwatched(), [None; 2]).unwrap();
}

/// A disk without room for this file.
fn full_at(end: &'static str) -> Disk {
    Disk::watched(move |step| match step {
        Step::Write(path) if path.ends_with(end) => {
            let source = std::io::Error::from_raw_os_error(28);
            Err(Error::Io { step: "write", path: path.clone(), source })
        }
        _ => Ok(()),
    })
}

fn part(draft: &Draft) -> Part<'_> {
    Part { draft, on_conflict: OnConflict::Fail, quota_bytes: None }
}

fn snapshots(place: &Place) -> [usize; 2] {
    TWO.map(|name| opened(place, name, unwatched()).snapshots().unwrap().len())
}

/// A publication is tried again each minute, with another time in its snapshot.
#[test]
fn a_publication_that_fails_leaves_no_snapshot() {
    let place = two_arrays();
    let signer = |said: &str| match said.contains("/second") {
        true => Err("the key is not there".to_owned()),
        false => Ok("signed".to_owned()),
    };
    let drafts = TWO.map(|name| {
        opened(&place, name, unwatched()).signing(Arc::new(signer)).draft("r1").map_err(drop).unwrap()
    });
    let refused = publish_together(&drafts.each_ref().map(part), &all(4), "", at(9)).unwrap_err();
    assert!(refused.at == 1 && matches!(refused.error, Error::Unsigned(_)), "{refused:?}");
    assert_eq!(snapshots(&place), [1, 1]);
    assert_eq!(fs::read_dir(place.path("array/refs/signatures")).unwrap().count(), 0);
    drop(drafts);
    // Of one array alone, in both ways.
    let draft = opened(&place, "array", full_at("refs/head.next")).draft("r1").map_err(drop).unwrap();
    assert!(publish_together(&[part(&draft)], &all(4), "", at(9)).is_err());
    assert!(draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).is_err());
    assert_eq!(snapshots(&place), [1, 1]);
    drop(draft);
    publish_two(&place, &unwatched(), [None; 2]).unwrap();
}

/// Its manifest is there by then, and counts once.
#[test]
fn a_publication_that_failed_needs_no_more_of_the_quota() {
    let place = two_arrays();
    let publish = |disk: Disk, quota| {
        let draft = opened(&place, "array", disk).draft("r1").map_err(drop).unwrap();
        draft.publish(&all(4), OnConflict::Fail, quota, "", at(9))
    };
    assert!(publish(full_at("refs/head.next"), None).is_err());
    let used = opened(&place, "array", unwatched()).used_bytes().unwrap();
    publish(unwatched(), Some(used)).unwrap();
}

/// All heads have moved, and there is no room to write it down: what makes room does not wait for that, and nothing of it is lost.
#[test]
fn a_full_disk_is_swept_before_a_publication_is_tidied_up() {
    let place = two_arrays();
    let before = heads(&place);
    let full = full_at("refs/head.next");
    assert!(publish_two(&place, &full, [None; 2]).is_err());
    let now = heads(&place);
    assert!(now[0] != before[0] && now[1] != before[1]);
    let retention = Retention { last: 1, ..Retention::default() };
    for name in TWO {
        let array = opened(&place, name, full.clone());
        array.abandon("r1").unwrap();
        assert_eq!(sweep(&array, Some(&retention)).unwrap().snapshots, 1);
    }
    assert_eq!(heads(&place), now);
    // Where it must be written down it is said that it cannot be, and it is done later.
    assert!(finish_publications(place.dir.path(), &full).is_err());
    assert!(opened(&place, "array", full.clone()).renumber(0).is_err());
    assert_eq!(heads(&place), now);
    finish_publications(place.dir.path(), &unwatched()).unwrap();
    assert_eq!(heads(&place), now);
    assert_eq!(fs::read_dir(place.path(".publications")).unwrap().count(), 0);
    assert!(TWO.iter().all(|name| !place.path(name).join("refs/next").exists()));
    for name in TWO {
        assert_eq!(verify(&opened(&place, name, unwatched())).unwrap().damage, []);
    }
}

/// A start waits for no command that is at one of the arrays.
#[test]
fn what_was_begun_waits_for_nobody() {
    let place = two_arrays();
    assert!(publish_two(&place, &full_at("refs/head.next"), [None; 2]).is_err());
    let left = || fs::read_dir(place.path(".publications")).unwrap().count();
    let held = fs::File::open(place.path("array/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    finish_publications(place.dir.path(), &unwatched()).unwrap();
    assert_eq!(left(), 1);
    assert_eq!(TWO.map(|name| place.path(name).join("refs/next").exists()), [true, false]);
    drop(held);
    finish_publications(place.dir.path(), &unwatched()).unwrap();
    assert_eq!(left(), 0);
}

/// One record that nobody can read keeps no other from being carried out.
#[test]
fn each_publication_is_carried_out_by_itself() {
    let place = two_arrays();
    assert!(publish_two(&place, &full_at("refs/head.next"), [None; 2]).is_err());
    fs::write(place.path(".publications/0"), "nothing").unwrap();
    assert!(finish_publications(place.dir.path(), &unwatched()).is_err());
    assert_eq!(fs::read_dir(place.path(".publications")).unwrap().count(), 1);
    assert!(TWO.iter().all(|name| !place.path(name).join("refs/next").exists()));
}
