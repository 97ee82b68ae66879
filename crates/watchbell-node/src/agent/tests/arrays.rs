use std::sync::Arc;

use watchbell_api::array::{ARRAY, ArrayRun};
use watchbell_api::node::{Assignment, Command};
use watchbell_sandbox::{Layered, Scratch, TableEntry, Upper, VolumeSource};
use watchbell_zarr::{Hierarchy, Split, plan};

use super::*;
use crate::arrays::{MemoryView, News, Prepared, PreparedArray, Taken, Trouble, View, Work};

const WRITES: &str = "{name: obs, mount: /data, mode: write, split: {dim: time, into: 4}, quota: 1Mi}";

impl Bench {
    pub(super) fn array_line(&mut self, work: Work) -> String {
        let line = match &work {
            Work::Prepare(id, wanted) => {
                let own = wanted.own.map(|(pod, index)| format!(" for {} alone, index {index}", pod.0));
                format!("prepare {id} of {}{}", wanted.run.run.0, own.unwrap_or_default())
            }
            Work::Commit(upper) => {
                let crate::arrays::Upper { pod, index, first_volume, image, .. } = upper;
                let image = image.split('@').next().unwrap_or_default();
                format!("commit {} index {index} from volume {first_volume} by {image}", pod.0)
            }
            Work::Publish { run, .. } => format!("publish {}", run.run.0),
            Work::Abandon { namespace, run } => format!("abandon {namespace} {}", run.0),
            Work::Keep { name, .. } => format!("keep {name}"),
            Work::Remove { name, runs, .. } => format!("remove array {name} with {} runs", runs.len()),
            Work::RollBack { name, to, .. } => format!("roll {name} back to {to}"),
            Work::Rest { run, .. } => format!("rest {}", run.0),
        };
        self.works.push(work);
        line
    }

    fn prepared(&mut self, id: u64) {
        self.prepared_as(id, View::Directory("/data/arrays/ns/obs/views/1".into()));
    }

    fn prepared_as(&mut self, id: u64, view: View) {
        let array = PreparedArray { snapshot: "5a".into(), view, plan: Some(Arc::new(by_time())) };
        let prepared = Arc::new(Prepared { arrays: vec![array] });
        self.tell(Input::Array(News::Prepared(id, Ok(prepared))));
    }

    /// By an earlier pod, as the draft says.
    fn committed(&mut self, uid: u128, keys: u64) {
        let taken = vec![Taken { array: "obs".into(), attempt: 7, keys, bytes: 10 * keys }];
        self.tell(Input::Array(News::Committed(Uid(uid), Ok(taken))));
    }

    /// No pod is there from before.
    fn synced(&mut self) {
        self.tell(Input::Command(Command::Synced));
        self.effects();
    }

    /// Up to the start of an index.
    fn started_index(&mut self, uid: u128) {
        self.synced();
        self.begin(writer(uid, WRITES));
        self.expect(&["fetch tool:1 IfNotPresent"]);
        self.fetched(&image("tool", program()));
        self.expect(&["prepare 0 of 2748"]);
        self.prepared(0);
        self.expect(&[&format!("start {uid}/0/0")]);
    }
}

fn by_time() -> watchbell_zarr::Plan {
    let root = br#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#.as_slice();
    let array = br#"{"zarr_format": 3, "node_type": "array", "shape": [16], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["time"], "attributes": {}}"#
        .as_slice();
    let hierarchy = Hierarchy::read([("zarr.json", root), ("t/zarr.json", array)]).unwrap();
    plan(&hierarchy, &Split::Dimension { dimension: "time".to_owned(), into: 4 }, &[], None, 4).unwrap()
}

fn run(job: Uid) -> Arc<ArrayRun> {
    Arc::new(ArrayRun {
        run: job,
        job,
        job_name: "train".into(),
        completions: 4,
        user: "ann".into(),
        draft_of: None,
    })
}

fn writer(uid: u128, annotation: &str) -> Assignment {
    let spec = spec(json!({}));
    let annotations = BTreeMap::from([(ARRAY.to_owned(), annotation.to_owned())]);
    Assignment { annotations: Arc::new(annotations), arrays: Some(run(JOB)), ..index(uid, &spec) }
}

