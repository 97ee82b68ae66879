//! The threads on a store of their own, with directories in place of what the spawner holds.

mod secret;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use serde_json::json;
use watchbell_api::Uid;
use watchbell_api::array::{
    ARRAY_COMMIT_FAILED, ARRAY_CONFLICT, ArrayFacts, ArrayRefusal, ArrayRetention, ArrayRun, DataArraySpec,
    HeadSignature, PublishedArray,
};
use watchbell_api::node::Report;
use watchbell_array::{Array, Digest, Disk, KeySource, Limits, Run, import};
use watchbell_audit::{Note, SignatureKind, SigningKey, VerifierKey};

use super::queue::THREADS;
use super::*;
use crate::{ArrayKey, HeadKey};

mod upkeep;

const PATIENCE: Duration = Duration::from_secs(60);
const WRITE: &str =
    r#"{"name": "obs", "mount": "/data", "mode": "write", "split": {"dim": "time", "into": 2}}"#;

/// What threads prepare to meet.
const MEETING: u64 = 1_000;

struct Stand {
    dir: tempfile::TempDir,
    arrays: Arrays,
    news: Receiver<News>,
    reports: Receiver<Report>,
    uppers: Arc<Mutex<BTreeMap<(Uid, u16), PathBuf>>>,
    teller: Arc<Teller>,
    memories: Memory,
    /// Of all threads, and of who waits for them.
    meeting: Arc<Barrier>,
}

/// What was decrypted, by number.
type Memory = Arc<Mutex<BTreeMap<u64, PathBuf>>>;

