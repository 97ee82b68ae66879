//! Where the spawner keeps mounts: a mount namespace of its own, so that the host sees none of them and all go with the
//! process, however it ends. Tasks do not begin in it but in a bare one: what a process copies and takes down again when it
//! gets a mount namespace of its own is then three mounts, and not all of the host's and of other pods'.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::overlay::Handing;

/// A third of what a mount namespace may have (`fs.mount-max`).
const MOUNTS_MAX: usize = 32 << 10;

/// A tmpfs that only this process sees, with one directory or file for each kept mount.
pub(super) struct Stash {
    dir: OwnedFd,
    path: std::path::PathBuf,
    next: u64,
    /// One more of it for each that is kept; and up to how many something may be kept for speed alone.
    kept: Rc<()>,
    for_speed: usize,
    /// How this kernel takes the layers of an overlay, once one was mounted.
    pub(super) handing: Option<Handing>,
}

/// A mount of the stash. Others are cloned from it; dropping it takes it away.
pub(super) struct Kept {
    root: OwnedFd,
    path: std::path::PathBuf,
    /// How its mount point goes.
    remove: AtFlags,
    _counted: Rc<()>,
}

impl Stash {
    /// Leaves the host's mount namespace and mounts the stash on the directory `at`. What the host mounts later still
    /// arrives here; nothing goes back.
    pub(super) fn new(at: &Path) -> io::Result<Self> {
        // Mount points of the host stay usable: only this process (and what it starts) is in the new namespace.
        kernel::unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
        let tmpfs = tmpfs(&[("mode", "0700"), ("size", "16m")], MountAttrFlags::empty())?;
        move_mount(&tmpfs, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        mount_change(at, MountPropagationFlags::PRIVATE)?;
        let dir = openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Each has a descriptor.
        let files = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
        let for_speed = MOUNTS_MAX.min(files.unwrap_or(usize::MAX) / 2);
        Ok(Self { dir, path: at.to_owned(), next: 0, kept: Rc::default(), for_speed, handing: None })
    }

    /// Whether something may be kept that could be made anew.
    pub(super) fn has_room(&self) -> bool {
        Rc::strong_count(&self.kept) - 1 < self.for_speed
    }

    /// Keeps a detached mount.
    pub(super) fn keep(&mut self, detached: OwnedFd) -> io::Result<Kept> {
        // A host path may be a file, which is mounted on a file.
        let kind = FileType::from_raw_mode(fstat(&detached)?.st_mode);
        if kind == FileType::Symlink {
            // Opened by name below, it would lead out of the stash.
            return Err(io::Error::other("it is a symbolic link"));
        }
        self.keep_at(kind, |dir, name| {
            Ok(move_mount(&detached, "", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
        })
    }

    /// Keeps what `mount` mounts on the directory whose path it gets.
    pub(super) fn keep_by(&mut self, mount: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Kept> {
        let at = self.path.clone();
        self.keep_at(FileType::Directory, |_, name| mount(&at.join(name)))
    }

    fn keep_at(
        &mut self,
        kind: FileType,
        mount: impl FnOnce(&OwnedFd, &str) -> io::Result<()>,
    ) -> io::Result<Kept> {
        let name = self.next.to_string();
        self.next += 1;
        let is_directory = kind == FileType::Directory;
        if is_directory {
            mkdirat(&self.dir, &name, Mode::from(0o700))?;
        } else {
            mknodat(&self.dir, &name, FileType::RegularFile, Mode::from(0o600), 0)?;
        }
        let remove = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let path = self.path.join(&name);
        if let Err(error) = mount(&self.dir, &name) {
            unlinkat(&self.dir, &name, remove)?;
            return Err(error);
        }
        // An fsmount descriptor refers to the mount wherever it is attached; this one is opened anew to be O_PATH.
        let root =
            openat(&self.dir, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Kept { root, path, remove, _counted: Rc::clone(&self.kept) })
    }
}

impl Kept {
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A detached mount of the same.
    pub(super) fn clone_tree(&self) -> io::Result<OwnedFd> {
        clone_at(&self.root, "")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            tracing::warn!("a mount of the stash stays until the spawner ends: {error}");
            return;
        }
        if let Err(error) = unlinkat(CWD, &self.path, self.remove) {
            tracing::warn!("a mount point of the stash stays until the spawner ends: {error}");
        }
    }
}

/// On the floor: an empty directory where what is made before there is a root to attach it to can lie.
pub(super) const LANDING: &str = "/landing";
/// On the floor: an empty file and an empty directory, to cover others with.
const COVERS: [&str; 2] = ["/file", "/dir"];

/// A mount namespace with an empty root that nobody can write to, and the host's /proc and /sys: the kernel lets a user
/// namespace have its own only where it could see those.
pub(super) struct Bare {
    bare: OwnedFd,
    own: OwnedFd,
}

impl Bare {
    /// Makes it and comes back.
    pub(super) fn new() -> io::Result<Self> {
        let own = own_namespace()?;
        kernel::unshare(UnshareFlags::NEWNS)?;
        let bare = strip();
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(Self { bare: bare?, own })
    }

    /// What is cloned from now on begins there, until [`Bare::leave`].
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.bare.as_fd(), Some(LinkNameSpaceType::Mount))?)
    }

