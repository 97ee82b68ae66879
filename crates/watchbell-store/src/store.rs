//! The store: one owner, one writing connection.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use watchbell_audit::VerifierKey;

use crate::audit_reader::{AuditBell, AuditReader};
use crate::backup::{self, BackupReport};
use crate::batch::Batch;
use crate::commit::{self, Failure};
use crate::directory::{DirectoryLock, JOURNAL_WAL};
use crate::error::is_wal_index_full;
use crate::log::{Head, StagedHead};
use crate::maintenance::Maintenance;
use crate::publisher::Publisher;
use crate::reserve::{Reserve, ReserveState};
use crate::seal::Sealer;
use crate::{Error, seal};

/// A WAL file above this is cut after a checkpoint; below, its blocks are kept, because writing over them is cheaper than
/// growing the file anew.
const WAL_FILE_KEPT_BYTES: u64 = 64 << 20;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Waits so long in every commit, after its own sync: a bench on a fast disk sees what a slower one would do to it.
    pub fsync_delay: Option<Duration>,
    /// Disk space held back for deletes, and for checkpoints: one needs at most as much as the WAL holds until it has
    /// emptied it, so checkpoint before the WAL is larger than this.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { fsync_delay: None, reserve_bytes: 16 << 20 }
    }
}

/// The journal of one data directory, locked for this process until it is dropped.
pub struct Store {
    // Fields drop in this order: the connection closes before the lock is given up.
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) sealer: Sealer,
    pub(crate) head: Head,
    pub(crate) reserve: Reserve,
    pub(crate) fsync_delay: Option<Duration>,
    pub(crate) last_resource_version: u64,
    pub(crate) next_audit: u64,
    pub(crate) audit_bell: Arc<AuditBell>,
    /// Set by a fatal failure: nothing is tried after it.
    pub(crate) ended: Option<String>,
    pub(crate) lock: Arc<DirectoryLock>,
}

/// A batch that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub resource_version: u64,
    /// The sequence numbers its audit entries got; empty when it had none.
    pub audit: Range<u64>,
    /// Bytes in the WAL that no checkpoint has moved yet.
    pub wal_bytes: u64,
    pub reserve: ReserveState,
}

/// How far a checkpoint came. Readers and a writer beside it may leave a rest, which is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointReport {
    pub moved_bytes: u64,
    /// Left in the WAL for the next time.
    pub left_bytes: u64,
}

/// What the journal weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub database_bytes: u64,
    /// Of them, free pages, which the next rows use first.
    pub free_bytes: u64,
    pub wal_file_bytes: u64,
    pub objects: u64,
    pub array_pods: u64,
    pub audit_entries: u64,
}

impl Store {
    /// The journal's resource version: that of the last committed batch.
    pub fn last_resource_version(&self) -> u64 {
        self.last_resource_version
    }

    /// The sequence number of the last audit entry; 0 when there is none.
    pub fn last_audit_sequence(&self) -> u64 {
        self.next_audit - 1
    }

    /// Writes a batch in one transaction, durable on return: all of it or nothing.
    ///
    /// On a full disk a batch that puts no head and [may use it](Batch::may_use_reserve) is tried again with the reserve's space;
    /// the reserve is then taken back as far as there is room, whatever became of the batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::DiskFull`]: nothing was written, the store goes on. [`Error::Fatal`] and
    /// [`Error::Corrupt`] ([`Error::is_fatal`]): the process must end; the store refuses all further work.
    pub fn commit(&mut self, batch: &Batch) -> Result<Committed, Error> {
        self.check_alive("commit")?;
        batch.check(self.last_resource_version)?;
        let head = self.head.stage(&batch.audit);
        match self.transact(batch, head.as_ref()) {
            Err(Error::DiskFull { step, path }) if batch.is_for_reserve() => {
                self.write_with_reserve(batch, head.as_ref(), step, path)
            }
            other => self.note_fatal(other),
        }?;
        if let Some(head) = head {
            self.head.advance(head);
        }
        let first = self.next_audit;
        self.next_audit += batch.audit.len() as u64;
        if !batch.audit.is_empty() {
            self.audit_bell.ring(self.last_audit_sequence());
        }
        self.last_resource_version = batch.resource_version;
        if let Some(delay) = self.fsync_delay {
            std::thread::sleep(delay);
        }
        let wal = run_checkpoint(&self.connection, MEASURE)
            .map_err(|e| Error::of_sqlite("read the WAL", &self.path, e));
        let wal = self.note_fatal(wal)?;
        Ok(Committed {
            resource_version: batch.resource_version,
            audit: first..self.next_audit,
            wal_bytes: wal.left_bytes,
            reserve: self.reserve.state(),
        })
    }

