//! Reading the audit entries behind the writer, by their numbers, while it goes on.
//!
//! A connection of its own: what SQLite shows it is committed and synced, and it waits for the writer as little as the
//! writer for it. A reading takes a bounded number of entries and then lets go of the journal, so that the WAL can be
//! written over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Row};

use crate::directory::DirectoryLock;
use crate::open::{Epoch, parse_epoch};
use crate::replay::{AuditRow, parse_audit};
use crate::{Error, LogHeads, connection};

/// Entries are read once and in order: a cache of pages would only hold what was read.
const CACHE_KIB: i64 = 512;

/// How far the journal came: rung by each commit that has audit entries.
#[derive(Debug, Default)]
pub(crate) struct AuditBell {
    seen: Mutex<AuditNews>,
    rung: Condvar,
    wal_is_in_doubt: AtomicBool,
}

/// What the bell last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditNews {
    /// The sequence number of the last committed entry; 0 when there is none.
    pub last_sequence: u64,
    /// The store is closed: nothing follows.
    pub is_over: bool,
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Something other than what is known.
    News(AuditNews),
    /// The end of the store, and nothing else.
    Over,
}

impl AuditBell {
    pub(crate) fn ring(&self, last_sequence: u64) {
        self.change(|news| news.last_sequence = last_sequence);
    }

    pub(crate) fn close(&self) {
        self.change(|news| news.is_over = true);
    }

    /// What of the WAL is durable is not known: nobody may move it.
    pub(crate) fn keep_wal(&self) {
        self.wal_is_in_doubt.store(true, Ordering::SeqCst);
    }

    fn change(&self, change: impl FnOnce(&mut AuditNews)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }
}

impl Drop for AuditReader {
    /// Tidies the WAL after a store that ended well.
    fn drop(&mut self) {
        if self.news().is_over
            && !self.bell.wal_is_in_doubt.load(Ordering::SeqCst)
            && let Err(error) = connection::tidy_at_end(&self.connection, &self.path)
        {
            tracing::warn!(%error, "the journal's WAL stays; the next start reads it");
        }
    }
}

/// A reader of audit entries. Holds the directory's lock like the store.
pub struct AuditReader {
    connection: Connection,
    path: PathBuf,
    bell: Arc<AuditBell>,
    _lock: Arc<DirectoryLock>,
}

impl AuditReader {
    pub(crate) fn open(
        path: &Path,
        bell: Arc<AuditBell>,
        lock: Arc<DirectoryLock>,
    ) -> Result<AuditReader, Error> {
        let connection = connection::open_writable(path)?;
        // Writable only so that it may tidy the WAL, should it be the last to close; when it may is known at its end.
        connection::make_durable(&connection, path)?;
        let failed = |e| Error::of_sqlite("configure SQLite for", path, e);
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        Ok(AuditReader { connection, path: path.to_path_buf(), bell, _lock: lock })
    }

    /// The entries from sequence number `first` on, in their order: at most so many, and no further one once they have so
    /// many bytes together. Empty: there are none yet.
    pub fn read(&self, first: u64, entries_max: usize, bytes_max: usize) -> Result<Vec<AuditRow>, Error> {
        let failed = |e| Error::of_sqlite("read", &self.path, e);
        let sql =
            "SELECT sequence, at_unix_nanos, body FROM audit WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut rows = statement.query([bound(first), bound(entries_max as u64)]).map_err(failed)?;
        let (mut read, mut bytes) = (Vec::new(), 0usize);
        while bytes < bytes_max
            && let Some(row) = rows.next().map_err(failed)?
        {
            let entry = parse_audit(row).map_err(failed)?;
            bytes = bytes.saturating_add(entry.body.len());
            read.push(entry);
        }
        Ok(read)
    }

    /// The lives of the log, in their order.
    pub fn epochs(&self) -> Result<Vec<Epoch>, Error> {
        let failed = |e| Error::of_sqlite("read the epochs of", &self.path, e);
        let sql =
            "SELECT number, id, first_resource_version, first_audit_sequence FROM epoch ORDER BY number";
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let epochs = statement.query_map([], |row: &Row<'_>| parse_epoch(row)).map_err(failed)?;
        epochs.collect::<Result<Vec<Epoch>, _>>().map_err(failed)
    }

    /// What the journal says of its logs.
    pub fn log_heads(&self) -> Result<LogHeads, Error> {
        LogHeads::read(&self.connection, &self.path)
    }

    /// What the bell last told.
    pub fn news(&self) -> AuditNews {
        *self.bell.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the bell, at most for `patience`.
    pub fn wait(&self, until: Until, patience: Option<Duration>) -> AuditNews {
        let seen = self.bell.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |news: &mut AuditNews| match until {
            Until::News(known) => *news == known,
            Until::Over => !news.is_over,
        };
        match patience {
            None => *self.bell.rung.wait_while(seen, goes_on).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.bell.rung.wait_timeout_while(seen, patience, goes_on);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
