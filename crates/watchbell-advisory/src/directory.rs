//! The directory that an index lies in: one writer at a time, and a new index in place of the old in one step.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::database::INDEX_FILE;
use crate::{Database, Error};

const LOCK_FILE: &str = "lock";
/// What a writer that died left; the next one writes over it.
const NEW_FILE: &str = "advisories.index.new";

/// The right to replace the index; given back when it is dropped.
#[derive(Debug)]
pub struct IndexDirectory {
    path: PathBuf,
    _lock: File,
}

impl IndexDirectory {
    /// Makes the directory if there is none.
    pub fn lock(path: &Path) -> Result<IndexDirectory, Error> {
        fs::create_dir_all(path).map_err(Error::io("make the directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(IndexDirectory { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(Error::io("lock", &lock_path)(cause)),
        }
    }

    /// The index that is there; `None`: none yet.
    pub fn database(&self) -> Result<Option<Database>, Error> {
        match Database::open(&self.path.join(INDEX_FILE)) {
            Ok(database) => Ok(Some(database)),
            Err(Error::Absent { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts a new index in the place of the old. A reader sees one or the other, whole, also after a crash.
    pub fn replace(&self, index: &[u8]) -> Result<(), Error> {
        let new = self.path.join(NEW_FILE);
        let at = || Error::io("write", &new);
        let mut file = File::create(&new).map_err(at())?;
        file.write_all(index).map_err(at())?;
        file.sync_all().map_err(at())?;
        let old = self.path.join(INDEX_FILE);
        fs::rename(&new, &old).map_err(Error::io("replace", &old))?;
        let directory = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        directory.sync_all().map_err(Error::io("sync", &self.path))
    }
}
