//! Backup and restore.

use std::path::Path;

use watchbell_store::{Batch, Error, Kept, Put, RowKey, Seal, Store};

use crate::state::{audit, config_map, contents, entry, open, put, puts};

fn numbered(n: u64) -> Batch {
    let text = n.to_string();
    let secret = Put {
        seal: Seal::Secret,
        ..put(RowKey::object("secrets", "default", &text), n * 2, Some(&text), None)
    };
    let plain = put(config_map(&text), n * 2 - 1, Some(&text), Some(&text));
    Batch { audit: vec![entry(&text)], ..puts(n * 2, vec![plain, secret]) }
}

fn filled(dir: &Path, batches: u64) -> Store {
    let mut store = open(dir);
    for n in 1..=batches {
        store.commit(&numbered(n)).unwrap();
    }
    store
}

#[test]
fn a_restore_begins_an_epoch_above_all_that_was_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let mut store = filled(&data, 5);
    let report = store.backup(&backup).unwrap();
    assert!(report.bytes > 0 && report.key.as_ref().is_some_and(|key| key.exists()), "{report:?}");
    let at_backup = contents(&mut store);
    // Made after the backup, lost with the restore.
    for n in 6..=9 {
        store.commit(&numbered(n)).unwrap();
    }
    let at_end = contents(&mut store);
    assert!(matches!(Store::restore(&backup, &data), Err(Error::Locked { .. })));
    let before = store.last_resource_version();
    drop(store);

    let restored = Store::restore(&backup, &data).unwrap();
    assert_eq!((restored.epoch.number, restored.epoch.first_audit_sequence), (2, 6));
    assert!(restored.epoch.first_resource_version > before);
    let (mut store, report) = Store::open(&data).unwrap();
    assert!(!report.created);
    assert_eq!(report.epoch, restored.epoch);
    assert_eq!(report.last_resource_version, restored.epoch.first_resource_version);
    assert_eq!(contents(&mut store), at_backup);
    // Those of the backup, and that it was restored.
    assert_eq!(audit(&mut store).len(), 6);
    // What was replaced is whole.
    let replaced = restored.replaced.unwrap();
    assert_eq!(replaced, data.join("backups/replaced"));
    assert_eq!(contents(&mut open(&replaced)), at_end);
    // The new epoch goes on with its own versions.
    assert!(matches!(store.commit(&numbered(6)), Err(Error::Invalid(_))));
    let version = report.last_resource_version + 1;
    store.commit(&puts(version, vec![put(config_map("new"), version, Some("{}"), None)])).unwrap();
    drop(store);

    // The same backup once more: above the second epoch too, and another one.
    let again = Store::restore(&backup, &data).unwrap();
    assert_eq!(again.epoch.number, 3);
    assert!(again.epoch.first_resource_version > version);
    assert_ne!(again.epoch.id, restored.epoch.id);
    assert_eq!(again.replaced.unwrap(), data.join("backups/replaced.2"));
}

/// The logs say how far the journal had come, which itself says nothing.
#[test]
fn a_restore_over_a_damaged_journal_gives_nothing_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    filled(&data, 3).backup(&backup).unwrap();
    let mut before = Store::restore(&backup, &data).unwrap().epoch;
    let mut check = |harm: &dyn Fn()| {
        harm();
        let epoch = Store::restore(&backup, &data).unwrap().epoch;
        assert_eq!(epoch.number, before.number + 1);
        assert_eq!(epoch.first_resource_version - before.first_resource_version, 1 << 40);
        before = epoch;
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(data.join(name), bytes).unwrap();
    check(&|| write("journal.db", &[7; 5000]));
    check(&|| std::fs::remove_file(data.join("journal.db")).unwrap());
    check(&|| {
        write("journal.db", &[7; 5000]);
        write("audit/verifier.pub", b"junk");
    });
    check(&|| {
        write("journal.db", &[7; 5000]);
        write("audit/checkpoint", b"junk");
    });
    // Damage says nothing that would end all restores.
    check(&|| {
        write("audit/verifier.pub", b"junk");
        write("audit/checkpoint", format!("watchbell.dev/log/00/epoch-{}\n", u64::MAX).as_bytes());
    });
}

