//! A node on a private data directory, with an image that holds one static program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchbell_api::array::{ArrayRefusal, PublishedArray};
use watchbell_api::node::{
    Assignment, Command, IssuedToken, LogQuery, LogSource, Lookup, Report, Sessions, StopCause, Tokens,
};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, JobLog, PodStatus, Terminated};
use watchbell_api::{Resource, Uid};
use watchbell_image::{BuildSpec, Reference, Store, build_scratch};
use watchbell_node::{Kept, Node, NodeOptions, capacity};

use crate::arrays;

pub(crate) const BUSYBOX: &str = "/bin/busybox";
pub(crate) const JOB: Uid = Uid(0xabc);
/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Rig {
    dir: Arc<tempfile::TempDir>,
    node: Option<Node>,
    commands: Option<Sender<Command>>,
    reports: Receiver<Report>,
    /// The last status of each pod.
    pub(crate) seen: BTreeMap<Uid, PodStatus>,
    pub(crate) events: Vec<String>,
    /// What of indices was committed: array, index, keys.
    pub(crate) committed: Vec<(String, u32, u64)>,
    pub(crate) published: Vec<Result<Vec<PublishedArray>, ArrayRefusal>>,
}

/// A data directory.
fn with_image() -> Arc<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("watchbell-node-").tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let spec = BuildSpec {
        copies: vec![(BUSYBOX.into(), "/bin/busybox".into()), (BUSYBOX.into(), "/bin/sh".into())],
        ..BuildSpec::default()
    };
    build_scratch(&store, &spec, &Reference::parse("busybox:bar").unwrap()).unwrap();
    Arc::new(dir)
}

/// A tmpfs of one MiB that goes away again, before the directory that it lies in.
pub(crate) struct SmallDisk {
    path: PathBuf,
    _dir: Arc<tempfile::TempDir>,
}

