//! Putting a backup in the place of the journal.
//!
//! ```text
//! backup ──copy──▶ DIR/restoring.partial   migrated, next epoch begun, synced
//!                        │ rename: from here on the restore happens, if need be at the next open
//!                        ▼
//!                  DIR/restoring ──▶ what was there goes to DIR/backups/replaced, then key and journal take their names
//! ```

pub(crate) mod logs;
mod taken;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use watchbell_audit::SigningKey;

use crate::backup::copy_database;
use crate::batch::MAX_RESOURCE_VERSION;
use crate::connection::{open_read_only, open_writable};
use crate::directory::{
    self, AUDIT, AUDIT_KEY, AUDIT_KEY_NEXT, BACKUPS, DirectoryLock, JOURNAL, JOURNAL_SHM, JOURNAL_WAL,
    SECRETS_KEY, create_dir, partial, remove, rename, sync_dir, there,
};
use crate::format::{self, BackupFirst, FORMAT_VERSION, Mark, STEPS};
use crate::open::{check_pages, read_epoch};
use crate::seal::{self, Sealer};
use crate::{AuditEntry, Batch, Epoch, Error, Store};

pub use taken::Kept;
use taken::Said;

/// Versions are given out in strides of an epoch: 2^40 is more than an epoch uses in 29 years at 1,200 changes a second, so
/// that whatever was given out after the backup was made lies below the next stride; and 8,191 restores fit below 2^53. Epoch N
/// begins at stride N − 1 at the earliest, so its number alone, which its log has too, says which stride is above it.
const EPOCH_STRIDE: u64 = 1 << 40;
const EPOCHS: u64 = (MAX_RESOURCE_VERSION + 1) / EPOCH_STRIDE;

const RESTORING: &str = "restoring";
const REPLACED: &str = "replaced";

/// A restore that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    pub epoch: Epoch,
    /// The format version of the backup, when it was an older one.
    pub migrated_from: Option<u32>,
    /// Where the journal that was there before, and its key, have gone.
    pub replaced: Option<PathBuf>,
    /// What was taken from users since the backup was made, and stays taken. `None`: nothing that can be read says what it was.
    pub kept: Option<Kept>,
}

impl Store {
    /// Makes `from` (a directory made by [`Store::backup`], or a journal file) the journal of `dir`, which no process may hold,
    /// and begins a new epoch in it. The key comes from beside the backup, else from `dir`.
    ///
    /// # Errors
    /// Before anything in `dir` is changed: the backup is damaged, of a newer format, or its key is missing. A crash at any
    /// point leaves the old journal or, after the next open, the restored one.
    pub fn restore(from: &Path, dir: &Path) -> Result<RestoreReport, Error> {
        restore(from, dir, Why::Restored)
    }

    /// Gives the audit log in `dir` a new key: the old one signs an entry that names the new one, then a new log begins, as
    /// after a restore, whose first entry holds the old one's last checkpoint. No process may hold `dir`.
    pub fn rotate_log_key(dir: &Path) -> Result<RestoreReport, Error> {
        let next = dir.join(AUDIT_KEY_NEXT);
        let copy = {
            let (mut store, _) = Store::open(dir)?;
            remove(&next)?;
            seal::create_key(&next)?;
            store.commit(&rotation(&store, &next)?)?;
            create_dir(&dir.join(BACKUPS))?;
            let copy = directory::first_free(&dir.join(BACKUPS), "rotation");
            store.backup(&copy)?;
            copy
        };
        let report = restore(&copy, dir, Why::KeyRotated)?;
        remove(&copy)?;
        Ok(report)
    }
}

/// The entry that the old key signs.
fn rotation(store: &Store, next: &Path) -> Result<Batch, Error> {
    let key = SigningKey::from_seed(&*seal::read_key(next)?);
    let now = jiff::Timestamp::now();
    let body = serde_json::json!({
        "kind": "LogEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": now.to_string(),
        "action": "key-rotating",
        "details": {"publicKey": watchbell_audit::encode(&key.public_key()), "verifier": store.log_verifier().to_string()},
    });
    let entry = AuditEntry {
        at_unix_nanos: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        body: body.to_string().into_bytes(),
    };
    Ok(Batch { resource_version: store.last_resource_version(), audit: vec![entry], ..Batch::default() })
}

/// Why an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Restored,
    KeyRotated,
}

