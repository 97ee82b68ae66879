//! Secrets at rest.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use watchbell_store::{Batch, Error, Put, RowKey, Seal, Store};

use crate::state::{objects, open, put, puts};

const PLAIN: &str = "correct horse battery staple";

fn secret(name: &str, version: u64, head: Option<&str>, status: Option<&str>) -> Put {
    Put { seal: Seal::Secret, ..put(RowKey::object("secrets", "default", name), version, head, status) }
}

/// Every file below `dir` in which the plain text stands.
fn files_with_plain_text(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files_with_plain_text(&path));
        } else if std::fs::read(&path).unwrap().windows(PLAIN.len()).any(|w| w == PLAIN.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_file_holds_a_secret_in_plain() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = open(&data);
    let none = || assert_eq!(files_with_plain_text(dir.path()), Vec::<String>::new());
    store.commit(&puts(1, vec![secret("s", 1, Some(PLAIN), Some(PLAIN))])).unwrap();
    none();
    store.checkpoint().unwrap();
    none();
    store
        .commit(&puts(
            3,
            vec![secret("s", 2, Some(&PLAIN.repeat(500)), None), secret("s", 3, None, Some(PLAIN))],
        ))
        .unwrap();
    store.backup(&dir.path().join("backup")).unwrap();
    none();
    let deletes = vec![RowKey::object("secrets", "default", "s")];
    store.commit(&Batch { resource_version: 4, deletes, ..Batch::default() }).unwrap();
    store.commit(&puts(5, vec![secret("s", 5, Some(PLAIN), None)])).unwrap();
    drop(store);
    none();

    let row = objects(&mut open(&data)).remove(0);
    assert_eq!((row.head, row.status, row.seal), (PLAIN.as_bytes().to_vec(), None, Seal::Secret));
    // The search does find what is there to be found.
    let mut store = open(&data);
    store
        .commit(&puts(6, vec![put(RowKey::object("configmaps", "default", "c"), 6, Some(PLAIN), None)]))
        .unwrap();
    assert_ne!(files_with_plain_text(&data), Vec::<String>::new());
}

/// Two secrets whose blobs are exchanged in the file by `sql` do not open.
fn check_exchange(sql: &str) {
    let dir = tempfile::tempdir().unwrap();
    let batch =
        puts(2, vec![secret("a", 1, Some("one"), Some("two")), secret("b", 2, Some("three"), Some("four"))]);
    open(dir.path()).commit(&batch).unwrap();
    let connection = Connection::open(dir.path().join("journal.db")).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0);
    drop(connection);
    let mut store = open(dir.path());
    match store.load_objects::<Error>(&mut |_| Ok(())) {
        Err(error @ Error::Unseal { .. }) => {
            assert!(error.is_fatal());
            let text = error.to_string();
            assert!(text.contains("secrets default/") && !text.contains("one"), "{text}");
        }
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn a_blob_opens_only_in_its_own_place() {
    check_exchange("UPDATE object SET head = (SELECT head FROM object AS o WHERE o.name <> object.name)");
    check_exchange("UPDATE status SET body = (SELECT body FROM status AS s WHERE s.id <> status.id)");
    check_exchange("UPDATE status SET body = (SELECT head FROM object WHERE object.id = status.id)");
    check_exchange("UPDATE object SET name = 'c' WHERE name = 'a'");
    check_exchange("UPDATE object SET head = x'' WHERE name = 'a'");
    check_exchange("UPDATE object SET head = substr(head, 1, length(head) - 1) WHERE name = 'a'");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let key = dir.path().join("secrets.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(key.metadata().unwrap().len(), 32);
    for mode in [0o640, 0o604, 0o620, 0o777] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        match Store::open(dir.path()) {
            Err(Error::KeyExposed { mode: found, .. }) => assert_eq!(found, mode),
            other => panic!("{mode:o}: {:?}", other.map(|(_, report)| report)),
        }
    }
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    open(dir.path());
}

#[test]
fn no_other_key_is_taken_and_none_is_made_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    drop((open(&one), open(&two)));
    let key = one.join("secrets.key");
    let own = std::fs::read(&key).unwrap();
    let check = |says: &str| match Store::open(&one) {
        Err(error @ Error::KeyUnusable { .. }) => assert!(error.to_string().contains(says), "{error}"),
        other => panic!("{says}: {:?}", other.map(|(_, report)| report)),
    };
    std::fs::remove_file(&key).unwrap();
    check("it is missing");
    assert!(!key.exists());
    std::os::unix::fs::symlink(two.join("secrets.key"), &key).unwrap();
    assert!(matches!(Store::open(&one), Err(Error::Io { .. })), "a symbolic link");
    std::fs::remove_file(&key).unwrap();
    std::fs::copy(two.join("secrets.key"), &key).unwrap();
    check("not the key this journal was sealed with");
    std::fs::write(&key, &own[..31]).unwrap();
    check("not 32 bytes long");
    std::fs::write(&key, &own).unwrap();
    open(&one);
}
