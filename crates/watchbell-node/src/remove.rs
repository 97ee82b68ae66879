//! Removes what tasks leave on the disk, whatever they made of it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Removes a directory with all that is in it; no link is followed. Directories that are not empty are moved up first: a
/// task may nest them deeper than a stack or a table of open files reaches.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_tree_in(CWD, path)
}

/// The same of a directory that is known.
pub(crate) fn remove_tree_in(above: impl AsFd, path: &Path) -> io::Result<()> {
    let root = match open(&above, path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0u64;
    loop {
        let names = entries(&root)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            if !remove(&root, &name)? {
                empty(&root, &name, &mut moved)?;
            }
        }
    }
    Ok(unlinkat(&above, path, AtFlags::REMOVEDIR)?)
}

/// Takes everything out of a directory of `root`, and removes it.
fn empty(root: &OwnedFd, name: &CString, moved: &mut u64) -> Result<(), Errno> {
    let dir = open(root, name)?;
    for child in entries(&dir)? {
        if remove(&dir, &child)? {
            continue;
        }
        loop {
            *moved += 1;
            match renameat_with(&dir, &child, root, moved.to_string(), RenameFlags::NOREPLACE) {
                Ok(()) => break,
                // The task had that name too.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
    }
    unlinkat(root, name, AtFlags::REMOVEDIR)
}

/// Removes a file or an empty directory; `false`: a directory that is not empty.
fn remove(dir: &OwnedFd, name: &CString) -> Result<bool, Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn open(dir: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, path, flags, Mode::empty())
}

fn entries(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn all_goes_however_deep_it_is_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("1/2")).unwrap();
        fs::create_dir_all(tree.join("a/1/x")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        symlink(&other, tree.join("a/link")).unwrap();
        let mut at = open(CWD, &tree).unwrap();
        for _ in 0..1500 {
            mkdirat(&at, "d", Mode::from_raw_mode(0o700)).unwrap();
            at = open(&at, "d").unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(other.join("kept").exists());
        remove_tree(&tree).unwrap();
        symlink(&other, &tree).unwrap();
        assert!(remove_tree(&tree).is_err(), "a link is not what it leads to");
        assert!(other.join("kept").exists());
    }
}
