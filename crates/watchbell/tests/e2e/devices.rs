//! Devices by CDI on a real server: two toys, which are `/dev/full` by another name.

use std::collections::BTreeMap;
use std::fs;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;

use crate::stand::{Stand, condition, is_left_out, job};

/// A server with two devices of the kind `vendor.com/toy`.
pub(crate) fn stand() -> Stand {
    Stand::with_busybox_and(|stand| {
        let dir = stand.path("cdi");
        fs::create_dir(&dir).unwrap();
        let device = |i: u8| {
            let node = stand.path(&format!("toy{i}"));
            mknodat(CWD, &node, FileType::CharacterDevice, Mode::from(0o660), makedev(1, 7)).unwrap();
            let (node, env) = (node.display(), format!("TOY=toy{i}"));
            format!(
                "- {{name: \"{i}\", containerEdits: {{env: [{env}], deviceNodes: [{{path: /dev/toy, hostPath: {node}}}]}}}}\n"
            )
        };
        let text = format!("cdiVersion: 0.5.0\nkind: vendor.com/toy\ndevices:\n{}{}", device(0), device(1));
        fs::write(dir.join("toy.yaml"), text).unwrap();
        vec!["--cdi-dir".to_owned(), dir.display().to_string()]
    })
}

/// A Job each of whose tasks asks for one toy.
fn toy_job(name: &str, spec: &str, script: &str) -> String {
    let mut text = job(name, spec, script);
    text.push_str("        resources: {limits: {vendor.com/toy: 1}}\n");
    text
}

#[test]
fn an_array_of_six_shares_two_devices() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    let spec = "completionMode: Indexed\n  completions: 6\n  parallelism: 6\n  backoffLimit: 0";
    // Only the device says that it is full.
    let script = "echo begin $TOY; busybox echo x > /dev/toy; sleep 0.3; echo end $TOY";
    stand.apply(&toy_job("array", spec, script));
    let done = stand.finished("default", "array");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    let mut events: Vec<(String, String, String)> = Vec::new();
    for index in 0..6 {
        let log = stand.watchbell(&["logs", "job/array", "--timestamps", "--index", &index.to_string()]).ok();
        assert!(log.contains("No space left on device"), "{log}");
        for line in log.lines() {
            if let [at, word @ ("begin" | "end"), toy] = line.split_whitespace().collect::<Vec<_>>()[..] {
                events.push((at.to_owned(), word.to_owned(), toy.to_owned()));
            }
        }
    }
    // In the order in which it happened, by the log's own clock.
    events.sort();
    assert_eq!(events.len(), 12, "{events:?}");
    let mut busy: BTreeMap<&str, bool> = BTreeMap::new();
    for (_, word, toy) in &events {
        let before = busy.insert(toy, word == "begin");
        assert_eq!(before.unwrap_or(false), word == "end", "two tasks had {toy}: {events:?}");
    }
    assert_eq!(busy.into_keys().collect::<Vec<_>>(), ["toy0", "toy1"]);
    stand.end();
}

#[test]
fn a_killed_server_forgets_no_lease() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    let spec = "completionMode: Indexed\n  completions: 3\n  parallelism: 3\n  backoffLimit: 0";
    stand.apply(&toy_job(
        "array",
        spec,
        "cat > /tmp/x < /dev/null; while [ ! -e /tmp/go ]; do sleep 0.05; done",
    ));
    let held = |stand: &Stand| -> BTreeMap<String, String> {
        let pods = stand.get(&["pods"]);
        let running =
            pods["items"].as_array().unwrap().iter().filter(|pod| pod["status"]["phase"] == "Running");
        let device = |pod: &Value| {
            let resources = &pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0];
            assert_eq!(resources["name"], "vendor.com/toy", "{pod:#}");
            resources["resources"][0]["resourceID"].as_str().unwrap().to_owned()
        };
        running.map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), device(pod))).collect()
    };
    stand.until("two run", |stand| held(stand).len() == 2);
    let before = held(&stand);
    let mut devices: Vec<&String> = before.values().collect();
    devices.sort();
    assert_eq!(devices, ["vendor.com/toy=0", "vendor.com/toy=1"]);
    for _ in 0..2 {
        stand.kill();
        stand.launch();
        stand.wait_ready();
        assert_eq!(held(&stand), before);
    }
    // The third gets what one of them had.
    let first = before.keys().next().unwrap();
    stand.watchbell(&["exec", first, "--", "/bin/busybox", "touch", "/tmp/go"]).ok();
    stand.until("the third runs", |stand| held(stand).keys().any(|name| !before.contains_key(name)));
    let after = held(&stand);
    let third = after.iter().find(|(name, _)| !before.contains_key(*name)).unwrap();
    assert_eq!(third.1, &before[first]);
    stand.watchbell(&["delete", "job", "array"]).ok();
    stand.until("all have ended", |stand| stand.get(&["pods"])["items"].as_array().unwrap().is_empty());
    stand.end();
}
