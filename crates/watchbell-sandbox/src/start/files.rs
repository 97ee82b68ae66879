//! Volumes of files: a tmpfs that the spawner fills, so that their bytes are on no disk.
//!
//! ```text
//!   Files      file …                                         as it was at the pod's start
//!   Changing   ..data ─▶ ..1/ file …    file ─▶ ..data/file    replaced as one: ..2/ is made, ..data is renamed over
//! ```
//!
//! The second form is that of Kubernetes' `AtomicWriter`: who reads sees all files of one time. What containers see of either
//! is read-only; through its own mount the spawner writes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, chownat, fchown, mkdirat, openat, renameat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::ids::IdRange;
use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::mounts::scratch;
use crate::{FileEntry, OwnedFile, Scratch};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
const READ: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Room for these files, and `times` over.
fn room<'a>(entries: impl Iterator<Item = &'a FileEntry>, times: u64) -> Scratch {
    let (mut bytes, mut inodes) = (0, 0);
    for entry in entries {
        bytes += (entry.contents.len() as u64).next_multiple_of(4096);
        inodes += entry.path.split('/').count() as u64 + 1;
    }
    Scratch { bytes: bytes * times + (1 << 16), inodes: inodes * times + 16 }
}

/// A read-only tmpfs with these files.
pub(super) fn fixed(ids: &IdRange, entries: &[FileEntry], gid: Option<u32>) -> io::Result<OwnedFd> {
    let root = scratch(ids, room(entries.iter(), 1), 0o755, gid)?;
    for entry in entries {
        write(&root, ids, entry, (0, gid.unwrap_or(0)))?;
    }
    // Scripts of a ConfigMap may be executed, as in Kubernetes.
    kernel::mount_setattr(&root, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, None)?;
    Ok(root)
}

/// Writes a file, and the directories on its way. `owner` are ids inside.
fn write(root: &OwnedFd, ids: &IdRange, entry: &FileEntry, owner: (u32, u32)) -> io::Result<()> {
    let raw = |id: u32| ids.first + id;
    let group = Gid::from_raw(raw(owner.1));
    let mut dir = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names: Vec<&str> = entry.path.split('/').collect();
    let file_name = names.pop().unwrap_or_default();
    for name in names {
        match mkdirat(&dir, name, Mode::from(0o755)) {
            Ok(()) => {
                chownat(&dir, name, Some(Uid::from_raw(raw(0))), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        dir = openat(&dir, name, READ, Mode::empty())?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, file_name, flags, Mode::from(0o600))?;
    let mut left: &[u8] = &entry.contents;
    while !left.is_empty() {
        let written = rustix::io::write(&file, left)?;
        left = &left[written..];
    }
    fchown(&file, Some(Uid::from_raw(raw(owner.0))), Some(group))?;
    rustix::fs::fchmod(&file, Mode::from(u32::from(entry.mode)))?;
    Ok(())
}

/// What lies in a volume whose files change.
#[derive(Debug)]
pub(super) struct Changing {
    gid: Option<u32>,
    /// Names the directory of the moment.
    count: u64,
    paths: Vec<String>,
}

impl Changing {
    /// A tmpfs with these files, which only the spawner writes to.
    pub(super) fn new(
        ids: &IdRange,
        files: &[OwnedFile],
        gid: Option<u32>,
    ) -> io::Result<(OwnedFd, Changing)> {
        // Twice: the old ones go when the new ones are there. And more, for what may come.
        let root = scratch(ids, room(files.iter().map(|owned| &owned.file), 4), 0o755, gid)?;
        kernel::mount_setattr(&root, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, None)?;
        let mut changing = Changing { gid, count: 0, paths: Vec::new() };
        changing.replace(&root, ids, files)?;
        Ok((root, changing))
    }

    /// Puts other files in the place of those that are there: all of them, or none when it fails.
    pub(super) fn replace(&mut self, root: &impl AsFd, ids: &IdRange, files: &[OwnedFile]) -> io::Result<()> {
        let next = self.count + 1;
        let name = format!("..{next}");
        let root = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let paths: Vec<String> = files.iter().map(|owned| owned.file.path.clone()).collect();
        let made = self.fill(&root, ids, &name, files);
        if let Err(error) = made {
            // What was begun goes; what is shown stays.
            if let Err(left) = remove(&root, &name, &paths) {
                tracing::warn!("a volume keeps files that nobody sees: {left}");
            }
            return Err(error);
        }
        let (old, old_paths) = (format!("..{}", self.count), std::mem::replace(&mut self.paths, paths));
        self.count = next;
        let shown = tops(&self.paths);
        for top in tops(&old_paths).difference(&shown) {
            unlinkat(&root, *top, AtFlags::empty())?;
        }
        if self.count > 1 { remove(&root, &old, &old_paths) } else { Ok(()) }
    }

    fn fill(&self, root: &OwnedFd, ids: &IdRange, name: &str, files: &[OwnedFile]) -> io::Result<()> {
        let gid = self.gid.unwrap_or(0);
        mkdirat(root, name, Mode::from(0o755))?;
        let owner = (Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first + gid)));
        chownat(root, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        let dir = openat(root, name, READ, Mode::empty())?;
        for owned in files {
            write(&dir, ids, &owned.file, (owned.uid, gid))?;
        }
        // A link that a failed change left.
        match unlinkat(root, NEW_DATA, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        for top in tops(&paths_of(files)) {
            match symlinkat(format!("{DATA}/{top}"), root, top) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        symlinkat(name, root, NEW_DATA)?;
        Ok(renameat(root, NEW_DATA, root, DATA)?)
    }
}

fn paths_of(files: &[OwnedFile]) -> Vec<String> {
    files.iter().map(|owned| owned.file.path.clone()).collect()
}

/// The names in the volume itself.
fn tops(paths: &[String]) -> BTreeSet<&str> {
    paths.iter().filter_map(|path| path.split('/').next()).collect()
}

/// Removes a directory with these files in it; some may be missing.
fn remove(root: &OwnedFd, name: &str, paths: &[String]) -> io::Result<()> {
    let dir = match openat(root, name, READ, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let gone = |removed: rustix::io::Result<()>| match removed {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(e) => Err(io::Error::from(e)),
    };
    let mut dirs = BTreeSet::new();
    for path in paths {
        gone(unlinkat(&dir, path.as_str(), AtFlags::empty()))?;
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        dirs.extend(parents);
    }
    // What lies deeper sorts behind what it lies in.
    for path in dirs.into_iter().rev() {
        gone(unlinkat(&dir, path, AtFlags::REMOVEDIR))?;
    }
    gone(unlinkat(root, name, AtFlags::REMOVEDIR))
}
