//! The real `kubectl` against the server.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;
use watchbell_api::types::pod_status::{ContainerState, Phase};

use crate::harness::Harness;

pub(crate) struct Kubectl<'a> {
    program: PathBuf,
    server: &'a Harness,
    home: TempDir,
}

impl<'a> Kubectl<'a> {
    /// `None`, said loudly, where there is no kubectl.
    #[expect(clippy::print_stderr, reason = "who runs the tests must hear what was not tested")]
    pub(crate) fn of(server: &'a Harness) -> Option<Kubectl<'a>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|p| p.exists());
        if let Some(program) = program {
            return Some(Kubectl { program, server, home: tempfile::tempdir().unwrap() });
        }
        eprintln!("SKIPPED: kubectl is not installed, so nothing was checked against the real one");
        None
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.server.dir.path().join("admin.kubeconfig"))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}\n{out}\n{err}");
        out.into_owned()
    }

    /// Refused, with these words on standard error.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], input: &str, words: &str) {
        let output = self.run(arguments, input);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "kubectl {arguments:?} was not refused");
        assert!(err.contains(words), "kubectl {arguments:?}: {err:?} does not contain {words:?}");
    }
}

pub(crate) const CRON_JOB: &str = "
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: '0 3 * * *'
  suspend: true
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

pub(crate) const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n";

#[test]
fn apply_creates_changes_and_leaves_alone() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], CRON_JOB), "cronjob.batch/nightly created\n");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], CRON_JOB), "cronjob.batch/nightly unchanged\n");
    let changed = CRON_JOB.replace("0 3", "30 4");
    assert_eq!(
        kubectl.ok(&["apply", "--dry-run=server", "-f", "-"], &changed),
        "cronjob.batch/nightly configured (server dry run)\n"
    );
    assert_eq!(kubectl.ok(&["get", "cj", "nightly", "-o", "jsonpath={.spec.schedule}"], ""), "0 3 * * *");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &changed), "cronjob.batch/nightly configured\n");
    let table = kubectl.ok(&["get", "cronjobs"], "");
    assert!(
        table.starts_with("NAME ") && table.contains("nightly") && table.contains("30 4 * * *"),
        "{table}"
    );
    let difference = kubectl.run(&["diff", "-f", "-"], CRON_JOB);
    assert!(String::from_utf8_lossy(&difference.stdout).contains("+  schedule: 0 3 * * *"), "{difference:?}");
    kubectl.refused(&["apply", "-f", "-"], &CRON_JOB.replace("image:", "imag:"), "unknown field");
    kubectl.refused(&["apply", "-f", "-"], &CRON_JOB.replace("0 3 * * *", "nonsense"), "spec.schedule");
    kubectl.refused(
        &["apply", "-f", "-"],
        "apiVersion: v1\nkind: Wizard\nmetadata:\n  name: x\n",
        "no matches for kind",
    );
}

#[test]
fn get_in_every_form() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["create", "-f", "-"], MAP);
    assert_eq!(kubectl.ok(&["get", "cm", "settings", "-o", "name"], ""), "configmap/settings\n");
    assert!(kubectl.ok(&["get", "cm", "settings", "-o", "yaml"], "").contains("colour: red"));
    assert!(kubectl.ok(&["get", "cm", "settings", "-o", "json"], "").contains("\"colour\": \"red\""));
    assert!(kubectl.ok(&["get", "cm", "-o", "wide"], "").contains("settings"));
    assert!(kubectl.ok(&["get", "cm", "-A"], "").contains("kube-system"));
    assert!(
        kubectl
            .ok(&["get", "cm", "-o", "custom-columns=N:.metadata.name,C:.data.colour"], "")
            .contains("red")
    );
    assert!(kubectl.ok(&["get", "namespaces,nodes"], "").contains("node/watchbell"));
    assert!(kubectl.ok(&["get", "all"], "").is_empty());
    kubectl.refused(
        &["get", "cm", "none"],
        "",
        "Error from server (NotFound): configmaps \"none\" not found",
    );
    // Page by page.
    let pages = kubectl.ok(&["get", "cm", "-A", "--chunk-size=1", "-o", "name"], "");
    assert_eq!(pages.lines().count(), 5, "{pages}");
}

#[test]
fn get_and_watch() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let mut child = Ended(kubectl.command(&["get", "cm", "-w", "-o", "name"]).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "configmap/kube-root-ca.crt");
    kubectl.ok(&["create", "-f", "-"], MAP);
    assert_eq!(lines.next().unwrap().unwrap(), "configmap/settings");
    kubectl.ok(&["delete", "cm", "settings"], "");
    assert_eq!(lines.next().unwrap().unwrap(), "configmap/settings");
}

#[test]
fn watch_as_a_table() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["apply", "-f", "-"], CRON_JOB);
    let mut child = Ended(kubectl.command(&["get", "cronjobs", "-w"]).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("NAME "));
    assert!(lines.next().unwrap().contains("True"));
    kubectl.ok(&["patch", "cronjob", "nightly", "-p", r#"{"spec":{"suspend":false}}"#], "");
    let changed = lines.next().unwrap();
    assert!(changed.starts_with("nightly ") && changed.contains("False"), "{changed}");
}

#[test]
fn wait_for_a_condition() {
    use watchbell_api::types::pod_status::{Terminated, TerminatedReason};
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["create", "job", "one", "--image=busybox:1.36", "--", "true"], "");
    let (uid, _) = server.started();
    let waiting =
        kubectl.command(&["wait", "--for=condition=complete", "job/one", "--timeout=300s"]).spawn().unwrap();
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(1),
        finished_at: 2,
    };
    server.report(uid, Phase::Succeeded, ContainerState::Terminated(end));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "job.batch/one condition met\n", "{output:?}");
    server.logs.texts.lock().unwrap().insert((uid, 0), b"done\n".to_vec());
    server.logs.ended.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(kubectl.ok(&["logs", "job/one"], ""), "done\n");
    assert!(kubectl.ok(&["get", "job", "one"], "").contains("1/1"));
    assert!(kubectl.ok(&["get", "events"], "").contains("Completed"));
}

