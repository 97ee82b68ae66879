//! Removes what tasks leave on the disk, whatever they made of it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Names that are held at a time: a task may make millions of files in one directory, which take no room of its own.
const NAMES_MAX: usize = 1024;

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
    for_each(&root, |name| if remove(&root, name)? { Ok(()) } else { empty(&root, name, &mut moved) })?;
    Ok(unlinkat(&above, path, AtFlags::REMOVEDIR)?)
}

/// Takes everything out of a directory of `root`, and removes it.
fn empty(root: &OwnedFd, name: &CString, moved: &mut u64) -> Result<(), Errno> {
    let dir = open(root, name)?;
    for_each(&dir, |child| {
        if remove(&dir, child)? {
            return Ok(());
        }
        loop {
            *moved += 1;
            match renameat_with(&dir, child, root, moved.to_string(), RenameFlags::NOREPLACE) {
                // The task had that name too.
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    })?;
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

/// Hands each name to `take`, which takes it out of the directory, until none is left. It reads on where it was: from the
/// beginning, a file system would pass again and again over the places of all that is gone. What that missed is found by the
/// next pass.
fn for_each(dir: &OwnedFd, mut take: impl FnMut(&CString) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut reader = Dir::read_from(dir)?;
    let mut is_empty = true;
    loop {
        let names = next_names(&mut reader, NAMES_MAX)?;
        if names.is_empty() {
            if is_empty {
                return Ok(());
            }
            is_empty = true;
            reader.rewind();
            continue;
        }
        is_empty = false;
        names.iter().try_for_each(&mut take)?;
    }
}

/// At most so many of the names that come next; none at the end.
fn next_names(reader: &mut Dir, most: usize) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    while names.len() < most
        && let Some(entry) = reader.read()
    {
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

    #[test]
    fn no_more_names_are_held_than_a_bound_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for within in ["", "a", "a/b"] {
            fs::create_dir(tree.join(within)).unwrap();
            for i in 0..2 * NAMES_MAX + 1 {
                fs::write(tree.join(within).join(format!("f{i}")), "").unwrap();
            }
        }
        let (mut reader, mut seen) = (Dir::read_from(open(CWD, &tree).unwrap()).unwrap(), Vec::new());
        loop {
            let names = next_names(&mut reader, NAMES_MAX).unwrap();
            assert!(names.len() <= NAMES_MAX, "{}", names.len());
            if names.is_empty() {
                break;
            }
            seen.extend(names);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 2 * NAMES_MAX + 2, "each once, and none is passed over");
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
