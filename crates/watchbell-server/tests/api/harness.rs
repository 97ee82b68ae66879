//! A server in this process, with a journal of its own and a node that runs nothing.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use watchbell_api::node::{
    Capacity, Command, ImageRequest, Images, LogQuery, LogSource, LogStream, Report, TokenQuery, Tokens,
};
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, Phase, PodStatus};
use watchbell_api::{ApiError, Reason, Uid};
use watchbell_core::service_account::TokenIssuer;
use watchbell_core::world::{Config, Machine};
use watchbell_identity::Identity;
use watchbell_identity::oidc::{Issuer, IssuerConfig};
use watchbell_server::{ConnectionLimits, Listener, Server, ServerOptions, State, Writer};
use watchbell_store::{Options, Store};

use crate::client::Client;
use crate::sessions::FakeSessions;

/// Far above what anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A running server. Everything it made goes with it.
pub(crate) struct Harness {
    pub(crate) dir: TempDir,
    pub(crate) state: State,
    pub(crate) client: Client,
    pub(crate) logs: Arc<FakeLogs>,
    pub(crate) images: Arc<FakeImages>,
    pub(crate) sessions: Arc<FakeSessions>,
    commands: Mutex<Receiver<Command>>,
    server: Option<Server>,
    writer: Option<Writer>,
}

impl Harness {
    pub(crate) fn start() -> Harness {
        Harness::start_in(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_in(dir: TempDir) -> Harness {
        Harness::start_with(dir, &Options::default())
    }

    pub(crate) fn start_with(dir: TempDir, options: &Options) -> Harness {
        Harness::start_as(dir, options, Vec::new())
    }

    /// A server that takes ID tokens of these issuers.
    pub(crate) fn with_issuers(issuers: Vec<IssuerConfig>) -> Harness {
        Harness::start_as(tempfile::tempdir().unwrap(), &Options::default(), issuers)
    }

    /// A server that issues tokens of service accounts so.
    pub(crate) fn with_token_issuer(dir: TempDir, issuer: TokenIssuer) -> Harness {
        let connections = ConnectionLimits::of(u64::MAX);
        Harness::start_whole(dir, &Options::default(), Vec::new(), connections, Some(issuer))
    }

    /// A server with so few places for connections.
    pub(crate) fn with_connections(connections: ConnectionLimits) -> Harness {
        Harness::start_whole(tempfile::tempdir().unwrap(), &Options::default(), Vec::new(), connections, None)
    }

    fn start_as(dir: TempDir, options: &Options, issuers: Vec<IssuerConfig>) -> Harness {
        Harness::start_whole(dir, options, issuers, ConnectionLimits::of(u64::MAX), None)
    }

    fn start_whole(
        dir: TempDir,
        options: &Options,
        issuers: Vec<IssuerConfig>,
        connections: ConnectionLimits,
        token_issuer: Option<TokenIssuer>,
    ) -> Harness {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (store, report) = Store::open_with(dir.path(), options).unwrap();
        let mut identity = Identity::open(dir.path(), listen, "testhost").unwrap();
        if let Some(issuer) = token_issuer {
            identity = identity.with_issuer(issuer);
        }
        let config = Config {
            machine: Machine {
                kernel_version: "6.6.0".into(),
                address: "192.0.2.1".into(),
                ..Machine::default()
            },
            capacity: Capacity {
                cpu_millis: 4000,
                memory_bytes: 8 << 30,
                pods: 1000,
                ephemeral_storage_bytes: 10 << 30,
            },
            devices: Default::default(),
            hostname: "testhost".into(),
            ca_pem: identity.ca_pem().into(),
            seed: [7; 32],
        };
        let listener = Listener::bind(listen).unwrap();
        let (node, commands): (Sender<Command>, Receiver<Command>) = channel();
        let (state, writer) = State::start(store, report.last_resource_version, config, node).unwrap();
        let logs = Arc::new(FakeLogs::default());
        let images = Arc::new(FakeImages::default());
        let sessions = Arc::new(FakeSessions::default());
        let issuers = issuers.into_iter().map(|config| Issuer::start(config).unwrap()).collect();
        let options = ServerOptions { listener, identity: identity.into(), issuers, connections };
        let server =
            Server::start(options, state.clone(), logs.clone(), images.clone(), sessions.clone()).unwrap();
        let client = Client::of_kubeconfig(server.admin_kubeconfig());
        Harness {
            dir,
            state,
            client,
            logs,
            images,
            sessions,
            commands: Mutex::new(commands),
            server: Some(server),
            writer: Some(writer),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Of the certificate that lies in the data directory now.
    pub(crate) fn admin_serial_number(&self) -> String {
        let listen = self.address();
        Identity::open(self.dir.path(), listen, "testhost").unwrap().admin_serial_number().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().local_addr()
    }

    /// Ends the server in order and hands its directory on.
    pub(crate) fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    pub(crate) fn end(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown(Duration::from_secs(5));
        }
        self.state.end();
        if let Some(writer) = self.writer.take() {
            writer.join();
        }
    }

    /// Waits for the node's next command that `pick` takes; others are passed over.
    pub(crate) fn command<T>(&self, pick: impl Fn(Command) -> Option<T>) -> T {
        let commands = self.commands.lock().unwrap();
        loop {
            let command = commands.recv_timeout(PATIENCE).expect("the node was told nothing");
            if let Some(found) = pick(command) {
                return found;
            }
        }
    }

    /// A client of somebody who is no administrator.
    pub(crate) fn as_user(&self, user: &str, groups: &[&str]) -> Client {
        let token = json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"generateName": "test-"},
            "spec": {"user": user, "groups": groups, "description": "a test"},
        });
        let made = self.client.post("/apis/watchbell.dev/v1alpha1/usertokens", &token).expect(201);
        self.client.with_token(made["status"]["token"].as_str().unwrap())
    }

