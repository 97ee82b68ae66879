//! Work beside the commit path, on a connection of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::backup::{self, BackupReport};
use crate::directory::{self, DirectoryLock};
use crate::store::{CheckpointReport, checkpoint_passive};
use crate::{Error, connection, seal};

/// A second connection to an open journal, for a thread that does not commit. Holds the directory's lock like the store.
pub struct Maintenance {
    connection: Connection,
    path: PathBuf,
    _lock: Arc<DirectoryLock>,
}

impl Maintenance {
    pub(crate) fn open(path: &Path, lock: Arc<DirectoryLock>) -> Result<Maintenance, Error> {
        let connection = connection::open_writable(path)?;
        connection::make_durable(&connection, path)?;
        connection::tidy_at_end(&connection, path)?;
        Ok(Maintenance { connection, path: path.to_path_buf(), _lock: lock })
    }

    /// Moves the WAL into the database file while commits go on. What they add meanwhile stays for the next time, so under
    /// steady load the writer's own [`crate::Store::checkpoint`] must finish the short rest now and then.
    ///
    /// # Errors
    /// After one that [`Error::is_fatal`], the process must end, as after a failed commit.
    pub fn checkpoint(&mut self) -> Result<CheckpointReport, Error> {
        checkpoint_passive(&self.connection, &self.path)
    }

    /// [`crate::Store::backup`] while commits go on: the copy is the journal at one instant.
    pub fn backup(&self, to: &Path) -> Result<BackupReport, Error> {
        backup::backup(
            &self.connection,
            &self.path,
            to,
            seal::key_in(directory::parent(&self.path)).as_deref(),
        )
    }

    /// [`crate::Store::backup_without_key`] while commits go on.
    pub fn backup_without_key(&self, to: &Path) -> Result<BackupReport, Error> {
        backup::backup(&self.connection, &self.path, to, None)
    }
}
