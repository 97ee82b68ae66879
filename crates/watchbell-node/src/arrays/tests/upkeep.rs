//! Who wrote what, what must be complete, what gates see, and what is told of stores that cannot be swept.

use super::*;

/// Of a rerun in another name and of a newer image.
#[test]
fn each_chunk_names_who_wrote_it() {
    let stand = Stand::new();
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    stand.commit(&run, WRITE, 0, &[(0, "t/c/0", "first")]).unwrap();
    let rerun = Arc::new(ArrayRun { user: "bob".into(), ..(*writer(2, 1)).clone() });
    stand.prepare(&rerun, WRITE).unwrap();
    stand.commit(&rerun, WRITE, 1, &[(0, "t/c/4", "second")]).unwrap();
    stand.publish(&rerun, WRITE).unwrap();
    let store = stand.array("obs");
    let snapshot = store.snapshot(store.head().unwrap().unwrap()).unwrap();
    let manifest = store.manifest(snapshot.manifest).unwrap();
    let wrote = |key: &str| {
        let (run, writer) = manifest.writer(manifest.get(key).unwrap());
        format!("{} {} {} {}", run.uid == Uid(1).to_string(), writer.index, run.image, run.user)
    };
    assert_eq!(wrote("t/c/0"), "true 0 tool@sha256:1 ann");
    assert_eq!(wrote("t/c/4"), "true 1 tool@sha256:2 bob");
    assert_eq!((&*snapshot.by.image, &*snapshot.by.user), ("tool@sha256:1, tool@sha256:2", "ann, bob"));
}

#[test]
fn an_index_that_must_be_complete_and_is_not_counts_nowhere() {
    let stand = Stand::new();
    let complete = WRITE.replace("\"mode\"", "\"requireComplete\": true, \"mode\"");
    let run = writer(1, 1);
    stand.prepare(&run, &complete).unwrap();
    // The first four were there before; of the others one is missing.
    stand.commit(&run, &complete, 0, &[]).unwrap();
    let three = [(0, "t/c/4", "a"), (0, "t/c/5", "b"), (0, "t/c/7", "c")];
    let why = stand.commit(&run, &complete, 1, &three).unwrap_err();
    assert!(why.contains("t/c/6"), "{why}");
    // Who does not ask for it may leave it out.
    stand.commit(&run, WRITE, 1, &three).unwrap();
    stand.publish(&run, WRITE).unwrap();
}

