//! The audit trail as an auditor uses it: beside the server, after its end, and with a program that knows nothing of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::stand::{Done, Stand, is_left_out, job, run, which};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/audit/check_log.py");

fn audit(stand: &Stand, args: &[&str]) -> Done {
    let data = stand.data().display().to_string();
    stand.watchbell(&[&["audit"], args, &["--data-dir", &data]].concat())
}

/// The second implementation; `None` where there is no Python.
fn second(args: &[&str]) -> Option<Done> {
    if which("python3").is_none() {
        eprintln!("NOT TESTED: python3 is not installed, which checks the log a second time");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-B", SCRIPT]).args(args);
    Some(run(command, ""))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn verified(stand: &Stand) -> Value {
    serde_json::from_str(&audit(stand, &["verify", "-o", "json"]).ok()).unwrap()
}

fn write(path: &Path, what: &str) {
    std::fs::write(path, what).unwrap();
}

/// Each index was started once, with settings that stand in the log and ids of the host that no other had at that time.
fn check_starts(entries: &[Value], count: u64) {
    let details = |action: &str| -> Vec<Value> {
        let of = entries.iter().map(|line| &line["entry"]).filter(|entry| entry["action"] == action);
        of.map(|entry| entry["details"].clone()).collect()
    };
    let confined = details("confined");
    let [confined] = &confined[..] else { panic!("an array is alike: {confined:?}") };
    let settings = &confined["settings"];
    assert!(settings["image"].as_str().unwrap().contains("@sha256:"), "{settings}");
    for (field, expect) in [
        ("capabilities", "none".into()),
        ("noNewPrivileges", true.into()),
        ("readOnlyRootFilesystem", true.into()),
        ("userNamespace", true.into()),
        ("network", Value::from("none")),
    ] {
        assert_eq!(settings[field], expect, "{field} of {settings}");
    }
    let lists = [details("pods-started"), details("pods-ended")].concat();
    let starts: Vec<&Value> =
        lists.iter().filter_map(|details| details["started"].as_array()).flatten().collect();
    let mut indexes: Vec<u64> = starts.iter().map(|start| start[0].as_u64().unwrap()).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..count).collect::<Vec<_>>());
    for start in starts {
        assert_eq!(start[4], confined["name"], "{start}");
        assert!(start[5].as_u64().unwrap() >= 65_536, "{start}");
    }
}

