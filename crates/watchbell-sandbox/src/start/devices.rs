//! The devices of a run: a /dev of its own with their nodes, and files of the host mounted read-only.
//!
//! Nodes are made anew in the run's own tmpfs, with owners that the container has: the host's node stays as it is, and a
//! node of group `video` on the host can be opened by a task whose ids mean nothing there. No other file system of a
//! container takes device nodes at all.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchown, makedev, mkdirat, mknodat, openat,
};
use rustix::io::Errno;
use watchbell_cdi::{HostMount, Node, NodeKind, open_source};

use super::ids::IdRange;
use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::mounts::{Place, new_dev, seal_dev};
use super::stash::clone_at;
use crate::RunSpec;

/// /dev with the nodes of the run's devices, detached.
pub(super) fn dev(ids: &IdRange, spec: &RunSpec) -> io::Result<OwnedFd> {
    let dev = writable_dev(ids, spec)?;
    seal_dev(&dev)?;
    Ok(dev)
}

/// The same with a place for the console that an OCI runtime mounts, for one container alone.
pub(super) fn dev_with_console(ids: &IdRange, spec: &RunSpec) -> io::Result<OwnedFd> {
    let dev = writable_dev(ids, spec)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let console = openat(&dev, "console", flags, Mode::from(0o666))?;
    fchown(&console, Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first)))?;
    kernel::mount_setattr(&dev, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, None)?;
    Ok(dev)
}

fn writable_dev(ids: &IdRange, spec: &RunSpec) -> io::Result<OwnedFd> {
    let nodes = &spec.extras.handed.nodes;
    let inodes: usize = nodes.iter().map(|node| node.path.components().count()).sum();
    let dev = new_dev(inodes)?;
    for node in nodes {
        make(&dev, ids, spec, node)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot make {}: {e}", node.path.display())))?;
    }
    Ok(dev)
}

fn make(dev: &OwnedFd, ids: &IdRange, spec: &RunSpec, node: &Node) -> io::Result<()> {
    let below = node.path.strip_prefix("/dev").map_err(|_| io::ErrorKind::InvalidInput)?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = openat(dev, ".", directory, Mode::empty())?;
    for name in below.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(name) = name else { return Err(io::ErrorKind::InvalidInput.into()) };
        match mkdirat(&dir, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        dir = openat(&dir, name, directory, Mode::empty())?;
    }
    let name = below.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let kind = match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
    };
    let number = if node.kind == NodeKind::Fifo { 0 } else { makedev(node.major, node.minor) };
    mknodat(&dir, name, kind, Mode::from(node.mode), number)?;
    chmodat(&dir, name, Mode::from(node.mode), AtFlags::empty())?;
    let (uid, gid) = (node.uid.unwrap_or(spec.uid), node.gid.unwrap_or(spec.gid));
    let owner = (Uid::from_raw(ids.first + uid), Gid::from_raw(ids.first + gid));
    Ok(chownat(&dir, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A file or directory of the host, detached, that the container can read as far as everybody can: its owners are not mapped.
pub(super) fn file(mount: &HostMount) -> io::Result<(PathBuf, OwnedFd, Place)> {
    let (opened, stat) = open_source(&mount.source)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let place = match kind {
        FileType::Directory => Place::Directory,
        FileType::RegularFile | FileType::Socket => Place::File,
        _ => return Err(io::Error::other("it is neither a file, a directory nor a socket")),
    };
    let clone = clone_at(&opened, "")?;
    let no_exec = if mount.no_exec { MOUNT_ATTR_NOEXEC } else { 0 };
    kernel::mount_setattr(&clone, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | no_exec, None)?;
    Ok((PathBuf::from(&mount.target), clone, place))
}
