//! The real `kubectl` against the server.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::Harness;

const KUBECTL: &str = "/usr/bin/kubectl";

/// `None`, said loudly, where there is no kubectl.
fn kubectl_path() -> Option<PathBuf> {
    let path = PathBuf::from(KUBECTL);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {KUBECTL} is not installed, so nothing was checked against the real kubectl");
    None
}

struct Kubectl<'a> {
    server: &'a Harness,
    home: TempDir,
}

impl Kubectl<'_> {
    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(KUBECTL)
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.server.dir.path().join("admin.kubeconfig"))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}\n{out}\n{err}");
        out.into_owned()
    }
}

const CRON_JOB: &str = "
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    spec:
      completions: 3
      parallelism: 2
      completionMode: Indexed
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: main
            image: busybox:1.36
            command: ['true']
";

#[test]
fn apply_and_get() {
    if kubectl_path().is_none() {
        return;
    }
    let server = Harness::start();
    let kubectl = Kubectl { server: &server, home: tempfile::tempdir().unwrap() };
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], CRON_JOB), "cronjob.batch/nightly created\n");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], CRON_JOB), "cronjob.batch/nightly unchanged\n");
    let changed = CRON_JOB.replace("0 3", "30 4");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &changed), "cronjob.batch/nightly configured\n");
    let table = kubectl.ok(&["get", "cronjobs"], "");
    assert!(table.contains("nightly") && table.contains("30 4 * * *"), "{table}");
}
