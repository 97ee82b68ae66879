//! The directory of logs, which the keeper writes. The keeper has no privileges, but whoever took it over may put anything there:
//! links, pipes, other things in the place of directories. Nothing below it is found but without links, and beneath it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use crate::remove::remove_tree_in;

/// By its path: it lies in a directory that is the server's alone, and may be made again while the server runs.
#[derive(Debug, Clone)]
pub(crate) struct LogDir(PathBuf);

impl LogDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// A log for reading. `None`: it is not there.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let Some(root) = self.root()? else { return Ok(None) };
        // Of a pipe this is no writer that is waited for, and no terminal becomes the server's.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Some(found) = found(beneath(&root, path, flags)).map_err(|e| named(path, e))? else {
            return Ok(None);
        };
        if is_regular(&fstat(&found)?) { Ok(Some(found.into())) } else { Err(no_file(path)) }
    }

    /// The directory that a log lies in. `None`: it is not there.
    pub(super) fn folder(&self, log: &Path) -> io::Result<Option<Folder>> {
        Ok(self.parent(log)?.map(|(dir, _)| Folder(dir)))
    }

    /// Hands over each thing that lies in a directory; none where there is no such directory.
    pub(super) fn each(
        &self,
        path: &Path,
        mut each: impl FnMut(&Folder, &Path, &Stat) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(root) = self.root()? else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(dir) = found(beneath(&root, path, flags)).map_err(|e| named(path, e))? else {
            return Ok(());
        };
        let folder = Folder(dir);
        for entry in Dir::read_from(&folder.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // Gone meanwhile, if it is not there.
            if let Some(stat) = found(statat(&folder.0, name, AtFlags::SYMLINK_NOFOLLOW))? {
                each(&folder, Path::new(name), &stat)?;
            }
        }
        Ok(())
    }

    /// Removes a directory with all that is in it.
    pub(crate) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        match self.parent(path)? {
            Some((dir, name)) => remove_tree_in(&dir, name),
            None => Ok(()),
        }
    }

    /// What tells when something comes of a log: itself, or the nearest directory above it that is there. With whether it is the log.
    pub(super) fn watched(&self, path: &Path) -> io::Result<(OwnedFd, bool)> {
        let Some(root) = self.root()? else {
            let above = self.0.parent().unwrap_or(Path::new("/"));
            return Ok((openat(CWD, above, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?, false));
        };
        for at in path.ancestors().filter(|at| !at.as_os_str().is_empty()) {
            // What cannot be opened so is as good as not there.
            if let Ok(found) = beneath(&root, at, OFlags::PATH | OFlags::CLOEXEC) {
                return Ok((found, at == path));
            }
        }
        Ok((root, false))
    }

    /// `None`: no container has written anything yet.
    fn root(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        found(openat(CWD, &self.0, flags, Mode::empty())).map_err(|e| named(&self.0, e))
    }

    /// The directory that a path lies in, and its name there.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<Option<(OwnedFd, &'a Path)>> {
        let (above, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        let Some(root) = self.root()? else { return Ok(None) };
        if above.as_os_str().is_empty() {
            return Ok(Some((root, Path::new(name))));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = found(beneath(&root, above, flags)).map_err(|e| named(above, e))?;
        Ok(dir.map(|dir| (dir, Path::new(name))))
    }
}

/// A directory that logs lie in; each is named by its path.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Bytes of a log. `None`: it is not there.
    pub(super) fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match found(statat(&self.0, name_of(path)?, AtFlags::SYMLINK_NOFOLLOW))? {
            Some(stat) if is_regular(&stat) => Ok(Some(stat.st_size.unsigned_abs())),
            Some(_) => Err(no_file(path)),
            None => Ok(None),
        }
    }

    /// Removes a file, or what stands in its place. `false`: nothing was there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<bool> {
        Ok(found(unlinkat(&self.0, name_of(path)?, AtFlags::empty()))?.is_some())
    }
}

fn name_of(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn found<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn no_file(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: it is no plain file, as a log is", path.display()),
    )
}

/// Who put a link there, or something that is no directory, is not the keeper that was started.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