    /// Back among the kept mounts, at their root.
    pub(super) fn leave(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.own.as_fd(), Some(LinkNameSpaceType::Mount))?)
    }
}

/// Makes this process's mount namespace the bare one.
fn strip() -> io::Result<OwnedFd> {
    // As many as are made here, so that not even the host's own root adds one.
    let root = tmpfs(&[("mode", "0555"), ("size", "4k"), ("nr_inodes", "3")], MountAttrFlags::empty())?;
    let mut mounts = Vec::new();
    for name in ["proc", "sys"] {
        mkdirat(&root, name, Mode::from(0o555))?;
        mounts.push((name, clone_alone(&format!("/{name}"))?));
    }
    kernel::mount_setattr(&root, MOUNT_ATTR_RDONLY, None)?;
    let at = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root, "", CWD, "/", at)?;
    for (name, mount) in mounts {
        kernel::mount_setattr(&mount, 0, None)?;
        move_mount(&mount, "", &root, name, at)?;
    }
    enter_root(&root)?;
    own_namespace()
}

/// Makes a mount that lies on "/" the root of this process's mount namespace; what was there is gone.
pub(super) fn enter_root(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The old root lies on top of the new one now.
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Lets go of every mount of the bare namespace in a copy of it. The kernel waits for all processors after that, so it is done while
/// nobody waits for the task; its root then comes to lie on what is left, as a host's lies on the first one of its kernel. That is
/// a file system of this process's own: who has the same inodes as another sees when they are used, and locks them for it to see.
///
/// It gives an empty file and an empty directory there, of which covers are cloned.
pub(super) fn step_on_floor() -> io::Result<[OwnedFd; 2]> {
    // As many inodes as are made here.
    let floor = tmpfs(&[("mode", "0555"), ("size", "4k"), ("nr_inodes", "4")], MountAttrFlags::empty())?;
    let [file, dir] = COVERS;
    for name in [LANDING, dir] {
        mkdirat(&floor, name.trim_start_matches('/'), Mode::from(0o555))?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(&floor, file.trim_start_matches('/'), flags, Mode::from(0o444))?;
    let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    kernel::mount_setattr(&floor, attributes, None)?;
    move_mount(&floor, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    enter_root(&floor)?;
    let open = |path| openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    Ok([open(file)?, open(dir)?])
}

/// Enters a mount that lies on an empty root. No way leads down from it: `..` ends at the uppermost mount.
pub(super) fn enter_above(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    Ok(rustix::process::chroot(".")?)
}

/// A mount without those below it; with them where this process may not part them.
fn clone_alone(path: &str) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match open_tree(CWD, path, flags) {
        Err(Errno::INVAL) => Ok(open_tree(CWD, path, flags | OpenTreeFlags::AT_RECURSIVE)?),
        cloned => Ok(cloned?),
    }
}

fn own_namespace() -> io::Result<OwnedFd> {
    Ok(openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached mount of the file or directory `path` below `dir` (of `dir` itself when empty); no link is followed.
pub(super) fn clone_at(dir: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    clone_by(dir, path, OpenTreeFlags::empty())
}

/// The same with the mounts below it.
pub(super) fn clone_tree_at(dir: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    clone_by(dir, path, OpenTreeFlags::AT_RECURSIVE)
}

fn clone_by(dir: impl AsFd, path: &str, more: OpenTreeFlags) -> io::Result<OwnedFd> {
    let mut flags = more
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(open_tree(dir, path, flags)?)
}

/// Whether the kernel may write what lies in memory to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    Allowed,
    /// Where the kernel's tmpfs can do that (6.4); else the log says so.
    Never,
}

/// Whether [`Swap::Never`] can be had.
pub(super) fn has_noswap() -> io::Result<()> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&fs, "noswap").map_err(|e| match e {
        Errno::INVAL => io::Error::other("tmpfs has no noswap"),
        e => e.into(),
    })
}

/// A detached tmpfs.
pub(super) fn tmpfs(options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    tmpfs_of(options, attributes, Swap::Allowed)
}

pub(super) fn tmpfs_of(
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
    swap: Swap,
) -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    if swap == Swap::Never
        && let Err(error) = fsconfig_set_flag(&fs, "noswap")
    {
        tracing::warn!(
            "what was decrypted, or will be encrypted, may be swapped: this kernel's tmpfs has no noswap: {error}"
        );
    }
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
