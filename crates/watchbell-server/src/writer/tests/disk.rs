//! Batches on a disk without room. The parts run as children of the test, on a small file system in a mount namespace of their own.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::mpsc::channel;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use watchbell_api::network::EGRESS_NAMES;
use watchbell_api::node::Capacity;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus};
use watchbell_core::request::{DeleteOptions, Page, Subresource, User, WriteOptions};
use watchbell_core::world::{Config, Machine};
use watchbell_store::Options;

use super::*;
use crate::state::State;

const DIR: &str = "WATCHBELL_WRITER_CHILD_DIR";

/// Runs a part as a child that has a disk of so many MiB.
fn run_part(part: &str, mebibytes: u32) {
    let dir = tempfile::tempdir().unwrap();
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
    let script = format!("mount -t tmpfs -o size={mebibytes}m,mode=0700 tmpfs \"${DIR}\"; exec \"$@\"");
    let mut command = Process::new("unshare");
    command
        .args(user)
        .args(["--mount", "sh", "-ec", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("writer::tests::disk::{part}"), "--exact", "--nocapture"])
        .env(DIR, dir.path());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "the child failed ({}); it needs root, or a user namespace with mounts:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A writer without a thread, on the disk of a child.
struct Bench {
    task: Task,
    node: Receiver<Command>,
    disk: PathBuf,
    ballast: File,
    made: usize,
}

fn request(resource: Resource, name: &str, write: Write) -> Request {
    Request {
        user: User::controller(),
        resource,
        namespace: "default".into(),
        name: name.into(),
        subresource: Subresource::None,
        write,
        options: WriteOptions::default(),
        audit_id: "id".into(),
        impersonation: None,
        body_hash: None,
        received: None,
    }
}

fn create(resource: Resource, object: Value) -> Request {
    request(resource, "", Write::Create(object))
}

fn map(name: &str) -> Request {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"map": name}}, "data": {"a": "b"},
    });
    create(Resource::ConfigMap, object)
}

fn delete(resource: Resource, name: &str) -> Request {
    request(resource, name, Write::Delete(DeleteOptions::default()))
}

fn note(may_be_lost: bool, bytes: usize) -> Input {
    let record = AuditRecord { at: Timestamp::UNIX_EPOCH, body: json!({"requestURI": "x".repeat(bytes)}) };
    Input::Note(Noted { record, may_be_lost })
}

fn is_refused(result: &Result<Written, ApiError>) -> bool {
    result.as_ref().is_err_and(|error| error.reason == Reason::InsufficientStorage)
}

impl Bench {
    /// `None` in an ordinary run, where a part has nothing to do. Nothing but the writer takes room from the disk, or gives it back: the
    /// log's files would, whenever their time comes.
    fn of_child() -> Option<Bench> {
        let mut bench = Bench::with_log_files()?;
        bench.task.log_files.stop();
        Some(bench)
    }

    fn with_log_files() -> Option<Bench> {
        let disk = PathBuf::from(std::env::var_os(DIR)?);
        let options = Options { reserve_bytes: 1 << 20, ..Options::default() };
        let (store, report) = Store::open_with(&disk.join("data"), &options).unwrap();
        let config = Config {
            machine: Machine::default(),
            capacity: Capacity {
                cpu_millis: 4000,
                memory_bytes: 8 << 30,
                pods: 1000,
                ephemeral_storage_bytes: 10 << 30,
            },
            devices: Default::default(),
            hostname: "testhost".into(),
            ca_pem: "".into(),
            seed: [7; 32],
        };
        let ((to_node, node), (inputs, _)) = (channel(), channel());
        let task = State::task(store, report.last_resource_version, config, to_node, inputs).unwrap();
        let ballast = File::create(disk.join("ballast")).unwrap();
        Some(Bench { task, node, disk, ballast, made: 0 })
    }

    /// What the requests of one batch are answered.
    fn ask(&mut self, requests: Vec<Request>) -> Vec<Result<Written, ApiError>> {
        let (inputs, answers): (Vec<Input>, Vec<_>) = requests
            .into_iter()
            .map(|request| {
                let (to, answer) = oneshot::channel();
                (Input::Write(Box::new(request), Answer::new(to, None)), answer)
            })
            .unzip();
        assert_eq!(self.task.batch(inputs), Next::Go);
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect()
    }

