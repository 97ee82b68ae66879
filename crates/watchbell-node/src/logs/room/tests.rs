use std::fs::{self, File};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use watchbell_api::node::{LogQuery, LogSource};
use watchbell_api::types::pod_status::JobLog;

use super::super::{Live, Logs};
use super::*;
use crate::agent::{Disk, Input, Measured, What};
use crate::inbox::Inbox;
use crate::place::Owner;

const SIZE: u64 = 64 << 10;
const JOB_A: Uid = Uid(0xa);
const JOB_B: Uid = Uid(0xb);

/// A data directory with logs in it.
struct Stand {
    dir: tempfile::TempDir,
    here: Arc<Here>,
    owners: Owners,
    told: Arc<Mutex<Vec<String>>>,
}

fn query(job: Uid, index: u32) -> LogQuery {
    LogQuery {
        pod_uid: Uid(1),
        log: Some(JobLog { job, index: Some(index), attempt: 0 }),
        ..LogQuery::default()
    }
}

fn job(job: Uid, index: u32) -> LogPlace {
    LogPlace::Job { job, index: Some(index), attempt: 0 }
}

impl Stand {
    /// All pods are known, of which none is here.
    fn new() -> Stand {
        let stand = Stand {
            dir: tempfile::tempdir().unwrap(),
            here: Arc::default(),
            owners: Owners::new(),
            told: Arc::default(),
        };
        stand.here.complete();
        stand
    }

    fn known(&mut self, owner: LogOwner, namespace: &str, pod: u128) {
        self.owners.insert(owner, Owner { namespace: namespace.into(), pod: Some(Uid(pod)) });
    }

    fn log_dir(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn path(&self, place: LogPlace) -> PathBuf {
        self.log_dir().join(place.file(0, 0))
    }

    /// A log of [`SIZE`], last written at this second.
    fn write(&self, place: LogPlace, at: u64) {
        let path = self.path(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; SIZE as usize]).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
    }

    fn room(&self, bytes_max: u64) -> Room {
        let (owners, told) = (self.owners.clone(), self.told.clone());
        Room {
            dir: LogDir::new(self.log_dir()),
            data_dir: self.dir.path().to_owned(),
            here: self.here.clone(),
            owners: Box::new(move || owners.clone()),
            bytes_max,
            tally: Arc::default(),
            tell: Box::new(move |report| match report {
                Report::Event { uid, warning: true, reason: "LogsRemoved", message } => {
                    told.lock().unwrap().push(format!("{}: {message}", uid.0));
                }
                other => panic!("{other:?}"),
            }),
            counted: Counted::default(),
        }
    }

    /// Which of these are still there.
    fn left<'a>(&self, places: &'a [(&'a str, LogPlace)]) -> Vec<&'a str> {
        places.iter().filter(|(_, place)| self.path(*place).exists()).map(|(name, _)| *name).collect()
    }
}

/// The disk lacks as much as so many logs and a half hold.
fn lacking(logs: u64) -> Use {
    Use { bytes: logs * SIZE + SIZE / 2, inodes: 0 }
}

#[test]
fn the_oldest_of_who_holds_most_go_and_nobody_elses() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    stand.known(LogOwner::Job(JOB_B), "b", 2);
    let single = LogPlace::Pod { pod: Uid(3) };
    stand.known(LogOwner::Pod(Uid(3)), "a", 3);
    let places = [
        ("oldest of all, of b", job(JOB_B, 0)),
        ("second", job(JOB_A, 0)),
        ("first", job(JOB_A, 1)),
        ("here", job(JOB_A, 2)),
        ("third", single),
        ("newest", job(JOB_A, 3)),
    ];
    for ((_, place), at) in places.iter().zip([10, 30, 20, 5, 40, 50]) {
        stand.write(*place, at);
    }
    stand.here.begin(job(JOB_A, 2), Uid(9));
    let mut room = stand.room(u64::MAX);
    let found = room.look(lacking(1));
    assert_ne!(found.removed, Use::default());
    assert_eq!(stand.left(&places), ["oldest of all, of b", "here", "third", "newest"]);
    assert!(matches!(found.here[..], [(Uid(9), used)] if used.bytes >= SIZE), "{:?}", found.here);
    let told = std::mem::take(&mut *stand.told.lock().unwrap());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("1: ") && told[0].contains("of 2 pods"), "{told:?}");
    assert!(
        room.tally.metrics().contains("\nwatchbell_log_removed_bytes_total 1"),
        "{}",
        room.tally.metrics()
    );

