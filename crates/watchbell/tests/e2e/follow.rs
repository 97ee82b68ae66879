//! What follows a run goes on following while the server is killed and started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::stand::{Stand, free_address, is_left_out, job};

fn spawn(stand: &Stand, args: &[&str]) -> Child {
    let mut command = stand.program();
    command.arg("--kubeconfig").arg(stand.kubeconfig()).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn logs_and_progress_are_followed_over_restarts_without_a_lost_or_doubled_line() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.stop();
    let address = free_address();
    stand.launch_on(&address);
    stand.wait_ready();
    let script = r#"n=0; while [ $n -lt 9 ]; do n=$((n + 1)); echo line $n; echo same; sleep 0.3; done"#;
    stand.apply(&job("talks", "completionMode: Indexed\n  completions: 2\n  parallelism: 2", script));
    let mut logs = spawn(&stand, &["logs", "-f", "job/talks", "-o", "json"]);
    let progress = spawn(&stand, &["follow", "talks"]);
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let mut heard: Vec<serde_json::Value> = Vec::new();
    let mut hear = |count: usize| {
        for line in lines.by_ref().take(count) {
            heard.push(serde_json::from_str(&line.unwrap()).unwrap());
        }
        heard.len()
    };
    hear(4);
    stand.kill();
    stand.launch_on(&address);
    stand.wait_ready();
    hear(4);
    stand.stop();
    stand.launch_on(&address);
    stand.wait_ready();
    assert_eq!(hear(usize::MAX), 36, "{heard:?}");
    assert!(logs.wait().unwrap().success());
    for index in 0..2 {
        let said: Vec<&str> = heard
            .iter()
            .filter(|line| line["index"] == index)
            .map(|line| line["line"].as_str().unwrap())
            .collect();
        let expect: Vec<String> = (1..=9).flat_map(|n| [format!("line {n}"), "same".to_owned()]).collect();
        assert_eq!(said, expect);
    }
    let progress = progress.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&progress.stderr);
    assert!(progress.status.success(), "{told}");
    assert!(told.contains("job talks completed") && told.contains("2/2 succeeded"), "{told}");
    stand.end();
}

#[test]
fn what_a_job_without_pods_waits_for_is_said() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"0\"}}\n");
    stand.apply(&job("waits", "completions: 1", "true"));
    stand.until("it is said", |stand| stand.get(&["events"]).to_string().contains("FailedCreate"));
    let told = stand.watchbell(&["follow", "waits", "--timeout", "2s"]);
    assert_ne!(told.code, Some(0));
    assert!(told.err.contains("waits: no pod can be made"), "{}", told.err);
    assert!(
        told.err.contains("exceeded quota: none") && told.err.contains("delete job/waits"),
        "{}",
        told.err
    );
    stand.end();
}
