//! How much a directory holds, whatever a task makes of it meanwhile.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use watchbell_api::quantity::{Format, Quantity};

/// Directories within directories that are followed, each of which holds a descriptor. What is nested deeper could hide
/// anything, so it counts as too much.
const DEPTH_MAX: usize = 200;
const BLOCK_BYTES: u64 = 512;
/// Files with several names that are remembered. What is found beyond counts under each of its names.
const LINKED_MAX: usize = 1 << 20;

/// What is taken of a file system: its own counts, whatever a file says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Use {
    pub bytes: u64,
    pub inodes: u64,
}

impl Use {
    pub(crate) const MAX: Use = Use { bytes: u64::MAX, inodes: u64::MAX };

    /// What one thing takes.
    pub(crate) fn of(stat: &Stat) -> Use {
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        Use { bytes: blocks.saturating_mul(BLOCK_BYTES), inodes: 1 }
    }

    pub(crate) fn plus(self, other: Use) -> Use {
        Use {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    fn is_more_than(&self, most: &Use) -> bool {
        self.bytes > most.bytes || self.inodes > most.inodes
    }
}

/// What a directory takes of the disk. No link is followed; what has several names counts once; the look ends as soon as it
/// found more than `most`.
pub(crate) fn used(path: &Path, most: Use) -> io::Result<Use> {
    let root = match open(CWD, path) {
        Ok(root) => root,
        // Its pod has not begun, or is gone.
        Err(Errno::NOENT) => return Ok(Use::default()),
        Err(e) => return Err(e.into()),
    };
    let mut total = Use::default();
    let mut linked: HashSet<u64> = HashSet::new();
    let mut stack: Vec<Dir> = vec![Dir::new(root)?];
    while let Some(dir) = stack.last_mut() {
        let Some(entry) = dir.read() else {
            stack.pop();
            continue;
        };
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // The task removed it meanwhile.
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_alone = is_directory || stat.st_nlink == 1;
        if is_alone || is_new(&mut linked, stat.st_ino, LINKED_MAX) {
            total = total.plus(Use::of(&stat));
        }
        if total.is_more_than(&most) {
            return Ok(total);
        }
        if is_directory {
            if stack.len() == DEPTH_MAX {
                return Ok(Use::MAX);
            }
            match open(stack[stack.len() - 1].fd()?, entry.file_name()) {
                Ok(inner) => stack.push(Dir::new(inner)?),
                // Gone, or something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(total)
}

/// As people are told it.
pub(crate) fn amount(bytes: u64) -> String {
    Quantity::from_units(i64::try_from(bytes).unwrap_or(i64::MAX), Format::BinarySi).to_string()
}

/// Whether a file with several names is seen for the first time, as far as that is remembered.
fn is_new(linked: &mut HashSet<u64>, inode: u64, most: usize) -> bool {
    if linked.len() < most { linked.insert(inode) } else { !linked.contains(&inode) }
}

fn open(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_inside_counts_once_and_what_is_outside_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("large"), vec![1; 1 << 20]).unwrap();
        fs::write(inside.join("a/b/some"), vec![1; 64 << 10]).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        for i in 0..50 {
            fs::hard_link(inside.join("a/b/some"), inside.join(format!("again-{i}"))).unwrap();
        }
        let all = used(&inside, Use::MAX).unwrap();
        // Two directories, a file under many names, and a link.
        assert_eq!(all.inodes, 4);
        assert!((64 << 10..1 << 20).contains(&all.bytes), "{all:?}");
        let check = |most: Use, expect: bool| {
            assert_eq!(used(&inside, most).unwrap().is_more_than(&most), expect, "{most:?}");
        };
        check(Use { bytes: 1 << 20, inodes: 4 }, false);
        check(Use { bytes: 32 << 10, inodes: 4 }, true);
        check(Use { bytes: 1 << 20, inodes: 3 }, true);
        assert_eq!(used(&dir.path().join("none"), Use::default()).unwrap(), Use::default());
    }

    #[test]
    fn no_more_files_with_several_names_are_remembered_than_a_bound() {
        let mut linked = HashSet::new();
        let found: Vec<bool> = [1, 2, 1, 3, 3, 2].map(|inode| is_new(&mut linked, inode, 2)).into();
        assert_eq!(found, [true, true, false, true, true, false]);
        assert_eq!(linked.len(), 2);
    }

    #[test]
    fn what_is_nested_beyond_measure_counts_as_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().join("deep");
        fs::create_dir(&path).unwrap();
        let root = path.clone();
        for _ in 0..DEPTH_MAX + 1 {
            path.push("d");
            fs::create_dir(&path).unwrap();
        }
        assert_eq!(used(&root, Use::MAX).unwrap(), Use::MAX);
    }
}
