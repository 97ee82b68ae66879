//! What the command line does when the server goes, comes back, or has forgotten.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::stand::{Stand, free_address, is_left_out};

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn get_w_outlives_a_restart_that_forgets() {
    if is_left_out(&[]) {
        return;
    }
    let address = free_address();
    let mut stand = Stand::unstarted();
    stand.launch_on(&address);
    stand.wait_ready();
    stand.apply(&config_map("before"));
    let mut command = stand.program();
    command.arg("--kubeconfig").arg(stand.kubeconfig()).args(["get", "configmaps", "-w", "-o", "name"]);
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "configmap/before"));
    // Something else moves the version on, and the next server knows no change before its own time.
    stand.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: other}\n");
    stand.stop();
    stand.launch_on(&address);
    stand.wait_ready();
    stand.apply(&config_map("after"));
    let next = lines.find(|line| line != "configmap/kube-root-ca.crt");
    assert_eq!(next.as_deref(), Some("configmap/after"));
    watching.kill().unwrap();
    let err = watching.wait_with_output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&err).contains("listed anew"), "{err:?}");
    stand.end();
}

#[test]
fn a_missing_index_is_named() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&crate::stand::job(
        "three",
        "completions: 3\n  completionMode: Indexed",
        "echo $JOB_COMPLETION_INDEX",
    ));
    stand.finished("default", "three");
    let done = stand.watchbell(&["logs", "job/three", "--index", "1,99"]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), "1\n"), "{done:?}");
    assert!(done.err.contains("job three has no pod of index 99"), "{done:?}");
    stand.end();
}

#[test]
fn a_run_whose_image_cannot_be_had_ends_with_the_reason() {
    if is_left_out(&[]) {
        return;
    }
    let mut stand = Stand::start();
    let done = stand.watchbell(&["run", "--name", "lost", "--pull", "never", "--follow", "no-such-image:1"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("job lost: ErrImageNeverPull: "), "{done:?}");
    assert!(done.err.contains("watchbell delete job/lost"), "{done:?}");
    stand.watchbell(&["delete", "job", "lost"]).ok();
    stand.until("its pod is gone", |stand| stand.get(&["pods"])["items"].as_array().unwrap().is_empty());
    stand.end();
}
