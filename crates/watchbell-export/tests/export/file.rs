use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use watchbell_audit::Log;
use watchbell_audit::export::hex;
use watchbell_audit::export::rotation::Limits;
use watchbell_export::{Exports, FileOptions, Options};

use crate::journal::{append, check_indexes, end, open, options, start, wait_for_all};

pub(crate) fn to(path: &Path, bytes: u64) -> Options {
    let limits = Limits { bytes, count: 1000, age: Duration::from_secs(3600) };
    Options { file: Some(FileOptions { path: path.to_path_buf(), limits }), ..options() }
}

/// The lines of all files, the oldest first; each is whole.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file != path)
        .collect();
    files.sort();
    files.push(path.to_path_buf());
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{} has half a line", file.display());
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines
}

pub(crate) fn indexes(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line["event"]["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn every_entry_is_a_line_in_its_order_over_rotations_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    std::fs::create_dir(&logs).unwrap();
    let path = logs.join("audit.ndjson");
    for n in 1..=4 {
        let mut store = open(&data);
        append(&mut store, 200);
        let exports = start(&store, &data, &to(&path, 50_000));
        append(&mut store, 50);
        if n % 2 == 0 {
            wait_for_all(&exports);
        }
        end(store, exports);
        check_indexes(&indexes(&path), (0..250 * n).collect());
    }
    assert!(std::fs::read_dir(&logs).unwrap().count() > 5, "it was rotated");
    for (n, line) in lines(&path).iter().enumerate() {
        let body = crate::journal::body(n as u64);
        assert_eq!(line["orchestrator"]["resource"]["name"], body["objectRef"]["name"]);
    }
    // All files gone: what was written is known by the cursor.
    std::fs::remove_dir_all(&logs).unwrap();
    std::fs::create_dir(&logs).unwrap();
    let mut store = open(&data);
    append(&mut store, 1);
    let exports = start(&store, &data, &to(&path, 50_000));
    end(store, exports);
    assert_eq!(indexes(&path), [1000]);
}

#[test]
fn a_restore_begins_names_anew_and_what_it_cut_off_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs, copy) = (dir.path().join("data"), dir.path().join("logs"), dir.path().join("copy"));
    std::fs::create_dir(&logs).unwrap();
    let path = logs.join("audit.ndjson");
    let mut store = open(&data);
    append(&mut store, 40);
    store.backup(&copy).unwrap();
    append(&mut store, 10);
    let exports = start(&store, &data, &to(&path, 1 << 20));
    end(store, exports);
    assert_eq!(indexes(&path).len(), 50);
    watchbell_store::Store::restore(&copy, &data).unwrap();
    let mut store = open(&data);
    append(&mut store, 3);
    let exports = start(&store, &data, &to(&path, 1 << 20));
    end(store, exports);
    let written = lines(&path);
    let ids: std::collections::BTreeSet<&str> =
        written.iter().map(|l| l["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), written.len(), "no name twice");
    let after: Vec<u64> = indexes(&path)[50..].to_vec();
    assert_eq!((after.first(), after.last()), (Some(&40), Some(&(40 + after.len() as u64 - 1))));
    assert!(after.len() >= 3);
    // The same backup again: what both lives began with is there already.
    watchbell_store::Store::restore(&copy, &data).unwrap();
    let store = open(&data);
    let exports = start(&store, &data, &to(&path, 1 << 20));
    end(store, exports);
    assert_eq!(indexes(&path)[50 + after.len()..], [40]);
}

#[test]
fn a_proof_is_asked_for_by_an_entrys_index_in_its_own_log() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    std::fs::create_dir(&logs).unwrap();
    let path = logs.join("audit.ndjson");
    let mut store = open(&data);
    append(&mut store, 5);
    drop(store);
    watchbell_store::Store::rotate_log_key(&data).unwrap();
    let mut store = open(&data);
    append(&mut store, 3);
    store.publisher().unwrap().publish().unwrap();
    let exports = start(&store, &data, &to(&path, 1 << 20));
    end(store, exports);
    let logs = ["audit", "audit/epoch-1"].map(|name| Log::open(&data.join(name)).unwrap());
    let mut places = Vec::new();
    for line in lines(&path) {
        let (origin, index) = (&line["watchbell"]["log"]["origin"], &line["watchbell"]["log"]["index"]);
        let at = logs.iter().position(|log| log.verifier.name() == origin).unwrap();
        let proof = logs[at].prove_inclusion(index.as_u64().unwrap()).unwrap();
        let hash = hex(&watchbell_audit::leaf_hash(&proof.extra.unwrap()));
        assert_eq!(line["event"]["hash"], hash, "{line}");
        places.push((at, proof.index));
    }
    // The last entry of the closed log names the new key, the first one of the other follows it.
    assert_eq!(places, [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (0, 0), (0, 1), (0, 2), (0, 3)]);
}

#[test]
fn a_journal_that_was_put_back_by_hand_is_not_exported_under_used_names() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs, copy) = (dir.path().join("data"), dir.path().join("logs"), dir.path().join("copy"));
    std::fs::create_dir(&logs).unwrap();
    let path = logs.join("audit.ndjson");
    let mut store = open(&data);
    append(&mut store, 40);
    store.backup(&copy).unwrap();
    append(&mut store, 10);
    let exports = start(&store, &data, &to(&path, 1 << 20));
    end(store, exports);
    std::fs::remove_file(data.join("journal.db")).unwrap();
    let _ = std::fs::remove_file(data.join("journal.db-wal"));
    std::fs::copy(copy.join("journal.db"), data.join("journal.db")).unwrap();
    let store = open(&data);
    let error = Exports::start(&store, &data, &to(&path, 1 << 20)).unwrap_err().to_string();
    assert!(error.contains("watchbell restore") && error.contains("50 entries"), "{error}");
}