#[test]
fn a_gate_whose_draft_is_gone_sees_nothing_in_its_place() {
    let stand = Stand::new();
    stand.import("other", 4);
    let reads = |name: &str| format!(r#"{{"name": {name:?}, "mount": "/data"}}"#);
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    let gate = |job| Arc::new(ArrayRun { draft_of: Some(run.run), ..(*reader(job)).clone() });
    // One that the run does not write is read as it is.
    for name in ["obs", "other"] {
        stand.prepare(&gate(6), &reads(name)).unwrap();
    }
    stand.arrays.ask(Work::Abandon { namespace: "ns".into(), run: run.run });
    stand.rest(run.run);
    for name in ["obs", "other"] {
        let why = stand.prepare(&gate(7), &reads(name)).unwrap_err();
        assert!(matches!(&why, Trouble::Lasting(why) if why.contains("published or given up")), "{why:?}");
    }
}

/// A store is locked for as long as a sweep of it takes.
#[test]
fn what_a_run_did_not_write_is_not_waited_for_when_it_is_given_up() {
    let stand = Stand::new();
    stand.import("other", 4);
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    let lock = fs::File::open(stand.dir_of("other").join("lock")).unwrap();
    lock.lock().unwrap();
    stand.arrays.ask(Work::Abandon { namespace: "ns".into(), run: run.run });
    let until = std::time::Instant::now() + PATIENCE;
    while !stand.array("obs").drafts().unwrap().is_empty() {
        assert!(std::time::Instant::now() < until, "the draft stays");
        std::thread::yield_now();
    }
    // Nobody of four threads waits: each takes one of these.
    for job in 10..13 {
        stand.arrays.ask(Work::Abandon { namespace: "ns".into(), run: Uid(job) });
    }
    assert!(stand.prepare(&reader(20), r#"{"name": "obs", "mount": "/data"}"#).is_ok());
}

impl Stand {
    fn ask_to_prepare(&self, id: u64, namespace: &str, run: Arc<ArrayRun>, uses: &str) {
        let (namespace, uses) = (namespace.into(), read(uses));
        self.arrays.ask(Work::Prepare(id, Wanted { namespace, run, uses, image: "".into(), own: None }));
    }

    /// An index that wrote nothing.
    fn ask_to_commit(&self, pod: Uid, run: Arc<ArrayRun>) {
        let upper = self.dir.path().join("upper");
        fs::create_dir(&upper).unwrap();
        self.uppers.lock().unwrap().insert((pod, 0), upper);
        self.arrays.ask(Work::Commit(Upper {
            pod,
            namespace: "ns".into(),
            run,
            uses: read(WRITE),
            index: 0,
            attempt: 0,
            image: "".into(),
            first_volume: 0,
            bounds: vec![1 << 20],
        }));
    }

    /// By another retention, which is swept for from the second on.
    fn keep_last(&self, name: &str, last: u32) {
        let retention = Some(ArrayRetention { keep_last: last, keep_daily: 0, keep_weekly: 0 });
        let spec = Arc::new(DataArraySpec { retention, ..DataArraySpec::default() });
        self.arrays.ask(Work::Keep {
            namespace: "ns".into(),
            name: name.into(),
            spec,
            head_number: 0,
            make: true,
        });
    }

    /// Something waits for an array that is locked.
    fn until_awaited(&self) {
        let until = std::time::Instant::now() + PATIENCE;
        while self.arrays.awaited() == 0 {
            assert!(std::time::Instant::now() < until, "nothing waits");
            std::thread::yield_now();
        }
    }
}

/// An index that is copied, or a sweep, keeps an array locked for long.
#[test]
fn an_array_that_is_locked_holds_up_no_other() {
    let stand = Stand::new();
    let lock = fs::File::open(stand.dir_of("obs").join("lock")).unwrap();
    lock.lock_shared().unwrap();
    for job in 1..=2 * THREADS as u64 {
        stand.ask_to_prepare(100 + job, "ns", writer(job.into(), job.into()), WRITE);
    }
    for (id, namespace) in [(8, "other"), (9, "ns")] {
        stand.ask_to_prepare(id, namespace, reader(20), r#"{"name": "none", "mount": "/data"}"#);
        match stand.news.recv_timeout(PATIENCE).unwrap() {
            News::Prepared(of, Err(Trouble::Passing(_))) if of == id => {}
            other => panic!("{other:?}"),
        }
    }
    lock.unlock().unwrap();
    for _ in 0..2 * THREADS {
        assert!(matches!(stand.news.recv_timeout(PATIENCE).unwrap(), News::Prepared(101.., Ok(_))));
    }
}

/// Commits lock an array together: one that begins before another has ended would keep all else from it for ever.
#[test]
fn commits_come_after_what_waits_for_the_array() {
    let stand = Stand::new();
    let (first, second) = (writer(1, 1), writer(2, 2));
    stand.prepare(&first, WRITE).unwrap();
    let lock = fs::File::open(stand.dir_of("obs").join("lock")).unwrap();
    lock.lock_shared().unwrap();
    stand.ask_to_prepare(8, "ns", second, WRITE);
    stand.until_awaited();
    stand.ask_to_commit(Uid(100), first);
    // Other arrays are worked on.
    assert!(stand.prepare(&reader(20), r#"{"name": "none", "mount": "/data"}"#).is_err());
    lock.unlock().unwrap();
    assert!(matches!(stand.news.recv_timeout(PATIENCE).unwrap(), News::Prepared(8, Ok(_))));
    assert!(matches!(stand.news.recv_timeout(PATIENCE).unwrap(), News::Committed(Uid(100), Ok(_))));
    assert_eq!(stand.arrays.awaited(), 0);
}

/// A run that waits for one of its arrays keeps nobody from the others.
#[test]
fn commits_to_an_array_that_is_free_wait_for_nobody() {
    let stand = Stand::new();
    stand.import("other", 4);
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    let lock = fs::File::open(stand.dir_of("other").join("lock")).unwrap();
    lock.lock_shared().unwrap();
    let both = format!(r#"[{WRITE}, {}]"#, WRITE.replace("obs", "other").replace("/data", "/other"));
    stand.ask_to_prepare(8, "ns", writer(2, 2), &both);
    stand.until_awaited();
    stand.commit(&run, WRITE, 0, &[(0, "t/c/0", "new")]).unwrap();
    assert_eq!(stand.arrays.awaited(), 1);
    lock.unlock().unwrap();
    assert!(matches!(stand.news.recv_timeout(PATIENCE).unwrap(), News::Prepared(8, Ok(_))));
}

/// Commits that overlap would keep a sweep from its array for ever, and with it those of all others.
#[test]
fn a_sweep_waits_for_no_array_and_commits_come_after_it() {
    let stand = Stand::new();
    stand.import("other", 4);
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    for name in ["obs", "other"] {
        stand.keep_last(name, 5);
    }
    stand.rest(Uid(9));
    // Drafts that were never finished, which a sweep removes.
    let left = |name: &str| stand.dir_of(name).join("drafts/left");
    for name in ["obs", "other"] {
        fs::create_dir(left(name)).unwrap();
    }
    let lock = fs::File::open(stand.dir_of("obs").join("lock")).unwrap();
    lock.lock_shared().unwrap();
    stand.keep_last("obs", 4);
    stand.until_awaited();
    stand.keep_last("other", 4);
    let until = std::time::Instant::now() + PATIENCE;
    while left("other").exists() {
        assert!(std::time::Instant::now() < until, "it is not swept");
        std::thread::yield_now();
    }
    stand.ask_to_commit(Uid(100), run);
    // A rollback holds no thread, and what comes later about the same store comes after it.
    let head = stand.array("obs").head().unwrap().unwrap();
    stand.arrays.ask(Work::RollBack {
        namespace: "ns".into(),
        name: "obs".into(),
        to: head.to_string().into(),
        user: "ann".into(),
        unsigned_ok: true,
    });
    let removed = Work::Remove { namespace: "ns".into(), name: "obs".into(), runs: Arc::default() };
    stand.arrays.ask(removed);
    assert!(stand.prepare(&reader(20), r#"{"name": "none", "mount": "/data"}"#).is_err());
    assert!(left("obs").exists());
    lock.unlock().unwrap();
    assert!(matches!(stand.news.recv_timeout(PATIENCE).unwrap(), News::Committed(Uid(100), Ok(_))));
    assert!(!left("obs").exists());
    let mut is_rolled_back = false;
    loop {
        match stand.reports.recv_timeout(PATIENCE).unwrap() {
            Report::ArrayRolledBack { result, .. } => {
                result.unwrap();
                is_rolled_back = true;
            }
            Report::Array { error: Some(error), .. } if error.contains("still needs the array") => break,
            _ => {}
        }
    }
    assert!(is_rolled_back);
}

#[test]
fn a_store_that_cannot_be_swept_is_told_until_it_can() {
    let stand = Stand::new();
    let array = stand.array("obs");
    let lease = array.dir().join("leases/run-broken");
    fs::write(&lease, "{").unwrap();
    let keep = |last| stand.keep_last("obs", last);
    let told_of_sweep = |is_wanted: &dyn Fn(&Option<String>) -> bool| {
        while !is_wanted(&stand.told().1) {}
    };
    keep(5);
    keep(4);
    let is_unswept = |error: &Option<String>| {
        error.as_ref().is_some_and(|error| error.contains("not swept") && error.contains("leases/run-broken"))
    };
    told_of_sweep(&is_unswept);
    // Whatever else is told of it does not hide it.
    stand.teller.tell("ns", "obs", None);
    told_of_sweep(&is_unswept);
    fs::remove_file(lease).unwrap();
    keep(3);
    told_of_sweep(&Option::is_none);
}

/// A draft that somebody works with when its run rests goes with that work.
#[test]
fn no_place_stays_for_a_run_that_rests() {
    let drafts = held::Drafts::default();
    let namespace: Arc<str> = "ns".into();
    let slot = drafts.slot(&namespace, Uid(1), "obs");
    drafts.rest("ns", Uid(1));
    assert_eq!(drafts.places(), 1);
    drop(slot);
    drafts.tidy();
    assert_eq!(drafts.places(), 0);
    // Nor one that was looked into in vain.
    drop(drafts.slot(&namespace, Uid(2), "obs"));
    drafts.tidy();
    assert_eq!(drafts.places(), 0);
}
