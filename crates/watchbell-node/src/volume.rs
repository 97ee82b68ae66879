//! What volumes need on the disk before a container starts.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, statat};
use rustix::io::Errno;

use crate::remove::remove_tree;

/// A directory that every user of the container may write to, as Kubernetes makes an emptyDir, in one that only its
/// owner may enter.
pub(crate) fn make(path: &Path, gid: Option<u32>) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        // A start that is repeated.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(e),
    }
    let mode = match gid {
        Some(gid) => {
            std::os::unix::fs::chown(path, None, Some(gid))?;
            0o2777
        }
        None => 0o777,
    };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// An empty directory for what is written above an array. What a run before it left, whose spawner is gone, goes.
pub(crate) fn make_upper(path: &Path) -> io::Result<()> {
    if path.exists() {
        remove_tree(path)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The folder of a persistent volume: as [`make`], and it may have been another pod's before. A pod's `fsGroup` becomes
/// the group of the folder itself and of what is made in it; what is there already stays as its owner left it.
pub(crate) fn make_folder(path: &Path, gid: Option<u32>) -> io::Result<()> {
    make(path, gid)?;
    let Some(gid) = gid else { return Ok(()) };
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    if metadata.gid() != gid {
        std::os::unix::fs::lchown(path, None, Some(gid))?;
    }
    if metadata.mode() & 0o2070 != 0o2070 {
        fs::set_permissions(path, Permissions::from_mode(metadata.mode() & 0o7777 | 0o2070))?;
    }
    Ok(())
}

/// An empty file for a termination message.
pub(crate) fn make_message(path: &Path) -> io::Result<()> {
    match fs::File::create_new(path) {
        Ok(_) => fs::set_permissions(path, Permissions::from_mode(0o666)),
        // A start that is repeated.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// What is made where a host path is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostPath {
    Directory,
    File,
}

/// Makes a host path that is missing, below one of the directories that pods may mount from. Outside of those nothing is
/// done: the spawner refuses the start and says so. No link is followed, as others may write there.
pub(crate) fn make_host_path(path: &Path, allowed: &[PathBuf], kind: HostPath) -> io::Result<()> {
    let Some((root, rest)) = allowed.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?)))
    else {
        return Ok(());
    };
    let mut names = Vec::new();
    for component in rest.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            // The spawner refuses it.
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Ok(()),
        }
    }
    let Some((last, parents)) = names.split_last() else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Whoever started the server named it: it is made as it was written.
    DirBuilder::new().recursive(true).mode(0o755).create(root)?;
    let mut here: OwnedFd = open(root, flags, Mode::empty())?;
    for name in parents {
        here = enter(&here, name)?;
    }
    match statat(&here, *last, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) if kind == HostPath::Directory => enter(&here, last).map(drop),
        Err(Errno::NOENT) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&here, *last, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(e.into()),
            }
        }
        Err(e) => Err(e.into()),
    }
}

/// Whether a host path is there, which is not made here. What this process may not see, and what lies outside of that which
/// pods may mount, is the spawner's to judge.
pub(crate) fn find_host_path(path: &Path, allowed: &[PathBuf]) -> io::Result<()> {
    if !allowed.iter().any(|root| path.starts_with(root)) {
        return Ok(());
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Opens a directory, made if it is missing.
fn enter(parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(parent, name, flags, Mode::empty(), resolve)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{HostPath, find_host_path, make, make_folder, make_host_path};

    #[test]
    fn a_folder_takes_the_group_of_the_pod_that_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("claims/pvc-1");
        make_folder(&path, None).unwrap();
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o777, 0o700));
        fs::write(path.join("kept"), "1").unwrap();
        let own = fs::metadata(&path).unwrap();
        let gid = std::os::unix::fs::MetadataExt::gid(&own);
        make_folder(&path, Some(gid)).unwrap();
        assert_eq!(mode(&path), 0o2777);
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"1");
    }

    #[test]
    fn an_empty_dir_is_open_to_all_inside_a_closed_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volumes/uid/work");
        make(&path, None).unwrap();
        make(&path, None).unwrap();
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o777, 0o700));
    }

    #[test]
    fn a_host_path_is_missed_only_where_it_may_be_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let allowed = [dir.path().join("in")];
        let path = dir.path().join("in/disk");
        assert_eq!(find_host_path(&path, &allowed).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        assert!(!dir.path().join("in").exists(), "nothing is made");
        fs::create_dir_all(&path).unwrap();
        find_host_path(&path, &allowed).unwrap();
        find_host_path(&dir.path().join("out"), &allowed).unwrap();
    }

    #[test]
    fn a_host_path_is_made_only_where_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        let named = dir.path().join("not/yet");
        let allowed = [inside.clone(), named.clone()];
        make_host_path(&named.join("a"), &allowed, HostPath::Directory).unwrap();
        assert!(named.join("a").is_dir());
        make_host_path(&inside.join("a/b"), &allowed, HostPath::Directory).unwrap();
        make_host_path(&inside.join("a/f"), &allowed, HostPath::File).unwrap();
        make_host_path(&inside.join("a/f"), &allowed, HostPath::Directory).unwrap();
        assert!(inside.join("a/b").is_dir() && inside.join("a/f").is_file());
        make_host_path(&outside.join("x"), &allowed, HostPath::Directory).unwrap();
        make_host_path(&inside.join("../out/x"), &allowed, HostPath::Directory).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        assert!(make_host_path(&inside.join("link/x"), &allowed, HostPath::Directory).is_err());
        assert!(make_host_path(&inside.join("link/x/y"), &allowed, HostPath::File).is_err());
        assert!(!outside.join("x").exists(), "nothing is made elsewhere");
    }
}
