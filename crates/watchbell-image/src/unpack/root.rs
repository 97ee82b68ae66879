//! A directory tree that no name leads out of.
//!
//! Every lookup is relative to a descriptor and asks the kernel (`openat2`) to stay beneath it and to follow no symbolic
//! link at all; links of the archive are resolved by [`Root::parent`] itself, one component at a time, as if the tree
//! were `/`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};

use serde::{Deserialize, Serialize};

use crate::Error;

const OPAQUE: &str = "trusted.overlay.opaque";
/// The kernel's own number for a path (`MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;

pub(super) struct Root {
    dir: OwnedFd,
}

/// What stands under a name.
pub(super) enum Found {
    Directory(OwnedFd),
    Symlink(Vec<u8>),
    Whiteout,
    Other,
}

/// What is beyond the tree and its process.
pub(super) trait Outside {
    /// The parent directory `path` does not exist in this tree; says what to make there.
    fn parent(&mut self, path: &[Vec<u8>]) -> io::Result<Fill>;
    /// Marks the directory at `path`, none of which is a link, so that the overlay shows nothing of the layers below in it.
    fn mark_opaque(&mut self, path: &[Vec<u8>]) -> io::Result<()>;
    /// The layers below count no more.
    fn hide(&mut self);
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fill {
    Directory { mode: u32, uid: u32, gid: u32 },
    Symlink { target: Vec<u8>, uid: u32, gid: u32 },
}

impl Fill {
    /// Where nothing is known.
    pub(super) const PLAIN: Self = Self::Directory { mode: 0o755, uid: 0, gid: 0 };
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ParentError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for ParentError {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Io(e.into())
    }
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()))?;
        Ok(Self { dir })
    }

    pub(super) fn at(dir: OwnedFd) -> Self {
        Self { dir }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { dir: self.dir.try_clone()? })
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Writes everything on this file system back to the disk.
    pub(super) fn sync_file_system(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.dir)?)
    }

    /// Opens the directory at `components`, none of which may be a symbolic link.
    pub(super) fn open_dir(&self, components: &[Vec<u8>]) -> io::Result<OwnedFd> {
        if components.is_empty() {
            return self.dir.try_clone();
        }
        open_beneath(self.dir(), &components.join(&b'/'), OFlags::DIRECTORY | OFlags::RDONLY)
    }

    /// Opens the directory in which an entry below `components` goes. Symbolic links of this tree are followed within it;
    /// what is absent is made as `outside` says. At most `depth_max` directories deep. Returns where it really is.
    pub(super) fn parent(
        &self,
        components: &[Vec<u8>],
        depth_max: usize,
        outside: &mut dyn Outside,
    ) -> Result<(OwnedFd, Vec<Vec<u8>>), ParentError> {
        let mut reached: Vec<Vec<u8>> = Vec::new();
        let mut ahead: VecDeque<Vec<u8>> = components.iter().cloned().collect();
        let mut symlinks = 0;
        let mut dirs: Vec<OwnedFd> = vec![self.dir.try_clone()?];
        while let Some(component) = ahead.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    // Only ever from a link's target; above the root is the root.
                    if reached.pop().is_some() {
                        dirs.pop();
                    }
                    continue;
                }
                _ => {}
            }
            if reached.len() >= depth_max {
                return Err(ParentError::Refused(format!("it lies more than {depth_max} directories deep")));
            }
            let here = dirs.last().expect("the root is never popped").as_fd();
            let target = match look(here, &component)? {
                Some(Found::Directory(dir)) => {
                    reached.push(component);
                    dirs.push(dir);
                    continue;
                }
                Some(Found::Symlink(target)) => target,
                Some(Found::Whiteout) => {
                    // The layer removes the name and then puts something below it: a new directory that hides the old.
                    fs::unlinkat(here, os(&component), AtFlags::empty())?;
                    let dir = make_dir(here, &component, 0o755, 0, 0)?;
                    reached.push(component);
                    outside.mark_opaque(&reached)?;
                    dirs.push(dir);
                    continue;
                }
                Some(Found::Other) => {
                    return Err(ParentError::Refused(format!(
                        "\"{}\" above it is not a directory",
                        String::from_utf8_lossy(&component).escape_debug()
                    )));
                }
                None => {
                    let mut path = reached.clone();
                    path.push(component.clone());
                    match outside.parent(&path)? {
                        Fill::Directory { mode, uid, gid } => {
                            let dir = make_dir(here, &component, mode, uid, gid)?;
                            reached.push(component);
                            dirs.push(dir);
                            continue;
                        }
                        Fill::Symlink { target, uid, gid } => {
                            make_symlink(here, &component, &target, uid, gid)?;
                            target
                        }
                    }
                }
            };
            symlinks += 1;
            if symlinks > SYMLINKS_MAX {
                return Err(ParentError::Refused("too many symbolic links lie on its path".to_owned()));
            }
            if target.starts_with(b"/") {
                reached.clear();
                dirs.truncate(1);
            }
            for component in target.split(|b| *b == b'/').rev() {
                ahead.push_front(component.to_owned());
            }
        }
        Ok((dirs.pop().expect("the root is never popped"), reached))
    }
}

