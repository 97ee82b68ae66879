//! The audit trail of a whole server in a file, with jobs that run and `kill -9` between them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::stand::{Stand, condition, is_left_out, job, run, which};

/// The lines of the file and of those that were renamed, in the order of the log.
fn exported(dir: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "half a line");
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines.sort_by_key(|line| line["event"]["sequence"].as_u64());
    lines
}

fn journal_length(stand: &Stand) -> u64 {
    watchbell_store::Store::open(&stand.data()).unwrap().0.last_audit_sequence()
}

#[test]
fn every_entry_of_a_server_that_is_killed_is_a_line_once() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox_and(|stand| {
        let logs = stand.path("audit");
        std::fs::create_dir(&logs).unwrap();
        let file = logs.join("audit.ndjson").display().to_string();
        let words = [
            "--audit-export-file",
            &file,
            "--audit-export-file-max-size",
            "64Ki",
            "--audit-export-file-max-files",
            "1000",
        ];
        words.map(str::to_owned).to_vec()
    });
    let spec = "completionMode: Indexed\n  completions: 60\n  parallelism: 6\n  backoffLimit: 0";
    stand.apply(&job("array", spec, "echo $JOB_COMPLETION_INDEX"));
    for n in 0..4 {
        stand.apply(&job(&format!("one-{n}"), "backoffLimit: 0", &format!("exit {n}")));
        stand.kill();
        stand.launch();
        stand.wait_ready();
    }
    let done = stand.finished("default", "array");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    for n in 0..4 {
        stand.finished("default", &format!("one-{n}"));
    }
    if which("kubectl").is_some() {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(stand.kubeconfig()).args(["get", "--raw", "/metrics"]);
        let metrics = run(kubectl, "").ok();
        for name in ["entries_total", "dead_letters_total", "lag_entries", "lag_seconds"] {
            let line = format!("watchbell_audit_export_{name}{{target=\"file\"}} ");
            assert!(metrics.contains(&line), "{metrics}");
        }
    } else {
        eprintln!("NOT TESTED: the page of metrics, which kubectl reads");
    }
    stand.stop();
    let total = journal_length(&stand);
    let lines = exported(&stand.path("audit"));
    let wrong = lines.iter().zip(0u64..).find(|(line, n)| line["event"]["sequence"] != *n);
    assert!(
        wrong.is_none() && lines.len() as u64 == total,
        "{} lines of {total} entries; {wrong:?}",
        lines.len()
    );
    let said = |action: &str, outcome: &str| {
        let of = |line: &&Value| line["event"]["action"] == action && line["event"]["outcome"] == outcome;
        lines.iter().filter(of).count()
    };
    assert_eq!((said("completed", "success"), said("failed", "failure")), (2, 3));
    assert!(lines.iter().any(|line| line["user"]["name"].is_string() && line["source"]["ip"].is_string()));
    assert!(!lines.iter().any(|line| line["event"]["kind"] == "pipeline_error"));
}

#[test]
fn what_cannot_be_exported_to_stops_the_start() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::unstarted();
    let refused = |words: &[&str], code: i32, cause: &str| {
        let data = stand.data().display().to_string();
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", &data];
        all.extend(words);
        let mut command = stand.program();
        command.args(all);
        let done = run(command, "");
        assert_eq!(done.code, Some(code), "{words:?}: {}", done.err);
        assert!(done.err.contains(cause), "{words:?}: {}", done.err);
    };
    refused(&["--audit-export-elasticsearch", "http://es.example:9200"], 2, "in the clear");
    refused(&["--audit-export-elasticsearch", "https://a:hunter2@es.example"], 2, "into a file");
    refused(&["--audit-export-otlp", "https://otel.example?x=1"], 2, "no query");
    refused(
        &["--audit-export-elasticsearch", "https://es.example", "--audit-export-index", "../x"],
        2,
        "data stream",
    );
    refused(&["--audit-export-index", "x"], 2, "--audit-export-elasticsearch");
    let foreign = stand.path("messages");
    std::fs::write(&foreign, "hello\n").unwrap();
    refused(&["--audit-export-file", &foreign.display().to_string()], 1, "a file of its own");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "hello\n");
    let key = stand.path("key");
    std::fs::write(&key, "api-key x\n").unwrap();
    let key = key.display().to_string();
    refused(
        &["--audit-export-otlp", "https://otel.example", "--audit-export-otlp-credentials", &key],
        1,
        "chmod",
    );
}
