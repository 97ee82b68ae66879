//! What `serve` keeps from pods, and what it holds each container to.

use serde_json::Value;
use watchbell_api::quantity::Quantity;

use crate::stand::{Stand, condition, is_left_out};

fn bytes(value: &Value) -> u64 {
    Quantity::from_value(value).unwrap().as_bytes()
}

fn job(name: &str, resources: &str, script: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n      - name: main\n        image: busybox:bar\n        \
         imagePullPolicy: Never\n        resources: {{{resources}}}\n        command: [busybox, sh, -c, {script:?}]\n"
    )
}

/// The bytes that a container without a limit is told, and those that its control group says.
const LIMITS: &str =
    "busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";

#[test]
fn what_is_reserved_is_no_pods() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let reserved = "memory=768Mi,pid=500,ephemeral-storage=64Mi";
    let mut stand = Stand::with_busybox_and(|_| vec!["--system-reserved".to_owned(), reserved.to_owned()]);
    let node = stand.get(&["nodes"])["items"][0]["status"].clone();
    let (capacity, allocatable) = (&node["capacity"], &node["allocatable"]);
    assert_eq!(bytes(&capacity["memory"]) - bytes(&allocatable["memory"]), 768 << 20);
    let disk = bytes(&capacity["ephemeral-storage"]) - bytes(&allocatable["ephemeral-storage"]);
    assert!(disk >= 64 << 20, "{node:#}");
    // A container that says nothing of memory gets what pods may have together and not the machine.
    stand.apply(&job("unsaid", "", LIMITS));
    assert!(condition(&stand.finished("default", "unsaid"), "Complete"));
    let limit: u64 = stand.watchbell(&["logs", "job/unsaid"]).ok().trim().parse().unwrap();
    assert_eq!(limit, bytes(&allocatable["memory"]));
    // Without resources that it could have, it says why it waits.
    stand.apply(&job("large", "requests: {memory: 900Ti}", "true"));
    stand.until("the pod says why it waits", |stand| {
        stand.get(&["pods", "-l", "job-name=large"]).to_string().contains("memory")
    });
    stand.end();
}

#[test]
fn a_reserve_beyond_the_machine_is_refused() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::unstarted();
    for (reserved, word) in [("memory=900Ti", "reserve less"), ("cpu=1", "can be reserved")] {
        let data = stand.data().display().to_string();
        let done = stand.watchbell(&["serve", "--data-dir", &data, "--system-reserved", reserved]);
        assert!(done.code != Some(0) && done.err.contains(word), "{done:?}");
    }
}

#[test]
fn logs_of_the_past_make_room_and_that_is_told() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox_and(|_| vec!["--log-disk=1Mi".to_owned()]);
    stand.apply(&job("large", "", "busybox yes | busybox head -c 3000000"));
    assert!(condition(&stand.finished("default", "large"), "Complete"));
    stand.until("its log went", |stand| {
        let done = stand.watchbell(&["logs", "job/large"]);
        done.code != Some(0) && done.err.contains("removed to make room")
    });
    stand.until("an event says so", |stand| {
        let events = stand.get(&["events"]);
        let is_it = |event: &Value| {
            event["reason"] == "LogsRemoved"
                && event["message"]
                    .as_str()
                    .is_some_and(|m| m.contains("a pod that has ended") && m.contains("--log-disk"))
        };
        events["items"].as_array().is_some_and(|list| list.iter().any(is_it))
    });
    // There is room for others.
    stand.apply(&job("small", "", "echo hello"));
    assert!(condition(&stand.finished("default", "small"), "Complete"));
    assert_eq!(stand.watchbell(&["logs", "job/small"]).ok(), "hello\n");
    stand.end();
}

#[test]
fn a_container_that_prints_too_fast_waits_and_is_told() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand =
        Stand::with_busybox_and(|_| vec!["--log-rate=1Ki".to_owned(), "--log-burst=8Ki".to_owned()]);
    stand.apply(&job("flood", "", "busybox yes"));
    stand.until("an event says so", |stand| {
        let events = stand.get(&["events"]);
        let is_it = |event: &Value| {
            event["reason"] == "LogRateLimited"
                && event["message"].as_str().is_some_and(|m| m.contains("main") && m.contains("--log-rate"))
        };
        events["items"].as_array().is_some_and(|list| list.iter().any(is_it))
    });
    // It still runs, another container prints, and its own log has what was taken.
    stand.apply(&job("quiet", "", "echo hello"));
    assert!(condition(&stand.finished("default", "quiet"), "Complete"));
    assert_eq!(stand.watchbell(&["logs", "job/quiet"]).ok(), "hello\n");
    let pods = stand.get(&["pods", "-l", "job-name=flood"]);
    assert_eq!(pods["items"][0]["status"]["phase"], "Running", "{pods:#}");
    assert!(stand.watchbell(&["logs", "job/flood"]).ok().starts_with("y\ny\n"));
    stand.watchbell(&["delete", "job", "flood"]).ok();
    stand.end();
}