    fn make(&mut self, request: Request) {
        self.ask(vec![request]).remove(0).unwrap();
    }

    /// Until not even one object more has room.
    fn fill(&mut self) {
        self.take_the_rest();
        loop {
            self.made += 1;
            let result = self.ask(vec![map(&format!("more-{}", self.made))]).remove(0);
            if is_refused(&result) {
                return;
            }
            result.unwrap();
        }
    }

    fn take_the_rest(&mut self) {
        while self.ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn entries(&self) -> u64 {
        self.task.store.last_audit_sequence()
    }

    /// Deletes by itself; which doors the node was told of.
    fn delete_alone(&mut self, request: Request) -> Vec<bool> {
        self.node.try_iter().for_each(drop);
        let (to, mut answer) = oneshot::channel();
        assert_eq!(self.task.delete_on_full_disk(request, Answer::new(to, None), Timestamp::now()), Next::Go);
        answer.try_recv().unwrap().unwrap();
        let is_open = |command: Command| match command {
            Command::ChangeEgress { egress, .. } => Some(egress.is_some()),
            _ => None,
        };
        self.node.try_iter().filter_map(is_open).collect()
    }
}

#[test]
fn who_deletes_takes_nobody_along_into_the_reserve() {
    run_part("part_with_a_crowd", 24);
}

#[test]
fn part_with_a_crowd() {
    let Some(mut bench) = Bench::of_child() else { return };
    for name in ["a", "b", "c", "d"] {
        bench.make(map(name));
    }
    bench.fill();
    let dry_run = || Request {
        options: WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() },
        ..delete(Resource::ConfigMap, "a")
    };
    let mut requests: Vec<Request> = (0..200).map(|_| dry_run()).collect();
    requests.push(delete(Resource::ConfigMap, "a"));
    let before = bench.entries();
    let mut answers = bench.ask(requests);
    answers.pop().unwrap().unwrap();
    assert!(answers.iter().all(is_refused));
    assert_eq!(bench.entries(), before + 1);

    // Nor does what the node tells.
    bench.fill();
    let (before, (to, mut answer)) = (bench.entries(), oneshot::channel());
    let lost = |serial: u64| Input::Report(Report::ConnectionsTold { serial, lost: 1 });
    let mut inputs: Vec<Input> = (1..200).map(lost).collect();
    inputs.push(Input::Write(Box::new(delete(Resource::ConfigMap, "b")), Answer::new(to, None)));
    assert_eq!(bench.task.batch(inputs), Next::Go);
    answer.try_recv().unwrap().unwrap();
    assert_eq!((bench.entries(), bench.task.unsaved.len()), (before + 1, 199));
    bench.task.unsaved.clear();

    // Many are deleted in a crowd as one is.
    bench.fill();
    let many = Write::DeleteCollection {
        options: DeleteOptions::default(),
        label_selector: "map in (c,d)".into(),
        field_selector: String::new(),
        page: Page::default(),
    };
    let answers = bench.ask(vec![map("e"), request(Resource::ConfigMap, "", many)]);
    assert!(is_refused(&answers[0]));
    let gone = &answers[1].as_ref().unwrap().object;
    assert_eq!(gone["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_full_disk_takes_deletions_that_a_quota_counts() {
    run_part("part_with_a_quota", 24);
}

#[test]
fn part_with_a_quota() {
    let Some(mut bench) = Bench::of_child() else { return };
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "9000"}},
    });
    bench.make(create(Resource::ResourceQuota, quota));
    bench.make(map("a"));
    bench.make(map("b"));
    bench.fill();
    let check = |bench: &Bench| -> usize {
        let snapshot = bench.task.shared.published.load();
        let maps = snapshot.list(Resource::ConfigMap, Some("default"), None).count();
        let quota = snapshot.get(Resource::ResourceQuota, "default", "q").unwrap().render();
        assert_eq!(quota["status"]["used"]["configmaps"], maps.to_string());
        maps
    };
    let before = check(&bench);
    bench.make(delete(Resource::ConfigMap, "a"));
    assert_eq!(check(&bench), before - 1);
    // In a crowd too.
    bench.fill();
    let before = check(&bench);
    let answers = bench.ask(vec![map("c"), delete(Resource::ConfigMap, "b")]);
    assert!(is_refused(&answers[0]) && answers[1].is_ok());
    assert_eq!(check(&bench), before - 1);
}