fn restore(from: &Path, dir: &Path, why: Why) -> Result<RestoreReport, Error> {
    let lock = DirectoryLock::acquire(dir)?;
    finish(dir)?;
    let draft = partial(&dir.join(RESTORING));
    remove(&draft)?;
    let prepared = prepare(from, dir, &draft, why);
    let report = match prepared {
        Ok(report) => report,
        Err(error) => {
            // The first failure is the one to tell.
            if let Err(left) = remove(&draft) {
                tracing::warn!(error = %left, "a failed restore stays behind");
            }
            return Err(error);
        }
    };
    rename(&draft, &dir.join(RESTORING))?;
    sync_dir(dir)?;
    let replaced = finish(dir)?;
    // The first start would do it too; so that the log is there at once.
    if let Err(error) = logs::catch_up(&dir.join(JOURNAL), &dir.join(AUDIT)) {
        tracing::warn!(%error, "the files of the new audit log come with the next start");
    }
    drop(lock);
    Ok(RestoreReport { replaced, ..report })
}

/// Nothing is replaced yet.
fn prepare(from: &Path, dir: &Path, draft: &Path, why: Why) -> Result<RestoreReport, Error> {
    let (source, beside) = if from.is_dir() {
        (from.join(JOURNAL), from)
    } else {
        (from.to_path_buf(), directory::parent(from))
    };
    source.metadata().map_err(|e| Error::of_io("open the backup", &source, e))?;
    {
        let backup = open_read_only(&source)?;
        if format::read_mark(&backup, &source, FORMAT_VERSION)? == Mark::Blank {
            return Err(Error::NotAJournal { path: source, application_id: 0 });
        }
        check_pages(&backup, &source)?;
        let key = seal::key_in(beside).or_else(|| seal::key_in(dir));
        copy_database(&backup, &source, draft, key.as_deref())?;
    }
    let path = draft.join(JOURNAL);
    let mut copy = open_writable(&path)?;
    let migrated_from = format::migrate(&mut copy, &path, STEPS, BackupFirst::No)?;
    check_key(&copy, &path, draft, dir)?;
    logs::prepare_key(dir, draft)?;
    let previous = logs::last_checkpoint(dir);
    logs::rebuild(&copy, &path, beside, dir, draft)?;
    let said = match why {
        Why::Restored => taken::said_in(dir),
        // It is the same journal.
        Why::KeyRotated => None,
    };
    let begin = Begin { draft, reached: newest_in(dir)?, said, previous, why };
    let (epoch, kept) = begin_epoch(&copy, &path, &begin)?;
    copy.close().map_err(|(_, e)| Error::of_sqlite("close", &path, e))?;
    directory::sync_file(&path)?;
    sync_dir(draft)?;
    Ok(RestoreReport { epoch, migrated_from, replaced: None, kept })
}

/// The copied key opens the copied rows; or there are none and the next open makes a key.
fn check_key(copy: &Connection, path: &Path, draft: &Path, dir: &Path) -> Result<(), Error> {
    let failed = |e| Error::of_sqlite("read the key check of", path, e);
    let check: Option<Vec<u8>> =
        copy.query_row("SELECT key_check FROM journal", [], |row| row.get(0)).map_err(failed)?;
    let Some(check) = check else { return Ok(()) };
    if let Some(key) = seal::key_in(draft) {
        return Sealer::open(&key)?.verify(&check);
    }
    let sealed: bool = copy
        .query_row("SELECT EXISTS (SELECT 1 FROM object WHERE sealed = 1)", [], |row| row.get(0))
        .map_err(failed)?;
    if sealed {
        return Err(Error::KeyUnusable {
            path: dir.join(SECRETS_KEY),
            cause: "it is missing, and the backup holds secrets",
        });
    }
    copy.execute("UPDATE journal SET key_check = NULL", [])
        .map(|_| ())
        .map_err(|e| Error::of_sqlite("write the key check of", path, e))
}

/// How far the lives that are to be replaced had come.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    epoch: u64,
    resource_version: u64,
}