fn env<'a>(spec: &'a RunSpec, name: &str) -> Option<&'a str> {
    spec.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn an_index_has_its_array_and_ends_once_what_it_wrote_counts() {
    let mut bench = Bench::new();
    bench.started_index(1);
    let spec = bench.started.take().unwrap();
    let bound = Scratch { bytes: 1 << 20, inodes: 256 };
    let layered = Layered {
        lower: "/data/arrays/ns/obs/views/1".into(),
        uid: spec.uid,
        gid: spec.gid,
        upper: Some(Upper::Memory(bound)),
    };
    assert_eq!(spec.pod.volumes[0].source, VolumeSource::Layered(layered));
    assert_eq!((spec.mounts[0].target.as_str(), spec.mounts[0].volume), ("/data", 0));
    let expected = [
        ("WATCHBELL_ARRAY_PATH", "/data"),
        ("WATCHBELL_ARRAY_OBS_PATH", "/data"),
        ("WATCHBELL_ARRAY_SNAPSHOT", "5a"),
        ("WATCHBELL_ARRAY_START", "4"),
        ("WATCHBELL_ARRAY_STOP", "8"),
        ("WATCHBELL_ARRAY_TIME_START", "4"),
        ("WATCHBELL_ARRAY_OBS_TIME_STOP", "8"),
    ];
    for (name, value) in expected {
        assert_eq!(env(&spec, name), Some(value), "{name}");
    }
    let told: Value = serde_json::from_str(env(&spec, "WATCHBELL_ARRAYS").unwrap()).unwrap();
    assert_eq!(told[0]["elements"], json!({"time": [4, 8]}));
    bench.runs(id(1, 0, 0));
    bench.expect(&["report 1 Running running"]);
    bench.exits(id(1, 0, 0), 0);
    // It still runs, as far as anybody is told.
    bench.expect(&["commit 1 index 1 from volume 0 by docker.io/library/tool"]);
    bench.wait(5);
    bench.expect(&[]);
    bench.committed(1, 3);
    bench.expect(&["committed 1 obs[1] attempt 7: 3 keys, 30 bytes", "report 1 Succeeded Completed=0"]);
    bench.acknowledge(1);
    bench.expect(&["acknowledge 1/0/0", "release 1 with volumes"]);
    bench.wait(40);
    bench.expect(&["rest 2748"]);
}

#[test]
fn what_may_not_be_committed_fails_the_pod() {
    let mut bench = Bench::new();
    bench.started_index(1);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["commit 1 index 1 from volume 0 by docker.io/library/tool"]);
    let why = "array \"obs\": index 1: wrote t/c/7".to_owned();
    bench.tell(Input::Array(News::Committed(Uid(1), Err(why.clone()))));
    bench.expect(&["event 1 ArrayCommitFailed!", "report 1 Failed ArrayCommitFailed Completed=0"]);
    assert_eq!(bench.agent.pods[&Uid(1)].told.message.as_deref(), Some(why.as_str()));
}

#[test]
fn an_index_that_failed_commits_nothing() {
    let mut bench = Bench::new();
    bench.started_index(1);
    bench.exits(id(1, 0, 0), 3);
    bench.expect(&["report 1 Failed Error=3"]);
    // Nor one that was deleted.
    let mut bench = Bench::new();
    bench.started_index(1);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: LOG }));
    bench.expect(&["kill 1"]);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["acknowledge 1/0/0", "release 1 with volumes"]);
}

/// A task that ends itself when it is asked to, and says that all is well, is not done.
#[test]
fn an_index_that_was_asked_to_end_commits_nothing() {
    use StopCause::*;
    for cause in [Deleted, Preempted, JobFailed, JobDeadline, Suspended] {
        let mut bench = Bench::new();
        bench.started_index(1);
        bench.tell(Input::Command(Command::Stop { uid: Uid(1), grace_seconds: 30, cause }));
        bench.expect(&["signal 15 1/0/0"]);
        bench.exits(id(1, 0, 0), 0);
        bench.expect(&["report 1 Failed ArrayCommitFailed Completed=0"]);
    }
    // It was done when it was asked.
    let mut bench = Bench::new();
    bench.started_index(1);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["commit 1 index 1 from volume 0 by docker.io/library/tool"]);
    bench.stop(1, 30);
    bench.committed(1, 3);
    bench.expect(&["committed 1 obs[1] attempt 7: 3 keys, 30 bytes", "report 1 Succeeded Completed=0"]);
}