    fn write_with_reserve(
        &mut self,
        batch: &Batch,
        head: Option<&StagedHead>,
        step: &'static str,
        path: PathBuf,
    ) -> Result<(), Error> {
        if self.reserve.release()? == ReserveState::Released {
            return Err(Error::DiskFull { step, path });
        }
        tracing::warn!(path = %path.display(), "the disk is full: writing with the reserve");
        // With nothing in the WAL, its space can be given back even when the batch has no room.
        let emptied = checkpoint_and_cut(&self.connection, &self.path, 0);
        if emptied.as_ref().is_err_and(Error::is_fatal) {
            return self.note_fatal(emptied.map(|_| ()));
        }
        let written = self.transact(batch, head);
        let written = self.note_fatal(written);
        if written.as_ref().is_err_and(Error::is_fatal) {
            return written;
        }
        match self.return_space() {
            Ok(_) => written,
            Err(error) if error.is_fatal() => self.note_fatal(Err(error)),
            Err(error) => {
                tracing::warn!(%error, "the reserve is used up until there is room for it");
                written
            }
        }
    }

    fn transact(&mut self, batch: &Batch, head: Option<&StagedHead>) -> Result<(), Error> {
        let failed = |e| Error::of_sqlite("commit", &self.path, e);
        self.run("BEGIN IMMEDIATE").map_err(failed)?;
        let written = commit::write(&self.connection, &self.sealer, batch, self.next_audit, head)
            .and_then(|()| Ok(self.run("COMMIT")?));
        let Err(failure) = written else { return Ok(()) };
        // Some failures have rolled back already.
        if !self.connection.is_autocommit()
            && let Err(e) = self.run("ROLLBACK")
        {
            let cause = format!("rolling back: {e}");
            return Err(Error::Fatal { step: "commit", path: self.path.clone(), cause });
        }
        Err(match failure {
            // The index is written after the frames: the batch may be in the WAL, whole and synced, and a crash would bring it
            // back after it was called refused.
            Failure::Sqlite(e) if is_wal_index_full(&e) => {
                Error::Fatal { step: "commit", path: self.path.clone(), cause: e.to_string() }
            }
            Failure::Sqlite(e) => failed(e),
            Failure::Refused(e) => e,
        })
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// With the reserve released: empties the WAL, whose space is what the reserve needs back.
    fn return_space(&mut self) -> Result<CheckpointReport, Error> {
        let report = checkpoint_and_cut(&self.connection, &self.path, 0);
        let taken = self.reserve.take_back();
        // What a checkpoint came to may be the end of this store.
        let report = report?;
        taken?;
        Ok(report)
    }

    /// Moves the WAL into the database file. Takes as long as the WAL is large: call it when idle, or leave the bulk to
    /// [`Maintenance::checkpoint`] on another thread. On a full disk it uses the reserve, and takes back what it can.
    pub fn checkpoint(&mut self) -> Result<CheckpointReport, Error> {
        self.check_alive("checkpoint")?;
        let result = match checkpoint_and_cut(&self.connection, &self.path, WAL_FILE_KEPT_BYTES) {
            Err(Error::DiskFull { step, path }) => match self.reserve.release()? {
                ReserveState::Held => self.return_space(),
                ReserveState::Released => Err(Error::DiskFull { step, path }),
            },
            other => other,
        };
        self.note_fatal(result)
    }

    /// A second connection for checkpoints and backups on a thread of its own, while this one commits.
    pub fn maintenance(&self) -> Result<Maintenance, Error> {
        Maintenance::open(&self.path, Arc::clone(&self.lock))
    }

    /// A connection that reads audit entries, for a thread of its own.
    pub fn audit_reader(&self) -> Result<AuditReader, Error> {
        AuditReader::open(&self.path, Arc::clone(&self.audit_bell), Arc::clone(&self.lock))
    }

    /// What writes the audit log's files behind the commits, on a thread of its own.
    pub fn publisher(&self) -> Result<Publisher, Error> {
        Publisher::open(&self.path, self.head.verifier().clone(), Arc::clone(&self.lock))
    }

    /// The key that the audit log's checkpoints verify with.
    pub fn log_verifier(&self) -> &VerifierKey {
        self.head.verifier()
    }

    /// Copies the journal and its key to the new directory `to` (mode 0700), which appears whole or not at all. Commits wait
    /// meanwhile; [`Maintenance::backup`] lets them go on.
    pub fn backup(&self, to: &Path) -> Result<BackupReport, Error> {
        backup::backup(
            &self.connection,
            &self.path,
            to,
            seal::key_in(crate::directory::parent(&self.path)).as_deref(),
        )
    }

    /// The same without the key: for copies that leave the machine. To restore it, the key must lie in the directory that it
    /// is restored to.
    pub fn backup_without_key(&self, to: &Path) -> Result<BackupReport, Error> {
        backup::backup(&self.connection, &self.path, to, None)
    }

    /// [`Store::backup`] of the journal in `dir` while another process holds it: the copy is the journal at one instant, and
    /// nothing but reading is done to the original.
    pub fn backup_beside(dir: &Path, to: &Path) -> Result<BackupReport, Error> {
        backup::backup_beside(dir, to, seal::key_in(dir).as_deref())
    }

    /// [`Store::backup_without_key`] while another process holds the journal.
    pub fn backup_beside_without_key(dir: &Path, to: &Path) -> Result<BackupReport, Error> {
        backup::backup_beside(dir, to, None)
    }

    /// Gives the reserve's space to the disk. Returns whether there was any.
    pub fn release_reserve(&mut self) -> Result<ReserveState, Error> {
        self.reserve.release()
    }

    /// Takes the reserve's space back; [`ReserveState::Released`] when the disk has no room for all of it.
    pub fn refill_reserve(&mut self) -> Result<ReserveState, Error> {
        self.reserve.refill()
    }

    /// Counts rows: a scan of the smallest index of each table, so for a metrics page, not for every commit.
    pub fn size(&self) -> Result<Size, Error> {
        let failed = |e| Error::of_sqlite("measure the journal", &self.path, e);
        let number = |sql: &str| -> Result<u64, Error> {
            let value: i64 = self.connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
            Ok(value.cast_unsigned())
        };
        let page = number("PRAGMA page_size")?;
        let wal = self.path.with_file_name(JOURNAL_WAL);
        let wal_file_bytes = match wal.metadata() {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::of_io("measure", &wal, e)),
        };
        Ok(Size {
            database_bytes: page * number("PRAGMA page_count")?,
            free_bytes: page * number("PRAGMA freelist_count")?,
            wal_file_bytes,
            objects: number("SELECT count(*) FROM object")?,
            array_pods: number("SELECT count(*) FROM array_pod")?,
            audit_entries: self.last_audit_sequence(),
        })
    }