#[test]
fn an_auditor_verifies_searches_and_proves_beside_the_server_and_after_it() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&job(
        "train",
        "completionMode: Indexed\n  completions: 40\n  parallelism: 8\n  backoffLimit: 0",
        "true",
    ));
    let (kept, key) = (stand.path("kept"), stand.path("kept.key"));
    write(&key, &audit(&stand, &["checkpoint", "--key"]).ok());
    // While it writes: whatever instant is looked at is whole.
    for _ in 0..10 {
        let found = verified(&stand);
        assert_eq!(found["verified"], true, "{found:#}");
    }
    // The files follow within a second.
    let published = || audit(&stand, &["checkpoint"]).ok();
    let mut checkpoint = published();
    while checkpoint.lines().nth(1) == Some("0") {
        std::thread::sleep(std::time::Duration::from_millis(50));
        checkpoint = published();
    }
    write(&kept, &checkpoint);
    stand.finished("default", "train");
    stand.watchbell(&["delete", "job", "train"]).ok();
    let refused = stand.watchbell(&["delete", "job", "nothing"]);
    assert_eq!(refused.code, Some(1));

    let search = |args: &[&str]| -> Vec<Value> {
        let out = audit(&stand, &[&["search", "-o", "json"], args].concat()).ok();
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let deletes = search(&["--verb", "delete", "--user", "kubernetes-admin", "--since", "1h"]);
    let codes: Vec<_> =
        deletes.iter().map(|line| line["entry"]["responseStatus"]["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [200, 404]);
    let actions: Vec<String> = search(&["--run", "train"])
        .iter()
        .filter_map(|line| line["entry"]["action"].as_str().map(str::to_owned))
        .collect();
    for action in ["admitted", "images-resolved", "confined", "pods-created", "pods-ended", "completed"] {
        assert!(actions.iter().any(|a| a == action), "{action}: {actions:?}");
    }
    check_starts(&search(&["--run", "train"]), 40);
    assert!(!search(&["--verb", "keys-in-use"]).is_empty());
    assert_eq!(search(&["--object", "job/default/train", "--verb", "create"]).len(), 1);
    assert_eq!(search(&["--user", "nobody"]).len(), 0);
    let shown = audit(&stand, &["tail", "-n", "3"]).ok();
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.contains("delete jobs default/nothing  404"), "{shown}");

    // Everything is published at the end; the directory is checked without a server.
    stand.stop();
    let found = verified(&stand);
    assert_eq!(found["verified"], true, "{found:#}");
    let log = &found["logs"][0];
    assert_eq!(log["entries"], log["published"]);
    let (kept, key_text) = (text(&kept), std::fs::read_to_string(&key).unwrap());
    audit(&stand, &["verify", "--since", kept, "--key", text(&key)]).ok();

    let (proof, growth) = (stand.path("entry.tlog-proof"), stand.path("growth"));
    let index = deletes[0]["index"].to_string();
    write(&proof, &audit(&stand, &["prove", &index]).ok());
    write(&growth, &audit(&stand, &["prove", "--since", kept]).ok());
    let shown = stand.watchbell(&["audit", "verify-proof", text(&proof), "--key", text(&key)]).ok();
    assert!(shown.contains(r#""verb":"delete""#), "{shown}");
    stand.watchbell(&["audit", "verify-proof", text(&growth), "--since", kept, "--key", text(&key)]).ok();
    // With another entry it proves nothing.
    let other = stand.path("other");
    write(&other, "{}");
    let refused = stand.watchbell(&[
        "audit",
        "verify-proof",
        text(&proof),
        "--key",
        text(&key),
        "--entry",
        text(&other),
    ]);
    assert_eq!(refused.code, Some(1), "{refused:?}");

    let key = key_text.trim();
    let directory = stand.data().join("audit");
    for args in [
        vec!["log", text(&directory), key],
        vec!["proof", text(&proof), key],
        vec!["growth", text(&growth), kept, key],
    ] {
        let Some(done) = second(&args) else { return };
        done.ok();
    }
    // The second implementation can fail.
    let bundle = newest_bundle(&directory);
    let whole = std::fs::read(&bundle).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    std::fs::write(&bundle, &changed).unwrap();
    assert_eq!(second(&["log", text(&directory), key]).unwrap().code, Some(1));
    let refused = audit(&stand, &["verify"]);
    assert_eq!(refused.code, Some(1));
    let damaged = format!("DAMAGED {}: ", bundle.strip_prefix(&directory).unwrap().display());
    assert!(refused.out.contains(&damaged), "{}", refused.out);
    std::fs::write(&bundle, &whole).unwrap();
    audit(&stand, &["verify"]).ok();
    let kinds = change_one_of_each_kind(&stand);
    for kind in [
        "Event create",
        "Event delete",
        "Event list",
        "RunEvent admitted",
        "RunEvent confined",
        "RunEvent images-resolved",
        "RunEvent pods-created",
        "RunEvent pods-ended",
        "RunEvent completed",
        "ServerEvent keys-in-use",
    ] {
        assert!(kinds.contains(kind), "{kind} of {kinds:?}");
    }
}

/// A byte of one entry of each kind that a server wrote, changed without its length: each is found where it is. Which there are.
fn change_one_of_each_kind(stand: &Stand) -> BTreeSet<String> {
    let directory = stand.data().join("audit");
    let mut kinds = BTreeSet::new();
    for bundle in bundles(&directory) {
        let whole = std::fs::read(&bundle).unwrap();
        let place = bundle.strip_prefix(&directory).unwrap().display().to_string();
        let mut at = 0;
        while let Some(length) = whole[at..].first_chunk::<2>() {
            let entry = at + 2..at + 2 + usize::from(u16::from_be_bytes(*length));
            at = entry.end;
            let read: Value = serde_json::from_slice(&whole[entry.clone()]).unwrap();
            let what = read["action"].as_str().or(read["verb"].as_str()).unwrap_or("count");
            if !kinds.insert(format!("{} {what}", read["kind"].as_str().unwrap())) {
                continue;
            }
            let mut changed = whole.clone();
            changed[entry.start + entry.len() / 2] ^= 1;
            std::fs::write(&bundle, &changed).unwrap();
            let refused = audit(stand, &["verify"]);
            assert!(refused.code == Some(1) && refused.out.contains(&place), "{read}: {refused:?}");
            std::fs::write(&bundle, &whole).unwrap();
        }
    }
    audit(stand, &["verify"]).ok();
    kinds
}

/// The files with entries of all logs in a directory.
fn bundles(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.strip_prefix(directory).unwrap().display().to_string().contains("tile/entries/") {
                found.push(path);
            }
        }
    }
    found
}

/// The first bundle, or as much of it as there is.
fn newest_bundle(directory: &Path) -> PathBuf {
    let (whole, parts) = (directory.join("tile/entries/000"), directory.join("tile/entries/000.p"));
    let entries = std::fs::read_dir(parts).into_iter().flatten().map(|entry| entry.unwrap().path());
    let width = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap();
    if whole.exists() { whole } else { entries.max_by_key(width).unwrap() }
}

#[test]
fn a_witness_signs_what_grew_and_nothing_else() {
    if is_left_out(&[]) {
        return;
    }
    let mut stand = Stand::start();
    stand.watchbell(&["get", "pods"]).ok();
    stand.stop();
    let path = |name: &str| stand.path(name).display().to_string();
    let (log_key, first, signed) = (path("log.key"), path("first"), path("signed"));
    write(Path::new(&log_key), &audit(&stand, &["checkpoint", "--key"]).ok());
    write(Path::new(&first), &audit(&stand, &["checkpoint"]).ok());
    let (file, state, public) = (path("w1.key"), path("w1.state"), path("w1.pub"));
    let name = "witness.example/w1";
    write(Path::new(&public), &stand.watchbell(&["audit", "witness", "new", &file, "--name", name]).ok());
    let sign = |proof: &str| {
        let args = ["--key-file", &file, "--name", name, "--log-key", &log_key, "--state", &state];
        stand.watchbell(&[&["audit", "witness", "sign", proof][..], &args[..]].concat())
    };
    let demand = || audit(&stand, &["verify", "--witness", &public]);
    assert_eq!(demand().code, Some(1), "nobody has signed yet");
    write(Path::new(&signed), &sign(&first).ok());
    audit(&stand, &["witness", "add", &signed, "--key", &public]).ok();
    demand().ok();
    // A checkpoint alone does not follow from what he saw.
    assert_eq!(sign(&first).code, Some(1));
    let growth = path("growth");
    write(Path::new(&growth), &audit(&stand, &["prove", "--since", &first]).ok());
    sign(&growth).ok();
    // One that was never signed by the log.
    let forged = std::fs::read_to_string(&growth).unwrap().replacen("\n\n", "\n\nx", 1);
    write(Path::new(&growth), &forged);
    assert_eq!(sign(&growth).code, Some(1));
}

#[test]
fn a_new_key_begins_a_log_that_follows_the_old_one() {
    if is_left_out(&[]) {
        return;
    }
    let mut stand = Stand::start();
    let refused = audit(&stand, &["rotate-key"]);
    assert!(refused.code == Some(1) && refused.err.contains("a server runs"), "{refused:?}");
    stand.watchbell(&["get", "pods"]).ok();
    stand.stop();
    let kept = stand.path("kept");
    write(&kept, &audit(&stand, &["checkpoint"]).ok());
    audit(&stand, &["rotate-key"]).ok();
    stand.launch();
    stand.wait_ready();
    stand.watchbell(&["get", "pods"]).ok();
    stand.stop();
    audit(&stand, &["verify", "--since", text(&kept)]).ok();
    let found = verified(&stand);
    let places: Vec<_> = found["logs"].as_array().unwrap().iter().map(|log| &log["directory"]).collect();
    assert_eq!(places, ["epoch-1", ""]);
    let shown = audit(&stand, &["search", "--verb", "key-rotated"]).ok();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    let kinds = change_one_of_each_kind(&stand);
    for kind in ["LogEvent key-rotating", "LogEvent key-rotated", "Event list", "ServerEvent keys-in-use"] {
        assert!(kinds.contains(kind), "{kind} of {kinds:?}");
    }
    // A closed log that cannot be read hides the others from nobody.
    std::fs::write(stand.data().join("audit/epoch-1/verifier.pub"), "junk").unwrap();
    assert_eq!(audit(&stand, &["tail", "-n", "3"]).ok().lines().count(), 3);
    let found = audit(&stand, &["search", "--verb", "key-rotated"]);
    assert_eq!((found.code, found.out.lines().count()), (Some(1), 1), "{found:?}");
    assert!(found.err.contains("epoch-1"), "{}", found.err);
}

/// Byte by byte, by the machine's own socket.
fn post(stand: &Stand, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut socket = std::os::unix::net::UnixStream::connect(stand.data().join("admin.sock")).unwrap();
    let length = body.len();
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_body_is_known_by_who_has_it_until_it_is_forgotten() {
    let mut stand = Stand::start();
    let manifest = |name: &str, kind: &str, data: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{{"name":"{name}"}},"{data}":{{"word":"xyzzy"}}}}"#
        )
    };
    let (map, secret) = (manifest("m", "ConfigMap", "data"), manifest("s", "Secret", "stringData"));
    for (name, body) in [("configmaps", &map), ("secrets", &secret)] {
        let answer = post(&stand, &format!("/api/v1/namespaces/default/{name}"), body);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    stand.stop();
    let entry = |kind: &str, name: &str| -> Value {
        let found = audit(
            &stand,
            &["search", "-o", "json", "--verb", "create", "--object", &format!("{kind}/{name}")],
        );
        serde_json::from_str(found.ok().lines().next().unwrap()).unwrap()
    };
    let of_secret = entry("secret", "s");
    assert!(of_secret["entry"]["annotations"]["watchbell.dev/body-hash"].is_null(), "{of_secret}");
    assert!(!of_secret.to_string().contains("xyzzy"));
    let index = entry("configmap", "m")["index"].to_string();
    let (same, other) = (stand.path("same"), stand.path("other"));
    write(&same, &map);
    write(&other, &format!("{map} "));
    audit(&stand, &["body", &index, text(&same)]).ok();
    let refused = |args: &[&str], says: &str| {
        let done = audit(&stand, args);
        assert!(done.code == Some(1) && done.err.contains(says), "{done:?}");
    };
    refused(&["body", &index, text(&other)], "is not the body");
    refused(&["body", &of_secret["index"].to_string(), text(&same)], "no hash of a body");
    audit(&stand, &["body", "--forget"]).ok();
    refused(&["body", &index, text(&same)], "nothing can be said");
    // The log is as it was.
    assert_eq!(verified(&stand)["verified"], true);
}