/// A child that goes when the test does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn patch_label_annotate_replace_delete() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["create", "-f", "-"], MAP);
    let data =
        |field: &str| kubectl.ok(&["get", "cm", "settings", "-o", &format!("jsonpath={{{field}}}")], "");
    kubectl.ok(&["patch", "cm", "settings", "-p", r#"{"data":{"size":"large"}}"#], "");
    kubectl.ok(&["patch", "cm", "settings", "--type=merge", "-p", r#"{"data":{"colour":"blue"}}"#], "");
    let json = r#"[{"op":"replace","path":"/data/size","value":"small"}]"#;
    kubectl.ok(&["patch", "cm", "settings", "--type=json", "-p", json], "");
    assert_eq!((data(".data.colour"), data(".data.size")), ("blue".into(), "small".into()));
    kubectl.ok(&["label", "cm", "settings", "team=x"], "");
    kubectl.ok(&["annotate", "cm", "settings", "note=a b"], "");
    assert_eq!(kubectl.ok(&["get", "cm", "-l", "team=x", "-o", "name"], ""), "configmap/settings\n");
    kubectl.ok(&["label", "cm", "settings", "team-"], "");
    assert_eq!(kubectl.ok(&["get", "cm", "-l", "team", "-o", "name"], ""), "");
    kubectl.ok(&["replace", "-f", "-"], &MAP.replace("red", "green"));
    assert_eq!(data(".data.colour"), "green");
    assert_eq!(kubectl.ok(&["delete", "cm", "settings"], ""), "configmap \"settings\" deleted\n");
    kubectl.refused(&["delete", "cm", "settings"], "", "NotFound");
    kubectl.ok(&["create", "secret", "generic", "s", "--from-literal=password=swordfish"], "");
    kubectl.ok(&["create", "namespace", "ml"], "");
    kubectl.ok(&["-n", "ml", "create", "configmap", "c", "--from-literal=a=b"], "");
    kubectl.ok(&["delete", "namespace", "ml"], "");
    kubectl.refused(&["-n", "ml", "get", "cm", "c"], "", "NotFound");
}

#[test]
fn a_job_from_a_cron_job() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["apply", "-f", "-"], CRON_JOB);
    assert_eq!(
        kubectl.ok(&["create", "job", "now", "--from=cronjob/nightly"], ""),
        "job.batch/now created\n"
    );
    let (uid, pod) = server.started();
    let describe = kubectl.ok(&["describe", "job", "now"], "");
    for words in ["CronJob/nightly", "SuccessfulCreate", "Created pod: ", "Completion Mode:"] {
        assert!(describe.contains(words), "no {words:?} in\n{describe}");
    }
    assert!(kubectl.ok(&["describe", "cronjob", "nightly"], "").contains("Schedule:"));
    kubectl.refused(&["logs", &pod], "", "is waiting to start");
    server.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
    server.client.wait_for(&format!("/api/v1/namespaces/default/pods/{pod}"), "running", |answer| {
        answer.body["status"]["phase"] == "Running"
    });
    server.logs.texts.lock().unwrap().insert((uid, 0), b"hello\n".to_vec());
    server.logs.ended.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(kubectl.ok(&["logs", &pod], ""), "hello\n");
    assert_eq!(kubectl.ok(&["logs", "-f", "--tail=1", "--timestamps", &pod], ""), "hello\n");
    assert!(kubectl.ok(&["describe", "pod", &pod], "").contains("Job/now"));
    let pods = kubectl.ok(&["get", "pods", "-l", "batch.kubernetes.io/job-name=now"], "");
    assert!(pods.contains(&pod) && pods.contains("Running"), "{pods}");
    assert_eq!(kubectl.ok(&["delete", "job", "now", "--cascade=orphan"], ""), "job.batch \"now\" deleted\n");
    assert!(kubectl.ok(&["get", "pods", "-o", "name"], "").contains(&pod));
    kubectl.ok(&["wait", "--for=delete", "job/now", "--timeout=300s"], "");
}

#[test]
fn explain_and_discovery() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let explained = kubectl.ok(&["explain", "cronjob.spec.schedule"], "");
    assert!(explained.contains("FIELD: schedule") && explained.contains("<string>"), "{explained}");
    assert!(kubectl.ok(&["explain", "job.spec.template.spec.containers"], "").contains("image"));
    let older = kubectl.ok(&["explain", "cronjob.spec.schedule", "--output=plaintext-openapiv2"], "");
    assert!(older.contains("FIELD:") && older.contains("schedule"), "{older}");
    let resources = kubectl.ok(&["api-resources", "--no-headers"], "");
    assert!(resources.contains("cronjobs") && resources.contains("configmaps"), "{resources}");
    assert!(kubectl.ok(&["api-versions"], "").contains("batch/v1"));
    assert!(kubectl.ok(&["version"], "").contains("Server Version: v1.36.0"));
    assert_eq!(kubectl.ok(&["get", "--raw", "/readyz"], ""), "ok");
}
