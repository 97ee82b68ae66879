//! Walks a directory that somebody else filled. Nothing in it is believed: no link is followed, no other file system is
//! entered, what is opened is looked at again, and the numbers are bounded.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, fstat, openat, openat2, statat,
};
use watchbell_zarr::{Entry, EntryKind};

use crate::error::Error;

/// Entries of one directory tree; more are refused.
pub const MAX_ENTRIES: u64 = 16_000_000;
/// Bytes of all names together: who walks keeps those that count.
pub(crate) const MAX_NAME_BYTES: u64 = 1 << 30;
const MAX_DEPTH: usize = 100;
const MAX_KEY_BYTES: usize = 4096;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens the directory to be walked. Its own path is ours, and trusted.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(Error::errno("open", path))
}

/// Calls `visit` with each entry, parents first, names in order. It says whether to go into a directory.
pub(crate) fn walk(
    root: BorrowedFd<'_>,
    shown: &str,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut walker = Walker { root, shown, visit, seen: 0, bytes: 0 };
    walker.enter(&mut Vec::new(), 0)
}

struct Walker<'a> {
    root: BorrowedFd<'a>,
    shown: &'a str,
    visit: &'a mut dyn FnMut(Entry<'_>) -> Result<bool, Error>,
    seen: u64,
    bytes: u64,
}

impl Walker<'_> {
    fn enter(&mut self, key: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
        let shown = self.name(key);
        let failed = |step: &'static str| Error::errno(step, Path::new(&shown));
        if depth > MAX_DEPTH {
            return Err(Error::Foreign { what: self.name(key), problem: format!("deeper than {MAX_DEPTH}") });
        }
        let at = if key.is_empty() { b".".to_vec() } else { key.clone() };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = openat2(self.root, at.as_slice(), flags, Mode::empty(), RESOLVE)
            .map_err(failed("open the directory"))?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&dir).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.seen += 1;
            if self.seen > MAX_ENTRIES {
                return Err(Error::TooMany { dir: self.shown.to_owned(), max: MAX_ENTRIES });
            }
            self.bytes += (key.len() + name.len()) as u64;
            if self.bytes > MAX_NAME_BYTES {
                let problem = format!("its names have more than {MAX_NAME_BYTES} bytes together");
                return Err(Error::Foreign { what: self.shown.to_owned(), problem });
            }
            names.push(name.to_vec());
        }
        names.sort();
        for name in names {
            let before = key.len();
            if before > 0 {
                key.push(b'/');
            }
            key.extend(&name);
            if key.len() > MAX_KEY_BYTES {
                return Err(Error::Foreign {
                    what: self.name(key),
                    problem: "its name is too long".to_owned(),
                });
            }
            let stat = statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::errno("look at", Path::new(&self.name(key))))?;
            let kind = kind_of(&stat, || is_opaque(dir.as_fd(), &name));
            let goes_in = (self.visit)(Entry { key, kind })?;
            if goes_in && matches!(kind, EntryKind::Directory { .. }) {
                self.enter(key, depth + 1)?;
            }
            key.truncate(before);
        }
        Ok(())
    }

    fn name(&self, key: &[u8]) -> String {
        format!("{}/{}", self.shown, key[..key.len().min(256)].escape_ascii())
    }
}

fn kind_of(stat: &Stat, is_opaque: impl FnOnce() -> bool) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory { is_opaque: is_opaque() },
        FileType::RegularFile => EntryKind::File {
            size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
            // Of another width on other architectures.
            links: stat.st_nlink as _,
            mode: stat.st_mode & 0o7777,
        },
        // How overlayfs marks what was removed: a character device 0/0.
        FileType::CharacterDevice if stat.st_rdev == 0 => EntryKind::Whiteout,
        FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Device,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::Unknown => EntryKind::Device,
    }
}

/// Whether overlayfs was told that a directory hides the one below. What cannot be asked counts as that.
fn is_opaque(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = openat2(dir, name, flags, Mode::empty(), RESOLVE) else { return true };
    OPAQUE.iter().any(|attribute| match fgetxattr(&file, *attribute, &mut [0u8; 8][..]) {
        Ok(_) => true,
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => false,
        Err(_) => true,
    })
}

/// Opens a file that the walk has seen. It must still be a regular file of the same size with one name.
pub(crate) fn open_file(root: BorrowedFd<'_>, key: &[u8], shown: &str, size: u64) -> Result<File, Error> {
    let name = || format!("{shown}/{}", key[..key.len().min(256)].escape_ascii());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat2(root, key, flags, Mode::empty(), RESOLVE)
        .map_err(Error::errno("open", Path::new(&name())))?;
    let stat = fstat(&file).map_err(Error::errno("look at", Path::new(&name())))?;
    let is_same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && u64::try_from(stat.st_size) == Ok(size);
    if !is_same {
        return Err(Error::Foreign { what: name(), problem: "it changed while it was read".to_owned() });
    }
    Ok(file.into())
}