    pub(crate) fn check_alive(&self, step: &'static str) -> Result<(), Error> {
        match &self.ended {
            None => Ok(()),
            Some(cause) => Err(Error::Fatal {
                step,
                path: self.path.clone(),
                cause: format!("an earlier failure: {cause}"),
            }),
        }
    }

    pub(crate) fn note_fatal<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_fatal()
        {
            self.ended = Some(error.to_string());
            self.audit_bell.keep_wal();
            // Closing must not move a WAL whose durability is unknown.
            if let Err(e) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
                tracing::error!(error = %e, "cannot keep SQLite from a checkpoint at its end");
            }
        }
        result
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.audit_bell.close();
    }
}

/// A frame of the WAL: a page and its header.
const WAL_FRAME_BYTES: u64 = 4096 + 24;

/// Only tells how full the WAL is.
const MEASURE: &str = "PRAGMA wal_checkpoint(NOOP)";
/// Waits for nobody.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

fn run_checkpoint(connection: &Connection, pragma: &'static str) -> rusqlite::Result<CheckpointReport> {
    connection.prepare_cached(pragma)?.query_row([], |row| {
        // busy, frames in the WAL, of them moved; -1 without a WAL.
        let (frames, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        let bytes = |n: i64| n.max(0).cast_unsigned() * WAL_FRAME_BYTES;
        Ok(CheckpointReport { moved_bytes: bytes(moved), left_bytes: bytes(frames - moved) })
    })
}

/// Moves what can be moved without waiting for anybody.
pub(crate) fn checkpoint_passive(connection: &Connection, path: &Path) -> Result<CheckpointReport, Error> {
    run_checkpoint(connection, PASSIVE).map_err(|e| Error::of_sqlite("checkpoint", path, e))
}

/// Then cuts the WAL's file when it is larger than `keep`.
fn checkpoint_and_cut(connection: &Connection, path: &Path, keep: u64) -> Result<CheckpointReport, Error> {
    let report = checkpoint_passive(connection, path)?;
    let file = path.with_file_name(JOURNAL_WAL);
    let large = file.metadata().is_ok_and(|meta| meta.len() > keep);
    if report.left_bytes == 0 && large {
        let failed = |e| Error::of_sqlite("cut the WAL", path, e);
        // A backup that still reads the WAL keeps it; the next checkpoint cuts it.
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        let cut = run_checkpoint(connection, TRUNCATE).map_err(failed);
        connection.busy_timeout(crate::connection::BUSY_TIMEOUT).map_err(failed)?;
        cut?;
    }
    Ok(report)
}
