//! Files that are cut, overwritten, of another program or of another version.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;
use watchbell_store::{Batch, Error, FORMAT_VERSION, Store};

use crate::state::{array_pods, audit, config_map, entry, objects, open, put, puts};

/// What a crash would leave of an open journal, in a directory of its own.
fn crashed_copy(dir: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["journal.db", "journal.db-wal", "secrets.key", "audit.key"] {
        std::fs::copy(dir.join(name), to.join(name)).unwrap();
    }
}

fn numbered(n: u64) -> Batch {
    let puts = (0..3).map(|i| {
        let text = format!("{n}");
        put(config_map(&format!("{n}-{i}")), n * 3 - 2 + i, Some(&text), Some(&text))
    });
    Batch { audit: vec![entry(&n.to_string())], ..self::puts(n * 3, puts.collect()) }
}

/// The number of whole batches; fails on half of one.
fn whole_batches(store: &mut Store) -> u64 {
    let n = audit(store).len() as u64;
    assert_eq!(store.last_resource_version(), n * 3);
    assert_eq!(objects(store).len() as u64, n * 3);
    n
}

#[test]
fn a_cut_or_overwritten_wal_opens_at_the_last_whole_batch() {
    const BATCHES: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let mut store = open(&live);
    let base = store.commit(&numbered(1)).unwrap();
    store.checkpoint().unwrap();
    let ends: Vec<u64> = (2..=BATCHES).map(|n| store.commit(&numbered(n)).unwrap().wal_bytes + 32).collect();
    assert!(base.wal_bytes > 0);
    let whole_at = |length: u64| 1 + ends.iter().filter(|end| **end <= length).count() as u64;
    let end = *ends.last().unwrap();

    let check = |name: &str, expect: u64, spoil: &dyn Fn(&File)| {
        let copy = dir.path().join("copy");
        crashed_copy(&live, &copy);
        spoil(&OpenOptions::new().write(true).open(copy.join("journal.db-wal")).unwrap());
        let mut store = open(&copy);
        assert_eq!(whole_batches(&mut store), expect, "{name}");
        // And it goes on from there.
        store.commit(&numbered(expect + 1)).unwrap();
        drop(store);
        assert_eq!(whole_batches(&mut open(&copy)), expect + 1, "{name}");
        std::fs::remove_dir_all(&copy).unwrap();
    };
    for cut in (0..end).step_by(1999).chain([end - 1, end]) {
        check(&format!("cut at {cut}"), whole_at(cut), &|wal| wal.set_len(cut).unwrap());
    }
    for at in (0..end).step_by(4999) {
        // The rest of the batch in which the junk begins is lost, and all after it.
        check(&format!("junk from {at}"), whole_at(at), &|wal| {
            wal.set_len(at).unwrap();
            wal.write_all_at(&[0xa5; 9000], at).unwrap();
        });
    }
}

fn filled(dir: &Path) {
    let mut store = open(dir);
    for n in 1..=200 {
        store.commit(&numbered(n)).unwrap();
    }
}

fn reads(dir: &Path) -> Result<(), Error> {
    let (mut store, _) = Store::open(dir)?;
    store.load_objects::<Error>(&mut |_| Ok(()))?;
    store.load_array_pods::<Error>(&mut |_| Ok(()))?;
    store.load_audit::<Error>(1, &mut |_| Ok(()))?;
    Ok(())
}

fn check_corrupt(dir: &Path, what: &str) {
    match reads(dir) {
        Err(error @ Error::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(
                text.contains("journal.db is damaged") && text.contains("restore the newest backup"),
                "{text}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_cut_database_says_so() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("journal.db");
    let whole = path.metadata().unwrap().len();
    for length in [whole - 1, whole - 4096, whole / 2, 4096, 100] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        check_corrupt(dir.path(), &format!("cut to {length}"));
    }
    // SQLite takes these for new.
    for length in [1, 0] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::JournalMissing { .. })), "cut to {length}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::JournalMissing { .. })));
    assert!(!path.exists(), "an open that refuses makes nothing");
}

#[test]
fn a_cut_database_with_a_wal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    filled(&live);
    let mut store = open(&live);
    store.commit(&numbered(201)).unwrap();
    crashed_copy(&live, &copy);
    assert!(reads(&copy).is_ok(), "uncut, it is whole");
    std::fs::remove_dir_all(&copy).unwrap();
    crashed_copy(&live, &copy);
    let file = OpenOptions::new().write(true).open(copy.join("journal.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    check_corrupt(&copy, "half");
}

#[test]
fn an_overwritten_database_says_so() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = OpenOptions::new().write(true).open(dir.path().join("journal.db")).unwrap();
    file.write_all_at(&[0x5a; 100], 0).unwrap();
    check_corrupt(dir.path(), "header");
}

/// Changes the marks of a journal, as another program or version would have written them.
fn mark(dir: &Path, pragma: &str, value: i32) -> Vec<u8> {
    let path = dir.join("journal.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, pragma, value).unwrap();
    drop(connection);
    std::fs::read(&path).unwrap()
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let newer = FORMAT_VERSION + 1;
    let before = mark(dir.path(), "user_version", newer as i32);
    match Store::open(dir.path()) {
        Err(Error::NewerFormat { found, supported, .. }) => {
            assert_eq!((found, supported), (newer, FORMAT_VERSION));
        }
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
    assert!(std::fs::read(dir.path().join("journal.db")).unwrap() == before);
    mark(dir.path(), "user_version", FORMAT_VERSION as i32);
    assert_eq!(array_pods(&mut open(dir.path())), []);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAJournal { application_id: 0, .. })));
    assert!(std::fs::read(&path).unwrap() == before);
}

/// Whoever opens the file: SQLite holds the audit journal to its end.
#[test]
fn audit_entries_cannot_be_changed_by_sql() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let connection = Connection::open(dir.path().join("journal.db")).unwrap();
    for (sql, says) in [
        ("UPDATE audit SET body = x'00' WHERE sequence = 3", "never changed"),
        ("UPDATE audit SET sequence = 1000 WHERE sequence = 200", "never changed"),
        ("DELETE FROM audit", "never deleted"),
        ("DELETE FROM audit WHERE sequence = 200", "never deleted"),
        ("INSERT OR REPLACE INTO audit VALUES (3, 0, x'00')", "must be the next one"),
        ("INSERT INTO audit VALUES (202, 0, x'00')", "must be the next one"),
        ("INSERT INTO audit VALUES (NULL, 0, x'00')", "must be the next one"),
        ("UPDATE epoch SET first_resource_version = 5", "never changed"),
        ("DELETE FROM epoch", "never deleted"),
    ] {
        let refused = connection.execute(sql, []).unwrap_err().to_string();
        assert!(refused.contains(says), "{sql}: {refused}");
    }
    drop(connection);
    assert_eq!(audit(&mut open(dir.path())).len(), 200);
}
