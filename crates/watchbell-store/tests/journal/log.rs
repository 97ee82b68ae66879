//! The audit log that the journal keeps: its head in every commit, its files behind it, and what becomes of both in a crash, a
//! restore and a change of keys.

use std::path::Path;

use watchbell_audit::{Checkpoint, Edge, Journal, Listing, Log, Note, Trust, Verified, verify};
use watchbell_store::{Batch, Error, LogReader, Store};

use crate::state::{entry, open};

/// Commits `count` entries, a few in a batch.
fn append(store: &mut Store, count: u64) {
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let take = left.min(batch);
        let first = store.last_audit_sequence();
        let entries = (0..take).map(|i| entry(&format!(r#"{{"kind":"Test","n":{}}}"#, first + i))).collect();
        let version = store.last_resource_version();
        store.commit(&Batch { resource_version: version, audit: entries, ..Batch::default() }).unwrap();
        (left, batch) = (left - take, batch % 97 + 7);
    }
}

fn publish(store: &Store) -> u64 {
    store.publisher().unwrap().publish().unwrap()
}

pub(crate) fn check(dir: &Path, trust: &Trust) -> Verified {
    let listing = Listing::read(&dir.join("audit")).unwrap();
    let reader = LogReader::open(dir).unwrap();
    let heads = reader.heads().unwrap();
    let journal = Journal {
        logs: heads.logs,
        current: heads.current,
        rows: Box::new(|range, each| reader.rows(range, each).map_err(|e| e.to_string())),
    };
    verify(listing, Some(journal), trust).unwrap()
}

fn check_whole(dir: &Path) -> Verified {
    let found = check(dir, &Trust::default());
    assert_eq!(found.damage, []);
    found
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_commit_signs_the_tree_of_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut edge = Edge::default();
    for n in 0..40u64 {
        let bodies: Vec<String> = (0..n % 4).map(|i| format!("{n} {i}")).collect();
        bodies.iter().for_each(|body| edge.append(body.as_bytes()));
        let audit = bodies.iter().map(|body| entry(body)).collect();
        store.commit(&Batch { audit, ..Batch::default() }).unwrap();
        let heads = LogReader::open(dir.path()).unwrap().heads().unwrap();
        let log = &heads.logs[&heads.current];
        let (checkpoint, _) = Checkpoint::open(log.checkpoint.as_bytes(), store.log_verifier()).unwrap();
        assert_eq!(
            (checkpoint.origin, checkpoint.size, checkpoint.root),
            (heads.current, edge.size(), edge.root())
        );
    }
    // The next start goes on from there.
    drop(store);
    let mut store = open(dir.path());
    edge.append(b"more");
    store.commit(&Batch { audit: vec![entry("more")], ..Batch::default() }).unwrap();
    publish(&store);
    assert_eq!(Log::open(&dir.path().join("audit")).unwrap().checkpoint.root, edge.root());
}

#[test]
fn the_files_follow_the_journal_from_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for count in [1, 254, 1, 1, 300, 70_000, 12, 0, 500] {
        let mut store = open(dir.path());
        append(&mut store, count);
        total += count;
        assert_eq!(publish(&store), total);
        let found = check_whole(dir.path());
        assert_eq!((found.logs.len(), found.logs[0].published, found.logs[0].entries), (1, total, total));
    }
    // With rows that no file has yet.
    let mut store = open(dir.path());
    append(&mut store, 5);
    let found = check_whole(dir.path());
    assert_eq!((found.logs[0].published, found.logs[0].entries), (total, total + 5));
    // All of it can be made anew.
    publish(&store);
    std::fs::rename(dir.path().join("audit"), dir.path().join("aside")).unwrap();
    publish(&store);
    check_whole(dir.path());
    for name in ["checkpoint", "verifier.pub", "tile/1/000", "tile/entries/277.p/162"] {
        let both =
            [dir.path().join("aside").join(name), dir.path().join("audit").join(name)].map(std::fs::read);
        let [Ok(aside), Ok(anew)] = both else { panic!("{name}: {both:?}") };
        assert!(aside == anew, "{name}");
    }
}

/// By hand: what the second format added goes.
fn to_first_format(dir: &Path) {
    let journal = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    for column in ["log_first_sequence", "tree_size", "tree_edge", "log_verifier", "checkpoint"] {
        journal.execute_batch(&format!("ALTER TABLE journal DROP COLUMN {column}")).unwrap();
    }
    journal.execute_batch("DROP TABLE closed_log; PRAGMA user_version = 1").unwrap();
}

/// Nothing signed them when they were written: the first log does, which a restore began behind them.
#[test]
fn rows_of_before_the_first_log_are_those_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let (old, data) = (dir.path().join("old"), dir.path().join("data"));
    append(&mut open(&old), 40);
    to_first_format(&old);
    std::fs::create_dir(&data).unwrap();
    Store::restore(&old.join("journal.db"), &data).unwrap();
    drop(open(&data));
    assert_eq!(check_whole(&data).logs.len(), 1);
    let journal = rusqlite::Connection::open(data.join("journal.db")).unwrap();
    let sql = "DROP TRIGGER audit_is_never_updated; UPDATE audit SET body = x'00' WHERE sequence = 17";
    journal.execute_batch(sql).unwrap();
    let damage = check(&data, &Trust::default()).damage;
    assert!(damage.iter().any(|damage| damage.what.contains("rows 1 to 40 are not those")), "{damage:?}");
}