    // By now the other namespace holds nearly as much, and has to give too.
    assert_ne!(room.look(lacking(1)).removed, Use::default());
    assert_eq!(stand.left(&places), ["here"]);
    // Whoever is here keeps them: now it is a pod's turn.
    assert_eq!(room.look(lacking(1)).removed, Use::default());
    assert_eq!(stand.left(&places), ["here"]);
}

#[test]
fn a_disk_without_inodes_gets_some() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let places = [("old", job(JOB_A, 0)), ("new", job(JOB_A, 1))];
    for ((_, place), at) in places.iter().zip([1, 2]) {
        stand.write(*place, at);
    }
    assert_ne!(stand.room(u64::MAX).look(Use { bytes: 0, inodes: 1 }).removed, Use::default());
    assert_eq!(stand.left(&places), ["new"]);
}

/// As where the logs are at their bound, and a little beyond it in each look.
#[test]
fn bytes_that_go_are_not_taken_for_inodes() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let places = [0, 1, 2, 3].map(|index| ("a log", job(JOB_A, index)));
    for ((_, place), at) in places.iter().zip(1..) {
        stand.write(*place, at);
    }
    let found = stand.room(4 * SIZE - SIZE / 2).look(Use { bytes: 0, inodes: 3 });
    assert_eq!(found.removed.inodes, 3);
    assert_eq!(stand.left(&places).len(), 1);
    let told = stand.told.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [bound, disk] if bound.contains("serve --log-disk") && disk.contains("the disk has less")),
        "{told:?}"
    );
}

#[test]
fn logs_of_the_past_have_a_bound_together() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let places = [("old", job(JOB_A, 0)), ("new", job(JOB_A, 1)), ("here", job(JOB_A, 2))];
    for ((_, place), at) in places.iter().zip([1, 2, 3]) {
        stand.write(*place, at);
    }
    stand.here.begin(job(JOB_A, 2), Uid(9));
    let mut room = stand.room(SIZE + SIZE / 2);
    assert_ne!(room.look(Use::default()).removed, Use::default());
    assert_eq!(stand.left(&places), ["new", "here"]);
    let told = stand.told.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [one] if one.contains("more than 96Ki together (serve --log-disk)")),
        "{told:?}"
    );
    // Nothing is too much any more.
    room.counted.next_at = None;
    assert_eq!(room.look(Use::default()).removed, Use::default());
}

#[test]
fn it_is_counted_while_something_may_be_written_and_then_once_more() {
    let stand = Stand::new();
    let mut room = stand.room(u64::MAX);
    let counts = |room: &mut Room| {
        room.tally.held.store(1, Ordering::Relaxed);
        room.look(Use::default());
        room.tally.held.load(Ordering::Relaxed) == 0
    };
    assert!(!counts(&mut room), "nobody was here");
    stand.here.begin(job(JOB_A, 0), Uid(1));
    assert!(counts(&mut room));
    room.counted.next_at = Some(Instant::now() + Duration::from_secs(3600));
    assert!(!counts(&mut room), "it rests");
    room.counted.next_at = None;
    assert!(counts(&mut room));
    stand.here.end(job(JOB_A, 0), Uid(1));
    room.counted.next_at = None;
    assert!(counts(&mut room));
    room.counted.next_at = None;
    assert!(!counts(&mut room));
}

#[test]
fn before_all_pods_are_known_nothing_goes() {
    let stand = Stand { here: Arc::default(), ..Stand::new() };
    let places = [("may be here", job(JOB_A, 0))];
    stand.write(places[0].1, 1);
    assert_eq!(stand.room(0).look(lacking(1)).removed, Use::default());
    assert_eq!(stand.left(&places), ["may be here"]);
    stand.here.complete();
    assert_ne!(stand.room(0).look(lacking(1)).removed, Use::default());
    assert!(stand.left(&places).is_empty());
}

