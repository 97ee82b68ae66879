use super::*;
use crate::directory::JOURNAL;
use crate::open::open_journal;
use crate::{Batch, Put, RowKey, Seal, Store};

/// Version 0: ours by its mark, with nothing in it.
fn version_0(dir: &Path) {
    let connection = Connection::open(dir.join(JOURNAL)).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
}

fn version_of(path: &Path) -> u32 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn with_one_object(dir: &Path) {
    let (mut store, _) = Store::open(dir).unwrap();
    let put = Put {
        key: RowKey::object("configmaps", "default", "a"),
        resource_version: 1,
        head: Some(b"head".to_vec()),
        status: None,
        seal: Seal::Plain,
    };
    store.commit(&Batch { resource_version: 1, puts: vec![put], ..Batch::default() }).unwrap();
}

/// A later version, as a later program would define it: a column more, filled from what is there.
const NEXT: Step = Step {
    what: "count the bytes of heads",
    apply: |transaction| {
        transaction.execute_batch(
            "ALTER TABLE object ADD COLUMN head_bytes INTEGER NOT NULL DEFAULT 0; UPDATE object SET head_bytes = length(head)",
        )
    },
};

/// It fails after it has changed something.
const BROKEN: Step = Step {
    what: "break",
    apply: |transaction| transaction.execute_batch("DELETE FROM object; SELECT no_such_column FROM object"),
};

#[test]
fn version_0_is_migrated_after_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    version_0(dir.path());
    let (store, report) = Store::open(dir.path()).unwrap();
    assert_eq!((report.created, report.migrated_from), (false, Some(0)));
    drop(store);
    assert_eq!(version_of(&dir.path().join(JOURNAL)), FORMAT_VERSION);
    assert_eq!(version_of(&dir.path().join("backups/format-0").join(JOURNAL)), 0);
    let (_store, report) = Store::open(dir.path()).unwrap();
    assert_eq!(report.migrated_from, None);
}

#[test]
fn a_step_migrates_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    with_one_object(dir.path());
    let opened = open_journal(dir.path(), &[STEPS, &[NEXT]].concat()).unwrap();
    assert_eq!(opened.report.migrated_from, Some(FORMAT_VERSION));
    let bytes: i64 =
        opened.connection.query_row("SELECT head_bytes FROM object", [], |row| row.get(0)).unwrap();
    assert_eq!(bytes, 4);
    drop(opened);

    // The old program refuses it, and the copy is its way back.
    let refused = Store::open(dir.path()).map(|_| ()).unwrap_err();
    let Error::NewerFormat { found, supported, .. } = refused else { panic!("{refused}") };
    assert_eq!((found, supported), (FORMAT_VERSION + 1, FORMAT_VERSION));
    let copy = dir.path().join(format!("backups/format-{FORMAT_VERSION}"));
    Store::restore(&copy, dir.path()).unwrap();
    let (mut store, report) = Store::open(dir.path()).unwrap();
    assert_eq!((report.epoch.number, report.migrated_from), (2, None));
    assert_eq!(store.load_objects::<Error>(&mut |_| Ok(())).unwrap(), 1);
}

#[test]
fn a_failed_step_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    with_one_object(dir.path());
    let error =
        open_journal(dir.path(), &[STEPS, &[NEXT, BROKEN]].concat()).map(|opened| opened.report).unwrap_err();
    let Error::Migration { from, to, cause, copy, .. } = &error else { panic!("{error}") };
    assert_eq!((*from, *to), (FORMAT_VERSION, FORMAT_VERSION + 2));
    assert!(cause.starts_with("break: "), "{cause}");
    assert_eq!(version_of(&copy.join(JOURNAL)), FORMAT_VERSION);
    let (mut store, report) = Store::open(dir.path()).unwrap();
    assert_eq!(report.migrated_from, None);
    assert_eq!(store.load_objects::<Error>(&mut |_| Ok(())).unwrap(), 1);
    drop(store);

    // A second try keeps the first one's copy.
    let error =
        open_journal(dir.path(), &[STEPS, &[BROKEN]].concat()).map(|opened| opened.report).unwrap_err();
    assert!(error.to_string().contains(&format!("format-{FORMAT_VERSION}.2")), "{error}");
}