/// Two keys, by files beside the arrays: `own` for namespace ns alone, and `all`; `gone` has no file.
fn keys(dir: &Path) -> Vec<ArrayKey> {
    let key = |namespace: Option<&str>, name: &str| ArrayKey {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        source: KeySource::File(dir.join(format!("{name}.key"))),
    };
    for (name, byte) in [("own", "7"), ("all", "8")] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join(format!("{name}.key"));
        fs::write(&path, byte.repeat(64)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    vec![key(Some("ns"), "own"), key(None, "all"), key(None, "gone"), key(Some("other"), "foreign")]
}

impl Stand {
    /// With an array `obs` of eight chunks, of which four are there.
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("watchbell-node-arrays-").tempdir().unwrap();
        fs::create_dir_all(dir.path().join("arrays/ns")).unwrap();
        let stand = Self::on(dir);
        stand.import("obs", 4);
        stand
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let (hear, news) = channel();
        let (tell, reports) = channel();
        let report: Arc<dyn Fn(Report) + Send + Sync> = Arc::new(move |said| {
            let _ = tell.send(said);
        });
        let uppers: Arc<Mutex<BTreeMap<(Uid, u16), PathBuf>>> = Arc::default();
        let found = uppers.clone();
        let given: Uppers = Arc::new(move |pod, volume| {
            let path = found.lock().unwrap().get(&(pod, volume)).cloned();
            let path = path.ok_or("it does not have the pod")?;
            fs::File::open(path).map(OwnedFd::from).map_err(|e| e.to_string())
        });
        let stores = Arc::new(Stores::new(dir.path(), &keys(dir.path())));
        let teller = Arc::new(Teller::new(stores, Some(&head_key()), report.clone()));
        let memories: Memory = Arc::default();
        let (made, next) = (memories.clone(), AtomicU64::new(1));
        let room = Room::new(
            Arc::new(move |_, _, _| {
                let dir = tempfile::Builder::new()
                    .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
                    .tempdir_in("/dev/shm")
                    .map_err(|e| e.to_string())?;
                let opened = fs::File::open(dir.path()).map_err(|e| e.to_string())?;
                let id = next.fetch_add(1, Ordering::Relaxed);
                made.lock().unwrap().insert(id, dir.path().join("view"));
                Ok(MemoryDir { id, dir: opened.into(), held: Box::new(dir) })
            }),
            120 << 10,
        );
        let meeting = Arc::new(Barrier::new(THREADS + 1));
        let met = meeting.clone();
        let hear = move |said| {
            if matches!(said, News::Prepared(MEETING, _)) {
                met.wait();
                return;
            }
            let _ = hear.send(said);
        };
        let arrays = Arrays::start(
            dir.path().to_owned(),
            teller.clone(),
            given,
            room,
            hear,
            report,
            Limits::default(),
            Some(head_key()),
        )
        .unwrap();
        Self { dir, arrays, news, reports, uppers, teller, memories, meeting }
    }

    fn dir_of(&self, name: &str) -> PathBuf {
        self.dir.path().join("arrays/ns").join(name)
    }

    fn import(&self, name: &str, chunks: u32) {
        let plain = self.dir.path().join(format!("plain-{name}"));
        let write = |key: &str, content: &str| {
            let path = plain.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("zarr.json", r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#);
        write(
            "t/zarr.json",
            r#"{"zarr_format": 3, "node_type": "array", "shape": [16], "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["time"], "attributes": {}}"#,
        );
        (0..chunks).for_each(|n| write(&format!("t/c/{n}"), &format!("old {n}")));
        let array = match Array::open(&self.dir_of(name), Disk::default()) {
            Ok(array) => array,
            Err(_) => Array::create(&self.dir_of(name), Disk::default()).unwrap(),
        };
        let by = Run { name: "import".to_owned(), ..Run::default() };
        let at = jiff::Timestamp::from_second(1_000 + i64::from(chunks)).unwrap();
        import(&array, &plain, &by, None, "", at, &mut |_, _| {}).unwrap();
    }

    fn array(&self, name: &str) -> Array {
        Array::open(&self.dir_of(name), Disk::default()).unwrap()
    }

    fn prepare(&self, run: &Arc<ArrayRun>, uses: &str) -> Result<Arc<Prepared>, Trouble> {
        self.prepare_own(run, uses, None)
    }

    fn prepare_own(
        &self,
        run: &Arc<ArrayRun>,
        uses: &str,
        own: Option<(Uid, u32)>,
    ) -> Result<Arc<Prepared>, Trouble> {
        let (namespace, uses) = ("ns".into(), read(uses));
        let wanted = Wanted { namespace, run: run.clone(), uses, image: "tool@sha256:1".into(), own };
        self.arrays.ask(Work::Prepare(7, wanted));
        match self.news.recv_timeout(PATIENCE).unwrap() {
            News::Prepared(7, prepared) => prepared,
            other => panic!("{other:?}"),
        }
    }

    /// An index with these files in its upper.
    fn commit(
        &self,
        run: &Arc<ArrayRun>,
        uses: &str,
        index: u32,
        files: &[(u16, &str, &str)],
    ) -> Result<Vec<Taken>, String> {
        self.commit_as(0, run, uses, index, files)
    }

    /// The same of a later attempt.
    fn commit_as(
        &self,
        attempt: u32,
        run: &Arc<ArrayRun>,
        uses: &str,
        index: u32,
        files: &[(u16, &str, &str)],
    ) -> Result<Vec<Taken>, String> {
        let pod = Uid(run.job.0 * 100 + u128::from(index));
        let uses = read(uses);
        for volume in 0..uses.len() as u16 {
            let dir = self.dir.path().join(format!(
                "upper-{}-{volume}-{}",
                pod.0,
                self.uppers.lock().unwrap().len()
            ));
            fs::create_dir_all(&dir).unwrap();
            for (_, key, content) in files.iter().filter(|(of, ..)| *of == volume) {
                let path = dir.join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            self.uppers.lock().unwrap().insert((pod, volume), dir);
        }
        self.commit_of(attempt, run, &uses, index, pod)
    }

    fn commit_of(
        &self,
        attempt: u32,
        run: &Arc<ArrayRun>,
        uses: &Arc<[Use]>,
        index: u32,
        pod: Uid,
    ) -> Result<Vec<Taken>, String> {
        self.arrays.ask(Work::Commit(Upper {
            pod,
            namespace: "ns".into(),
            run: run.clone(),
            uses: uses.clone(),
            index,
            attempt,
            image: format!("tool@sha256:{}", run.job.0).into(),
            first_volume: 0,
            bounds: vec![1 << 20; uses.len()],
        }));
        match self.news.recv_timeout(PATIENCE).unwrap() {
            News::Committed(of, taken) if of == pod => taken,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the head is signed by the server's key, as what [`Array::statement`] says of it.
    fn is_signed(&self, name: &str) -> bool {
        let array = self.array(name);
        let head = array.head().unwrap().unwrap();
        let Some(note) = array.signature(head).unwrap() else { return false };
        let note = Note::parse(&note).unwrap();
        note.verify(&verifier()).unwrap();
        let at = array.snapshot(head).unwrap().created_at;
        assert_eq!(note.text, array.statement(head, at));
        true
    }

    fn publish(&self, run: &Arc<ArrayRun>, uses: &str) -> Result<Vec<PublishedArray>, ArrayRefusal> {
        let uses = Arc::new(serde_json::from_str(uses).unwrap());
        self.arrays.ask(Work::Publish { namespace: "ns".into(), run: run.clone(), uses });
        loop {
            if let Report::ArraysPublished { job, result } = self.reports.recv_timeout(PATIENCE).unwrap() {
                assert_eq!(job, run.job);
                return result;
            }
        }
    }

    /// What is told of a store next.
    fn told(&self) -> (Option<Arc<ArrayFacts>>, Option<String>) {
        loop {
            if let Report::Array { facts, error, .. } = self.reports.recv_timeout(PATIENCE).unwrap() {
                return (facts, error);
            }
        }
    }

    /// As when the server ends.
    fn ended(self) -> tempfile::TempDir {
        self.arrays.end();
        self.dir
    }

    /// All work before is done when this returns: what is asked here no thread takes up before, and each waits with it for all others.
    fn rest(&self, run: Uid) {
        self.arrays.ask(Work::Rest { namespace: "ns".into(), run });
        self.hold();
        self.meeting.wait();
    }

    /// What is asked after this no thread takes up before somebody waits at the meeting.
    fn hold(&self) {
        for n in 0..THREADS {
            let wanted = Wanted {
                // No namespace has all of them.
                namespace: format!("meeting-{n}").into(),
                run: reader(1_000),
                uses: read(r#"{"name": "none", "mount": "/x"}"#),
                image: "".into(),
                own: None,
            };
            self.arrays.ask(Work::Prepare(MEETING, wanted));
        }
    }

    fn content(&self, name: &str, key: &str) -> Option<String> {
        let array = self.array(name);
        let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
        let manifest = array.manifest(head.manifest).unwrap();
        // A sweep comes after each publication.
        array.lease("look", array.head().unwrap().unwrap()).unwrap();
        let view = array.view(head.manifest, &manifest).unwrap();
        let content = fs::read_to_string(view.join(key)).ok();
        array.give_back("look").unwrap();
        content
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn verifier() -> VerifierKey {
    key().verifier("server", SignatureKind::Ed25519).unwrap()
}

fn head_key() -> HeadKey {
    let signer = |text: &str| {
        let signatures = vec![key().sign(&verifier(), text)];
        Ok(Note { text: text.to_owned(), signatures }.to_string())
    };
    let check = |array: &Array, snapshot: Digest| match array.signature(snapshot).unwrap() {
        None => HeadSignature::Unsigned,
        Some(note) => match Note::parse(&note).unwrap().verify(&verifier()) {
            Ok(_) => HeadSignature::Server,
            Err(error) => HeadSignature::Other(error.to_string().into()),
        },
    };
    HeadKey { public: verifier().to_string().into(), signer: Arc::new(signer), check: Arc::new(check) }
}

fn read(uses: &str) -> Arc<[Use]> {
    watchbell_zarr::uses(&serde_json::from_str(uses).unwrap()).unwrap().into()
}

fn writer(job: u128, run: u128) -> Arc<ArrayRun> {
    Arc::new(ArrayRun {
        run: Uid(run),
        job: Uid(job),
        job_name: format!("job-{job}").into(),
        completions: 2,
        user: "ann".into(),
        draft_of: None,
    })
}

fn reader(job: u128) -> Arc<ArrayRun> {
    Arc::new(ArrayRun { completions: 1, ..(*writer(job, job)).clone() })
}

fn own(index: u32, what: &str) -> Vec<(u16, String, String)> {
    (0..4).map(|n| (0, format!("t/c/{}", 4 * index + n), format!("{what} {n}"))).collect()
}

fn as_files(list: &[(u16, String, String)]) -> Vec<(u16, &str, &str)> {
    list.iter().map(|(volume, key, content)| (*volume, key.as_str(), content.as_str())).collect()
}

#[test]
fn a_run_is_prepared_committed_and_published_once() {
    let stand = Stand::new();
    let run = writer(1, 1);
    let prepared = stand.prepare(&run, WRITE).unwrap();
    let array = &prepared.arrays[0];
    assert_eq!(fs::read_to_string(array.view.directory().join("t/c/3")).unwrap(), "old 3");
    assert_eq!(array.plan.as_ref().unwrap().completions, 2);
    // The same for every pod that comes.
    assert_eq!(stand.prepare(&run, WRITE).unwrap(), prepared);
    let refused = stand.publish(&run, WRITE).unwrap_err();
    assert_eq!(refused.reason, ARRAY_COMMIT_FAILED);
    assert!(refused.message.contains("indices 0, 1 are not committed"), "{}", refused.message);
    let taken = stand.commit(&run, WRITE, 0, &as_files(&own(0, "new"))).unwrap();
    assert_eq!(taken, [Taken { array: "obs".into(), attempt: 0, keys: 4, bytes: 20 }]);
    assert!(stand.publish(&run, WRITE).is_err());
    stand.commit(&run, WRITE, 1, &[(0, "t/c/5", "made")]).unwrap();
    assert!(!stand.is_signed("obs"), "what was imported by hand");
    let published = stand.publish(&run, WRITE).unwrap();
    assert!(stand.is_signed("obs"));
    assert_eq!((published[0].added, published[0].changed, published[0].removed), (1, 4, 0));
    // Asked again, after the answer was lost.
    assert_eq!(stand.publish(&run, WRITE).unwrap(), published);
    assert_eq!(stand.content("obs", "t/c/0").as_deref(), Some("new 0"));
    assert_eq!(stand.content("obs", "t/c/5").as_deref(), Some("made"));
    let store = stand.array("obs");
    assert_eq!((store.drafts().unwrap().len(), store.lease_names().unwrap().len()), (0, 0));
    let by = store.snapshot(store.head().unwrap().unwrap()).unwrap().by;
    assert_eq!((by.name.as_str(), by.user.as_str(), by.image.as_str()), ("ns/job-1", "ann", "tool@sha256:1"));
}

#[test]
fn an_attempt_that_wrote_more_than_its_own_counts_nowhere() {
    let stand = Stand::new();
    stand.import("other", 4);
    let uses = format!(r#"[{WRITE}, {}]"#, WRITE.replace("obs", "other").replace("/data", "/other"));
    let run = writer(1, 1);
    stand.prepare(&run, &uses).unwrap();
    let why = stand.commit(&run, &uses, 0, &[(0, "t/c/0", "fine"), (1, "t/c/7", "not mine")]).unwrap_err();
    assert_eq!(why, "array \"other\": index 0: wrote t/c/7, which belongs to index 1, and not to index 0");
    // Not the array that was fine either.
    for name in ["obs", "other"] {
        let indices = stand.dir_of(name).join(format!("drafts/{}/indices", Uid(1)));
        assert_eq!(fs::read_dir(indices).unwrap().count(), 0, "{name}");
    }
    // The next attempt begins with an upper of its own.
    let taken = stand.commit(&run, &uses, 0, &[(0, "t/c/0", "fine")]).unwrap();
    assert_eq!(taken.iter().map(|taken| taken.keys).collect::<Vec<_>>(), [1, 0]);
    let huge = "x".repeat((1 << 20) + 1);
    let why = stand.commit(&run, WRITE, 1, &[(0, "t/c/7", &huge)]).unwrap_err();
    assert!(why.contains("t/c/7 has 1048577 bytes, and a chunk may have 1048576"), "{why}");
    // Nothing is there of a pod whose spawner died.
    let why = stand.commit_of(0, &run, &read(WRITE), 1, Uid(999)).unwrap_err();
    assert!(why.contains("it does not have the pod"), "{why}");
}

/// What is found only when it is copied, such as a quota, counts for all arrays too.
#[test]
fn an_attempt_that_finds_no_room_in_one_array_counts_in_none() {
    let stand = Stand::new();
    stand.import("other", 4);
    let uses = format!(r#"[{WRITE}, {}]"#, WRITE.replace("obs", "other").replace("/data", "/other"));
    let run = writer(1, 1);
    stand.prepare(&run, &uses).unwrap();
    stand.array("other").set_quota(Some(1)).unwrap();
    let why =
        stand.commit_as(0, &run, &uses, 0, &[(0, "t/c/0", "first"), (1, "t/c/0", "first")]).unwrap_err();
    assert!(why.starts_with("array \"other\": ") && why.contains("quota is 1"), "{why}");
    stand.array("other").set_quota(None).unwrap();
    let taken =
        stand.commit_as(1, &run, &uses, 0, &[(0, "t/c/0", "second"), (1, "t/c/0", "second")]).unwrap();
    assert_eq!(taken.iter().map(|taken| taken.attempt).collect::<Vec<_>>(), [1, 1]);
    stand.commit(&run, &uses, 1, &[]).unwrap();
    stand.publish(&run, &uses).unwrap();
    for name in ["obs", "other"] {
        assert_eq!(stand.content(name, "t/c/0").as_deref(), Some("second"), "{name}");
    }
}

#[test]
fn runs_at_once_are_published_one_upon_the_other_or_not_at_all() {
    let stand = Stand::new();
    let rebase = WRITE.replace("\"split\"", "\"onConflict\": \"rebase\", \"split\"");
    let (first, second, third) = (writer(1, 1), writer(2, 2), writer(3, 3));
    for run in [&first, &second, &third] {
        stand.prepare(run, &rebase).unwrap();
    }
    let empty = |run, index| stand.commit(run, &rebase, index, &[]).unwrap();
    stand.commit(&first, &rebase, 0, &[(0, "t/c/0", "first")]).unwrap();
    empty(&first, 1);
    stand.commit(&second, &rebase, 1, &[(0, "t/c/6", "second")]).unwrap();
    empty(&second, 0);
    stand.commit(&third, &rebase, 0, &[(0, "t/c/0", "third")]).unwrap();
    empty(&third, 1);
    stand.publish(&first, &rebase).unwrap();
    // Without asking for it, no run goes on top of another.
    let refused = stand.publish(&second, WRITE).unwrap_err();
    assert_eq!(refused.reason, ARRAY_CONFLICT);
    assert!(refused.message.contains("set onConflict: rebase"), "{}", refused.message);
    stand.publish(&second, &rebase).unwrap();
    let refused = stand.publish(&third, &rebase).unwrap_err();
    assert_eq!(refused.reason, ARRAY_CONFLICT);
    assert!(refused.message.contains("t/c/0 was also written by ns/job-1"), "{}", refused.message);
    assert_eq!(stand.content("obs", "t/c/0").as_deref(), Some("first"));
    assert_eq!(stand.content("obs", "t/c/6").as_deref(), Some("second"));
    // Metadata that changed are no ground to stand on.
    let fourth = writer(4, 4);
    stand.prepare(&fourth, &rebase).unwrap();
    stand.commit(&fourth, &rebase, 0, &[(0, "t/c/1", "fourth")]).unwrap();
    empty(&fourth, 1);
    let plain = stand.dir.path().join("plain-obs/t/zarr.json");
    let text =
        fs::read_to_string(&plain).unwrap().replace(r#""attributes": {}"#, r#""attributes": {"x": 1}"#);
    stand.import("obs", 3);
    fs::write(&plain, text).unwrap();
    let by = Run { name: "import".to_owned(), ..Run::default() };
    let at = jiff::Timestamp::from_second(9_000).unwrap();
    import(&stand.array("obs"), plain.parent().unwrap().parent().unwrap(), &by, None, "", at, &mut |_, _| {})
        .unwrap();
    let refused = stand.publish(&fourth, &rebase).unwrap_err();
    assert!(refused.message.contains("metadata changed"), "{}", refused.message);
}

/// No array has a new head when one of the run's cannot have it yet; nothing is lost by that.
#[test]
fn a_publication_beyond_a_quota_waits_for_room() {
    let stand = Stand::new();
    stand.import("other", 4);
    let uses = format!(r#"[{WRITE}, {}]"#, WRITE.replace("obs", "other").replace("/data", "/other"));
    let run = writer(1, 1);
    stand.prepare(&run, &uses).unwrap();
    stand.commit(&run, &uses, 0, &[(0, "t/c/0", "new"), (1, "t/c/0", "new")]).unwrap();
    stand.commit(&run, &uses, 1, &[]).unwrap();
    let head = stand.array("obs").head().unwrap();
    stand.array("other").set_quota(Some(1)).unwrap();
    let value = Arc::new(serde_json::from_str(&uses).unwrap());
    stand.arrays.ask(Work::Publish { namespace: "ns".into(), run: run.clone(), uses: value });
    match stand.reports.recv_timeout(PATIENCE).unwrap() {
        Report::ArraysDelayed { job: Uid(1), message } => {
            assert!(message.starts_with("array \"other\": ") && message.contains("quota is 1"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stand.array("obs").head().unwrap(), head);
    stand.array("other").set_quota(None).unwrap();
    match stand.reports.recv_timeout(PATIENCE).unwrap() {
        Report::ArraysPublished { result, .. } => assert_eq!(result.unwrap().len(), 2),
        other => panic!("{other:?}"),
    }
    // A pod of the run that comes late would do it all again.
    let why = stand.prepare(&run, &uses).unwrap_err();
    assert!(matches!(&why, Trouble::Lasting(why) if why.contains("was published already")), "{why:?}");
}

/// What is found only when some arrays have their new heads is told with them.
#[test]
fn a_refusal_tells_of_the_arrays_that_were_published() {
    let published = PublishedArray {
        name: "obs".into(),
        snapshot: "5a".into(),
        base: "4b".into(),
        added: 1,
        changed: 0,
        removed: 0,
    };
    let refused = work::Unpublished::lasting(ARRAY_CONFLICT, "array \"other\": it moved".to_owned());
    let work::Unpublished::Lasting(refusal) = refused.after(std::slice::from_ref(&published)) else {
        panic!("it does not pass")
    };
    assert_eq!(&*refusal.message, "array \"other\": it moved (published before: obs)");
    assert_eq!(refusal.published, [published]);
}

#[test]
fn the_words_about_a_store_are_kept_in_order() {
    let stand = Stand::new();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ml".into(), "new".into());
    for round in 1..=20 {
        for quota in 1..=3 {
            let spec = DataArraySpec { quota_bytes: Some(quota << 20), ..DataArraySpec::default() };
            let spec = Arc::new(spec);
            stand.arrays.ask(Work::Keep {
                namespace: namespace.clone(),
                name: name.clone(),
                spec,
                head_number: 0,
                make: true,
            });
        }
        if round % 2 == 0 {
            let (namespace, name, runs) = (namespace.clone(), name.clone(), Arc::default());
            stand.arrays.ask(Work::Remove { namespace, name, runs });
        }
        let told: Vec<_> = (0..3 + usize::from(round % 2 == 0)).map(|_| stand.told()).collect();
        let quotas: Vec<_> =
            told.iter().map(|(facts, error)| (facts.as_ref().and_then(|f| f.quota_bytes), error)).collect();
        let expect = [(Some(1 << 20), &None), (Some(2 << 20), &None), (Some(3 << 20), &None), (None, &None)];
        assert_eq!(quotas, expect[..quotas.len()], "{round}");
    }
}

/// What a server that was killed had begun, the next one ends.
#[test]
fn the_next_server_goes_on() {
    let stand = Stand::new();
    let grows = WRITE.replace("\"split\"", "\"extend\": {\"dim\": \"time\", \"by\": 4}, \"split\"");
    let run = writer(1, 1);
    let prepared = stand.prepare(&run, &grows).unwrap();
    let documents = fs::read_to_string(prepared.arrays[0].view.directory().join("t/zarr.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&documents).unwrap();
    assert_eq!(document["shape"], json!([20]));
    stand.commit(&run, &grows, 0, &[(0, "t/c/8", "grown")]).unwrap();
    let next = Stand::on(stand.ended());
    // Without a word of preparation: its pods had ended.
    let taken = next.commit(&run, &grows, 1, &[(0, "t/c/9", "too")]).unwrap();
    assert_eq!(taken[0].keys, 1);
    // What was committed is told again, though its upper is gone.
    assert_eq!(next.commit_of(0, &run, &read(&grows), 0, Uid(5)).unwrap()[0].keys, 1);
    // Tasks are at work above this very directory.
    assert_eq!(next.prepare(&run, &grows).unwrap().arrays[0].view, prepared.arrays[0].view);
    // A rerun that asks for another growth would mean other chunks.
    next.rest(run.run);
    let other = grows.replace("\"by\": 4", "\"by\": 6");
    let why = next.prepare(&writer(2, 1), &other).unwrap_err();
    assert!(matches!(&why, Trouble::Lasting(why) if why.contains("another extend")), "{why:?}");
    // A rerun of its own kind goes on with the draft of the first.
    let rerun = writer(2, 1);
    assert_eq!(next.publish(&rerun, &grows).unwrap()[0].added, 2);
    assert_eq!(next.content("obs", "t/c/9").as_deref(), Some("too"));
}

#[test]
fn readers_read_one_snapshot_and_gates_what_would_be_published() {
    let stand = Stand::new();
    let read_only = r#"{"name": "obs", "mount": "/data"}"#;
    let reads = reader(5);
    let before = stand.prepare(&reads, read_only).unwrap();
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    stand.commit(&run, WRITE, 0, &[(0, "t/c/0", "new")]).unwrap();
    stand.commit(&run, WRITE, 1, &[]).unwrap();
    let gate = Arc::new(ArrayRun { draft_of: Some(run.run), ..(*reader(6)).clone() });
    let seen = stand.prepare(&gate, read_only).unwrap();
    assert_eq!(fs::read_to_string(seen.arrays[0].view.directory().join("t/c/0")).unwrap(), "new");
    assert_eq!(fs::read_to_string(before.arrays[0].view.directory().join("t/c/0")).unwrap(), "old 0");
    stand.publish(&run, WRITE).unwrap();
    // The run began before: it is kept what it reads.
    assert_eq!(stand.prepare(&reads, read_only).unwrap(), before);
    assert_ne!(stand.prepare(&reader(7), read_only).unwrap().arrays[0].snapshot, before.arrays[0].snapshot);
    stand.arrays.ask(Work::Abandon { namespace: "ns".into(), run: Uid(5) });
    stand.rest(Uid(5));
    let leases = stand.array("obs").lease_names().unwrap();
    assert!(!leases.contains(&format!("run-{}", Uid(5))) && leases.len() == 1, "{leases:?}");
    // An index that sees its own alone.
    let own = r#"{"name": "obs", "mount": "/data", "split": {"dim": "time", "into": 2}, "readScope": "own"}"#;
    let pod = Uid(77);
    let seen = stand.prepare_own(&writer(8, 8), own, Some((pod, 0))).unwrap();
    let view = seen.arrays[0].view.directory();
    assert!(view.starts_with(stand.dir.path().join("volumes").join(pod.to_string())), "{}", view.display());
    assert!(view.join("t/zarr.json").exists() && view.join("t/c/3").exists() && !view.join("t/c/5").exists());
}

#[test]
fn what_cannot_be_prepared_is_told_apart() {
    let stand = Stand::new();
    let check = |uses: &str, expect: Result<&str, &str>| {
        let why = stand.prepare(&writer(1, 1), uses).unwrap_err();
        let is_fine = match (&why, expect) {
            (Trouble::Passing(why), Ok(part)) | (Trouble::Lasting(why), Err(part)) => why.contains(part),
            _ => false,
        };
        assert!(is_fine, "{why:?}");
    };
    check(&WRITE.replace("obs", "none"), Ok("array \"none\": there is no array"));
    check(&WRITE.replace("obs", "../obs"), Ok("a name has 1 to 128"));
    check(&WRITE.replace("\"into\": 2", "\"into\": 3"), Err("makes 3 indices and the Job has completions 2"));
    check(&WRITE.replace("time", "lat"), Err("no array has a dimension \"lat\""));
    Array::create(&stand.dir_of("empty"), Disk::default()).unwrap();
    check(&WRITE.replace("obs", "empty"), Ok("has no snapshot yet"));
    assert_eq!(stand.array("obs").drafts().unwrap().len(), 0, "nothing was begun");
}

#[test]
fn stores_are_made_kept_rolled_back_and_removed() {
    let stand = Stand::new();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ml".into(), "new".into());
    let retention = Some(ArrayRetention { keep_last: 1, ..ArrayRetention::default() });
    let spec = Arc::new(DataArraySpec { quota_bytes: Some(1 << 20), retention, ..DataArraySpec::default() });
    let keep = |make: bool| {
        let (namespace, name, spec) = (namespace.clone(), name.clone(), spec.clone());
        stand.arrays.ask(Work::Keep { namespace, name, spec, head_number: 0, make });
    };
    // One that had something in it is not replaced by an empty one.
    keep(false);
    assert_eq!(stand.told(), (None, None));
    assert!(!stand.dir.path().join("arrays/ml/new").exists());
    keep(true);
    let (facts, error) = stand.told();
    let facts = facts.unwrap();
    assert_eq!((facts.quota_bytes, error), (Some(1 << 20), None));
    assert_eq!(facts.signing_key.as_deref(), Some(&*verifier().to_string()));
    let made = Array::open(&stand.dir.path().join("arrays/ml/new"), Disk::default()).unwrap();
    assert!(made.has_object() && !stand.array("obs").has_object());
    stand.arrays.ask(Work::Remove { namespace: namespace.clone(), name: name.clone(), runs: Arc::default() });
    assert_eq!(stand.told(), (None, None));
    assert!(!stand.dir.path().join("arrays/ml/new").exists());
    // One that somebody needs stays, and why is told.
    let run = writer(1, 1);
    stand.prepare(&run, WRITE).unwrap();
    let obs: Arc<str> = "obs".into();
    stand.arrays.ask(Work::Remove { namespace: "ns".into(), name: obs.clone(), runs: Arc::default() });
    let (facts, error) = stand.told();
    assert!(facts.is_some() && error.unwrap().contains("still needs the array"));
    let first = stand.array("obs").head().unwrap().unwrap();
    stand.import("obs", 5);
    let roll = |to: &str, unsigned_ok: bool| {
        let to = to.into();
        stand.arrays.ask(Work::RollBack {
            namespace: "ns".into(),
            name: obs.clone(),
            to,
            user: "ann".into(),
            unsigned_ok,
        });
        loop {
            if let Report::ArrayRolledBack { result, .. } = stand.reports.recv_timeout(PATIENCE).unwrap() {
                return result;
            }
        }
    };
    assert!(!stand.is_signed("obs"));
    // What the server never signed it signs only for who says so, and names all of it.
    let why = roll(&first.to_string(), false).unwrap_err();
    assert!(why.contains("was not signed by this server: it is not signed"), "{why}");
    assert!(why.contains("say unsignedOk: true"), "{why}");
    assert!(roll(&first.short(), true).is_err());
    assert!(!stand.is_signed("obs"));
    let done = roll(&first.to_string(), true).unwrap();
    assert!(stand.is_signed("obs"));
    assert_ne!(done.before, done.after);
    let again = roll(&first.to_string(), true).unwrap();
    assert_eq!((&again.before, &again.after), (&done.after, &done.after));
    assert!(roll("nothing", true).unwrap_err().contains("there is no snapshot"));
    let head = stand.array("obs").snapshot(stand.array("obs").head().unwrap().unwrap()).unwrap();
    assert_eq!(head.by.user, "ann");
    // The server says that the run is over.
    stand.arrays.ask(Work::Remove { namespace: "ns".into(), name: obs.clone(), runs: [run.run].into() });
    assert_eq!(stand.told(), (None, None));
}

/// By this program or another: the kernel tells.
#[test]
fn changes_of_a_store_are_told() {
    let stand = Stand::new();
    let end = watch(stand.dir.path(), stand.teller.clone()).unwrap();
    let until = |what: &str, holds: &dyn Fn(&Option<Arc<ArrayFacts>>) -> bool| {
        while let Ok(report) = stand.reports.recv_timeout(PATIENCE) {
            if let Report::Array { facts, .. } = report
                && holds(&facts)
            {
                return facts;
            }
        }
        panic!("{what} was not told");
    };
    let facts = until("the array", &|facts| facts.is_some()).unwrap();
    assert_eq!((&*facts.format, facts.keys, facts.snapshots), ("zarr v3", 6, 1));
    assert_eq!(facts.nodes, ["/ group".into(), "/t uint8 [16] in chunks of [2]".into()]);
    assert_eq!(facts.documents.as_ref().unwrap().len(), 2);
    assert_eq!(facts.published_by, Some(("import".into(), None)));
    let store = stand.array("obs");
    store.tag("good", store.head().unwrap().unwrap()).unwrap();
    until("the tag", &|facts| facts.as_ref().is_some_and(|facts| facts.tags.contains_key("good")));
    store.set_quota(Some(5 << 20)).unwrap();
    until("the quota", &|facts| facts.as_ref().is_some_and(|facts| facts.quota_bytes == Some(5 << 20)));
    stand.import("obs", 6);
    until("the head", &|facts| facts.as_ref().is_some_and(|facts| facts.keys == 8));
    // In a namespace that was not there, made as `watchbell array` makes it.
    fs::create_dir(stand.dir.path().join("arrays/new")).unwrap();
    let made = stand.dir.path().join("arrays/new/one");
    Array::create(&made, Disk::default()).unwrap();
    until("the new one", &|facts| facts.as_ref().is_some_and(|facts| facts.head.is_none()));
    Array::open(&made, Disk::default()).unwrap().delete().unwrap();
    until("its end", &|facts| facts.is_none());
    drop(end);
}

#[test]
fn json_is_as_it_was_said() {
    // What the server sends of an annotation is what the node read of it.
    let value =
        json!([{"name": "obs", "mount": "/data", "split": {"dim": "time", "into": 2}, "mode": "write"}]);
    let uses = watchbell_zarr::uses(&value).unwrap();
    assert_eq!(uses[..], read(WRITE)[..]);
    assert!(held::dir(Path::new("/d"), "ns", "..").is_err());
}
