//! The data directory: its file names, its lock, and making changes of names durable.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::is_full;

pub(crate) const JOURNAL: &str = "journal.db";
pub(crate) const JOURNAL_WAL: &str = "journal.db-wal";
pub(crate) const JOURNAL_SHM: &str = "journal.db-shm";
pub(crate) const SECRETS_KEY: &str = "secrets.key";
/// Signs the audit log. It lies beside the log's directory, so that the directory can be copied whole.
pub(crate) const AUDIT_KEY: &str = "audit.key";
/// The key of a new journal until its first signature is durable.
pub(crate) const AUDIT_KEY_FIRST: &str = "audit.key.first";
/// Laid ready by a rotation; it takes the place of the other when the next log begins.
pub(crate) const AUDIT_KEY_NEXT: &str = "audit.key.next";
/// Salts the hashes of bodies in the audit entries.
pub(crate) const BODIES_KEY: &str = "bodies.key";
/// Signs the heads of data arrays.
pub(crate) const ARRAYS_KEY: &str = "arrays.key";
pub(crate) const AUDIT: &str = "audit";
pub(crate) const RESERVE: &str = "reserve";
pub(crate) const BACKUPS: &str = "backups";
const LOCK: &str = "lock";

/// More than SQLite writes at once: what it had no room for has none here.
const TRIED_BYTES: usize = 64 << 10;

/// The flock on `DIR/lock`. It ends with the open file, so also by kill -9; the file itself stays, because removing it would
/// let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    /// Closing is not enough: a child that another thread has forked and that has not come to its exec yet holds a copy of the
    /// descriptor, and would keep the directory locked for a moment.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot unlock the data directory; it stays locked until this process ends");
        }
    }
}

impl DirectoryLock {
    /// Locks `dir`, which it makes (mode 0700) when it is missing.
    pub(crate) fn acquire(dir: &Path) -> Result<DirectoryLock, Error> {
        create_dir(dir)?;
        let path = dir.join(LOCK);
        let at = |step| move |e| Error::of_io(step, &dir.join(LOCK), e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at("open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { dir: dir.to_path_buf(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(Error::of_io("lock", &path, e)),
        }
        // The pid is only for the message of the next one; a full disk must not keep the journal shut.
        match write_pid(&mut file) {
            Err(e) if !is_full(&e) => Err(at("write the pid to")(e)),
            _ => Ok(DirectoryLock { file }),
        }
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes a directory that only its owner may enter, unless it is there.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_dir(parent(dir)),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) => Err(Error::of_io("make the directory", dir, e)),
    }
}

/// Makes created, renamed and removed names of `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::of_io("sync the directory", dir, e))
}

/// Makes an existing file's content durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::of_io("sync", path, e))
}

/// Creates an empty file that only its owner may read. SQLite gives its WAL the mode of its database.
pub(crate) fn create_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::of_io("create", path, e))
}

/// Whether the disk refuses this user a few more bytes in `dir`. Found by writing them: a file system counts in its own way.
pub(crate) fn has_no_room(dir: &Path) -> bool {
    let path = partial(&dir.join(RESERVE));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&[1; TRIED_BYTES]));
    if let Err(error) = remove(&path) {
        tracing::warn!(%error, "what was written to see whether there is room stays behind");
    }
    written.is_err_and(|e| is_full(&e))
}

/// Renames within one file system.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|e| Error::of_io("rename", from, e))
}

/// The directory that holds `path`; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Whether the name is taken, be it by a link that leads nowhere.
pub(crate) fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Removes a file or a whole directory when it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::of_io("remove", path, e)),
        _ => Ok(()),
    }
}

/// `path` with `.partial` behind its name: where a thing is made before it gets its name.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// `dir/name`, or the first of `name.2`, `name.3`, … that is not there.
pub(crate) fn first_free(dir: &Path, name: &str) -> PathBuf {
    let taken = |path: &PathBuf| path.symlink_metadata().is_ok();
    let plain = dir.join(name);
    if !taken(&plain) {
        return plain;
    }
    (2u64..)
        .map(|n| dir.join(format!("{name}.{n}")))
        .find(|path| !taken(path))
        .expect("a directory holds fewer than 2^64 names")
}
