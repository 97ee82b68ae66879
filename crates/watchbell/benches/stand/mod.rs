//! A server under measurement and a client that costs little.

#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

pub(crate) struct Stand {
    pub(crate) dir: tempfile::TempDir,
    server: Option<Child>,
}

impl Stand {
    pub(crate) fn new() -> Stand {
        assert!(rustix::process::geteuid().is_root(), "the bench starts containers, which needs root");
        Stand { dir: tempfile::tempdir().unwrap(), server: None }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// `WATCHBELL=PATH` measures another build.
    pub(crate) fn program() -> Command {
        let program = std::env::var_os("WATCHBELL").unwrap_or_else(|| env!("CARGO_BIN_EXE_watchbell").into());
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        command
    }

    /// Puts an image `true:1` of one static program into the store; returns the program's path on the host. All it does is
    /// to call itself `name`, which the kernel tells who listens.
    pub(crate) fn build_true(&self, name: &str) -> PathBuf {
        let source = self.dir.path().join("true.c");
        let program = self.dir.path().join("true");
        let text = format!(
            "#include <sys/prctl.h>\nint main(void) {{ prctl(PR_SET_NAME, \"{name}\"); return 0; }}\n"
        );
        std::fs::write(&source, text).unwrap();
        let compiled =
            Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status().unwrap();
        assert!(compiled.success());
        let built = Stand::program()
            .args(["image", "build", "true:1", "--data-dir"])
            .arg(self.data())
            .arg("--copy")
            .arg(format!("{}:/true", program.display()))
            .args(["--entrypoint", "/true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(built.success());
        program
    }

    pub(crate) fn launch(&mut self) {
        let log = File::create(self.dir.path().join("server.log")).unwrap();
        let child = Stand::program()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// A connection, once the server answers.
    pub(crate) fn client(&mut self) -> Client {
        let begun = Instant::now();
        loop {
            if let Some(client) = Client::connect(&self.data().join("admin.kubeconfig")) {
                return client;
            }
            if let Some(status) = self.server.as_mut().unwrap().try_wait().unwrap() {
                panic!("the server ended: {status}: {}", self.log());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            server.wait().unwrap();
        }
    }

    /// All processes of the stand: the server, the spawner, the keeper.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let mut found = vec![("server".to_owned(), self.pid())];
        found.extend(parts_of(&self.data()));
        found
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The spawner and the keeper that work for a directory.
pub(crate) fn parts_of(dir: &Path) -> Vec<(String, u32)> {
    let dir = dir.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        for part in ["spawner", "keeper"] {
            if line.contains(&dir) && line.split(' ').nth(1) == Some(part) {
                found.push((part.to_owned(), pid));
            }
        }
    }
    found
}

/// `VmHWM` or `VmRSS` in KiB.
pub(crate) fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Fields of `/proc/PID/stat` from the third on.
fn stat_ticks(pid: u32, first: usize) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    ticks(first) + ticks(first + 1)
}

/// CPU time of a process in milliseconds, its reaped children excluded. The kernel counts in steps of ten.
pub(crate) fn cpu_ms(pid: u32) -> u64 {
    stat_ticks(pid, 11) * 10
}

/// CPU time of the children that a process reaped, in milliseconds.
pub(crate) fn cpu_of_children_ms(pid: u32) -> u64 {
    stat_ticks(pid, 13) * 10
}

/// CPU time of the stand's processes so far. The kernel's own threads, which take namespaces down, belong to nobody and
/// are in no contender's figure.
#[derive(Clone, Copy)]
pub(crate) struct Use([u64; 4]);

impl Use {
    pub(crate) const PARTS: [&str; 4] = ["server", "spawner", "keeper", "tasks"];

    pub(crate) fn parts(self) -> Vec<f64> {
        self.0.iter().map(|ms| *ms as f64).collect()
    }
}

impl std::ops::Sub for Use {
    type Output = Use;

    fn sub(self, before: Use) -> Use {
        Use(std::array::from_fn(|n| self.0[n].saturating_sub(before.0[n])))
    }
}

pub(crate) fn used(processes: &[(String, u32)]) -> Use {
    let mut parts = [0; 4];
    for (name, pid) in processes {
        if let Some(at) = Use::PARTS.iter().position(|part| part == name) {
            parts[at] += cpu_ms(*pid);
        }
        // From the clone to the end: the start's second half is done by the task itself.
        if name == "spawner" {
            parts[3] += cpu_of_children_ms(*pid);
        }
    }
    Use(parts)
}

/// Bytes on disk below each entry of a directory.
pub(crate) fn file_bytes(dir: &Path) -> BTreeMap<String, u64> {
    fn below(path: &Path) -> u64 {
        let meta = std::fs::symlink_metadata(path).unwrap();
        if !meta.is_dir() {
            return meta.blocks() * 512;
        }
        std::fs::read_dir(path).unwrap().flatten().map(|entry| below(&entry.path())).sum()
    }
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), below(&entry.path()))).collect()
}

/// One kept-alive connection to the server.
pub(crate) struct Client {
    agent: Agent,
    server: String,
}

impl Client {
    pub(crate) fn connect(kubeconfig: &Path) -> Option<Client> {
        let text = std::fs::read_to_string(kubeconfig).ok()?;
        let field = |name: &str| -> Option<String> {
            let line = text.lines().find_map(|l| l.trim().trim_start_matches("- ").strip_prefix(name))?;
            Some(line.trim().trim_matches('"').to_owned())
        };
        let data = |name: &str| BASE64_STANDARD.decode(field(name)?).ok();
        let authority = Certificate::from_pem(&data("certificate-authority-data:")?).ok()?;
        let certificate = Certificate::from_pem(&data("client-certificate-data:")?).ok()?;
        let key = PrivateKey::from_pem(&data("client-key-data:")?).ok()?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(Some(ClientCert::new_with_certs(&[certificate], key)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let client = Client { agent, server: field("server:")? };
        let ready = client.agent.get(format!("{}/readyz", client.server)).call().ok()?;
        ready.status().is_success().then_some(client)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let mut answer = self.agent.get(format!("{}{path}", self.server)).call().unwrap();
        serde_json::from_slice(&answer.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap())
            .unwrap()
    }

    /// A number of the server's `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut answer = self.agent.get(format!("{}/metrics", self.server)).call().unwrap();
        let page = answer.body_mut().read_to_string().unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    pub(crate) fn post(&self, path: &str, object: &Value) {
        let mut answer = self
            .agent
            .post(format!("{}{path}", self.server))
            .header("Content-Type", "application/json")
            .send(object.to_string())
            .unwrap();
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().unwrap();
        assert_eq!(status, 201, "{body}");
    }

    /// An Indexed Job of `true:1`, from the request to its condition.
    pub(crate) fn run_job(&self, name: &str, count: usize, parallelism: usize) -> Duration {
        let begun = Instant::now();
        self.post(JOBS, &job(name, count, parallelism));
        loop {
            let status = self.get(&format!("{JOBS}/{name}"))["status"].take();
            let has = |kind: &str| {
                let conditions = status["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
            };
            if has("Complete") {
                assert_eq!(status["succeeded"], count, "{status}");
                return begun.elapsed();
            }
            assert!(!has("Failed"), "{status}");
            assert!(begun.elapsed() < Duration::from_secs(3600), "the Job does not end: {status}");
            // Each look costs the server something, too.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn delete(&self, path: &str) {
        let answer =
            self.agent.delete(format!("{}{path}?propagationPolicy=Background", self.server)).call().unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

pub(crate) const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn job(name: &str, completions: usize, parallelism: usize) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completions": completions, "parallelism": parallelism, "completionMode": "Indexed", "backoffLimit": 0,
            "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "true:1", "imagePullPolicy": "Never"}],
            }},
        },
    })
}