#[test]
fn a_backup_needs_a_name_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("data"), 1);
    let to = dir.path().join("backup");
    store.backup(&to).unwrap();
    assert!(matches!(store.backup(&to), Err(Error::BackupExists { .. })));
    let nowhere = dir.path().join("no/such/place");
    assert!(matches!(store.backup(&nowhere), Err(Error::Io { .. })));
}

#[test]
fn a_backup_beside_commits_is_one_instant() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = filled(&data, 3);
    let beside = store.maintenance().unwrap();
    let to = dir.path().join("backup");
    let thread = std::thread::spawn({
        let to = to.clone();
        move || beside.backup(&to).unwrap()
    });
    for n in 4..=40 {
        store.commit(&numbered(n)).unwrap();
    }
    thread.join().unwrap();
    // A copy is not opened itself: it would go on with the log of the original.
    assert!(matches!(Store::open(&to), Err(Error::KeyUnusable { .. })));
    let new = dir.path().join("new");
    Store::restore(&to, &new).unwrap();
    let mut copy = open(&new);
    // The last entry tells of the restore.
    let batches = audit(&mut copy).len() - 1;
    assert!((3..=40).contains(&batches), "{batches}");
    assert_eq!(contents(&mut copy).len(), batches * 2);
}

#[test]
fn without_its_key_a_backup_with_secrets_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup, new) = (dir.path().join("data"), dir.path().join("backup"), dir.path().join("new"));
    let mut store = filled(&data, 2);
    let report = store.backup_without_key(&backup).unwrap();
    assert_eq!(report.key, None);
    let expect = contents(&mut store);
    match Store::restore(&backup, &new) {
        Err(error @ Error::KeyUnusable { .. }) => {
            assert!(error.to_string().contains("holds secrets"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!new.join("journal.db").exists() && !new.join("restoring.partial").exists());
    // The way out that the error names.
    std::fs::copy(data.join("secrets.key"), new.join("secrets.key")).unwrap();
    Store::restore(&backup, &new).unwrap();
    assert_eq!(contents(&mut open(&new)), expect);
}

#[test]
fn without_secrets_a_backup_needs_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup, new) = (dir.path().join("data"), dir.path().join("backup"), dir.path().join("new"));
    let mut store = open(&data);
    store.commit(&puts(1, vec![put(config_map("a"), 1, Some("{}"), None)])).unwrap();
    store.backup_without_key(&backup).unwrap();
    Store::restore(&backup, &new).unwrap();
    assert_eq!(contents(&mut open(&new)).len(), 1);
}

/// A bad backup is found before anything is touched.
#[test]
fn a_bad_backup_leaves_the_journal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let mut store = filled(&data, 50);
    store.backup(&backup).unwrap();
    let expect = contents(&mut store);
    drop(store);
    let file = backup.join("journal.db");
    let whole = std::fs::read(&file).unwrap();
    let check = |what: &str, bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let error = Store::restore(&backup, &data).unwrap_err();
        let (mut store, report) = Store::open(&data).unwrap();
        assert_eq!((report.epoch.number, contents(&mut store) == expect), (1, true), "{what}: {error}");
        error
    };
    assert!(matches!(check("half", &whole[..whole.len() / 2]), Error::Corrupt { .. }));
    assert!(matches!(check("junk", &[7; 5000]), Error::Corrupt { .. }));
    assert!(matches!(check("empty", &[]), Error::NotAJournal { .. }));
    let mut inside = whole.clone();
    inside[4096 * 3..4096 * 4].fill(0);
    assert!(matches!(check("a page of zeros", &inside), Error::Corrupt { .. }));
    std::fs::remove_dir_all(&backup).unwrap();
    assert!(matches!(Store::restore(&backup, &data), Err(Error::Io { .. })));
}

fn of_users(resource: &str, name: &str) -> RowKey {
    RowKey::object(&format!("{resource}.watchbell.dev"), "", name)
}

