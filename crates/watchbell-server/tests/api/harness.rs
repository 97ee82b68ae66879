//! A server in this process, with a journal of its own and a node that runs nothing.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody, http};
use watchbell_api::node::{Capacity, Command, ImageRequest, Images, LogQuery, LogSource, LogStream, Report};
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, Phase, PodStatus};
use watchbell_api::{ApiError, Reason, Uid};
use watchbell_core::world::Config;
use watchbell_server::{Identity, Server, ServerOptions, State, Writer};
use watchbell_store::Store;

/// A running server. Everything it made goes with it.
pub(crate) struct Harness {
    pub(crate) dir: TempDir,
    pub(crate) state: State,
    pub(crate) client: Client,
    pub(crate) logs: Arc<FakeLogs>,
    pub(crate) images: Arc<FakeImages>,
    commands: Mutex<Receiver<Command>>,
    server: Option<Server>,
    writer: Option<Writer>,
}

impl Harness {
    pub(crate) fn start() -> Harness {
        Harness::start_in(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_in(dir: TempDir) -> Harness {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (store, report) = Store::open(dir.path()).unwrap();
        let identity = Identity::open(dir.path(), listen, "testhost").unwrap();
        let config = Config {
            capacity: Capacity {
                cpu_millis: 4000,
                memory_bytes: 8 << 30,
                pods: 1000,
                ephemeral_storage_bytes: 10 << 30,
            },
            hostname: "testhost".into(),
            ca_pem: identity.ca_pem().into(),
            seed: [7; 32],
        };
        let (node, commands): (Sender<Command>, Receiver<Command>) = channel();
        let (state, writer) = State::start(store, report.last_resource_version, config, node).unwrap();
        let logs = Arc::new(FakeLogs::default());
        let images = Arc::new(FakeImages::default());
        let options = ServerOptions { listen, identity };
        let server = Server::start(options, state.clone(), logs.clone(), images.clone()).unwrap();
        let client = Client::of_kubeconfig(server.admin_kubeconfig());
        Harness {
            dir,
            state,
            client,
            logs,
            images,
            commands: Mutex::new(commands),
            server: Some(server),
            writer: Some(writer),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().local_addr()
    }

    /// Ends the server in order and hands its directory on.
    pub(crate) fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
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
            let command = commands.recv_timeout(Duration::from_secs(20)).expect("the node was told nothing");
            if let Some(found) = pick(command) {
                return found;
            }
        }
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

/// An HTTPS client with (or without) a certificate.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    pub(crate) server: String,
    pub(crate) ca_pem: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }

    /// A `Status` of this code and reason whose message contains the words.
    #[track_caller]
    pub(crate) fn expect_refusal(self, code: u16, reason: &str, words: &str) {
        assert_eq!(self.code, code, "{}", self.text);
        assert_eq!(self.body["kind"], "Status", "{}", self.text);
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
        assert_eq!(self.body["reason"], reason);
        let message = self.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{message:?} does not contain {words:?}");
    }
}

impl Client {
    pub(crate) fn of_kubeconfig(path: &Path) -> Client {
        let text = std::fs::read(path).unwrap();
        let config = watchbell_api::decode::yaml(&text).unwrap().remove(0);
        let data = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        Client::new(
            cluster["server"].as_str().unwrap(),
            &data(&cluster["certificate-authority-data"]),
            Some((&data(&user["client-certificate-data"]), &data(&user["client-key-data"]))),
        )
    }

    pub(crate) fn new(server: &str, ca_pem: &[u8], identity: Option<(&[u8], &[u8])>) -> Client {
        let authority = Certificate::from_pem(ca_pem).unwrap();
        let own = identity.map(|(certificate, key)| {
            let certificate = Certificate::from_pem(certificate).unwrap();
            ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(key).unwrap())
        });
        let tls =
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[authority])).client_cert(own).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let identity = identity.map(|(certificate, key)| (certificate.to_vec(), key.to_vec()));
        Client { agent, server: server.into(), ca_pem: ca_pem.into(), identity }
    }

    /// The same server without a certificate.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.server, &self.ca_pem, None)
    }

    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http::Response<Body> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_empty() {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            let reader = io::Cursor::new(body.to_vec());
            let length = body.len().to_string();
            let request =
                request.header("Content-Length", length).body(SendBody::from_owned_reader(reader)).unwrap();
            self.agent.run(request).unwrap()
        }
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut response = self.open(method, path, headers, body);
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        Answer {
            code: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call("GET", path, &[("Accept", accept)], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn patch(&self, path: &str, content_type: &str, body: &Value) -> Answer {
        self.call("PATCH", path, &[("Content-Type", content_type)], body.to_string().as_bytes())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    /// Asks until the answer satisfies; the state settles in its own time.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str, what: &str, satisfied: impl Fn(&Answer) -> bool) -> Answer {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.get(path);
            if satisfied(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} never became {what}: {}", answer.text);
            std::thread::yield_now();
        }
    }

    /// Sends bytes of our own making over TLS, as the administrator, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        use tokio_rustls::rustls::{
            ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
        };
        let (certificate, key) = self.identity.as_ref().expect("raw bytes are sent as somebody");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.ca_pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate).unwrap()],
                PrivateKeyDer::from_pem_slice(key).unwrap(),
            )
            .unwrap();
        let address = self.server.trim_start_matches("https://");
        let connection =
            ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        // The server may answer and close before it has taken everything.
        let _ = io::Write::write_all(&mut stream, bytes);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The events of a watch, as they come.
    pub(crate) fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let response = self.open("GET", path, headers, b"");
        assert_eq!(response.status().as_u16(), 200);
        Lines { reader: Box::new(response.into_body().into_reader()), rest: Vec::new() }
    }
}

/// JSON documents, one a line.
pub(crate) struct Lines {
    reader: Box<dyn Read + Send>,
    rest: Vec<u8>,
}

impl Iterator for Lines {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let mut buffer = [0; 8192];
            match self.reader.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
            }
        }
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
