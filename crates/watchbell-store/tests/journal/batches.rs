//! What a batch does, and which ones are refused.

use watchbell_store::{
    Batch, Error, InvalidBatch, MAX_AUDIT_BODY_BYTES, MAX_RESOURCE_VERSION, Put, RowKey, Seal, Store,
};

use crate::state::{array_pods, audit, config_map, entry, objects, open, put, puts};

#[test]
fn a_new_directory_gets_an_empty_journal() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let (store, report) = Store::open(&dir).unwrap();
    assert!(report.created);
    assert_eq!(
        (report.migrated_from, report.last_resource_version, report.last_audit_sequence),
        (None, 0, 0)
    );
    assert_eq!((report.epoch.number, report.boot.number), (1, 1));
    assert!(!report.boot.machine_restarted());
    drop(store);

    let (_store, report) = Store::open(&dir).unwrap();
    assert!(!report.created);
    assert_eq!((report.epoch.number, report.boot.number), (1, 2));
    assert!(!report.boot.machine_restarted(), "the kernel is the same");
    assert_eq!(report.boot.kernel_boot_id_before, Some(report.boot.kernel_boot_id.clone()));
}

#[test]
fn nothing_in_the_directory_is_for_others_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let mut store = open(&dir);
    store.commit(&puts(1, vec![put(config_map("a"), 1, Some("{}"), None)])).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut seen = Vec::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(
        seen,
        ["audit.key", "journal.db", "journal.db-shm", "journal.db-wal", "lock", "reserve", "secrets.key"]
    );
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let maintenance = store.maintenance().unwrap();
    let refused = |what: &str| match Store::open(dir.path()) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{what}: {:?}", other.map(|(_, report)| report)),
    };
    refused("the store is open");
    drop(store);
    refused("its second connection is open");
    drop(maintenance);
    open(dir.path());
}

#[test]
fn objects_come_back_in_the_order_of_their_creation() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    // Out of order in the batch.
    let batch = puts(
        3,
        vec![
            put(config_map("c"), 3, Some("c"), None),
            put(config_map("a"), 1, Some("a"), Some("s")),
            put(config_map("b"), 2, Some("b"), None),
        ],
    );
    store.commit(&batch).unwrap();
    // A head alone, a status alone, and one deleted and made anew in one batch.
    let batch = Batch {
        resource_version: 6,
        puts: vec![
            put(config_map("a"), 4, Some("a2"), None),
            put(config_map("b"), 5, None, Some("b-status")),
            put(config_map("c"), 6, Some("c2"), None),
        ],
        deletes: vec![config_map("c"), config_map("never was")],
        ..Batch::default()
    };
    store.commit(&batch).unwrap();
    drop(store);

    let mut store = open(dir.path());
    assert_eq!(store.last_resource_version(), 6);
    let seen: Vec<_> = objects(&mut store)
        .into_iter()
        .map(|o| {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (
                o.name.to_string(),
                o.created_resource_version,
                o.resource_version,
                text(o.head),
                o.status.map(text),
            )
        })
        .collect();
    let row = |name: &str, created, version, head: &str, status: Option<&str>| {
        (name.to_owned(), created, version, head.to_owned(), status.map(str::to_owned))
    };
    assert_eq!(
        seen,
        [row("a", 1, 4, "a2", Some("s")), row("b", 2, 5, "b", Some("b-status")), row("c", 6, 6, "c2", None)]
    );
}

#[test]
fn an_array_pod_keeps_what_a_put_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let key = |index| RowKey::ArrayPod { job: 7, index, attempt: 0 };
    let batch = puts(2, vec![put(key(1), 1, Some("delta"), Some("one")), put(key(0), 2, None, Some("zero"))]);
    store.commit(&batch).unwrap();
    store.commit(&puts(3, vec![put(key(1), 3, None, Some("done"))])).unwrap();
    let seen: Vec<_> = array_pods(&mut store)
        .into_iter()
        .map(|p| (p.index, p.resource_version, p.head.is_some(), p.status.unwrap()))
        .collect();
    assert_eq!(seen, [(0, 2, false, b"zero".to_vec()), (1, 3, true, b"done".to_vec())]);
}

#[test]
fn audit_entries_get_the_next_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let batch = |version, audit| Batch { resource_version: version, audit, ..Batch::default() };
    assert_eq!(store.commit(&batch(0, vec![entry("one"), entry("two")])).unwrap().audit, 1..3);
    assert!(store.commit(&batch(5, vec![])).unwrap().audit.is_empty());
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(store.commit(&batch(5, vec![entry("three")])).unwrap().audit, 3..4);
    assert_eq!(audit(&mut store), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
}

