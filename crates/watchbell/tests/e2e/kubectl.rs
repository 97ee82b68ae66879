//! The real kubectl, with the habits of a user.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::stand::{Stand, condition, is_left_out, job};

#[test]
fn kubectl_applies_reads_changes_and_deletes() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let manifest = job(
        "mine",
        "completionMode: Indexed\n  completions: 3\n  parallelism: 3",
        "echo hello $JOB_COMPLETION_INDEX",
    );
    let out = stand.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    assert_eq!(out, "job.batch/mine created\n");
    let out = stand.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    assert_eq!(out, "job.batch/mine unchanged\n");
    stand.kubectl(&["wait", "--for=condition=complete", "--timeout=60s", "job/mine"]).ok();
    let table = stand.kubectl(&["get", "job", "mine"]).ok();
    assert!(table.contains("Complete") && table.contains("3/3"), "{table}");
    let log = stand.kubectl(&["logs", "job/mine", "--tail=5"]);
    assert!(log.out.starts_with("hello "), "{log:?}");
    let described = stand.kubectl(&["describe", "job", "mine"]).ok();
    assert!(described.contains("Completed Indexes:") && described.contains("0-2"), "{described}");
    assert!(described.contains("SuccessfulCreate"), "{described}");
    let pods = stand.kubectl(&["get", "pods", "-o", "wide"]).ok();
    assert_eq!(pods.lines().filter(|l| l.contains("Completed")).count(), 3, "{pods}");
    stand.kubectl(&["label", "job", "mine", "team=weather"]).ok();
    stand.kubectl(&["annotate", "job", "mine", "note=kept"]).ok();
    let got = stand
        .kubectl(&[
            "get",
            "jobs",
            "-l",
            "team in (weather)",
            "-o",
            "jsonpath={.items[*].metadata.annotations.note}",
        ])
        .ok();
    assert_eq!(got, "kept");
    stand.kubectl(&["delete", "job", "mine"]).ok();
    stand.until("the pods go too", |s| s.kubectl(&["get", "pods", "-o", "name"]).ok().is_empty());
    stand.end();
}

#[test]
fn kubectl_starts_a_cronjob_by_hand_and_watches() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.kubectl(&["create", "namespace", "lab"]).ok();
    let cron = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly, namespace: lab}\nspec:\n  schedule: '0 3 * * *'\n  \
                timeZone: Europe/Oslo\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          \
                containers:\n          - {name: main, image: 'busybox:bar', imagePullPolicy: Never, command: [/bin/busybox, echo, done]}\n";
    stand.kubectl_with(&["apply", "-f", "-"], cron).ok();
    let table = stand.kubectl(&["-n", "lab", "get", "cronjobs"]).ok();
    assert!(table.contains("0 3 * * *") && table.contains("Europe/Oslo"), "{table}");

    // `get -w` is told of the Job that comes and of its end.
    let mut watch = Command::new("kubectl")
        .env("HOME", stand.path(""))
        .env("KUBECONFIG", stand.kubeconfig())
        .args(["-n", "lab", "get", "jobs", "-w"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    stand.kubectl(&["-n", "lab", "create", "job", "by-hand", "--from=cronjob/nightly"]).ok();
    let ended = lines.map_while(Result::ok).find(|line| line.contains("by-hand") && line.contains("1/1"));
    assert!(ended.is_some(), "the watch ended without the Job's end");
    watch.kill().unwrap();
    watch.wait().unwrap();

    let job: serde_json::Value =
        serde_json::from_str(&stand.kubectl(&["-n", "lab", "get", "job", "by-hand", "-o", "json"]).ok())
            .unwrap();
    assert!(condition(&job, "Complete"));
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    stand.kubectl(&["-n", "lab", "patch", "cronjob", "nightly", "-p", r#"{"spec":{"suspend":true}}"#]).ok();
    stand
        .kubectl(&[
            "-n",
            "lab",
            "patch",
            "cronjob",
            "nightly",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/schedule","value":"@daily"}]"#,
        ])
        .ok();
    let got = stand
        .kubectl(&[
            "-n",
            "lab",
            "get",
            "cronjob",
            "nightly",
            "-o",
            "jsonpath={.spec.suspend} {.spec.schedule}",
        ])
        .ok();
    assert_eq!(got, "true @daily");
    let explained = stand.kubectl(&["explain", "cronjob.spec.jobTemplate.spec.completions"]).ok();
    assert!(explained.contains("integer"), "{explained}");
    let bad = stand
        .kubectl_with(&["apply", "-f", "-"], &cron.replace("timeZone: Europe/Oslo", "timezone: Europe/Oslo"));
    assert!(bad.code != Some(0) && bad.err.contains("timezone"), "{bad:?}");
    stand.kubectl(&["delete", "namespace", "lab"]).ok();
    let gone = stand.kubectl(&["get", "namespace", "lab"]);
    assert!(gone.code != Some(0) && gone.err.contains("not found"), "{gone:?}");
    stand.until("its jobs are gone", |s| s.kubectl(&["get", "jobs", "-A", "-o", "name"]).ok().is_empty());
    stand.end();
}