#[test]
fn indices_of_a_run_wait_for_one_preparation() {
    let mut bench = Bench::new();
    for uid in 1..4 {
        bench.begin(writer(uid, WRITES));
    }
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.fetched(&image("tool", program()));
    bench.expect(&["prepare 0 of 2748"]);
    bench.tell(Input::Array(News::Prepared(0, Err(Trouble::Passing("there is no array".to_owned())))));
    bench.expect(&[
        "event 1 FailedMount!",
        "report 1 Pending ContainerCreating",
        "report 2 Pending ContainerCreating",
        "report 3 Pending ContainerCreating",
    ]);
    bench.wait(120);
    assert_eq!(bench.effects()[0], "prepare 1 of 2748");
    bench.prepared(1);
    let mut started = bench.effects();
    started.sort();
    assert_eq!(started, ["start 1/0/0", "start 2/0/0", "start 3/0/0"]);
}

#[test]
fn what_is_in_memory_goes_with_the_spawner_and_is_made_anew() {
    let mut bench = Bench::new();
    bench.begin(writer(1, WRITES));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["prepare 0 of 2748"]);
    let memory = MemoryView::blank(5);
    bench.prepared_as(0, View::Memory(memory.clone()));
    bench.expect(&["start 1/0/0"]);
    let spec = bench.started.take().unwrap();
    let VolumeSource::LayeredMemory(layered) = &spec.pod.volumes[0].source else { panic!("{spec:?}") };
    assert_eq!((layered.memory, layered.uid, layered.gid), (5, spec.uid, spec.gid));
    // Another spawner knows nothing of it, nor of what was made for the one before and is told only now.
    bench.tell(Input::Reconnected(Vec::new()));
    bench.expect(&["prepare 1 of 2748"]);
    assert_eq!(Arc::strong_count(&memory), 1);
    bench.tell(Input::Reconnected(Vec::new()));
    bench.prepared_as(1, View::Memory(memory.clone()));
    assert_eq!(bench.effects()[0], "event 1 FailedMount!");
    assert_eq!(Arc::strong_count(&memory), 1);
    bench.wait(120);
    assert_eq!(bench.effects()[0], "prepare 2 of 2748");
    bench.prepared_as(2, View::Memory(memory.clone()));
    bench.expect(&["start 1/0/0"]);
    // The next index is likely to come; none does when the run is published.
    bench.runs(id(1, 0, 0));
    bench.exits(id(1, 0, 0), 0);
    bench.effects();
    bench.committed(1, 3);
    bench.tell(Input::Command(Command::Acknowledge { uid: Uid(1) }));
    bench.effects();
    assert!(Arc::strong_count(&memory) > 1);
    let (namespace, uses) = ("ns".into(), Arc::default());
    bench.tell(Input::Command(Command::PublishArrays { namespace, run: run(JOB), uses }));
    bench.expect(&["publish 2748"]);
    bench.works.clear();
    assert_eq!(Arc::strong_count(&memory), 1);
}

#[test]
fn what_can_never_be_had_is_no_reason_to_wait() {
    let mut bench = Bench::new();
    bench.begin(writer(1, WRITES));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    let why = "the split makes 4 indices and the Job has completions 5".to_owned();
    bench.tell(Input::Array(News::Prepared(0, Err(Trouble::Lasting(why)))));
    bench.expect(&["event 1 ArrayRefused!", "report 1 Failed ArrayRefused ContainerCreating"]);
    let mut bench = Bench::new();
    bench.begin(writer(1, "{name: obs, mount: /data, mode: wrote}"));
    bench.expect(&["event 1 ArrayRefused!", "report 1 Failed ArrayRefused ContainerCreating"]);
    let mut bench = Bench::new();
    bench.begin(writer(1, &WRITES.replace("1Mi", "none")));
    bench.expect(&["event 1 ArrayRefused!", "report 1 Failed ArrayRefused ContainerCreating"]);
}

#[test]
fn an_index_that_sees_its_own_alone_is_prepared_alone() {
    let mut bench = Bench::new();
    let own = WRITES.replace("quota: 1Mi", "readScope: own, upper: disk, quota: 5Gi");
    bench.begin(writer(1, &own));
    bench.begin(writer(2, &own));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["prepare 0 of 2748 for 1 alone, index 1", "prepare 1 of 2748 for 2 alone, index 2"]);
    bench.prepared(1);
    let dir = format!("/data/volumes/{}/.array-0", Uid(2));
    bench.expect(&[&format!("start 2/0/0 upper {dir}")]);
    let source = &bench.started.take().unwrap().pod.volumes[0].source;
    let VolumeSource::Layered(layered) = source else { panic!("{source:?}") };
    let bound = Scratch { bytes: 5 << 30, inodes: (5 << 30) / 4096 };
    assert_eq!(layered.upper, Some(Upper::Image { path: dir.into(), bound }));
    // It bounds itself, and is measured for what the pod has on the disk altogether.
    bench.wait(10);
    let of = |pod: u8| format!("Upper(\"obs\", {0}) of {pod} ({0})", u64::MAX);
    bench.expect(&[&format!("measure {} {}", of(1), of(2))]);
}