#[test]
fn a_journal_of_before_the_log_gets_its_rows_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 700);
    let root = {
        publish(&store);
        Log::open(&dir.path().join("audit")).unwrap().checkpoint.root
    };
    drop(store);
    to_first_format(dir.path());
    std::fs::remove_dir_all(dir.path().join("audit")).unwrap();
    std::fs::remove_file(dir.path().join("audit.key")).unwrap();
    assert!(matches!(LogReader::open(dir.path()), Err(Error::OlderFormat { found: 1, .. })));
    let (store, report) = Store::open(dir.path()).unwrap();
    assert_eq!(report.migrated_from, Some(1));
    assert_eq!(publish(&store), 700);
    assert_eq!(Log::open(&dir.path().join("audit")).unwrap().checkpoint.root, root);
    check_whole(dir.path());
}

#[test]
fn another_key_or_none_does_not_go_on_with_a_log() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut open(dir.path()), 3);
    let key = dir.path().join("audit.key");
    let bytes = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::KeyUnusable { .. })));
    assert!(!key.exists());
    crate::log::write_private(&key, &[7; 32]);
    assert!(matches!(Store::open(dir.path()), Err(Error::KeyUnusable { .. })));
    std::fs::remove_file(&key).unwrap();
    crate::log::write_private(&key, &bytes);
    open(dir.path());
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_row_less_or_more_keeps_the_journal_shut() {
    for sql in [
        "DROP TRIGGER audit_is_never_deleted; DELETE FROM audit WHERE sequence = 3",
        "INSERT INTO audit (sequence, at_unix_nanos, body) VALUES (4, 1, x'00')",
        "UPDATE journal SET tree_size = 4",
        "UPDATE journal SET tree_edge = x'00'",
        "UPDATE journal SET tree_edge = zeroblob(64)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        append(&mut open(dir.path()), 3);
        rusqlite::Connection::open(dir.path().join("journal.db")).unwrap().execute_batch(sql).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Corrupt { .. })), "{sql}");
    }
}