#[test]
fn what_nobody_names_any_more_goes_first() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let places = [("large", job(JOB_A, 0)), ("larger", job(JOB_A, 1)), ("nobody's", job(JOB_B, 0))];
    for (_, place) in places {
        stand.write(place, 1);
    }
    assert_ne!(stand.room(u64::MAX).look(Use { bytes: 1, inodes: 0 }).removed, Use::default());
    assert_eq!(stand.left(&places), ["large", "larger"]);
    assert!(stand.told.lock().unwrap().is_empty());
}

#[test]
fn a_log_that_was_removed_is_not_taken_for_one_that_was_never_written() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    stand.write(job(JOB_A, 0), 1);
    let (data_dir, here) = (stand.dir.path().to_owned(), stand.here.clone());
    let logs = Logs { dir: LogDir::new(stand.log_dir()), live: Arc::new(Live::default()), here, data_dir };
    let open = |index| {
        let query = query(JOB_A, index);
        logs.open(&query).map(|mut stream| stream.read(&mut [0; 16]).unwrap()).map_err(|e| e.kind())
    };
    assert_eq!(open(1), Ok(0), "it wrote nothing");
    assert_ne!(stand.room(u64::MAX).look(lacking(0)).removed, Use::default());
    assert_eq!(open(0), Err(io::ErrorKind::NotFound));
    // One that is here may still write its first line.
    stand.here.begin(job(JOB_A, 2), Uid(2));
    assert_eq!(open(2), Ok(0));
    // Of others nothing was removed.
    let other = query(JOB_B, 0);
    assert!(logs.open(&other).is_ok());
}

/// The keeper may have been taken over.
#[test]
fn what_else_lies_there_leads_nowhere() {
    let stand = Stand::new();
    let outside = tempfile::tempdir().unwrap();
    let log = outside.path().join("0.0.0.0.log");
    fs::write(&log, vec![b'x'; SIZE as usize]).unwrap();
    let jobs = stand.log_dir().join("jobs");
    fs::create_dir_all(jobs.join(JOB_A.to_string()).join("3.0.0.0.log")).unwrap();
    fs::write(jobs.join(JOB_A.to_string()).join("\u{fffd}.log"), "x").unwrap();
    fs::create_dir_all(jobs.join("no uid")).unwrap();
    std::os::unix::fs::symlink(outside.path(), jobs.join(JOB_B.to_string())).unwrap();
    std::os::unix::fs::symlink(&log, jobs.join(JOB_A.to_string()).join("0.0.0.0.log")).unwrap();
    let mut room = stand.room(0);
    assert_eq!(room.look(lacking(1)).removed, Use::default());
    sweep_strangers(&room.dir, &room.data_dir, &stand.here, Owners::new);
    assert!(log.exists() && !jobs.join(JOB_A.to_string()).exists());
}

#[test]
fn what_a_server_left_of_whom_nobody_knows_is_removed() {
    let mut stand = Stand::new();
    let single = |pod| LogPlace::Pod { pod: Uid(pod) };
    let places = [
        ("a Job's", job(JOB_A, 0)),
        ("a pod's", single(1)),
        ("of one that ends", single(2)),
        ("a lost Job's", job(JOB_B, 0)),
        ("a lost pod's", single(3)),
    ];
    let image = |place: &LogPlace| crate::place::images_file(stand.dir.path(), place);
    for (_, place) in &places {
        stand.write(*place, 1);
        fs::create_dir_all(image(place).parent().unwrap()).unwrap();
        fs::write(image(place), "{}").unwrap();
    }
    let images = places.map(|(_, place)| image(&place));
    stand.known(LogOwner::Job(JOB_A), "a", 7);
    stand.known(LogOwner::Pod(Uid(1)), "a", 1);
    stand.here.begin(single(2), Uid(2));
    let owners = stand.owners.clone();
    sweep_strangers(&LogDir::new(stand.log_dir()), stand.dir.path(), &stand.here, || owners);
    assert_eq!(stand.left(&places), ["a Job's", "a pod's", "of one that ends"]);
    assert_eq!(images.map(|path| path.exists()), [true, true, true, false, false]);
    for lost in [LogOwner::Job(JOB_B), LogOwner::Pod(Uid(3))] {
        assert!(!stand.log_dir().join(lost.dir()).exists());
    }
}

