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
/// What the names of the directories that a walk is in take in memory.
const MAX_HELD_BYTES: u64 = 256 << 20;
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
    walk_within(MAX_HELD_BYTES, root, shown, visit)
}

fn walk_within(
    max_held_bytes: u64,
    root: BorrowedFd<'_>,
    shown: &str,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut walker = Walker { root, shown, visit, seen: 0, bytes: 0, held: 0, max_held_bytes };
    walker.enter(&mut Vec::new(), 0)
}

/// The names in a directory, which may be millions: one after the other, without an allocation of its own for each.
#[derive(Default)]
struct Names {
    text: Vec<u8>,
    places: Vec<(u32, u32)>,
}

impl Names {
    /// What one takes.
    fn bytes_of(name: &[u8]) -> u64 {
        (name.len() + size_of::<(u32, u32)>()) as u64
    }

    fn push(&mut self, name: &[u8]) {
        // Far fewer bytes are held than a number of this width counts.
        let start = self.text.len() as u32;
        self.text.extend(name);
        self.places.push((start, self.text.len() as u32));
    }

    fn get(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.text[start as usize..end as usize]
    }

    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        self.places = places;
    }
}

struct Walker<'a> {
    root: BorrowedFd<'a>,
    shown: &'a str,
    visit: &'a mut dyn FnMut(Entry<'_>) -> Result<bool, Error>,
    seen: u64,
    bytes: u64,
    /// Of [`Names`], of the directory that it is in and of those above.
    held: u64,
    max_held_bytes: u64,
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
        let (mut names, before) = (Names::default(), self.held);
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
            self.held += Names::bytes_of(name);
            if self.held > self.max_held_bytes {
                let max = self.max_held_bytes;
                let problem = format!("it has too many entries: their names take more than {max} bytes");
                return Err(Error::Foreign { what: shown, problem });
            }
            names.push(name);
        }
        names.sort();
        for place in &names.places {
            let (name, above) = (names.get(*place), key.len());
            if above > 0 {
                key.push(b'/');
            }
            key.extend(name);
            if key.len() > MAX_KEY_BYTES {
                return Err(Error::Foreign {
                    what: self.name(key),
                    problem: "its name is too long".to_owned(),
                });
            }
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::errno("look at", Path::new(&self.name(key))))?;
            let kind = kind_of(&stat, || is_opaque(dir.as_fd(), name));
            let goes_in = (self.visit)(Entry { key, kind })?;
            if goes_in && matches!(kind, EntryKind::Directory { .. }) {
                self.enter(key, depth + 1)?;
            }
            key.truncate(above);
        }
        self.held = before;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What a walk holds at once is bounded, and not what it has seen.
    #[test]
    fn a_directory_of_too_many_names_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for part in 0..4 {
            fs::create_dir(dir.path().join(format!("part-{part}"))).unwrap();
            (0..100).for_each(|n| fs::write(dir.path().join(format!("part-{part}/{n:03}")), "").unwrap());
        }
        let root = open_root(dir.path()).unwrap();
        let walked = |max| {
            let mut keys = Vec::new();
            walk_within(max, root.as_fd(), "it", &mut |entry| {
                keys.push(String::from_utf8(entry.key.to_vec()).unwrap());
                Ok(true)
            })
            .map(|()| keys)
        };
        let needed = 4 * (6 + 8) + 100 * (3 + 8);
        let keys = walked(needed).unwrap();
        assert_eq!((keys.len(), keys[0].as_str(), keys[403].as_str()), (404, "part-0", "part-3/099"));
        assert!(keys.is_sorted());
        let error = walked(needed - 1).unwrap_err().to_string();
        assert_eq!(error, "it/part-0: it has too many entries: their names take more than 1155 bytes");
    }
}