/// Each refused batch leaves nothing behind, not even its valid part, and no number of the audit sequence is used up.
#[test]
fn a_refused_batch_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let secret = || RowKey::object("secrets", "default", "s");
    let sealed = |put: Put| Put { seal: Seal::Secret, ..put };
    let first =
        puts(10, vec![put(config_map("a"), 9, Some("a"), None), sealed(put(secret(), 10, Some("x"), None))]);
    store.commit(&first).unwrap();
    let before = objects(&mut store);

    let pod = RowKey::ArrayPod { job: 1, index: 0, attempt: 0 };
    let huge = RowKey::ArrayPod { job: u64::MAX, index: 0, attempt: 0 };
    let good = put(config_map("good"), 11, Some("x"), None);
    let check = |store: &mut Store, version: u64, bad: Put, expect: InvalidBatch| {
        let batch = Batch {
            resource_version: version,
            puts: vec![good.clone(), bad],
            audit: vec![entry("e")],
            ..Batch::default()
        };
        match store.commit(&batch) {
            Err(Error::Invalid(found)) => assert_eq!(found, expect),
            other => panic!("{expect}: {other:?}"),
        }
    };
    let a = || config_map("a");
    let stale = put(a(), 11, Some("x"), None);
    check(&mut store, 10, stale.clone(), InvalidBatch::StaleVersion { given: 10, last: 10 });
    let given = MAX_RESOURCE_VERSION + 1;
    check(&mut store, given, stale, InvalidBatch::VersionTooLarge { given });
    for given in [10, 13] {
        let expect = InvalidBatch::PutVersion { key: a(), given, last: 10, batch: 12 };
        check(&mut store, 12, put(a(), given, Some("x"), None), expect);
    }
    check(&mut store, 12, put(config_map(""), 12, Some("x"), None), InvalidBatch::Name);
    check(&mut store, 12, put(config_map(&"n".repeat(513)), 12, Some("x"), None), InvalidBatch::Name);
    check(&mut store, 12, put(a(), 12, None, None), InvalidBatch::Nothing { key: a() });
    let absent = || config_map("absent");
    check(&mut store, 12, put(absent(), 12, None, Some("s")), InvalidBatch::NoHead { key: absent() });
    check(&mut store, 12, sealed(put(a(), 12, Some("x"), None)), InvalidBatch::SealChanged { key: a() });
    check(&mut store, 12, put(secret(), 12, None, Some("s")), InvalidBatch::SealChanged { key: secret() });
    let key = pod.clone();
    check(&mut store, 12, sealed(put(pod, 12, None, Some("s"))), InvalidBatch::SealedArrayPod { key });
    check(&mut store, 12, put(huge.clone(), 12, None, Some("s")), InvalidBatch::JobNumber { key: huge });
    let bytes = MAX_AUDIT_BODY_BYTES + 1;
    let long = Batch { audit: vec![entry("e"), entry(&"x".repeat(bytes))], ..puts(11, vec![good]) };
    match store.commit(&long) {
        Err(Error::Invalid(found)) => assert_eq!(found, InvalidBatch::AuditTooLarge { position: 1, bytes }),
        other => panic!("{other:?}"),
    }

    assert_eq!(objects(&mut store), before);
    assert_eq!(audit(&mut store), Vec::<Vec<u8>>::new());
    assert_eq!((store.last_resource_version(), store.last_audit_sequence()), (10, 0));
    // And the store goes on.
    let next = Batch { audit: vec![entry("e")], ..puts(11, vec![put(a(), 11, Some("a"), None)]) };
    assert_eq!(store.commit(&next).unwrap().audit, 1..2);
}

#[test]
fn a_checkpoint_moves_the_wal() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let committed = store.commit(&puts(1, vec![put(config_map("a"), 1, Some("{}"), None)])).unwrap();
    assert!(committed.wal_bytes > 0);
    let report = store.checkpoint().unwrap();
    assert!(report.moved_bytes >= committed.wal_bytes);
    assert_eq!(report.left_bytes, 0);
    // The WAL begins anew with the next commit.
    let next = store.commit(&puts(2, vec![put(config_map("a"), 2, Some("{}"), None)])).unwrap();
    assert!(next.wal_bytes < committed.wal_bytes, "{next:?} after {committed:?}");

    let mut beside = store.maintenance().unwrap();
    assert_eq!(beside.checkpoint().unwrap().left_bytes, 0);
    let size = store.size().unwrap();
    assert_eq!((size.objects, size.array_pods, size.audit_entries), (1, 0, 0));
    assert!(size.database_bytes > 0 && size.wal_file_bytes > 0, "{size:?}");
}