/// No disk has as much free as is asked for here.
#[test]
fn a_short_disk_costs_logs_of_the_past_before_any_pod() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let places = [("ended", job(JOB_A, 0)), ("here", job(JOB_A, 1))];
    for (_, place) in places {
        stand.write(place, 1);
    }
    stand.here.begin(job(JOB_A, 1), Uid(9));
    let measured = looks(&stand, 2, || ());
    assert_eq!(stand.left(&places), ["here"]);
    assert!(
        matches!(measured[1].sizes[..], [(Uid(9), What::Logs, used)] if used.bytes >= SIZE),
        "{measured:?}"
    );
}

/// So many looks at a disk that never has enough, before each of which `before` is done.
fn looks(stand: &Stand, count: usize, before: impl Fn()) -> Vec<Measured> {
    let (inbox, (watched, to_measure)) = (Inbox::default(), channel());
    for _ in 0..count {
        watched.send(Vec::new()).unwrap();
    }
    drop(watched);
    let collect = || {
        before();
        false
    };
    crate::executor::measure(to_measure, stand.dir.path(), stand.room(u64::MAX), &inbox, u64::MAX, collect);
    let measured = inbox.wait(Duration::ZERO).unwrap();
    measured
        .into_iter()
        .map(|input| match input {
            Input::Measured(measured) => measured,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_log_that_goes_in_each_look_saves_no_pod() {
    let mut stand = Stand::new();
    stand.known(LogOwner::Job(JOB_A), "a", 1);
    let ended = job(JOB_A, 0);
    let measured = looks(&stand, 3, || {
        assert!(!stand.path(ended).exists(), "it went in the look before");
        stand.write(ended, 1);
    });
    assert!(!stand.path(ended).exists());
    assert_eq!(measured.len(), 3);
    for one in measured {
        assert_ne!(one.disk.unwrap().lacking(u64::MAX), Use::default());
    }
}

#[test]
fn what_was_removed_counts_as_free() {
    let disk = Disk { free_bytes: 10, inodes: 100, free_inodes: 3 };
    assert_eq!(disk.with(Use { bytes: 4, inodes: 1 }).lacking(16), Use { bytes: 2, inodes: 1 });
    assert_eq!(disk.with(Use { bytes: 6, inodes: 2 }).lacking(16), Use::default());
}

#[test]
fn a_place_is_whose_it_is_until_that_pod_ends() {
    let (here, place) = (Here::default(), job(JOB_A, 0));
    here.begin(place, Uid(1));
    here.begin(place, Uid(1));
    here.begin(job(JOB_A, 1), Uid(2));
    here.end(place, Uid(3));
    assert_eq!(here.pod_at(&place), Some(Uid(1)));
    here.end(place, Uid(1));
    assert_eq!((here.pod_at(&place), here.has(LogOwner::Job(JOB_A))), (None, true));
    here.end(job(JOB_A, 1), Uid(2));
    assert!(!here.has(LogOwner::Job(JOB_A)));
}

#[test]
fn who_holds_most_loses_first() {
    for (held, lacking, expect) in [
        (&[][..], 5, &[][..]),
        (&[10, 3], 0, &[0, 0]),
        (&[10, 3], 7, &[7, 0]),
        (&[3, 10], 9, &[1, 8]),
        (&[10, 3], 8, &[8, 1]),
        (&[4, 4, 4], 3, &[1, 1, 1]),
        (&[10, 3], 13, &[10, 3]),
        (&[10, 3], 99, &[10, 3]),
        (&[u64::MAX, u64::MAX], u64::MAX, &[u64::MAX / 2 + 1, u64::MAX / 2 + 1]),
    ] {
        assert_eq!(losses(held, lacking), expect, "{held:?} {lacking}");
    }
}

proptest! {
    /// What lacks is made up, if there is so much; and who loses anything keeps no less than anybody who loses nothing had.
    #[test]
    fn losses_make_up_what_lacks(held in prop::collection::vec(0u64..1000, 0..8), lacking in 0u64..4000) {
        let lost = losses(&held, lacking);
        let sum: u64 = lost.iter().sum();
        let all: u64 = held.iter().sum();
        prop_assert!(sum >= lacking.min(all) && sum <= lacking.saturating_add(held.len() as u64).min(all));
        let kept: Vec<u64> = held.iter().zip(&lost).map(|(held, lost)| held - lost).collect();
        let level = kept.iter().copied().max().unwrap_or(0);
        for (held, kept) in held.iter().zip(&kept) {
            prop_assert_eq!(*kept, level.min(*held));
        }
    }
}