/// Of the journal in `dir`, if it can still be read; a damaged one is a usual reason to restore. In any case of the logs there.
fn newest_in(dir: &Path) -> Result<Reached, Error> {
    let path = dir.join(JOURNAL);
    let of_logs = Reached { epoch: logs::newest_epoch(&dir.join(AUDIT))?, ..Reached::default() };
    if path.metadata().is_err() {
        return Ok(of_logs);
    }
    let read = || -> Result<Reached, Error> {
        let connection = open_read_only(&path)?;
        let failed = |e| Error::of_sqlite("read", &path, e);
        let version: i64 = connection
            .query_row("SELECT last_resource_version FROM journal", [], |row| row.get(0))
            .map_err(failed)?;
        let epoch = read_epoch(&connection).map_err(failed)?.number;
        Ok(Reached { epoch: epoch.max(of_logs.epoch), resource_version: version.cast_unsigned() })
    };
    Ok(read().unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "the journal to be replaced cannot be read; the new epoch follows the backup's and those of the audit logs"
        );
        of_logs
    }))
}

/// What an epoch begins with.
struct Begin<'a> {
    draft: &'a Path,
    reached: Reached,
    said: Option<Said>,
    /// The last checkpoint of the log that the directory had.
    previous: Option<String>,
    why: Why,
}

fn begin_epoch(copy: &Connection, path: &Path, begin: &Begin<'_>) -> Result<(Epoch, Option<Kept>), Error> {
    let failed = |e| Error::of_sqlite("begin an epoch in", path, e);
    let last: i64 =
        copy.query_row("SELECT last_resource_version FROM journal", [], |row| row.get(0)).map_err(failed)?;
    let closed = read_epoch(copy).map_err(failed)?.number;
    let number = closed.max(begin.reached.epoch) + 1;
    let reached = last.cast_unsigned().max(begin.reached.resource_version);
    let stride = (reached / EPOCH_STRIDE + 1).max(number - 1);
    if stride >= EPOCHS {
        return Err(Error::EpochsExhausted { epoch: number });
    }
    let first = stride * EPOCH_STRIDE;
    let transaction = copy.unchecked_transaction().map_err(failed)?;
    let kept = begin.said.as_ref().map(|said| said.carry_over(&transaction)).transpose().map_err(failed)?;
    transaction
        .execute(
            "INSERT INTO epoch (number, first_resource_version, first_audit_sequence)
             VALUES (?1, ?2, (SELECT coalesce(max(sequence), 0) + 1 FROM audit))",
            params![number.cast_signed(), first.cast_signed()],
        )
        .map_err(failed)?;
    transaction
        .execute("UPDATE journal SET last_resource_version = ?1", [first.cast_signed()])
        .map_err(failed)?;
    let epoch = read_epoch(&transaction).map_err(failed)?;
    logs::begin_log(&transaction, path, closed, &epoch, begin, kept.as_ref())?;
    transaction.commit().map_err(failed)?;
    Ok((epoch, kept))
}

/// Finishes a restore that got its name. Each move is skipped when it was made already, so a crash between any two is made
/// good by the next call. Returns where the old journal went.
pub(crate) fn finish(dir: &Path) -> Result<Option<PathBuf>, Error> {
    let restoring = dir.join(RESTORING);
    let aside = restoring.join(REPLACED);
    if !there(&restoring) {
        return Ok(None);
    }
    // The journal is moved last: while it is here, what lies in its place is the old one.
    if there(&restoring.join(JOURNAL)) {
        logs::finish(dir, &restoring)?;
        let mut old = vec![JOURNAL_WAL, JOURNAL_SHM, JOURNAL];
        old.extend([SECRETS_KEY, AUDIT_KEY].into_iter().filter(|name| there(&restoring.join(name))));
        old.retain(|name| there(&dir.join(name)));
        if !old.is_empty() {
            create_dir(&aside)?;
            for name in old {
                rename(&dir.join(name), &aside.join(name))?;
            }
            sync_dir(&aside)?;
            sync_dir(dir)?;
        }
        for name in [SECRETS_KEY, AUDIT_KEY, JOURNAL] {
            if there(&restoring.join(name)) {
                rename(&restoring.join(name), &dir.join(name))?;
                // In this order on the disk too.
                sync_dir(dir)?;
            }
        }
    }
    let replaced = if there(&aside) { Some(keep(dir, &aside)?) } else { None };
    remove(&restoring)?;
    sync_dir(dir)?;
    Ok(replaced)
}

fn keep(dir: &Path, aside: &Path) -> Result<PathBuf, Error> {
    let backups = dir.join(BACKUPS);
    create_dir(&backups)?;
    let to = directory::first_free(&backups, REPLACED);
    rename(aside, &to)?;
    sync_dir(&backups)?;
    Ok(to)
}

#[cfg(test)]
mod tests;
