//! One server for all tests that run at a time, as the published suite has one cluster: each test has its namespace.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody, http};
use watchbell_api::protobuf::MEDIA_TYPE;

use crate::fixtures::{BUSYBOX, PAUSE};
use crate::stand::{Stand, run, which};
use crate::wire::{decode, encode};

const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";
const ACCEPT_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch";

/// The directory of the host where tests keep what outlives a pod; there is none until a pod asks for one in it.
const MARKS: &str = "job-e2e";

static RUNNING: Mutex<Weak<Suite>> = Mutex::new(Weak::new());

pub(crate) struct Suite {
    /// Taken when the suite ends.
    stand: Option<Stand>,
    agent: Agent,
    server: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{:#}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn refused(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{:#}", self.body);
        self.body
    }
}

impl Suite {
    /// The server that runs, or a new one.
    pub(crate) fn join() -> Arc<Suite> {
        let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(suite) = running.upgrade() {
            return suite;
        }
        let suite = Arc::new(Suite::start());
        *running = Arc::downgrade(&suite);
        suite
    }

    fn start() -> Suite {
        let stand = Stand::prepared(|stand| {
            let busybox = which("busybox").expect("busybox-static is installed");
            let applets = ["sh", "sleep", "true", "false", "expr", "touch", "cat", "echo", "env"];
            let copies = applets.map(|applet| format!("{}:/bin/{applet}", busybox.display()));
            build(stand, BUSYBOX, &copies, &["--cmd", "sh", "--env", "PATH=/bin"]);
            let (code, program) = (stand.path("pause.c"), stand.path("pause"));
            std::fs::write(&code, PAUSE_C).unwrap();
            let mut compile = std::process::Command::new("cc");
            compile.args(["-O1", "-static", "-o"]).arg(&program).arg(&code);
            run(compile, "").ok();
            build(stand, PAUSE, &[format!("{}:/pause", program.display())], &["--entrypoint", "/pause"]);
            let marks = stand.path(MARKS).display().to_string();
            ["--allow-privileged", "--allow-host-path", &marks].map(str::to_owned).to_vec()
        });
        let (agent, server) = connect(&stand.kubeconfig());
        Suite { stand: Some(stand), agent, server }
    }

    pub(crate) fn marks(&self) -> PathBuf {
        self.stand.as_ref().expect("the suite has not ended").path(MARKS)
    }

    pub(crate) fn server_log(&self) -> String {
        self.stand.as_ref().map(Stand::server_log).unwrap_or_default()
    }

    /// Sends a request; `kind` is the media type of the body.
    pub(crate) fn open(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> http::Response<Body> {
        let accept = if path.contains("watch=true") { ACCEPT_WATCH } else { ACCEPT };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header("Accept", accept)
            .header("User-Agent", "e2e.test/v1.36.0 (linux/amd64) kubernetes/conformance");
        if body.is_empty() {
            return self.agent.run(request.body(()).unwrap()).unwrap();
        }
        let length = body.len().to_string();
        let request = request.header("Content-Type", kind).header("Content-Length", length);
        self.agent
            .run(request.body(SendBody::from_owned_reader(std::io::Cursor::new(body))).unwrap())
            .unwrap()
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let mut response = self.open(method, path, kind, body);
        let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        let warnings = response.headers().get_all("Warning");
        let warnings = warnings.iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        Answer { code: response.status().as_u16(), body: decode(&bytes), warnings }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", Vec::new())
    }

    /// Sends an object with its `apiVersion` and `kind`.
    pub(crate) fn send(&self, method: &str, path: &str, object: &Value) -> Answer {
        self.ask(method, path, MEDIA_TYPE, encode(object))
    }

    /// Deletes with options.
    pub(crate) fn delete(&self, path: &str, mut options: Value) -> Answer {
        options["kind"] = "DeleteOptions".into();
        options["apiVersion"] = if path.starts_with("/apis/batch") { "batch/v1" } else { "v1" }.into();
        self.send("DELETE", path, &options)
    }

    /// Sends a patch of the form `merge-patch` or the like.
    pub(crate) fn patch(&self, path: &str, form: &str, patch: &Value) -> Answer {
        self.ask("PATCH", path, &format!("application/{form}+json"), patch.to_string().into_bytes())
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        if let Some(stand) = self.stand.take()
            && !std::thread::panicking()
        {
            stand.end();
        }
    }
}

fn build(stand: &Stand, name: &str, copies: &[String], more: &[&str]) {
    let mut command = stand.program();
    command.args(["image", "build", name, "--user", "0:0", "--data-dir"]).arg(stand.data());
    for copy in copies {
        command.args(["--copy", copy]);
    }
    command.args(more);
    run(command, "").ok();
}

fn connect(kubeconfig: &Path) -> (Agent, String) {
    let config = watchbell_api::decode::yaml(&std::fs::read(kubeconfig).unwrap()).unwrap().remove(0);
    let data = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let authority = Certificate::from_pem(&data(&cluster["certificate-authority-data"])).unwrap();
    let certificate = Certificate::from_pem(&data(&user["client-certificate-data"])).unwrap();
    let key = PrivateKey::from_pem(&data(&user["client-key-data"])).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[authority]))
        .client_cert(Some(ClientCert::new_with_certs(&[certificate], key)))
        .build();
    let agent = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .new_agent();
    (agent, cluster["server"].as_str().unwrap().to_owned())
}

/// Waits for ever, and ends at once when told to.
const PAUSE_C: &str = r"
#include <signal.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
";
