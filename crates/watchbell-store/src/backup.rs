//! A copy of the journal at one instant, in a directory of its own.
//!
//! The copy is an ordinary database without a WAL, so one file is all of it. With the key beside it the directory is as
//! sensitive as the data directory itself.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::connection::open_read_only;
use crate::directory::{
    AUDIT, JOURNAL, SECRETS_KEY, create_private, parent, partial, remove, rename, sync_dir, sync_file,
};
use crate::format::{self, FORMAT_VERSION, Mark};
use crate::restore::logs::copy_closed;
use crate::{Error, directory, seal};

/// A backup that is complete and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    pub path: PathBuf,
    pub bytes: u64,
    /// Where the key was copied to.
    pub key: Option<PathBuf>,
}

pub(crate) fn backup(
    connection: &Connection,
    path: &Path,
    to: &Path,
    key: Option<&Path>,
) -> Result<BackupReport, Error> {
    let draft = partial(to);
    for taken in [to, &draft] {
        if taken.symlink_metadata().is_ok() {
            return Err(Error::BackupExists { path: taken.to_path_buf() });
        }
    }
    // The log that is written now can be made of the journal's rows, those of earlier epochs cannot.
    let logs = draft.join(AUDIT);
    let copied = copy_database(connection, path, &draft, key)
        .and_then(|bytes| copy_closed(&parent(path).join(AUDIT), &logs, &logs).map(|()| bytes));
    let bytes = match copied {
        Ok(bytes) => bytes,
        Err(error) => {
            // The first failure is the one to tell.
            if let Err(left) = remove(&draft) {
                tracing::warn!(error = %left, "a failed backup stays behind");
            }
            return Err(error);
        }
    };
    rename(&draft, to)?;
    sync_dir(parent(to))?;
    Ok(BackupReport { path: to.to_path_buf(), bytes, key: key.map(|_| to.join(SECRETS_KEY)) })
}

/// Backs up a journal that another process holds, through a connection that only reads.
pub(crate) fn backup_beside(dir: &Path, to: &Path, key: Option<&Path>) -> Result<BackupReport, Error> {
    let path = dir.join(JOURNAL);
    let connection = open_read_only(&path)?;
    if format::read_mark(&connection, &path, FORMAT_VERSION)? == Mark::Blank {
        return Err(Error::NotAJournal { path, application_id: 0 });
    }
    backup(&connection, &path, to, key)
}

/// Makes the directory `to` with a copy of the database and of `key`, durable on return. Returns the database's size.
pub(crate) fn copy_database(
    connection: &Connection,
    path: &Path,
    to: &Path,
    key: Option<&Path>,
) -> Result<u64, Error> {
    directory::create_dir(to)?;
    let target = to.join(JOURNAL);
    // Made first, because SQLite would give it the mode of the umask; an empty file is a fine target.
    create_private(&target)?;
    let name = target.to_str().ok_or_else(|| {
        Error::of_io("copy the journal to", &target, std::io::Error::other("the path is not UTF-8"))
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|e| {
        match Error::of_sqlite("copy the journal to", &target, e) {
            Error::Corrupt { step, cause, .. } => Error::Corrupt { step, path: path.to_path_buf(), cause },
            // The journal itself is not in doubt: the copy's disk may be another one.
            Error::Fatal { cause, .. } => {
                Error::of_io("copy the journal to", &target, std::io::Error::other(cause))
            }
            other => other,
        }
    })?;
    sync_file(&target)?;
    if let Some(key) = key {
        seal::copy_key(key, &to.join(SECRETS_KEY))?;
    }
    sync_dir(to)?;
    target.metadata().map(|meta| meta.len()).map_err(|e| Error::of_io("measure", &target, e))
}