impl SmallDisk {
    fn at(path: &Path, dir: Arc<tempfile::TempDir>) -> SmallDisk {
        std::fs::create_dir(path).unwrap();
        let made =
            Program::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none"]).arg(path).status();
        assert!(made.unwrap().success());
        SmallDisk { path: path.to_owned(), _dir: dir }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        match Program::new("umount").arg("-l").arg(&self.path).status() {
            Ok(status) if status.success() => {}
            other => println!("{} stays mounted: {other:?}", self.path.display()),
        }
    }
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::on(with_image())
    }

    /// What pods write to the disk lies on one of a MiB.
    pub(crate) fn with_small_volumes() -> (Rig, SmallDisk) {
        let dir = with_image();
        let small = SmallDisk::at(&dir.path().join("volumes"), dir.clone());
        (Rig::on(dir), small)
    }

    fn on(dir: Arc<tempfile::TempDir>) -> Rig {
        let mut options =
            NodeOptions::new(dir.path(), "here", capacity(dir.path(), &Kept::default()).unwrap().capacity);
        options.spawner.idle_seconds = 1;
        // Programs of this machine that a test lets a container use.
        options.spawner.ceiling.host_paths = arrays::host_paths();
        let (commands, receiver) = channel();
        let (tell, reports) = channel();
        let report = move |report| {
            // The test may be over.
            let _ = tell.send(report);
        };
        let node =
            Node::start(options, lookup(), tokens(), Arc::new(Default::default), receiver, report).unwrap();
        Rig {
            dir,
            node: Some(node),
            commands: Some(commands),
            reports,
            seen: BTreeMap::new(),
            events: Vec::new(),
            committed: Vec::new(),
            published: Vec::new(),
        }
    }

    /// The server ends, and what it started goes on.
    pub(crate) fn end_server(mut self) -> Arc<tempfile::TempDir> {
        self.commands = None;
        self.node.take().unwrap().join();
        self.dir.clone()
    }

    pub(crate) fn restart(dir: Arc<tempfile::TempDir>) -> Rig {
        Rig::on(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn logs(&self) -> Arc<dyn LogSource> {
        self.node.as_ref().unwrap().logs()
    }

    pub(crate) fn sessions(&self) -> Arc<dyn Sessions> {
        self.node.as_ref().unwrap().sessions()
    }

    pub(crate) fn send(&self, command: Command) {
        self.commands.as_ref().unwrap().send(command).unwrap();
    }

    pub(crate) fn begin(&self, mut assignment: Assignment) {
        assignment.log = log_of(&assignment);
        self.send(Command::Start(Box::new(assignment)));
    }

    pub(crate) fn stop(&self, uid: u128, grace_seconds: u32) {
        self.send(Command::Stop { uid: Uid(uid), grace_seconds, cause: StopCause::Deleted });
    }

    /// As the kernel would, out of memory.
    pub(crate) fn kill_spawner(&self) {
        let pids = processes_with(self.path(), "spawner");
        assert!(!pids.is_empty(), "no spawner runs");
        for pid in pids {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }

    /// Waits until a pod's status is as wanted.
    pub(crate) fn until(&mut self, uid: u128, wanted: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.seen.get(&Uid(uid))
                && wanted(status)
            {
                return status.clone();
            }
            self.hear(PATIENCE.saturating_sub(since.elapsed()));
        }
    }

    fn hear(&mut self, patience: Duration) {
        let report = self.reports.recv_timeout(patience);
        let report =
            report.unwrap_or_else(|e| panic!("{e}; seen: {:?}; events: {:?}", self.seen, self.events));
        match report {
            Report::Status { uid, status } => {
                let before = self.seen.insert(uid, *status);
                assert!(!before.is_some_and(|s| s.phase.is_terminal()), "a terminal phase comes once");
            }
            Report::Event { reason, message, .. } => self.events.push(format!("{reason}: {message}")),
            Report::VolumeRemoved { name, error } => {
                self.events.push(format!("removed {name}: {error:?}"));
            }
            Report::ArrayCommitted { uid, array, index, keys, .. } => {
                let is_told = self.seen.get(&uid).is_some_and(|status| status.phase.is_terminal());
                assert!(!is_told, "an index is committed before its pod is told to have ended");
                self.committed.push((array.to_string(), index, keys));
            }
            Report::ArraysPublished { result, .. } => self.published.push(result),
            Report::Devices { .. }
            | Report::Started { .. }
            | Report::Image { .. }
            | Report::ImageJudged { .. }
            | Report::Connection { .. }
            | Report::ConnectionsTold { .. }
            | Report::GateLost { .. }
            | Report::Array { .. }
            | Report::ArraysDelayed { .. }
            | Report::ArrayRolledBack { .. } => {}
        }
    }

    /// What becomes of a publication.
    pub(crate) fn publish(&mut self, command: Command) -> Result<Vec<PublishedArray>, ArrayRefusal> {
        self.published.clear();
        self.send(command);
        while self.published.is_empty() {
            self.hear(PATIENCE);
        }
        self.published.remove(0)
    }

    pub(crate) fn until_over(&mut self, uid: u128) -> PodStatus {
        let status = self.until(uid, |s| s.phase.is_terminal());
        self.send(Command::Acknowledge { uid: Uid(uid) });
        status
    }

    /// Runs a pod to its end and gives the end of its first container and what it printed.
    pub(crate) fn run(&mut self, assignment: Assignment) -> (Terminated, String) {
        let query = query(&assignment, 0);
        let uid = assignment.uid.0;
        self.begin(assignment);
        let status = self.until_over(uid);
        let end = match &status.containers[0].state {
            ContainerState::Terminated(end) => end.clone(),
            other => panic!("{other:?} {status:?}"),
        };
        (end, self.log(&query))
    }

    pub(crate) fn log(&self, query: &LogQuery) -> String {
        let mut stream = self.logs().open(query).unwrap();
        let (mut text, mut buffer) = (Vec::new(), [0u8; 4096]);
        while !stream.finished() {
            let n = stream.read(&mut buffer).unwrap();
            text.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(node) = self.node.take() {
            node.join();
        }
        // The directory goes when nobody uses it any more: the spawner ends by itself, soon after its last task.
        let since = Instant::now();
        while Arc::strong_count(&self.dir) == 1
            && !processes_with(self.path(), "spawner").is_empty()
            && since.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until something holds that nobody reports.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "it does not happen: {what}");
        std::thread::yield_now();
    }
}

/// Waits until a file, a log for one, has these words.
#[track_caller]
pub(crate) fn until_written(file: &Path, words: &str) {
    until(words, || std::fs::read_to_string(file).unwrap_or_default().contains(words));
}

/// A script that says `before`, goes on with `then` once [`tell`] was called, whether there is a node or not, and has the directory's name in it.
pub(crate) fn told(dir: &Path, then: &str) -> String {
    let dir = dir.display();
    format!("trap told=1 USR1; echo before; until [ $told ]; do busybox sleep 0.01; done; {then}; : {dir}")
}

/// Lets the script go on, which has said `before`.
pub(crate) fn tell(dir: &Path) {
    let pids = processes_with(dir, "-c");
    assert!(!pids.is_empty(), "no script runs");
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    }
}