#[test]
fn a_restore_begins_a_log_that_holds_the_last_checkpoint_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let mut store = open(&data);
    append(&mut store, 300);
    store.backup(&backup).unwrap();
    // Committed after the backup, and not published yet when the restore comes.
    append(&mut store, 30);
    let held = LogReader::open(&data).unwrap().heads().unwrap();
    let held = held.logs[&held.current].checkpoint.clone();
    drop(store);
    Store::restore(&backup, &data).unwrap();

    // Whole before the first start, and after it.
    check_whole(&data);
    let mut store = open(&data);
    append(&mut store, 5);
    publish(&store);
    let held = Note::parse(held.as_bytes()).unwrap();
    let trust = Trust { held: vec![held.clone()], ..Trust::default() };
    let found = check(&data, &trust);
    assert_eq!(found.damage, []);
    let sizes: Vec<_> = found.logs.iter().map(|log| (log.dir.as_str(), log.entries)).collect();
    assert_eq!(sizes, [("epoch-1", 330), ("", 6)]);
    let first = Log::open(&data.join("audit")).unwrap().entry(0).unwrap();
    let first = String::from_utf8(first).unwrap();
    assert!(first.contains(r#""action":"restored""#), "{first}");
    assert!(first.contains(&serde_json::to_string(&held.to_string()).unwrap()), "{first}");

    // The same backup once more: two closed logs, each named by the one after it.
    drop(store);
    Store::restore(&backup, &data).unwrap();
    let mut store = open(&data);
    append(&mut store, 2);
    publish(&store);
    let found = check(&data, &trust);
    assert_eq!(found.damage, []);
    assert_eq!(found.logs.iter().map(|log| log.entries).collect::<Vec<_>>(), [330, 6, 3]);

    // On another machine, from a backup: the log is made of the rows, the closed ones came along.
    let (moved, elsewhere) = (dir.path().join("moved"), dir.path().join("elsewhere"));
    store.backup(&moved).unwrap();
    drop(store);
    Store::restore(&moved, &elsewhere).unwrap();
    let mut store = open(&elsewhere);
    append(&mut store, 1);
    publish(&store);
    let found = check(&elsewhere, &trust);
    assert_eq!(found.damage, []);
    assert_eq!(found.logs.iter().map(|log| log.entries).collect::<Vec<_>>(), [330, 6, 3, 2]);
    // It has a key of its own.
    assert_ne!(
        std::fs::read(data.join("audit.key")).unwrap(),
        std::fs::read(elsewhere.join("audit.key")).unwrap()
    );

    // A closed log that is taken away is missed.
    std::fs::remove_dir_all(elsewhere.join("audit/epoch-2")).unwrap();
    assert!(!check(&elsewhere, &Trust::default()).is_whole());
}

#[test]
fn a_new_key_is_named_by_the_old_one_and_signs_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 10);
    let old = *store.log_verifier().public_key();
    drop(store);
    Store::rotate_log_key(dir.path()).unwrap();
    let mut store = open(dir.path());
    assert_ne!(*store.log_verifier().public_key(), old);
    append(&mut store, 1);
    publish(&store);
    let found = check_whole(dir.path());
    assert_eq!(found.logs.iter().map(|log| log.entries).collect::<Vec<_>>(), [11, 2]);
    let closed = Log::open(&dir.path().join("audit/epoch-1")).unwrap();
    assert_eq!(*closed.verifier.public_key(), old);
    let last = String::from_utf8(closed.entry(10).unwrap()).unwrap();
    let public = watchbell_audit::encode(store.log_verifier().public_key());
    assert!(last.contains("key-rotating") && last.contains(&public), "{last}");
    let first = String::from_utf8(Log::open(&dir.path().join("audit")).unwrap().entry(0).unwrap()).unwrap();
    assert!(first.contains("key-rotated") && first.contains(&store.log_verifier().to_string()), "{first}");
    assert!(!dir.path().join("audit.key.next").exists());
    assert_eq!(read(dir.path().join("audit/verifier.pub")), format!("{}\n", store.log_verifier()));
}

/// A terminal that takes no more of what is shown keeps no WAL from being written over.
#[test]
fn whoever_is_handed_rows_may_take_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let body = "x".repeat(60_000);
    let mut commit = |count| {
        let version = store.last_resource_version();
        let audit = vec![entry(&body); count];
        store.commit(&Batch { resource_version: version, audit, ..Batch::default() }).unwrap();
        store.checkpoint().unwrap()
    };
    // More than is read at once.
    commit(200);
    let reader = LogReader::open(dir.path()).unwrap();
    let mut seen = Vec::new();
    reader
        .rows(2..200, &mut |row| {
            assert_eq!(commit(1).left_bytes, 0);
            assert_eq!(row.body, body.as_bytes());
            seen.push(row.sequence);
        })
        .unwrap();
    assert_eq!(seen, (2..200).collect::<Vec<_>>());
}
