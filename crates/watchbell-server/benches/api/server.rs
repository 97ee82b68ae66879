//! The server under measurement: a process of its own, so that its costs are not the clients'.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;
use watchbell_api::node::{
    Assignment, Capacity, Command as NodeCommand, ImageRequest, Images, LogQuery, LogSource, LogStream,
    Report, Session, SessionRequest, Sessions,
};
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};
use watchbell_api::{ApiError, Reason};
use watchbell_core::world::{Config, Machine};
use watchbell_identity::Identity;
use watchbell_server::{ConnectionLimits, Listener, Server, ServerOptions, State};
use watchbell_store::{Options, Store};

use crate::client::{Client, Watcher};

/// The argument by which the bench starts itself as the server.
pub(crate) const MODE: &str = "serve-for-bench";

pub(crate) struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    /// The node takes `pace` for each pod.
    pub(crate) fn start(fsync_delay: Duration, pace: Duration) -> Process {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(MODE)
            .arg(dir.path())
            .arg(fsync_delay.as_micros().to_string())
            .arg(pace.as_micros().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the server did not start");
        Process { child, dir }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.kubeconfig())
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> Client {
        Client::connect_as_nobody(&self.kubeconfig())
    }

    pub(crate) fn watch(&self, path: &str, accept: &str) -> Watcher {
        self.client().watch(path, accept)
    }

    /// A number of `/metrics`.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let page = String::from_utf8(self.client().call("GET", "/metrics", "text/plain", None)).unwrap();
        page.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `VmHWM` begins anew.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// CPU time so far. The kernel counts in steps of ten milliseconds.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server ends with its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends.
pub(crate) fn run(dir: &Path, fsync_delay: Duration, pace: Duration) {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let delay = Some(fsync_delay).filter(|delay| !delay.is_zero());
    let options = Options { fsync_delay: delay, ..Options::default() };
    let (store, report) = Store::open_with(dir, &options).unwrap();
    let identity = Identity::open(dir, listen, "bench").unwrap();
    let config = Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 64_000,
            memory_bytes: 64 << 30,
            pods: 1000,
            ephemeral_storage_bytes: 10 << 30,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: identity.ca_pem().into(),
        seed: [7; 32],
    };
    let (node, commands) = channel::<NodeCommand>();
    let (state, writer) = State::start(store, report.last_resource_version, config, node).unwrap();
    let reports = state.reports();
    let node = std::thread::spawn(move || {
        for command in commands {
            if let NodeCommand::Start(pod) = command {
                std::thread::sleep(pace);
                for status in statuses() {
                    reports(Report::Status { uid: pod.uid, status: Box::new(status) });
                }
            }
        }
    });
    let options = ServerOptions {
        listener: Listener::bind(listen).unwrap(),
        identity: identity.into(),
        issuers: Vec::new(),
        connections: ConnectionLimits::of(u64::MAX),
    };
    let server =
        Server::start(options, state.clone(), Arc::new(NoNode), Arc::new(NoNode), Arc::new(NoNode)).unwrap();
    let mut out = io::stdout();
    out.write_all(b"ready\n").unwrap();
    out.flush().unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    server.shutdown(Duration::from_secs(1));
    state.end();
    writer.join();
    drop(state);
    let _ = node.join();
}

/// What a node tells of a pod that does nothing: that it runs, and that it is done.
fn statuses() -> [PodStatus; 2] {
    let now = jiff::Timestamp::now().as_second();
    let of = |phase: Phase, state: ContainerState| PodStatus {
        phase,
        scheduled_at: Some(now),
        started_at: Some(now),
        finished_at: phase.is_terminal().then_some(now),
        containers: vec![ContainerStatus { state, ..ContainerStatus::waiting("") }],
        ..PodStatus::default()
    };
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(now),
        finished_at: now,
    };
    [
        of(Phase::Running, ContainerState::Running { started_at: now }),
        of(Phase::Succeeded, ContainerState::Terminated(end)),
    ]
}

/// Has no logs, no images and no processes.
struct NoNode;

impl LogSource for NoNode {
    fn open(&self, _: &LogQuery) -> io::Result<Box<dyn LogStream>> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Images for NoNode {
    fn call(&self, _: &ImageRequest, _: &mut dyn Read, _: &mut dyn FnMut(Value)) -> Result<Value, ApiError> {
        Err(ApiError::new(Reason::NotFound, "no images here"))
    }
}

impl Sessions for NoNode {
    fn explain(&self, _: &Assignment) -> Result<Value, ApiError> {
        Err(ApiError::new(Reason::NotFound, "no containers here"))
    }

    fn open(&self, _: &SessionRequest) -> Result<Session, ApiError> {
        Err(ApiError::new(Reason::NotFound, "no processes here"))
    }
}