#[test]
fn what_cannot_be_bounded_is_measured_and_said() {
    let mut bench = Bench::new();
    let mut site = super::site(super::nothing());
    site.machine.without_images = Some("no loop devices".to_owned());
    bench.agent = Agent::new(site, bench.in_use.clone(), Vec::new());
    bench.begin(writer(2, &WRITES.replace("quota: 1Mi", "upper: disk, quota: 5Gi")));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["prepare 0 of 2748"]);
    bench.prepared(0);
    let dir = format!("/data/volumes/{}/.array-0", Uid(2));
    bench.expect(&["event 2 ArrayUpperMeasured!", &format!("start 2/0/0 upper {dir}")]);
    let source = &bench.started.take().unwrap().pod.volumes[0].source;
    let VolumeSource::Layered(layered) = source else { panic!("{source:?}") };
    assert_eq!(layered.upper, Some(Upper::Disk { path: dir.into() }));
    bench.wait(10);
    bench.expect(&[&format!("measure Upper(\"obs\", {0}) of 2 ({0})", 5u64 << 30)]);
    let held = crate::measure::Use { bytes: (5 << 30) + 1, inodes: 2 };
    let what = super::super::What::Upper("obs".to_owned(), 5 << 30);
    let sizes = vec![(Uid(2), what, held)];
    bench.tell(Input::Measured(super::super::Measured { sizes, disk: None }));
    let effects = bench.effects();
    assert!(effects.contains(&"event 2 Evicted!".to_owned()), "{effects:?}");
}

/// The server was killed between the exit of an index and its commit.
#[test]
fn a_server_that_comes_later_commits_what_the_spawner_holds() {
    let record = exit(id(1, 0, 0), ExitStatus::Code(0));
    let mut bench = Bench::with(nothing(), vec![TableEntry::Exited(record)]);
    let mut known = writer(1, WRITES);
    known.status.containers[0].image_id = Some(image("tool", program()).image_id.clone());
    bench.begin(known);
    // Whether it was asked to end is said before all are known.
    bench.expect(&[]);
    bench.tell(Input::Command(Command::Synced));
    bench.expect(&[
        "sweep volumes but of 1",
        "sweep logs",
        "commit 1 index 1 from volume 0 by docker.io/library/tool",
    ]);
    bench.committed(1, 2);
    bench.expect(&["committed 1 obs[1] attempt 7: 2 keys, 20 bytes", "report 1 Succeeded Completed=0"]);
    // One whose end was told has committed before.
    let record = exit(id(1, 0, 0), ExitStatus::Code(0));
    let mut bench = Bench::with(nothing(), vec![TableEntry::Exited(record)]);
    let mut known = writer(1, WRITES);
    known.status.phase = watchbell_api::types::pod_status::Phase::Succeeded;
    bench.begin(known);
    bench.tell(Input::Command(Command::Synced));
    let effects = bench.effects();
    assert!(effects.iter().all(|line| !line.starts_with("commit")), "{effects:?}");
    // One that was asked to end has failed.
    let record = exit(id(1, 0, 0), ExitStatus::Code(0));
    let mut bench = Bench::with(nothing(), vec![TableEntry::Exited(record)]);
    bench.begin(writer(1, WRITES));
    bench.effects();
    bench.stop(1, 30);
    bench.tell(Input::Command(Command::Synced));
    let effects = bench.effects();
    assert!(effects.iter().all(|line| !line.starts_with("commit")), "{effects:?}");
}

/// What containers before the server's time wrote is not taken from under the pod.
#[test]
fn an_upper_is_not_made_anew_while_the_spawner_holds_it() {
    let entry = TableEntry::Running { id: id(1, 0, 0), pid: 1, started_at: WALL * 1_000_000_000 };
    let mut bench = Bench::with(nothing(), vec![entry]);
    let disk = WRITES.replace("quota: 1Mi", "upper: disk");
    let containers = json!([{"name": "a", "image": "tool:1"}, {"name": "b", "image": "tool:1"}]);
    let spec = spec(json!({"containers": containers}));
    bench.begin(Assignment { ..writer_of(1, &spec, &disk) });
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.prepared(0);
    bench.expect(&["start 1/1/0"]);
}

