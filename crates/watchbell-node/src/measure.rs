//! How much a directory holds, whatever a task makes of it meanwhile.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// Directories within directories that are followed, each of which holds a descriptor. What is nested deeper could hide
/// anything, so it counts as too much.
const DEPTH_MAX: usize = 200;
const BLOCK_BYTES: u64 = 512;

/// Whether a directory takes more of the disk than `limit_bytes`. No link is followed; what has several names counts once;
/// the look ends as soon as it knows.
pub(crate) fn holds_more(path: &Path, limit_bytes: u64) -> io::Result<bool> {
    let root = match open(CWD, path) {
        Ok(root) => root,
        // Its pod has not begun, or is gone.
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let mut total = 0u64;
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
        if is_directory || stat.st_nlink == 1 || linked.insert(stat.st_ino) {
            total =
                total.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES));
        }
        if total > limit_bytes {
            return Ok(true);
        }
        if is_directory {
            if stack.len() == DEPTH_MAX {
                return Ok(true);
            }
            match open(stack[stack.len() - 1].fd()?, entry.file_name()) {
                Ok(inner) => stack.push(Dir::new(inner)?),
                // Gone, or something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(false)
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
        let check =
            |limit: u64, expect: bool| assert_eq!(holds_more(&inside, limit).unwrap(), expect, "{limit}");
        check(1 << 20, false);
        check(32 << 10, true);
        assert!(!holds_more(&dir.path().join("none"), 0).unwrap());
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
        assert!(holds_more(&root, u64::MAX).unwrap());
    }
}
