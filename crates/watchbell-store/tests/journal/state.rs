//! All that a journal holds, read back for comparison.

use std::collections::BTreeMap;
use std::path::Path;

use watchbell_store::{ArrayPodRow, AuditEntry, Batch, Error, ObjectRow, Put, RowKey, Seal, Store};

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir).expect("the journal opens").0
}

pub(crate) fn objects(store: &mut Store) -> Vec<ObjectRow> {
    let mut rows = Vec::new();
    store
        .load_objects::<Error>(&mut |row| {
            rows.push(row);
            Ok(())
        })
        .expect("the objects load");
    rows
}

pub(crate) fn array_pods(store: &mut Store) -> Vec<ArrayPodRow> {
    let mut rows = Vec::new();
    store
        .load_array_pods::<Error>(&mut |row| {
            rows.push(row);
            Ok(())
        })
        .expect("the array pods load");
    rows
}

/// Bodies by sequence number; checks that they are contiguous from 1.
pub(crate) fn audit(store: &mut Store) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    store
        .load_audit::<Error>(1, &mut |row| {
            bodies.push(row.body);
            assert_eq!(row.sequence, bodies.len() as u64, "the sequence has a gap");
            Ok(())
        })
        .expect("the audit entries load");
    bodies
}

/// Head and status of each object by `resource namespace/name`.
pub(crate) fn contents(store: &mut Store) -> BTreeMap<String, (Vec<u8>, Option<Vec<u8>>)> {
    objects(store)
        .into_iter()
        .map(|row| (format!("{} {}/{}", row.resource, row.namespace, row.name), (row.head, row.status)))
        .collect()
}

pub(crate) fn config_map(name: &str) -> RowKey {
    RowKey::object("configmaps", "default", name)
}

pub(crate) fn put(key: RowKey, resource_version: u64, head: Option<&str>, status: Option<&str>) -> Put {
    let bytes = |text: Option<&str>| text.map(|t| t.as_bytes().to_vec());
    Put { key, resource_version, head: bytes(head), status: bytes(status), seal: Seal::Plain }
}

pub(crate) fn puts(resource_version: u64, puts: Vec<Put>) -> Batch {
    Batch { resource_version, puts, ..Batch::default() }
}

pub(crate) fn entry(body: &str) -> AuditEntry {
    AuditEntry { at_unix_nanos: 1, body: body.as_bytes().to_vec() }
}