fn writer_of(uid: u128, spec: &Arc<PodSpec>, annotation: &str) -> Assignment {
    let annotations = BTreeMap::from([(ARRAY.to_owned(), annotation.to_owned())]);
    Assignment { annotations: Arc::new(annotations), arrays: Some(run(JOB)), ..index(uid, spec) }
}

#[test]
fn drafts_are_given_up_once_their_pods_are_gone() {
    let mut bench = Bench::new();
    bench.started_index(1);
    let abandon = Command::AbandonDrafts { namespace: "ns".into(), run: JOB };
    bench.tell(Input::Command(abandon.clone()));
    bench.expect(&[]);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: LOG }));
    bench.expect(&["kill 1"]);
    bench.exits(id(1, 0, 0), 137);
    bench.expect(&["acknowledge 1/0/0", "abandon ns 2748", "release 1 with volumes"]);
    bench.tell(Input::Command(abandon));
    bench.expect(&["abandon ns 2748"]);
    // Nobody goes on with what a pod alone read.
    let mut bench = Bench::new();
    bench.tell(Input::Command(Command::Synced));
    let reads = "{name: obs, mount: /data}";
    let alone = Assignment { job: None, index: None, arrays: Some(run(Uid(9))), ..writer(9, reads) };
    bench.begin(alone);
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.prepared(0);
    bench.effects();
    let spec = bench.started.take().unwrap();
    assert!(matches!(&spec.pod.volumes[0].source, VolumeSource::Layered(Layered { upper: None, .. })));
    assert!(spec.mounts[0].read_only);
    bench.exits(id(9, 0, 0), 0);
    let effects = bench.effects();
    assert!(effects.iter().all(|line| !line.starts_with("commit")), "{effects:?}");
    bench.acknowledge(9);
    assert!(bench.effects().contains(&"abandon ns 9".to_owned()));
    // Not before all pods are known: one may be at work with it.
    let mut bench = Bench::new();
    bench.tell(Input::Command(Command::AbandonDrafts { namespace: "ns".into(), run: JOB }));
    bench.expect(&[]);
    bench.tell(Input::Command(Command::Synced));
    bench.expect(&["abandon ns 2748", "sweep volumes but of 0", "sweep logs"]);
}

#[test]
fn what_is_being_made_is_given_up_once_it_is_made() {
    let mut bench = Bench::new();
    bench.synced();
    bench.begin(writer(1, WRITES));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["prepare 0 of 2748"]);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: LOG }));
    bench.expect(&["release 1 with volumes"]);
    bench.tell(Input::Command(Command::AbandonDrafts { namespace: "ns".into(), run: JOB }));
    bench.expect(&[]);
    bench.prepared(0);
    bench.expect(&["abandon ns 2748"]);
}

#[test]
fn no_quota_is_larger_than_the_machine() {
    let mut bench = Bench::new();
    bench.synced();
    bench.begin(writer(1, &WRITES.replace("1Mi", "1Pi")));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.prepared(0);
    bench.effects();
    let source = &bench.started.take().unwrap().pod.volumes[0].source;
    let VolumeSource::Layered(Layered { upper: Some(Upper::Memory(scratch)), .. }) = source else {
        panic!("{source:?}")
    };
    assert_eq!(scratch.bytes, 8 << 30);
}

#[test]
fn what_the_server_asks_of_stores_is_passed_on() {
    let mut bench = Bench::new();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "obs".into());
    bench.tell(Input::Command(Command::KeepArray {
        namespace: namespace.clone(),
        name: name.clone(),
        spec: Arc::default(),
        head_number: 0,
        make: true,
    }));
    bench.tell(Input::Command(Command::RollbackArray {
        namespace: namespace.clone(),
        name: name.clone(),
        to: "good".into(),
        user: "ann".into(),
        unsigned_ok: false,
    }));
    let uses = Arc::new(json!({"name": "obs"}));
    bench.tell(Input::Command(Command::PublishArrays { namespace: namespace.clone(), run: run(JOB), uses }));
    bench.tell(Input::Command(Command::RemoveArray { namespace, name, runs: Arc::default() }));
    bench.expect(&["keep obs", "roll obs back to good", "publish 2748", "remove array obs with 0 runs"]);
}
