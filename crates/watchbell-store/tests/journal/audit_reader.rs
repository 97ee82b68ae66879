//! A reader of audit entries beside the writer.

use std::time::Duration;

use watchbell_store::{AuditEntry, AuditNews, Batch, Store, Until};

use crate::state::open;

fn append(store: &mut Store, bodies: &[&str]) {
    let audit =
        bodies.iter().map(|body| AuditEntry { at_unix_nanos: 7, body: body.as_bytes().to_vec() }).collect();
    let batch = Batch { resource_version: store.last_resource_version() + 1, audit, ..Batch::default() };
    store.commit(&batch).expect("the batch commits");
}

/// Longer than any test may take: what returns did not wait for it.
const FOREVER: Duration = Duration::from_secs(3600);

#[test]
fn a_reading_is_bounded_in_entries_and_bytes_and_goes_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let reader = store.audit_reader().unwrap();
    assert_eq!(reader.read(1, 10, 1000).unwrap(), []);
    append(&mut store, &["one", "two", "three"]);
    append(&mut store, &["four"]);
    let bodies = |first, entries, bytes| -> Vec<String> {
        let rows = reader.read(first, entries, bytes).unwrap();
        assert!(rows.iter().zip(first..).all(|(row, n)| row.sequence == n && row.at_unix_nanos == 7));
        rows.into_iter().map(|row| String::from_utf8(row.body).unwrap()).collect()
    };
    assert_eq!(bodies(1, 10, 1000), ["one", "two", "three", "four"]);
    assert_eq!(bodies(2, 2, 1000), ["two", "three"]);
    // One that alone is more than asked for is read all the same, or nothing would ever be.
    assert_eq!(bodies(3, 10, 1), ["three"]);
    assert_eq!(bodies(1, 10, 4), ["one", "two"]);
    assert!(bodies(5, 10, 1000).is_empty());
    let epochs = reader.epochs().unwrap();
    assert_eq!((epochs.len(), epochs[0].number, epochs[0].first_audit_sequence), (1, 1, 1));
}

#[test]
fn the_bell_tells_of_commits_with_entries_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, &["before"]);
    drop(store);
    let mut store = open(dir.path());
    let reader = store.audit_reader().unwrap();
    let known = reader.news();
    assert_eq!(known, AuditNews { last_sequence: 1, is_over: false });
    // A commit without entries is no news.
    let version = store.last_resource_version() + 1;
    store.commit(&Batch { resource_version: version, ..Batch::default() }).unwrap();
    assert_eq!(reader.wait(Until::News(known), Some(Duration::ZERO)), known);
    let waiting = std::thread::spawn(move || {
        let told = reader.wait(Until::News(known), Some(FOREVER));
        (told, reader.wait(Until::Over, None), reader)
    });
    append(&mut store, &["two", "three"]);
    drop(store);
    let (told, end, _) = waiting.join().unwrap();
    assert_eq!(told.last_sequence, 3);
    assert_eq!(end, AuditNews { last_sequence: 3, is_over: true });
}

#[test]
fn what_is_left_is_read_after_the_end_and_the_last_to_leave_tidies() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let reader = store.audit_reader().unwrap();
    append(&mut store, &["last words"]);
    drop(store);
    assert_eq!(reader.read(1, 10, 1000).unwrap().len(), 1);
    // It holds the directory: another server must not begin meanwhile.
    assert!(matches!(Store::open(dir.path()), Err(watchbell_store::Error::Locked { .. })));
    drop(reader);
    let wal = dir.path().join("journal.db-wal");
    assert!(!wal.exists(), "the WAL is left behind");
    open(dir.path());
}