    /// Gives a user a ClusterRole in a namespace.
    pub(crate) fn bind(&self, namespace: &str, role: &str, user: &str) {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": format!("{user}-{role}")},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        self.client
            .post(&format!("/apis/{group}/v1/namespaces/{namespace}/rolebindings"), &binding)
            .expect(201);
    }

    /// What gives the node tokens, and what it asks for with the pod of a service account.
    pub(crate) fn tokens_of_a_pod(&self) -> (Tokens, TokenQuery) {
        let account = json!({"metadata": {"name": "robot"}});
        self.client.post("/api/v1/namespaces/default/serviceaccounts", &account).expect(201);
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot", "containers": [{"name": "a", "image": "x"}]}});
        let made = self.client.post("/api/v1/namespaces/default/pods", &pod).expect(201);
        let query = TokenQuery {
            namespace: "default".into(),
            pod_name: "p".into(),
            pod_uid: made["metadata"]["uid"].as_str().unwrap().parse().unwrap(),
            audience: String::new(),
            expiration_seconds: 3600,
        };
        let identity = Identity::open(self.dir.path(), self.address(), "testhost").unwrap();
        (self.state.tokens(Arc::new(identity)), query)
    }

    /// A server with the pod of a Job `a`, which runs; the pod's uid and path.
    pub(crate) fn with_running_pod() -> (Harness, Uid, String) {
        let h = Harness::start();
        h.client.post("/apis/batch/v1/namespaces/default/jobs", &job("a")).expect(201);
        let (uid, pod) = h.started();
        h.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
        let path = format!("/api/v1/namespaces/default/pods/{pod}");
        h.client.wait_for(&path, "running", |answer| answer.body["status"]["phase"] == "Running");
        (h, uid, path)
    }

    /// Waits for the start of the next pod and returns its uid and name.
    pub(crate) fn started(&self) -> (Uid, String) {
        self.command(|command| match command {
            Command::Start(pod) => Some((pod.uid, pod.name.to_string())),
            _ => None,
        })
    }

    /// The node reports a pod with one container.
    pub(crate) fn report(&self, uid: Uid, phase: Phase, state: ContainerState) {
        let now = jiff::Timestamp::now().as_second();
        let container = ContainerStatus { state, ..ContainerStatus::waiting("") };
        let status = PodStatus {
            phase,
            scheduled_at: Some(now),
            started_at: Some(now),
            finished_at: phase.is_terminal().then_some(now),
            containers: vec![container],
            ..PodStatus::default()
        };
        (self.state.reports())(Report::Status { uid, status: Box::new(status) });
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.end();
    }
}

/// Logs by pod and container ordinal.
#[derive(Default)]
pub(crate) struct FakeLogs {
    pub(crate) asked: Mutex<Vec<LogQuery>>,
    pub(crate) texts: Mutex<HashMap<(Uid, u16), Vec<u8>>>,
    /// Whether containers have ended; until then a followed log waits.
    pub(crate) ended: Arc<std::sync::atomic::AtomicBool>,
}

impl LogSource for FakeLogs {
    fn open(&self, query: &LogQuery) -> io::Result<Box<dyn LogStream>> {
        self.asked.lock().unwrap().push(query.clone());
        let texts = self.texts.lock().unwrap();
        match texts.get(&(query.pod_uid, query.container)) {
            Some(text) => {
                Ok(Box::new(FakeLog { text: io::Cursor::new(text.clone()), ended: self.ended.clone() }))
            }
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

struct FakeLog {
    text: io::Cursor<Vec<u8>>,
    ended: Arc<std::sync::atomic::AtomicBool>,
}

impl LogStream for FakeLog {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }

    fn finished(&self) -> bool {
        self.ended.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// An image store that says what it was asked.
#[derive(Default)]
pub(crate) struct FakeImages {
    pub(crate) asked: Mutex<Vec<ImageRequest>>,
}

impl Images for FakeImages {
    fn call(
        &self,
        request: &ImageRequest,
        body: &mut dyn Read,
        progress: &mut dyn FnMut(Value),
    ) -> Result<Value, ApiError> {
        self.asked.lock().unwrap().push(request.clone());
        match request {
            ImageRequest::Import { .. } => {
                let mut bytes = 0;
                let mut buffer = [0; 65536];
                loop {
                    match body.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => bytes += count,
                        Err(error) => return Err(ApiError::bad_request(error.to_string())),
                    }
                }
                progress(json!({"bytes": bytes}));
                Ok(json!({"imported": bytes}))
            }
            ImageRequest::Pull { name, .. } if name == "broken" => {
                progress(json!({"layer": 1}));
                Err(ApiError::new(Reason::NotFound, "no such image"))
            }
            ImageRequest::Pull { name, .. } if name.ends_with("/good:1") => {
                Ok(json!({"name": name, "digest": "sha256:ab"}))
            }
            other => Ok(json!({"asked": format!("{other:?}")})),
        }
    }
}

/// A Job of one pod that does nothing.
pub(crate) fn job(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{
            "name": "main", "image": "busybox:1.36", "command": ["true"],
        }]}}},
    })
}

pub(crate) fn config_map(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"team": label}},
        "data": {"key": "value"},
    })
}
