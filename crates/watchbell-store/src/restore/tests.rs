use super::*;
use crate::Batch;

const WAL: &str = JOURNAL_WAL;

fn version_in(dir: &Path) -> u64 {
    Store::open(dir).unwrap().1.last_resource_version
}

/// A directory in which the old journal crashed (it has a WAL), and a restore had just got its name.
fn interrupted(dir: &Path) -> Epoch {
    let (mut store, _) = Store::open(dir).unwrap();
    let commit = |store: &mut Store, version| {
        store.commit(&Batch { resource_version: version, ..Batch::default() }).unwrap();
    };
    commit(&mut store, 3);
    let backup = dir.join("backup");
    store.backup(&backup).unwrap();
    commit(&mut store, 7);
    for name in [JOURNAL, WAL] {
        std::fs::copy(dir.join(name), dir.join(format!("{name}.crashed"))).unwrap();
    }
    drop(store);
    for name in [JOURNAL, WAL] {
        rename(&dir.join(format!("{name}.crashed")), &dir.join(name)).unwrap();
    }
    let draft = partial(&dir.join(RESTORING));
    let epoch = prepare(&backup, dir, &draft, Why::Restored).unwrap().epoch;
    rename(&draft, &dir.join(RESTORING)).unwrap();
    epoch
}

/// A crash after any of the moves: the next open has the restored journal, and what it replaced is complete.
#[test]
fn a_restore_that_a_crash_cut_short_is_finished_by_the_next_open() {
    let moves = [
        (WAL.to_owned(), format!("{RESTORING}/{REPLACED}/{WAL}")),
        (JOURNAL.to_owned(), format!("{RESTORING}/{REPLACED}/{JOURNAL}")),
        (SECRETS_KEY.to_owned(), format!("{RESTORING}/{REPLACED}/{SECRETS_KEY}")),
        (AUDIT_KEY.to_owned(), format!("{RESTORING}/{REPLACED}/{AUDIT_KEY}")),
        (format!("{RESTORING}/{SECRETS_KEY}"), SECRETS_KEY.to_owned()),
        (format!("{RESTORING}/{AUDIT_KEY}"), AUDIT_KEY.to_owned()),
        (format!("{RESTORING}/{JOURNAL}"), JOURNAL.to_owned()),
        (format!("{RESTORING}/{REPLACED}"), format!("{BACKUPS}/{REPLACED}")),
    ];
    for done in 0..=moves.len() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let epoch = interrupted(dir);
        create_dir(&dir.join(RESTORING).join(REPLACED)).unwrap();
        create_dir(&dir.join(BACKUPS)).unwrap();
        for (from, to) in &moves[..done] {
            rename(&dir.join(from), &dir.join(to)).unwrap();
        }
        let (store, report) = Store::open(dir).unwrap();
        assert_eq!(report.epoch, epoch, "after {done} moves");
        assert_eq!(report.last_resource_version, EPOCH_STRIDE);
        drop(store);
        assert!(!dir.join(RESTORING).exists());
        assert_eq!(version_in(&dir.join(BACKUPS).join(REPLACED)), 7, "after {done} moves");
    }
}

#[test]
fn a_draft_without_its_name_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    interrupted(dir);
    rename(&dir.join(RESTORING), &partial(&dir.join(RESTORING))).unwrap();
    assert_eq!(version_in(dir), 7);
}

#[test]
fn epochs_end_where_versions_would_not_be_exact() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join(JOURNAL);
    let copy = open_writable(&path).unwrap();
    let last = MAX_RESOURCE_VERSION - EPOCH_STRIDE;
    let begin = |resource_version| {
        let reached = Reached { epoch: 0, resource_version };
        let begin = Begin { draft: dir.path(), reached, said: None, previous: None, why: Why::Restored };
        begin_epoch(&copy, &path, &begin).map(|(epoch, _)| epoch)
    };
    let epoch = begin(last).unwrap();
    assert_eq!(epoch.first_resource_version, last + 1);
    assert!(matches!(begin(last + 1), Err(Error::EpochsExhausted { epoch: 3 })));
}