/// Opens `path` beneath `dir` without following any link and without crossing a mount.
fn open_beneath(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::io::retry_on_intr(|| fs::openat2(dir, os(path), flags, Mode::empty(), resolve))?)
}

/// What stands under one name in `dir`.
pub(super) fn look(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Found>> {
    let Some(stat) = stat(dir, name)? else { return Ok(None) };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory(open_beneath(dir, name, OFlags::DIRECTORY | OFlags::RDONLY)?),
        FileType::Symlink => Found::Symlink(fs::readlinkat(dir, os(name), Vec::new())?.into_bytes()),
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    }))
}

pub(super) fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match fs::statat(dir, os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn make_dir(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
    uid: u32,
    gid: u32,
) -> io::Result<OwnedFd> {
    fs::mkdirat(dir, os(name), Mode::from_raw_mode(0o700))?;
    let made = open_beneath(dir, name, OFlags::DIRECTORY | OFlags::RDONLY)?;
    set_owner_and_mode(made.as_fd(), mode, uid, gid)?;
    Ok(made)
}

pub(super) fn make_symlink(
    dir: BorrowedFd<'_>,
    name: &[u8],
    target: &[u8],
    uid: u32,
    gid: u32,
) -> io::Result<()> {
    fs::symlinkat(os(target), dir, os(name))?;
    fs::chownat(dir, os(name), owner(uid), group(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// The owner first: changing it would clear bits of the mode.
pub(super) fn set_owner_and_mode(file: BorrowedFd<'_>, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    fs::fchown(file, owner(uid), group(gid))?;
    fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(())
}

pub(super) fn owner(uid: u32) -> Option<fs::Uid> {
    Some(fs::Uid::from_raw(uid))
}

pub(super) fn group(gid: u32) -> Option<fs::Gid> {
    Some(fs::Gid::from_raw(gid))
}

/// Marks a directory so that the overlay shows nothing of the layers below in it.
pub(super) fn set_opaque(dir: &OwnedFd) -> io::Result<()> {
    Ok(fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())?)
}

pub(super) fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    let mut value = [0u8; 8];
    match fs::fgetxattr(dir, OPAQUE, &mut value[..]) {
        Ok(n) => Ok(value[..n] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Removes what stands under `name`, a directory with all below it.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match fs::unlinkat(dir, os(name), AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR) => {}
        other => return Ok(other?),
    }
    let doomed = open_beneath(dir, name, OFlags::DIRECTORY | OFlags::RDONLY)?;
    for child in Dir::read_from(&doomed)? {
        let child = child?;
        let child = child.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove(doomed.as_fd(), child)?;
        }
    }
    Ok(fs::unlinkat(dir, os(name), AtFlags::REMOVEDIR)?)
}

pub(super) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
