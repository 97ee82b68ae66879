//! What can go wrong, and what the caller is to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::batch::{InvalidBatch, RowKey};
use crate::directory::{has_no_room, parent};

/// A failure of the journal.
///
/// The caller's three ways on: [`Error::is_fatal`] means end the process and replay; [`Error::DiskFull`] and
/// [`Error::Invalid`] refuse this batch alone, the store goes on; everything else comes from opening, backup and restore,
/// and is for the operator to read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot lock the data directory {}: {} holds it; stop that process or use another directory",
        dir.display(), holder(*pid)
    )]
    Locked { dir: PathBuf, pid: Option<u32> },

    #[error("cannot {step} {}: {source}", path.display())]
    Io { step: &'static str, path: PathBuf, source: std::io::Error },

    #[error(
        "cannot {step}: no space left for {}; nothing was changed: delete objects or free space on that disk, then try again",
        path.display()
    )]
    DiskFull { step: &'static str, path: PathBuf },

    /// The outcome of the last write is unknown. End the process; the next open finds what is durable.
    #[error(
        "cannot {step} in {}: {cause}; what is durable is unknown until the journal is opened anew, so this process must end",
        path.display()
    )]
    Fatal { step: &'static str, path: PathBuf, cause: String },

    #[error("cannot {step}: {} is damaged: {cause}; restore the newest backup (copies may be in {})", path.display(),
        backups_beside(path).display())]
    Corrupt { step: &'static str, path: PathBuf, cause: String },

    #[error(
        "cannot open {}: the journal is missing or empty, but {} shows that there was one; restore a backup, or move that \
         file away to begin anew",
        path.display(), key.display()
    )]
    JournalMissing { path: PathBuf, key: PathBuf },

    /// The journal went back, or another went on, by other means than a restore.
    #[error(
        "cannot open {}: its audit log {what} (in {}): this is an earlier or another state of it, and going on would put other \
         entries in the place of those; restore the newest backup, or move this journal to another place and give it to \
         `watchbell restore`: either begins the next log with the last checkpoint of this one",
        path.display(), log.display()
    )]
    RolledBack { path: PathBuf, log: PathBuf, what: String },

    #[error("cannot open {}: it is no journal of watchbell (application id {application_id:#010x})", path.display())]
    NotAJournal { path: PathBuf, application_id: i32 },

    #[error(
        "cannot open {}: its format is version {found}, this program reads up to version {supported}; use a newer watchbell, \
         or restore a backup of the older format",
        path.display()
    )]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },

    #[error(
        "cannot read {}: its format is version {found}, this program reads version {needed}; start the server once, which \
         migrates it",
        path.display()
    )]
    OlderFormat { path: PathBuf, found: u32, needed: u32 },

    /// The audit log's files. The journal itself is whole.
    #[error("cannot publish the audit log: {0}")]
    Log(#[from] watchbell_audit::Error),

    #[error(
        "cannot migrate {} from format version {from} to {to}: {cause}; it is unchanged, its copy is {}",
        path.display(), copy.display()
    )]
    Migration { path: PathBuf, from: u32, to: u32, cause: String, copy: PathBuf },

    #[error(
        "cannot open the journal: the SQLite linked in is {found}, which can lose a WAL; at least {needed} is needed"
    )]
    SqliteTooOld { found: &'static str, needed: &'static str },

    #[error("cannot use the key {}: its mode is {mode:04o}, others may read it; set it to 0600 and consider it known", path.display())]
    KeyExposed { path: PathBuf, mode: u32 },

    #[error("cannot use the key {}: {cause}; put the key of this journal there", path.display())]
    KeyUnusable { path: PathBuf, cause: &'static str },

    #[error("cannot unseal {key}: the blob was changed, or belongs to another row or key; restore a backup")]
    Unseal { key: RowKey },

    #[error("cannot draw random bytes from the kernel: {0}")]
    Random(getrandom::Error),

    #[error("cannot commit: {0}")]
    Invalid(#[from] InvalidBatch),

    #[error("cannot back up to {}: it exists; name a directory that does not", path.display())]
    BackupExists { path: PathBuf },

    #[error(
        "cannot restore: epoch {epoch} would be the last one that resource versions below 2^53 allow; start a new data directory"
    )]
    EpochsExhausted { epoch: u64 },

    #[error("cannot {step} in {}: {source}", path.display())]
    Sqlite { step: &'static str, path: PathBuf, source: rusqlite::Error },
}

impl Error {
    /// The process must end and replay; nothing may be retried.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Fatal { .. } | Error::Corrupt { .. } | Error::Unseal { .. })
    }

    /// Names the failure of an SQLite call by what the caller can do about it. `path` is the database that it writes.
    pub(crate) fn of_sqlite(step: &'static str, path: &Path, source: rusqlite::Error) -> Error {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            // The index of the WAL lies in a file beside it, which must grow too. (Within a commit this is fatal: see there.)
            _ if is_wal_index_full(&source) => Error::DiskFull { step, path },
            Some(ErrorCode::DiskFull) => Error::DiskFull { step, path },
            // The same for SQLite as no space: it has synced nothing and takes all of it back.
            _ if is_write(&source) && has_no_room(parent(&path)) => Error::DiskFull { step, path },
            Some(ErrorCode::SystemIoFailure) => Error::Fatal { step, path, cause: source.to_string() },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Error::Corrupt { step, path, cause: source.to_string() }
            }
            _ => Error::Sqlite { step, path, source },
        }
    }

    pub(crate) fn of_io(step: &'static str, path: &Path, source: std::io::Error) -> Error {
        let path = path.to_path_buf();
        if is_full(&source) { Error::DiskFull { step, path } } else { Error::Io { step, path, source } }
    }
}

/// No space, or no more for this user.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// No space to grow the index of the WAL: SQLite calls it an I/O error.
pub(crate) fn is_wal_index_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// A write that was refused, which is no failed sync. SQLite does not tell by which error: it knows that there is no space, not
/// that there is no more for this user.
fn is_write(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

fn backups_beside(journal: &Path) -> PathBuf {
    journal.with_file_name(crate::directory::BACKUPS)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn classify(code: i32) -> Error {
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        Error::of_sqlite("commit", Path::new("/d/journal.db"), failure)
    }

    #[test]
    fn a_failed_sync_or_write_is_fatal() {
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_READ,
        ] {
            assert!(matches!(classify(code), Error::Fatal { .. }), "{code}");
            assert!(classify(code).is_fatal());
        }
    }

    #[test]
    fn a_full_disk_is_no_reason_to_end() {
        assert!(matches!(classify(ffi::SQLITE_FULL), Error::DiskFull { .. }));
        assert!(!classify(ffi::SQLITE_FULL).is_fatal());
        assert!(matches!(classify(ffi::SQLITE_IOERR_SHMSIZE), Error::DiskFull { .. }));
    }

    #[test]
    fn damage_names_the_way_out() {
        let error = classify(ffi::SQLITE_CORRUPT);
        assert!(error.is_fatal());
        assert!(
            error.to_string().contains("restore the newest backup (copies may be in /d/backups)"),
            "{error}"
        );
    }
}
