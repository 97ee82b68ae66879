//! A journal that is not what its log was published from signs nothing: what went back, what nothing signs, what goes on
//! otherwise than it was seen to.

use std::path::Path;

use watchbell_audit::{Log, Trust};
use watchbell_store::{Batch, Error, Store};

use crate::log::check;
use crate::state::{entry, open};
use crate::tamper::{audit_dir, copy, grow};

fn refused(dir: &Path, says: &str) {
    match Store::open(dir) {
        Err(error @ Error::RolledBack { .. }) => {
            let text = error.to_string();
            assert!(text.contains(says) && text.contains("watchbell restore"), "{text}");
        }
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

/// Everything but the published files, as it was in `from`.
fn put_back(from: &Path, dir: &Path) {
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(dir.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), dir.join(name)).unwrap();
        }
    }
}

/// A journal with 20 entries, and `earlier` when it had 10.
fn two_states(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (data, earlier) = (dir.join("data"), dir.join("earlier"));
    grow(&mut open(&data), 10);
    copy(&data, &earlier);
    grow(&mut open(&data), 10);
    (data, earlier)
}

#[test]
fn a_journal_that_went_back_is_not_gone_on_with_and_a_restore_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let (data, earlier) = two_states(dir.path());
    let held = Log::open(&audit_dir(&data)).unwrap().note;
    put_back(&earlier, &data);
    refused(&data, "was published with 20 entries, of which the journal has 10");
    // Nothing was written meanwhile.
    assert_eq!(Log::open(&audit_dir(&data)).unwrap().note, held);
    let trust = Trust { held: vec![held], ..Trust::default() };
    assert!(!check(&data, &trust).is_whole());

    // As the message says.
    let aside = dir.path().join("aside.db");
    std::fs::rename(data.join("journal.db"), &aside).unwrap();
    let _ = std::fs::remove_file(data.join("journal.db-wal"));
    Store::restore(&aside, &data).unwrap();
    let mut store = open(&data);
    grow(&mut store, 3);
    let found = check(&data, &trust);
    assert_eq!(found.damage, []);
    assert_eq!(found.logs.iter().map(|log| log.entries).collect::<Vec<_>>(), [20, 4]);
}

#[test]
fn a_journal_that_goes_on_otherwise_than_it_was_published_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (data, earlier) = two_states(dir.path());
    for (more, says) in [(10, "20 entries that are not the first"), (15, "20 entries that are not the first")]
    {
        let forked = dir.path().join(format!("forked-{more}"));
        copy(&earlier, &forked);
        // Where nobody sees what was published.
        std::fs::remove_dir_all(audit_dir(&forked)).unwrap();
        let mut store = open(&forked);
        let audit = (0..more).map(|n| entry(&format!("other {n}"))).collect();
        let version = store.last_resource_version();
        store.commit(&Batch { resource_version: version, audit, ..Batch::default() }).unwrap();
        drop(store);
        let _ = std::fs::remove_dir_all(audit_dir(&forked));
        copy(&audit_dir(&data), &audit_dir(&forked));
        refused(&forked, says);
    }
    // Files that are damaged are no proof of anything: the journal is whole, and goes on.
    let tile = audit_dir(&data).join("tile/0/000.p/20");
    let bytes = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, &bytes[32..]).unwrap();
    drop(open(&data));
    std::fs::write(audit_dir(&data).join("checkpoint"), "no note").unwrap();
    open(&data);
}

#[test]
fn a_journal_of_a_closed_log_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (data, earlier) = two_states(dir.path());
    let key = std::fs::read(data.join("audit.key")).unwrap();
    let backup = dir.path().join("backup");
    open(&data).backup(&backup).unwrap();
    Store::restore(&backup, &data).unwrap();
    drop(open(&data));
    put_back(&earlier, &data);
    assert_eq!(key, std::fs::read(data.join("audit.key")).unwrap());
    refused(&data, "is closed (in ");
}

