//! Data arrays from a user's side: a store, Jobs that write it, and what of that is published.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::stand::{Done, Stand, condition, is_left_out, run};

/// Rows of the array `/t`; a chunk is one row of four bytes.
const ROWS: usize = 8;

/// A hierarchy as any Zarr library writes it: `/t` of 8 by 4 bytes, without compression.
pub(crate) fn write_hierarchy(dir: &Path) {
    let array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [ROWS, 4], "data_type": "uint8", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes"}], "dimension_names": ["time", "x"], "attributes": {},
    });
    let chunks = dir.join("t/c");
    std::fs::create_dir_all(&chunks).unwrap();
    std::fs::write(dir.join("zarr.json"), r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#)
        .unwrap();
    std::fs::write(dir.join("t/zarr.json"), array.to_string()).unwrap();
    for row in 0..ROWS {
        std::fs::create_dir(chunks.join(row.to_string())).unwrap();
        std::fs::write(chunks.join(format!("{row}/0")), "aaaa").unwrap();
    }
}

pub(crate) fn array(stand: &Stand, args: &[&str]) -> Done {
    let data = stand.data().display().to_string();
    stand.watchbell(&[&["array"], args, &["-n", "default", "--data-dir", &data]].concat())
}

pub(crate) fn kubectl(stand: &Stand, args: &[&str], input: &str) -> Done {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", stand.kubeconfig()).env("HOME", stand.path("home")).args(args);
    run(command, input)
}

/// The rows of the head, as an export shows them: one letter a row.
fn rows(stand: &Stand, name: &str) -> String {
    let out = stand.path(&format!("out-{name}"));
    array(stand, &["export", "obs", out.to_str().unwrap()]).ok();
    let row = |row: usize| {
        let chunk = std::fs::read_to_string(out.join(format!("t/c/{row}/0"))).unwrap();
        assert_eq!(chunk.len(), 4);
        chunk.chars().next().unwrap()
    };
    (0..ROWS).map(row).collect()
}

/// With the array `obs`, imported beside the running server.
pub(crate) fn with_array() -> Stand {
    let mut stand = Stand::with_busybox();
    let source = stand.path("obs.zarr");
    write_hierarchy(&source);
    array(&stand, &["import", "obs", source.to_str().unwrap()]).ok();
    stand.until("the store has an object", |stand| {
        let got = stand.watchbell(&["get", "-o", "json", "dataarray", "obs"]);
        let object: Value = serde_json::from_str(&got.out).unwrap_or_default();
        object["status"]["head"].is_string()
    });
    stand
}

pub(crate) fn may_write(stand: &Stand) {
    let binding = [
        "create",
        "rolebinding",
        "default-array-writer",
        "-n",
        "default",
        "--clusterrole=array-writer",
        "--serviceaccount=default:default",
    ];
    kubectl(stand, &binding, "").ok();
}

/// An Indexed Job whose indexes write their rows with a letter, each beside its place and then renamed, as Zarr libraries do; `before` is what they do first.
pub(crate) fn writer(name: &str, into: usize, letter: char, annotations: &str, before: &str) -> String {
    let script = format!(
        "{before}\ni=$WATCHBELL_ARRAY_START\nwhile [ $i -lt $WATCHBELL_ARRAY_STOP ]; do\n  \
         printf {letter}{letter}{letter}{letter} > /data/t/c/$i/0.partial && mv -f /data/t/c/$i/0.partial /data/t/c/$i/0 || exit 3\n  \
         i=$((i+1))\ndone"
    );
    let script = serde_json::to_string(&script).unwrap();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  \
         completionMode: Indexed\n  completions: {into}\n  parallelism: {into}\n  backoffLimit: 0\n  template:\n    \
         metadata:\n      annotations:\n        watchbell.dev/array: '{{name: obs, mount: /data, mode: write, split: \
         {{dim: time, into: {into}}}}}'\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: main\n        \
         image: busybox:bar\n        imagePullPolicy: Never\n        command: [/bin/busybox, sh, -c, {script}]\n"
    )
}

/// A gate that looks at the first chunk: a word that its shell makes of `expected` is what lies there.
pub(crate) fn gate(expected: &str) -> String {
    let script = format!("[ $(cat /data/t/c/0/0) = {expected} ]");
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: check}}\nspec:\n  schedule: '@yearly'\n  suspend: true\n  \
         jobTemplate:\n    spec:\n      backoffLimit: 0\n      template:\n        metadata:\n          annotations:\n            \
         watchbell.dev/array: '{{name: obs, mount: /data}}'\n        spec:\n          restartPolicy: Never\n          \
         containers:\n          - name: main\n            image: busybox:bar\n            imagePullPolicy: Never\n            \
         command: [/bin/busybox, sh, -c, '{script}']\n"
    )
}

