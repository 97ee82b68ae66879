//! Any run of batches, then a reopen: the journal holds what a map would.

use std::collections::BTreeMap;

use proptest::prelude::*;
use watchbell_store::{Batch, Put, RowKey, Seal};

use crate::state::{array_pods, audit, entry, objects, open};

#[derive(Debug, Clone)]
enum Step {
    Put {
        row: u8,
        head: Option<Vec<u8>>,
        status: Option<Vec<u8>>,
    },
    Delete {
        row: u8,
    },
    Audit(String),
    /// The batch ends here.
    Commit,
    /// The batch ends here, and the journal is closed and opened.
    Reopen,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let blob = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        6 => (0u8..12, prop::option::of(blob()), prop::option::of(blob()))
            .prop_map(|(row, head, status)| Step::Put { row, head, status }),
        2 => (0u8..12).prop_map(|row| Step::Delete { row }),
        2 => "[a-z]{0,40}".prop_map(Step::Audit),
        3 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Checkpoint),
    ]
}

/// Four plain objects, four secrets, four array pods.
fn key(row: u8) -> (RowKey, Seal) {
    match row {
        0..4 => (RowKey::object("jobs.batch", "", &format!("j{row}")), Seal::Plain),
        4..8 => (RowKey::object("secrets", "ns", &format!("s{row}")), Seal::Secret),
        _ => {
            (RowKey::ArrayPod { job: u64::from(row / 2), index: u32::from(row % 2), attempt: 3 }, Seal::Plain)
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Held {
    created: u64,
    version: u64,
    head: Option<Vec<u8>>,
    status: Option<Vec<u8>>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_back_is_what_was_put(steps in prop::collection::vec(step(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model: BTreeMap<RowKey, Held> = BTreeMap::new();
        let mut log: Vec<Vec<u8>> = Vec::new();
        let mut batch = Batch::default();
        let mut version = 0;
        for step in steps.into_iter().chain([Step::Reopen]) {
            match step {
                Step::Put { row, head, status } => {
                    let (key, seal) = key(row);
                    let object = matches!(key, RowKey::Object { .. });
                    let head = if object && !model.contains_key(&key) { head.or(Some(vec![])) } else { head };
                    if head.is_none() && status.is_none() {
                        continue;
                    }
                    version += 1;
                    let held = model.entry(key.clone()).or_insert(Held { created: version, ..Held::default() });
                    held.version = version;
                    held.head = head.clone().or(held.head.take());
                    held.status = status.clone().or(held.status.take());
                    batch.puts.push(Put { key, resource_version: version, head, status, seal });
                }
                // Deletes come before puts in a batch, so a batch that put the row must end first.
                Step::Delete { row } => {
                    let (key, _) = key(row);
                    if batch.puts.iter().all(|put| put.key != key) {
                        model.remove(&key);
                        version += 1;
                        batch.deletes.push(key);
                    }
                }
                Step::Audit(text) => {
                    log.push(text.clone().into_bytes());
                    batch.audit.push(entry(&text));
                }
                Step::Checkpoint => {
                    store.checkpoint().unwrap();
                }
                end @ (Step::Commit | Step::Reopen) => {
                    batch.resource_version = version;
                    store.commit(&std::mem::take(&mut batch)).unwrap();
                    if matches!(end, Step::Reopen) {
                        drop(store);
                        store = open(dir.path());
                    }
                }
            }
        }
        prop_assert_eq!(store.last_resource_version(), version);
        prop_assert_eq!(audit(&mut store), log);
        let rows = objects(&mut store);
        prop_assert!(rows.is_sorted_by_key(|row| row.created_resource_version));
        let mut seen: BTreeMap<RowKey, Held> = BTreeMap::new();
        for row in rows {
            let held = Held {
                created: row.created_resource_version,
                version: row.resource_version,
                head: Some(row.head),
                status: row.status,
            };
            seen.insert(RowKey::object(&row.resource, &row.namespace, &row.name), held);
        }
        for row in array_pods(&mut store) {
            let key = RowKey::ArrayPod { job: row.job, index: row.index, attempt: row.attempt };
            // Not kept of an array pod; its order is its key.
            let created = model.get(&key).map_or(0, |held| held.created);
            seen.insert(key, Held { created, version: row.resource_version, head: row.head, status: row.status });
        }
        prop_assert_eq!(seen, model);
    }
}