/// A change of users: what is made and what is deleted, one version after the other.
fn change(store: &mut Store, version: &mut u64, made: &[(&str, &str)], deleted: &[(&str, &str)]) {
    let mut puts = Vec::new();
    for (resource, name) in made {
        *version += 1;
        let seal = if *resource == "usertokens" { Seal::Secret } else { Seal::Plain };
        let text = format!("{name} of {version}");
        puts.push(Put { seal, ..put(of_users(resource, name), *version, Some(&text), Some(&text)) });
    }
    *version += 1;
    let deletes = deleted.iter().map(|(resource, name)| of_users(resource, name)).collect();
    let batch =
        Batch { resource_version: *version, puts, deletes, audit: vec![entry("{}")], ..Batch::default() };
    store.commit(&batch).unwrap();
}

const TOKENS: &str = "usertokens";
const REVOCATIONS: &str = "certificaterevocations";
const RECORDS: &str = "usercertificates";

#[test]
fn what_was_taken_since_the_backup_stays_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (data, first, second) =
        (dir.path().join("data"), dir.path().join("first"), dir.path().join("second"));
    let (mut store, mut version) = (open(&data), 0);
    let made = [(TOKENS, "kept"), (TOKENS, "gone"), (TOKENS, "anew"), (RECORDS, "old"), (RECORDS, "ended")];
    change(&mut store, &mut version, &made, &[]);
    store.backup(&first).unwrap();
    change(
        &mut store,
        &mut version,
        &[(REVOCATIONS, "7"), (RECORDS, "new")],
        &[(TOKENS, "gone"), (TOKENS, "anew")],
    );
    change(&mut store, &mut version, &[(TOKENS, "anew")], &[(RECORDS, "ended")]);
    change(&mut store, &mut version, &[(TOKENS, "later"), (RECORDS, "ended")], &[]);
    store.backup(&second).unwrap();
    let at_end = contents(&mut store);
    drop(store);

    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let report = Store::restore(&first, &data).unwrap();
    let kept = Kept {
        revocations: names(&["7"]),
        certificates: names(&["new", "ended"]),
        tokens: Some(names(&["anew", "gone"])),
    };
    assert_eq!(report.kept, Some(kept));
    let mut store = open(&data);
    let found = contents(&mut store);
    assert_eq!(found.len(), 5, "{:?}", found.keys());
    for (key, content) in &found {
        assert_eq!(at_end.get(key), Some(content), "{key}: as it was last");
    }
    let told: serde_json::Value = serde_json::from_slice(audit(&mut store).last().unwrap()).unwrap();
    assert_eq!(told["details"]["kept"]["revocations"], serde_json::json!({"count": 1, "names": ["7"]}));
    assert_eq!(told["details"]["kept"]["deletedTokens"]["count"], 2);
    drop(store);

    // What the later backup has and this journal has not was not deleted.
    let report = Store::restore(&second, &data).unwrap();
    assert_eq!(report.kept, Some(Kept::default()));
    assert_eq!(contents(&mut open(&data)), at_end);
}

#[test]
fn what_cannot_be_read_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let (mut store, mut version) = (open(&data), 0);
    change(&mut store, &mut version, &[(TOKENS, "a")], &[]);
    store.backup(&backup).unwrap();
    let expect = contents(&mut store);
    change(&mut store, &mut version, &[(REVOCATIONS, "7")], &[(TOKENS, "a")]);
    drop(store);
    // A journal of another life has neither.
    let other = dir.path().join("other");
    drop(open(&other));
    let report = Store::restore(&backup, &other).unwrap();
    assert_eq!(report.kept, Some(Kept::default()));
    assert_eq!(contents(&mut open(&other)), expect);
    // A damaged one says nothing, and where none is there is none to ask.
    std::fs::write(data.join("journal.db"), [7; 5000]).unwrap();
    for dir in [data, dir.path().join("new")] {
        let report = Store::restore(&backup, &dir).unwrap();
        assert_eq!((report.kept, contents(&mut open(&dir))), (None, expect.clone()));
    }
}