/// By its gate.
pub(crate) fn was_kept_out(job: &Value) {
    let conditions = job["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|of| of["reason"] == "ArrayGateFailed"), "{job:#}");
}

/// Asks the server for it, and waits until it is done.
pub(crate) fn roll_back(stand: &mut Stand, to: &str) {
    let path = "/apis/watchbell.dev/v1alpha1/namespaces/default/dataarrays/obs/rollback";
    kubectl(stand, &["create", "--raw", path, "-f", "-"], &json!({"to": to}).to_string()).ok();
    stand.until("it is rolled back", |stand| {
        stand.get(&["dataarray", "obs"])["status"].get("rollback").is_none()
    });
}

fn actions(stand: &Stand, action: &str) -> Vec<Value> {
    let data = stand.data().display().to_string();
    let found =
        stand.watchbell(&["audit", "search", "-o", "json", "--verb", action, "--data-dir", &data]).ok();
    let lines = found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|mut line| line["entry"]["details"].take()).collect()
}

#[test]
fn jobs_write_their_regions_and_what_they_wrote_is_published_at_once() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    let shown = kubectl(&stand, &["get", "da", "obs"], "").ok();
    assert!(shown.starts_with("NAME") && shown.contains("HEAD"), "{shown}");

    // Without the right nothing starts, and the warning says which command mends it.
    let job = writer("fill", 4, 'b', "", "");
    let applied = kubectl(&stand, &["apply", "-f", "-"], &job);
    assert!(applied.err.contains("kubectl create rolebinding default-array-writer"), "{}", applied.err);
    applied.ok();
    may_write(&stand);
    // A plan that cannot be is refused, with what would be legal.
    let refused = kubectl(&stand, &["apply", "-f", "-"], &writer("fine", 9, 'x', "", ""));
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("it cannot be split into 9; the most is 8"), "{}", refused.err);
    kubectl(&stand, &["delete", "job", "fill", "--cascade=background"], "").ok();
    stand.until("it is gone", |stand| stand.watchbell(&["get", "job", "fill"]).code != Some(0));
    kubectl(&stand, &["apply", "-f", "-"], &job).ok();
    let explained = stand.watchbell(&["explain", "job", "fill"]).ok();
    assert!(explained.contains("time [6, 8)  2 chunks"), "{explained}");

    let done = stand.finished("default", "fill");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(rows(&stand, "fill"), "bbbbbbbb");
    let published = actions(&stand, "array-published");
    assert_eq!(published.len(), 1);
    assert_eq!((&published[0]["array"], &published[0]["changed"]), (&json!("obs"), &json!(ROWS)));
    let committed: usize =
        actions(&stand, "array-committed").iter().map(|e| e["committed"].as_array().unwrap().len()).sum();
    assert_eq!(committed, 4);
    let blamed = array(&stand, &["blame", "obs", "t/c/7/0"]).ok();
    assert!(blamed.contains("default/fill"), "{blamed}");
    let status = stand.get(&["dataarray", "obs"])["status"].clone();
    assert_eq!(
        (&status["head"], &status["publishedBy"]["job"]),
        (&published[0]["snapshot"], &json!("default/fill"))
    );

    // What kubectl says of a kind that it does not know has all of it.
    let wide = kubectl(&stand, &["get", "dataarray", "obs", "-o", "wide"], "").ok();
    for column in ["HEAD", "SNAPSHOTS", "SIZE", "BY", "DRAFTS", "READY", "SIGNED"] {
        assert!(wide.contains(column), "{column}: {wide}");
    }
    assert!(
        wide.contains("default/fill") && wide.contains(&status["head"].as_str().unwrap()[..12]),
        "{wide}"
    );
    let described = kubectl(&stand, &["describe", "da", "obs"], "").ok();
    let fields = ["Head:", "Head Time:", "Snapshots:", "Bytes:", "Draft Runs:", "Nodes:", "Signing Key:"];
    let conditions = ["StoreReady", "HeadSigned", "SignedByServer"];
    let events = ["Events:", "ArrayChanged", "The head is snapshot"];
    let is_missing = |text: &&&str| !described.contains(**text);
    let missing: Vec<_> = fields.iter().chain(&conditions).chain(&events).filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?} in {described}");

    // The server signed it, by the key that its object names.
    let data = stand.data().display().to_string();
    let key = stand.watchbell(&["array", "key", "--data-dir", &data]).ok().trim().to_owned();
    assert_eq!(status["signingKey"], key.as_str());
    array(&stand, &["verify", "obs", "--key", &key]).ok();
    // The object's quota is not for the command line.
    let refused = array(&stand, &["quota", "obs", "1Gi"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("kubectl patch dataarray obs"),
        "{}",
        refused.err
    );

    // An index that fails: nothing of the run is seen until what is missing was done.
    let fails = "case $(hostname) in part-2) exit 1;; esac";
    kubectl(&stand, &["apply", "-f", "-"], &writer("part", 4, 'c', "", fails)).ok();
    let failed = stand.finished("default", "part");
    assert!(condition(&failed, "Failed"), "{failed:#}");
    assert_eq!(rows(&stand, "part"), "bbbbbbbb");
    stand.watchbell(&["rerun", "part", "--failed", "--name", "rest"]).ok();
    let done = stand.finished("default", "rest");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(rows(&stand, "rest"), "cccccccc");

    // A rollback by whoever may, through the server.
    let to = published[0]["snapshot"].as_str().unwrap();
    roll_back(&mut stand, to);
    assert_eq!(rows(&stand, "rollback"), "bbbbbbbb");
    assert_eq!(actions(&stand, "array-rolled-back").len(), 1);
    array(&stand, &["verify", "obs", "--key", &key]).ok();

    // The object takes its store with it.
    kubectl(&stand, &["delete", "job", "fill", "part", "rest"], "").ok();
    kubectl(&stand, &["delete", "da", "obs"], "").ok();
    assert!(!stand.data().join("arrays/default/obs").exists());
    stand.end();
}

