//! Every change of the disk, one function each, so that a test can stop the program between any two of them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;

/// A change that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    MakeDir(PathBuf),
    /// A new file with all its content; not durable before a sync.
    Write(PathBuf),
    /// More at the end of a file.
    Append(PathBuf),
    SyncFile(PathBuf),
    /// Of the names in a directory.
    SyncDir(PathBuf),
    /// Everything of the file system that the path lies on.
    SyncAll(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

type Watch = dyn Fn(&Step) -> Result<(), Error> + Send + Sync;

/// What changes files. It is asked before each step when somebody watches.
#[derive(Clone, Default)]
pub struct Disk(Option<Arc<Watch>>);

impl Disk {
    /// One that asks `watch` before each step; an error of it stops the work there. It waits for no sync: who watches keeps the
    /// account of what would be lost.
    pub fn watched(watch: impl Fn(&Step) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watch)))
    }

    fn before(&self, step: impl FnOnce() -> Step) -> Result<(), Error> {
        match &self.0 {
            None => Ok(()),
            Some(watch) => watch(&step()),
        }
    }

    /// Makes a directory for root alone; one that is there is no error.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<(), Error> {
        self.make_dir_with(path, 0o700)
    }

    pub(crate) fn make_dir_with(&self, path: &Path, mode: u32) -> Result<(), Error> {
        self.before(|| Step::MakeDir(path.to_owned()))?;
        use rustix::fs::Mode;
        match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
            // The caller's umask plays no part.
            Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(mode))
                .map_err(Error::errno("set the mode of", path)),
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(Error::errno("make the directory", path)(error)),
        }
    }

    /// A file that must not be there yet, for the caller to fill.
    pub(crate) fn create(&self, path: &Path, mode: u32) -> Result<File, Error> {
        self.before(|| Step::Write(path.to_owned()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        options.open(path).map_err(Error::io("create", path))
    }

    /// Gives a file the mode, where its owner may not write to it: those of older stores were for nobody to write to.
    pub(crate) fn let_owner_write(&self, path: &Path, mode: u32) -> Result<(), Error> {
        let of = rustix::fs::stat(path).map_err(Error::errno("look at", path))?;
        if of.st_mode & 0o200 == 0 {
            rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))
                .map_err(Error::errno("set the mode of", path))?;
        }
        Ok(())
    }

    /// A small file with its content on the disk; its name is not synced.
    pub(crate) fn write_synced(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.before(|| Step::Write(path.to_owned()))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).map_err(Error::io("create", path))?;
        file.write_all(bytes).map_err(Error::io("write", path))?;
        self.sync_file(&file, path)
    }

    pub(crate) fn append(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.before(|| Step::Append(path.to_owned()))?;
        file.write_all(bytes).map_err(Error::io("write", path))?;
        self.sync_file(file, path)
    }

    pub(crate) fn sync_file(&self, file: &File, path: &Path) -> Result<(), Error> {
        self.before(|| Step::SyncFile(path.to_owned()))?;
        if self.0.is_some() {
            return Ok(());
        }
        file.sync_all().map_err(Error::io("sync", path))
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.before(|| Step::SyncDir(dir.to_owned()))?;
        if self.0.is_some() {
            return Ok(());
        }
        let file = File::open(dir).map_err(Error::io("open", dir))?;
        file.sync_all().map_err(Error::io("sync", dir))
    }

    pub(crate) fn sync_all(&self, path: &Path) -> Result<(), Error> {
        self.before(|| Step::SyncAll(path.to_owned()))?;
        if self.0.is_some() {
            return Ok(());
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        rustix::fs::syncfs(&file).map_err(Error::errno("sync the file system of", path))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.before(|| Step::Rename(from.to_owned(), to.to_owned()))?;
        fs::rename(from, to).map_err(Error::io("rename to", to))
    }

    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<(), rustix::io::Errno> {
        if self.before(|| Step::Link(from.to_owned(), to.to_owned())).is_err() {
            return Err(rustix::io::Errno::INTR);
        }
        rustix::fs::link(from, to)
    }

    /// One that is not there is no error.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.before(|| Step::Remove(path.to_owned()))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// A directory with all below it. Renamed first, so that nobody finds half of it.
    pub(crate) fn remove_dir(&self, path: &Path) -> Result<(), Error> {
        if !path.exists() {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default();
        let is_renamed = name.as_encoded_bytes().starts_with(REMOVED.as_bytes());
        let mut removed = std::ffi::OsString::from(REMOVED);
        removed.push(name);
        let renamed = if is_renamed { path.to_owned() } else { path.with_file_name(removed) };
        if !is_renamed {
            self.before(|| Step::Remove(renamed.clone()))?;
            remove_all(&renamed)?;
            self.rename(path, &renamed)?;
        }
        self.before(|| Step::Remove(path.to_owned()))?;
        remove_all(&renamed)
    }

    /// Replaces a small file: the content first, then its name, both on the disk when this returns.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".next");
        let next = path.with_file_name(name);
        self.write_synced(&next, bytes)?;
        self.rename(&next, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("/")))
    }
}

/// Removes a directory, which a sweep that found it may be removing too.
fn remove_all(dir: &Path) -> Result<(), Error> {
    while dir.exists() {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => return removed.map_err(Error::io("remove", dir)),
        }
    }
    Ok(())
}

/// How the name of a directory begins that is being removed. No array's and no draft's name begins with a dot.
pub(crate) const REMOVED: &str = ".removed-";