/// The processes that were started as this word, with this directory.
fn processes_with(dir: &Path, word: &str) -> Vec<i32> {
    let dir = dir.to_string_lossy();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_one = |path: &Path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(&*dir) && line.split('\0').nth(1) == Some(word)
    };
    let found = processes.map(|p| p.path()).filter(|path| is_one(path));
    found.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn lookup() -> Lookup {
    Arc::new(|resource, _, name| match (resource, name) {
        (Resource::ConfigMap, "cfg") => Some(Arc::new(json!({"data": {"color": "red", "size": "10"}}))),
        (Resource::Secret, "sec") => Some(Arc::new(json!({"data": {"token": "aHVudGVyMg=="}}))),
        _ => None,
    })
}

/// A pod's first token ends soon, and so is replaced; those that follow live longer.
fn tokens() -> Tokens {
    let given: Mutex<BTreeMap<Uid, u32>> = Mutex::default();
    Arc::new(move |query| {
        let mut given = given.lock().unwrap();
        let count = given.entry(query.pod_uid).or_default();
        *count += 1;
        let issued_at = jiff::Timestamp::now().as_second();
        let life = if *count == 1 { 1 } else { query.expiration_seconds };
        Ok(IssuedToken { token: format!("token-{count}"), issued_at, expires_at: issued_at + life })
    })
}

/// Where the logs of a pod lie that its Job made, or nobody.
fn log_of(assignment: &Assignment) -> Option<JobLog> {
    let (index, attempt) = (assignment.index, assignment.attempt);
    assignment.job.as_ref().map(|(job, _)| JobLog { job: *job, index, attempt })
}

pub(crate) fn query(assignment: &Assignment, container: u16) -> LogQuery {
    LogQuery { pod_uid: assignment.uid, log: log_of(assignment), container, ..LogQuery::default() }
}

/// A container that runs a script, filled in as admission does it in a namespace without a level.
pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "busybox:bar", "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}},
    })
}

pub(crate) fn spec(mut fields: Value) -> Arc<PodSpec> {
    let object = fields.as_object_mut().unwrap();
    object.entry("restartPolicy").or_insert("Never".into());
    object.insert("automountServiceAccountToken".into(), false.into());
    let mut context = json!({"runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"}});
    if let Some(own) = object.get("securityContext").and_then(Value::as_object) {
        context.as_object_mut().unwrap().extend(own.clone());
    }
    object.insert("securityContext".into(), context);
    Arc::new(serde_json::from_value(fields).unwrap())
}

pub(crate) fn script(script: &str) -> Arc<PodSpec> {
    spec(json!({"containers": [container("main", script)]}))
}

pub(crate) fn pod(uid: u128, spec: &Arc<PodSpec>) -> Assignment {
    Assignment {
        uid: Uid(uid),
        namespace: "ns".into(),
        name: format!("pod-{uid}").into(),
        labels: Arc::default(),
        annotations: Arc::default(),
        spec: spec.clone(),
        hostname: format!("pod-{uid}").into(),
        job: None,
        index: None,
        attempt: 0,
        log: None,
        private_tmp: true,
        egress: None,
        arrays: None,
        status: PodStatus {
            scheduled_at: Some(jiff::Timestamp::now().as_second()),
            init_containers: vec![ContainerStatus::waiting("PodInitializing"); spec.init_containers.len()],
            containers: vec![ContainerStatus::waiting("ContainerCreating"); spec.containers.len()],
            ..PodStatus::default()
        },
    }
}

pub(crate) fn index(uid: u128, spec: &Arc<PodSpec>) -> Assignment {
    Assignment { job: Some((JOB, "array".into())), index: Some(uid as u32), ..pod(uid, spec) }
}

/// The processor time of this process and of the spawner and keeper that it started, in that order.
pub(crate) fn cpu_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