/// Whoever can write the directory but has no key cannot have the server sign for him what he wrote.
#[test]
fn what_nothing_signs_is_not_signed_anew() {
    let unsigned = "UPDATE journal SET checkpoint = NULL";
    for sql in [
        unsigned.to_owned(),
        format!("{unsigned}, log_verifier = NULL"),
        // All of it written anew, as far as one can who has no key: 0 entries.
        format!(
            "{unsigned}, log_verifier = NULL, tree_size = 0, tree_edge = x''; DROP TRIGGER audit_is_never_deleted; \
             DELETE FROM audit"
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        grow(&mut open(&data), 10);
        rusqlite::Connection::open(data.join("journal.db")).unwrap().execute_batch(&sql).unwrap();
        let found = check(&data, &Trust::default());
        let told = found.damage.iter().any(|damage| damage.what.contains("nothing signs"));
        assert!(told, "{sql}: {:?}", found.damage);
        // Whatever of its traces is taken away beside, as long as there is one; a key of its own is shown by who keeps the old.
        for take in [&[][..], &["audit"], &["audit.key"], &["audit.key", "audit/checkpoint"]] {
            let copied = dir.path().join("copied");
            copy(&data, &copied);
            for name in take {
                let path = copied.join(name);
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                    .unwrap();
            }
            match Store::open(&copied) {
                Err(Error::Corrupt { cause, .. }) => assert!(cause.contains("nothing signs"), "{cause}"),
                other => panic!("{sql}, without {take:?}: {:?}", other.map(|(_, report)| report)),
            }
            std::fs::remove_dir_all(&copied).unwrap();
        }
    }
}

/// The key has its name when what it signed is durable.
#[test]
fn a_first_signature_that_a_crash_cut_short_is_made_or_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let verifier = store.log_verifier().clone();
    let key = |name: &str| dir.path().join(name);
    // Between the signature and the name.
    grow(&mut store, 2);
    drop(store);
    std::fs::rename(key("audit.key"), key("audit.key.first")).unwrap();
    let store = open(dir.path());
    assert_eq!(*store.log_verifier(), verifier);
    assert!(key("audit.key").exists() && !key("audit.key.first").exists());
    drop(store);
    // A key that signed nothing of it is not taken for its own.
    std::fs::remove_file(key("audit.key")).unwrap();
    let other = tempfile::tempdir().unwrap();
    drop(open(other.path()));
    std::fs::copy(other.path().join("audit.key"), key("audit.key.first")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::KeyUnusable { .. })));

    // Between the key and the signature: it is used.
    let fresh = tempfile::tempdir().unwrap();
    let store = open(fresh.path());
    let verifier = store.log_verifier().clone();
    drop(store);
    let journal = rusqlite::Connection::open(fresh.path().join("journal.db")).unwrap();
    journal.execute_batch("UPDATE journal SET checkpoint = NULL, log_verifier = NULL").unwrap();
    drop(journal);
    std::fs::rename(fresh.path().join("audit.key"), fresh.path().join("audit.key.first")).unwrap();
    assert_eq!(*open(fresh.path()).log_verifier(), verifier);
}

#[test]
fn a_key_without_its_journal_is_no_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    grow(&mut open(dir.path()), 3);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm", "secrets.key"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    match Store::open(dir.path()) {
        Err(Error::JournalMissing { key, .. }) => assert_eq!(key, dir.path().join("audit.key")),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

#[test]
fn a_log_whose_key_file_is_damaged_keeps_no_restore_from_going_on() {
    for damage in [&b"\xff\xfe"[..], b"", b"no key\n", &[b'a'; 100_000]] {
        let dir = tempfile::tempdir().unwrap();
        let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
        let mut store = open(&data);
        grow(&mut store, 30);
        store.backup(&backup).unwrap();
        drop(store);
        let last = Log::open(&audit_dir(&data)).unwrap().note.to_string();
        std::fs::write(audit_dir(&data).join("verifier.pub"), damage).unwrap();
        Store::restore(&backup, &data).unwrap();
        let mut store = open(&data);
        grow(&mut store, 1);
        // The new log is whole and names the one before it; the damage is kept, and told.
        let first = String::from_utf8(Log::open(&audit_dir(&data)).unwrap().entry(0).unwrap()).unwrap();
        assert!(first.contains(&serde_json::to_string(&last).unwrap()), "{first}");
        assert_eq!(std::fs::read(audit_dir(&data).join("epoch-0/verifier.pub")).unwrap(), damage);
        assert!(!check(&data, &Trust::default()).is_whole());
    }
    // The same without it: the journal knows it.
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let mut store = open(&data);
    grow(&mut store, 30);
    store.backup(&backup).unwrap();
    drop(store);
    std::fs::remove_file(audit_dir(&data).join("verifier.pub")).unwrap();
    Store::restore(&backup, &data).unwrap();
    grow(&mut open(&data), 1);
    assert!(audit_dir(&data).join("epoch-1/checkpoint").exists());
    assert_eq!(check(&data, &Trust::default()).damage, []);
}