#[test]
fn only_a_policy_that_goes_is_told_with_a_deletion() {
    run_part("part_with_doors", 24);
}

#[test]
fn part_with_doors() {
    let Some(mut bench) = Bench::of_child() else { return };
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "annotations": {EGRESS_NAMES: "[\"a.org:1\"]"}},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1.36"}]},
    });
    bench.make(map("a"));
    bench.make(create(Resource::NetworkPolicy, policy));
    bench.make(create(Resource::Pod, pod));
    let start = |command: Command| match command {
        Command::Start(pod) => Some(pod.uid),
        _ => None,
    };
    let uid = bench.node.try_iter().find_map(start).unwrap();
    let running = ContainerState::Running { started_at: 1 };
    let container = ContainerStatus { state: running, ..ContainerStatus::waiting("") };
    let status = PodStatus { phase: Phase::Running, containers: vec![container], ..PodStatus::default() };
    let report = Report::Status { uid, status: Box::new(status) };
    assert_eq!(bench.task.batch(vec![Input::Report(report)]), Next::Go);
    bench.fill();
    assert_eq!(bench.delete_alone(delete(Resource::ConfigMap, "a")), [true; 0]);
    assert_eq!(bench.delete_alone(delete(Resource::NetworkPolicy, "p")), [false]);
}

#[test]
fn notes_without_room_wait_alone() {
    run_part("part_with_notes", 80);
}

#[test]
fn part_with_notes() {
    let Some(mut bench) = Bench::of_child() else { return };
    bench.take_the_rest();
    let bytes = bench.ballast.metadata().unwrap().len();
    bench.ballast.set_len(bytes - (1 << 20)).unwrap();
    let before = bench.entries();
    let notes = (0..400).map(|_| note(true, 60_000)).chain([note(false, 100)]).collect();
    assert_eq!(bench.task.batch(notes), Next::Go);
    bench.make(map("a"));
    bench.task.notes.hurry();
    bench.make(map("b"));
    // How something ended is in the journal with the changes; the reads wait, and no change was refused.
    assert_eq!((bench.task.notes.waiting(), bench.entries()), ((400, 0), before + 3));
    let page = bench.task.shared.metrics.render(&bench.task.shared.published.load());
    assert!(page.contains("\nwatchbell_commits_refused_total 0\n"), "{page}");

    // They are not tried with every change.
    bench.task.notes.never_due();
    std::fs::remove_file(bench.disk.join("ballast")).unwrap();
    bench.ballast.set_len(0).unwrap();
    bench.make(map("c"));
    assert_eq!((bench.task.notes.waiting(), bench.entries()), ((400, 0), before + 4));
    bench.task.notes.hurry();
    bench.make(map("d"));
    assert_eq!((bench.task.notes.waiting(), bench.entries()), ((0, 0), before + 405));
}

#[test]
fn the_reserve_comes_back_while_there_is_work() {
    run_part("part_with_work", 24);
}

#[test]
fn part_with_work() {
    let Some(mut bench) = Bench::with_log_files() else { return };
    bench.fill();
    // Used up, and then there is room again.
    assert_eq!(bench.task.store.release_reserve().unwrap(), ReserveState::Held);
    std::fs::remove_file(bench.disk.join("ballast")).unwrap();
    bench.ballast.set_len(0).unwrap();
    bench.make(map("a"));
    assert!(bench.task.reserve_due.is_some());
    // Its time has come, and the writer does not rest: more waits than a batch takes.
    bench.task.reserve_due = Some(Instant::now());
    let (to, inputs) = channel();
    for _ in 0..=BATCH {
        to.send(note(false, 100)).unwrap();
    }
    to.send(Input::End).unwrap();
    bench.task.run(&inputs);
    let data = bench.disk.join("data");
    assert_eq!(data.join("reserve").metadata().unwrap().len(), 1 << 20);
    // Nor do the log's files wait any longer.
    let entries = Store::open(&data).unwrap().0.last_audit_sequence();
    let checkpoint = std::fs::read_to_string(data.join("audit/checkpoint")).unwrap();
    assert_eq!(checkpoint.lines().nth(1), Some(entries.to_string().as_str()));
}