/// One that passes where the first row is of a letter.
fn check(letter: char) -> String {
    gate(&letter.to_string().repeat(4))
}

fn gated(name: &str, letter: char) -> String {
    writer(name, 2, letter, "watchbell.dev/array-gate: check", "")
}

#[test]
fn a_gate_sees_the_draft_and_decides() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    stand.apply(&check('x'));
    stand.apply(&gated("bad", 'd'));
    let failed = stand.finished("default", "bad");
    assert!(condition(&failed, "Failed"), "{failed:#}\n{}", stand.server_log());
    was_kept_out(&failed);
    assert_eq!(rows(&stand, "bad"), "aaaaaaaa");
    stand.apply(&check('d'));
    stand.apply(&gated("good", 'd'));
    let done = stand.finished("default", "good");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(rows(&stand, "good"), "dddddddd");
    assert!(condition(&stand.get(&["job", "good-gate"]), "Complete"));
    assert_eq!(actions(&stand, "array-refused").len(), 1);
    stand.end();
}

#[test]
fn a_server_that_is_killed_publishes_once() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    stand.apply(&writer("long", 2, 'e', "", "sleep 2"));
    stand.until("it runs", |stand| stand.get(&["job", "long"])["status"]["active"] == 2);
    stand.kill();
    stand.launch();
    stand.wait_ready();
    let done = stand.finished("default", "long");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(rows(&stand, "long"), "eeeeeeee");
    assert_eq!(actions(&stand, "array-published").len(), 1);
    let log = array(&stand, &["log", "obs"]).ok();
    assert_eq!(log.lines().filter(|line| line.contains("default/long")).count(), 1, "{log}");
    stand.end();
}

/// Between the last commit and the publication, and again when the gate has said its word.
#[test]
fn a_server_that_is_killed_once_all_is_committed_publishes_once() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    // There is no such gate yet: it waits for one.
    stand.apply(&gated("held", 'f'));
    let indices = |stand: &Stand| -> usize {
        actions(stand, "array-committed").iter().map(|e| e["committed"].as_array().unwrap().len()).sum()
    };
    stand.until("all is committed", |stand| indices(stand) == 2);
    assert_eq!((rows(&stand, "before").as_str(), actions(&stand, "array-published").len()), ("aaaaaaaa", 0));
    // Who comes next finds it, and makes the gate.
    stand.apply(&check('f'));
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.until("the gate has passed", |stand| {
        let gate = stand.watchbell(&["get", "-o", "json", "job", "held-gate"]);
        serde_json::from_str(&gate.out).is_ok_and(|gate| condition(&gate, "Complete"))
    });
    stand.kill();
    stand.launch();
    stand.wait_ready();
    let done = stand.finished("default", "held");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(rows(&stand, "after"), "ffffffff");
    assert_eq!((indices(&stand), actions(&stand, "array-published").len()), (2, 1));
    let log = array(&stand, &["log", "obs"]).ok();
    assert_eq!(log.lines().filter(|line| line.contains("default/held")).count(), 1, "{log}");
    let blamed = array(&stand, &["blame", "obs", "t/c/7/0", "-o", "json"]).ok();
    let blamed: Value = serde_json::from_str(&blamed).unwrap();
    let by = &blamed["items"][0];
    assert_eq!((&by["run"], &by["index"]), (&json!("default/held"), &json!(1)), "{blamed}");
    assert!(by["image"].as_str().unwrap().contains("busybox"), "{blamed}");
    stand.end();
}
