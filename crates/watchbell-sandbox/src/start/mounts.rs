//! What the spawner mounts for a task, detached, and hands to it as descriptors: the task itself never opens a path of the
//! host.
//!
//! ```text
//!   layers ──clone, idmap──▶ kept ─┐
//!   skeleton: mount points ──▶ kept ┴─▶ overlay (bottom: skeleton) ──▶ read-only: kept for the next task of this range
//!                                            └─ writable: over a bounded tmpfs, for this run alone
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, fchown, makedev, mkdirat,
    mknodat, openat, openat2, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use watchbell_cdi::Link;

use super::cgroup::View;
use super::etc::ETC_FILES;
use super::files::{self, Changing};
use super::ids::IdRange;
use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::layered::{self, Held};
use super::memory::Memories;
use super::overlay::{OWN_INODES, Overlay, Sync, Writable};
use super::plan::Sysfs;
use super::stash::{Kept, Stash, Swap, clone_at, clone_tree_at, tmpfs, tmpfs_of};
use super::{Failure, failed};
use crate::{OwnedFile, PodEnvironment, RunSpec, Scratch, VolumeSource};

/// Mounts kept for the root file systems of each id range: a namespace rarely runs many images in turn.
const KEPT_MAX: usize = 32;
/// Symbolic links on the way to one mount point.
const LINKS_MAX: usize = 40;
const NO_XDEV_LINKS: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Where runtimes look for their limits.
pub(super) const CGROUP_PLACE: &str = "sys/fs/cgroup";

/// Where a task's own mounts go, and what must stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Directory,
    File,
}

/// Mount points by their absolute path in the container.
pub(super) type Places = BTreeMap<PathBuf, Place>;

#[derive(Debug, PartialEq, Eq)]
struct RootKey {
    /// With device and inode: a layer that was removed and unpacked again is another directory at the same path.
    layers: Vec<(PathBuf, u64, u64)>,
    places: Places,
    links: Vec<Link>,
    read_only: bool,
}

/// What the tasks of an id range can share of a root, because nothing in it is ever changed.
enum Base {
    /// All of one that is read-only.
    Whole(Kept),
    /// What lies below that which each run writes, the uppermost first.
    Lowers(Vec<Kept>),
}

/// Of one id range, least recently used first.
#[derive(Default)]
pub(super) struct RootCache(Vec<Root>);

struct Root {
    key: RootKey,
    base: Base,
    used: Instant,
}

/// Mounts that the tasks of an id range share because nothing in them can be changed.
pub(super) struct Common {
    dev: Kept,
    /// A /sys that has control groups alone.
    sys: Kept,
}

impl Common {
    pub(super) fn new(stash: &mut Stash, views: &[View]) -> io::Result<Self> {
        let dev = new_dev(0)?;
        seal_dev(&dev)?;
        let sys = tmpfs(&[("mode", "0555"), ("size", "4k"), ("nr_inodes", "16")], MountAttrFlags::empty())?;
        for name in ["sys", "sys/fs", CGROUP_PLACE] {
            mkdirat(&sys, name, Mode::from(0o555))?;
        }
        for view in views.iter().filter(|view| !view.place.is_empty()) {
            mkdirat(&sys, Path::new(CGROUP_PLACE).join(&view.place), Mode::from(0o555))?;
        }
        kernel::mount_setattr(
            &sys,
            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
            None,
        )?;
        Ok(Self { dev: stash.keep(dev)?, sys: stash.keep(sys)? })
    }

    pub(super) fn dev(&self) -> io::Result<OwnedFd> {
        self.dev.clone_tree()
    }

    /// /sys without anything of the machine; or its /sys/fs/cgroup alone.
    pub(super) fn sys(&self, spec: &RunSpec) -> io::Result<OwnedFd> {
        clone_at(self.sys.root(), if has_sysfs(spec) { CGROUP_PLACE } else { "sys" })
    }

    /// /dev/null of our own making, for streams that nobody asked for.
    pub(super) fn null(&self) -> io::Result<OwnedFd> {
        Ok(openat(self.dev.root(), "null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// /dev with what every container has, and room for so many more inodes.
pub(super) fn new_dev(more: usize) -> io::Result<OwnedFd> {
    let inodes = (64 + more).to_string();
    let dev = tmpfs(&[("mode", "0755"), ("size", "64k"), ("nr_inodes", &inodes)], MountAttrFlags::empty())?;
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        mknodat(&dev, name, FileType::CharacterDevice, Mode::from(0o666), makedev(1, minor))?;
        chmodat(&dev, name, Mode::from(0o666), AtFlags::empty())?;
    }
    mknodat(&dev, "tty", FileType::CharacterDevice, Mode::from(0o666), makedev(5, 0))?;
    chmodat(&dev, "tty", Mode::from(0o666), AtFlags::empty())?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlinkat(target, &dev, name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from(0o755))?;
    }
    // Where Kubernetes has the termination message: a place for a mount.
    openat(&dev, "termination-log", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o444))?;
    Ok(dev)
}

/// Nothing in it is changed from now on.
pub(super) fn seal_dev(dev: &OwnedFd) -> io::Result<()> {
    kernel::mount_setattr(dev, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, None)
}

/// A volume of a pod, from which containers' mounts are cloned.
pub(super) struct Volume {
    kept: Kept,
    /// The directory with the owners that it has on disk, where owners are mapped. Only through it can the spawner make
    /// something, because its own ids have no place in the mapping.
    unmapped: Option<OwnedFd>,
    /// Its files are the spawner's to change, and read-only inside.
    changing: Option<Changing>,
    /// What is written lies there, and nothing else is there.
    upper: Option<Held>,
}

/// Makes the pod's volumes.
pub(super) fn volumes(
    stash: &mut Stash,
    memories: &Memories,
    ids: &mut IdRange,
    pod: &PodEnvironment,
) -> Result<BTreeMap<u16, Volume>, Failure> {
    let mut made = BTreeMap::new();
    for volume in &pod.volumes {
        let name = || format!("volume {}", volume.id);
        let (mut unmapped, mut changing, mut upper) = (None, None, None);
        let mount = match &volume.source {
            VolumeSource::Tmpfs { bytes, inodes, gid } => scratch(
                ids,
                Scratch { bytes: *bytes, inodes: *inodes },
                if gid.is_some() { 0o2777 } else { 0o777 },
                *gid,
            )
            .map_err(|e| failed("mount the scratch of", name(), &e))?,
            VolumeSource::Files { entries, gid } => {
                files::fixed(ids, entries, *gid).map_err(|e| failed("write the files of", name(), &e))?
            }
            VolumeSource::Changing { files, gid } => {
                let (mount, made) =
                    Changing::new(ids, files, *gid).map_err(|e| failed("write the files of", name(), &e))?;
                changing = Some(made);
                mount
            }
            VolumeSource::Dir { path } | VolumeSource::HostPath { path } => {
                let mount = match &volume.source {
                    VolumeSource::HostPath { .. } => directory_tree,
                    _ => directory,
                };
                let (mount, opened) = mount(ids, path)
                    .map_err(|e| failed("mount", format!("{} ({})", name(), path.display()), &e))?;
                unmapped = Some(opened);
                mount
            }
            VolumeSource::Layered(of) => {
                let (mount, held) = layered::mount(stash, ids, of)
                    .map_err(|e| failed("lay", format!("{} ({})", name(), of.lower.display()), &e))?;
                upper = held;
                mount
            }
            VolumeSource::LayeredMemory(of) => {
                let (mount, held) = layered::mount_memory(stash, ids, memories, of)
                    .map_err(|e| failed("lay", format!("{} in memory", name()), &e))?;
                upper = held;
                mount
            }
        };
        let kept = stash.keep(mount).map_err(|e| failed("keep", name(), &e))?;
        made.insert(volume.id, Volume { kept, unmapped, changing, upper });
    }
    Ok(made)
}

/// A bounded tmpfs owned by the container's root.
pub(super) fn scratch(ids: &IdRange, bound: Scratch, mode: u32, gid: Option<u32>) -> io::Result<OwnedFd> {
    scratch_of(ids, bound, mode, gid, Swap::Allowed)
}

pub(super) fn scratch_of(
    ids: &IdRange,
    bound: Scratch,
    mode: u32,
    gid: Option<u32>,
    swap: Swap,
) -> io::Result<OwnedFd> {
    let (uid, gid) = (ids.first, ids.first + gid.unwrap_or(0));
    tmpfs_of(
        &[
            ("size", &bound.bytes.to_string()),
            ("nr_inodes", &bound.inodes.to_string()),
            ("mode", &format!("{mode:o}")),
            ("uid", &uid.to_string()),
            ("gid", &gid.to_string()),
        ],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        swap,
    )
}

/// A directory or file of the host with the container's ids on it, and as it is. No symbolic link is followed.
pub(super) fn directory(ids: &IdRange, path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    mapped(path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, ids.map())
}

/// The same with what the host has mounted below it.
fn directory_tree(ids: &IdRange, path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let opened = open_source(path)?;
    let mount = clone_tree_at(&opened, "")?;
    set_mapped(&mount, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, ids.map(), OF_DISKS)?;
    Ok((mount, opened))
}

/// The same by any mapping.
pub(super) fn mapped(
    path: &Path,
    attributes: u64,
    map: Option<BorrowedFd<'_>>,
) -> io::Result<(OwnedFd, OwnedFd)> {
    let opened = open_source(path)?;
    let mount = clone_at(&opened, "")?;
    set_mapped(&mount, attributes, map, OF_DISKS)?;
    Ok((mount, opened))
}

pub(super) fn open_source(path: &Path) -> io::Result<OwnedFd> {
    // Without NOFOLLOW: with it, NO_SYMLINKS would let the last name be a link and give the link itself.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, flags, Mode::empty(), no_links).map_err(|e| match e {
        Errno::LOOP => io::Error::other("a symbolic link is on the way; name the path that it leads to"),
        e => e.into(),
    })
}

const OF_DISKS: &str = "use ext4, xfs, btrfs or f2fs (or, with Linux 6.3, tmpfs)";

/// Gives files in memory the owners of a mapping, for reading.
pub(super) fn map_memory(memory: &OwnedFd, map: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
    set_mapped(memory, attributes, map, "run Linux 6.3 or newer, whose tmpfs has them")
}

fn set_mapped(mount: &OwnedFd, attributes: u64, map: Option<BorrowedFd<'_>>, advice: &str) -> io::Result<()> {
    kernel::mount_setattr(mount, attributes, map).map_err(|e| {
        if e.raw_os_error() == Some(libc::EINVAL) && map.is_some() {
            let message = format!(
                "its file system, or one mounted below it, has no idmapped mounts, so its owners cannot be mapped into the pod; \
                 {advice}"
            );
            io::Error::new(e.kind(), message)
        } else {
            e
        }
    })
}

impl Volume {
    /// Replaces the files of a volume that was made for that.
    pub(super) fn change(&mut self, ids: &IdRange, files: &[OwnedFile]) -> io::Result<()> {
        match &mut self.changing {
            Some(changing) => changing.replace(&self.kept.root(), ids, files),
            None => Err(io::Error::other("its files do not change")),
        }
    }

    /// The volume, or the part of it that `sub_path` names, as a detached mount.
    pub(super) fn mount(
        &self,
        ids: &IdRange,
        sub_path: Option<&str>,
        read_only: bool,
    ) -> io::Result<(OwnedFd, Place)> {
        let mount = match sub_path {
            None => clone_tree_at(self.kept.root(), "")?,
            Some(path) => clone_tree_at(self.open_sub_path(ids, path)?, "")?,
        };
        if read_only || self.changing.is_some() {
            kernel::mount_setattr(&mount, MOUNT_ATTR_RDONLY, None)?;
        }
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&mount)?.st_mode);
        Ok((mount, if kind == FileType::Directory { Place::Directory } else { Place::File }))
    }

    /// What its containers wrote.
    pub(super) fn upper(&self) -> io::Result<OwnedFd> {
        self.upper.as_ref().ok_or_else(|| io::Error::other("nothing can be written to it"))?.directory()
    }

    /// A mount point for another volume below this one, unless the volume is read-only: then the mount fails and says so.
    pub(super) fn make_place(&self, ids: &IdRange, path: &Path, place: Place) -> io::Result<()> {
        // It would be taken for what a container wrote.
        if self.upper.is_some() {
            return Ok(());
        }
        let (root, owner) = self.maker(ids);
        make_place(root, owner, path, place)
    }

    /// Through what something new is made here, and who owns it.
    fn maker(&self, ids: &IdRange) -> (BorrowedFd<'_>, Owner) {
        // On disk, the container's ids are written as they are.
        let (root, owner) = match &self.unmapped {
            Some(unmapped) => (unmapped.as_fd(), 0),
            None => (self.kept.root(), ids.first),
        };
        (root, (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner))))
    }

    /// Resolves a `subPath` inside the volume, whatever links a task put there (CVE-2021-25741). A missing one becomes a
    /// directory with the mode of the volume's own.
    fn open_sub_path(&self, ids: &IdRange, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = self.kept.root();
        match openat2(root, path, flags, Mode::empty(), NO_XDEV_LINKS) {
            Err(Errno::NOENT) if self.changing.is_none() => {}
            found => return Ok(found?),
        }
        let (root, owner) = self.maker(ids);
        let mode = Mode::from_raw_mode(rustix::fs::fstat(root)?.st_mode & 0o7777);
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mut dir = openat2(root, ".", flags | OFlags::DIRECTORY, Mode::empty(), inside)?;
        for component in Path::new(path).components() {
            let Component::Normal(name) = component else { continue };
            dir = match openat2(&dir, name, flags | OFlags::DIRECTORY, Mode::empty(), inside) {
                Err(Errno::NOENT) => {
                    mkdirat(&dir, name, mode)?;
                    // Another task of the pod may put something else there meanwhile: what is opened gets the owner, and
                    // only a directory is opened.
                    let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
                    let made = openat2(&dir, name, read, Mode::empty(), inside)?;
                    fchown(&made, owner.0, owner.1)?;
                    made
                }
                found => found?,
            };
        }
        Ok(openat2(self.kept.root(), path, flags, Mode::empty(), NO_XDEV_LINKS)?)
    }
}

type Owner = (Option<Uid>, Option<Gid>);

/// Makes a mount point below `root` where it is missing. What stands in the way (a link that a task left, a file where a
/// directory should be) is left to the mount itself, which then fails.
pub(super) fn make_place(root: BorrowedFd<'_>, owner: Owner, path: &Path, place: Place) -> io::Result<()> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat2(root, ".", directory, Mode::empty(), inside)?;
    let mut names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut next = names.next();
    while let Some(name) = next {
        next = names.next();
        let made = if next.is_none() && place == Place::File {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&dir, name, flags, Mode::from(0o644)).and_then(|file| fchown(&file, owner.0, owner.1))
        } else {
            mkdirat(&dir, name, Mode::from(0o755))
                .and_then(|()| {
                    openat2(
                        &dir,
                        name,
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                        Mode::empty(),
                        inside,
                    )
                })
                .and_then(|made| fchown(&made, owner.0, owner.1))
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::ROFS | Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        if next.is_some() {
            dir = match openat2(&dir, name, directory, Mode::empty(), inside) {
                Ok(dir) => dir,
                Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NOENT) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
        }
    }
    Ok(())
}

/// The mount points that this run needs, beside those that every run has.
pub(super) fn places(spec: &RunSpec, volumes: &[(PathBuf, Place)]) -> Places {
    let mut places = Places::new();
    for dir in ["/proc", "/sys", "/dev"] {
        places.insert(dir.into(), Place::Directory);
    }
    for file in ETC_FILES {
        places.insert(format!("/etc/{file}").into(), Place::File);
    }
    if spec.tmp.is_some() {
        places.insert("/tmp".into(), Place::Directory);
    }
    places.insert(PathBuf::from(&spec.cwd), Place::Directory);
    for (target, place) in volumes {
        places.insert(target.clone(), *place);
    }
    places.remove(Path::new("/"));
    places
}

/// The root file system as a detached mount. The task of an array finds what the one before it mounted.
pub(super) fn root(
    stash: &mut Stash,
    ids: &mut IdRange,
    spec: &RunSpec,
    places: Places,
) -> Result<OwnedFd, Failure> {
    let identify = |layer: &PathBuf| {
        let stat =
            rustix::fs::stat(layer).map_err(|e| failed("find the layer", layer.display(), &e.into()))?;
        Ok((layer.clone(), stat.st_dev, stat.st_ino))
    };
    let layers = spec.root.layers.iter().map(identify).collect::<Result<_, Failure>>()?;
    let links = spec.extras.handed.links.clone();
    let key = RootKey { layers, places, links, read_only: spec.root.read_only };
    let (mount, base) = match ids.roots.take(&key) {
        Some(base) => {
            let mount = match &base {
                Base::Whole(kept) => kept.clone_tree(),
                Base::Lowers(lowers) => mount_overlay(stash, ids, spec, lowers),
            };
            (mount.map_err(|e| failed("mount", "the root", &e))?, base)
        }
        None => overlay(stash, ids, spec, &key.places)?,
    };
    if !ids.is_host() && stash.has_room() {
        ids.roots.keep(key, base);
    }
    Ok(mount)
}

impl RootCache {
    fn take(&mut self, key: &RootKey) -> Option<Base> {
        let at = self.0.iter().position(|root| root.key == *key)?;
        Some(self.0.remove(at).base)
    }

    fn keep(&mut self, key: RootKey, base: Base) {
        let Some(room) = KEPT_MAX.checked_sub(base.mounts()) else { return };
        while self.0.iter().map(|root| root.base.mounts()).sum::<usize>() > room {
            self.0.remove(0);
        }
        self.0.push(Root { key, base, used: Instant::now() });
    }

    /// The pod that had the last one is gone.
    pub(super) fn touch(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.used = Instant::now();
        }
    }

    /// Lets go of those that were last used before, until as many mounts are gone as `most` says: their layers may belong to images
    /// that are removed. The last one of a pod that `runs` stays where it is one mount.
    pub(super) fn forget(&mut self, before: Instant, runs: bool, most: &mut usize) {
        let spared = runs && self.0.last().is_some_and(|root| matches!(root.base, Base::Whole(_)));
        while *most > 0 && self.0.len() > usize::from(spared) && self.0[0].used < before {
            *most = most.saturating_sub(self.0.remove(0).base.mounts());
        }
    }
}

impl Base {
    fn mounts(&self) -> usize {
        match self {
            Base::Whole(_) => 1,
            Base::Lowers(lowers) => lowers.len(),
        }
    }
}

/// Mounts the overlay for the first time. A mount point that a symbolic link of the image moves elsewhere is found in a second pass.
fn overlay(
    stash: &mut Stash,
    ids: &IdRange,
    spec: &RunSpec,
    places: &Places,
) -> Result<(OwnedFd, Base), Failure> {
    let layers = spec.root.layers.iter().rev();
    let mut lowers = layers
        .map(|layer| lower(stash, ids, layer).map_err(|e| failed("mount the layer", layer.display(), &e)))
        .collect::<Result<Vec<Kept>, Failure>>()?;
    let mut asked = places.clone();
    let mut links = spec.extras.handed.links.clone();
    for _ in 0..2 {
        let skeleton = skeleton(stash, ids, &asked, &links)
            .map_err(|e| failed("make the mount points of", "the root", &e))?;
        lowers.push(skeleton);
        let root = mount_overlay(stash, ids, spec, &lowers)
            .map_err(|e| failed("mount the overlay of", format!("{} layers", lowers.len() - 1), &e))?;
        let mut moved = Places::new();
        for (path, place) in places {
            let missing = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), NO_XDEV_LINKS);
            if missing.is_err() {
                let real = real_path(root.as_fd(), path)
                    .map_err(|e| failed("find the mount point", path.display(), &e))?;
                moved.insert(real, *place);
            }
        }
        let moved_links = moved_links(root.as_fd(), &links)
            .map_err(|e| failed("find the places of links in", "the root", &e))?;
        if moved.is_empty() && moved_links.is_empty() {
            if !spec.root.read_only {
                return Ok((root, Base::Lowers(lowers)));
            }
            let whole = stash.keep(root).map_err(|e| failed("keep", "the root", &e))?;
            let mount = whole.clone_tree().map_err(|e| failed("clone", "the root", &e))?;
            return Ok((mount, Base::Whole(whole)));
        }
        lowers.pop();
        asked.extend(moved);
        links.extend(moved_links);
    }
    let listed: Vec<String> = places.keys().map(|p| p.display().to_string()).collect();
    let cause = io::Error::other("the image hides or replaces it; choose another path");
    Err(failed("make the mount points", listed.join(", "), &cause))
}

/// A layer, read-only, with the pod's owners.
fn lower(stash: &mut Stash, ids: &IdRange, layer: &Path) -> io::Result<Kept> {
    let (mount, _) = mapped(layer, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY, ids.map())?;
    stash.keep(mount)
}

/// A layer below the image's that has the mount points; the image's own entries win.
fn skeleton(stash: &mut Stash, ids: &IdRange, places: &Places, links: &[Link]) -> io::Result<Kept> {
    let paths = places.keys().map(PathBuf::as_path).chain(links.iter().map(|link| Path::new(&link.path)));
    let inodes: usize = paths.map(|p| p.components().count()).sum();
    let root = scratch(ids, Scratch { bytes: 1 << 20, inodes: inodes as u64 + 16 }, 0o755, None)?;
    for link in links {
        put_link(&root, ids, link)?;
    }
    let owner = (Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first)));
    for (path, place) in places {
        let (dirs, file) = match (place, path.parent(), path.file_name()) {
            (Place::File, Some(above), Some(name)) => (above, Some(name)),
            _ => (path.as_path(), None),
        };
        let dir = make_directories(&root, owner, dirs)?;
        if let Some(name) = file {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&dir, name, flags, Mode::from(0o644)) {
                Ok(file) => fchown(file, owner.0, owner.1)?,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    stash.keep(root)
}

/// All directories of a path, in a file system that the spawner alone has yet.
fn make_directories(root: &OwnedFd, owner: Owner, path: &Path) -> io::Result<OwnedFd> {
    let mut dir = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        match mkdirat(&dir, name, Mode::from(0o755)) {
            Ok(()) => chownat(&dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        dir = openat(&dir, name, flags, Mode::empty())?;
    }
    Ok(dir)
}

/// A link below the image, as a device's libraries need it. What the image has at its place stays.
fn put_link(root: &OwnedFd, ids: &IdRange, link: &Link) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first)));
    let path = Path::new(&link.path);
    let dir = make_directories(root, owner, path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    match symlinkat(link.target.as_str(), &dir, name) {
        Ok(()) => Ok(chownat(&dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?),
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Links that are not seen where they belong because a link of the image leads there another way (`/lib64`): where that is.
fn moved_links(root: BorrowedFd<'_>, links: &[Link]) -> io::Result<Vec<Link>> {
    let mut moved = Vec::new();
    for link in links {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if openat2(root, &link.path, flags, Mode::empty(), NO_XDEV_LINKS).is_ok() {
            continue;
        }
        let path = Path::new(&link.path);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let real = real_path(root, dir)?.join(name);
        moved.extend(real.to_str().map(|path| Link { path: path.to_owned(), target: link.target.clone() }));
    }
    Ok(moved)
}

/// A detached mount, for one run unless it is read-only.
fn mount_overlay(stash: &mut Stash, ids: &IdRange, spec: &RunSpec, lowers: &[Kept]) -> io::Result<OwnedFd> {
    let lowers = lowers.iter().map(Kept::root).collect();
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    if spec.root.read_only {
        return Overlay { lowers, writable: None }.mount(stash, attributes | MOUNT_ATTR_RDONLY);
    }
    let inodes = spec.root.upper.inodes.saturating_add(OWN_INODES);
    let bound = Scratch { bytes: spec.root.upper.bytes, inodes };
    let upper = stash.keep(scratch(ids, bound, 0o755, None)?)?;
    for name in ["upper", "work"] {
        mkdirat(upper.root(), name, Mode::from(0o755))?;
    }
    let owner = (Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first)));
    chownat(upper.root(), "upper", owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    let open = |name: &str| openat(upper.root(), name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let (upper_dir, work_dir) = (open("upper")?, open("work")?);
    let writable = Writable { upper: upper_dir.as_fd(), work: work_dir.as_fd(), sync: Sync::Usual, maker: 0 };
    Overlay { lowers, writable: Some(writable) }.mount(stash, attributes)
}

/// Where `path` leads inside `root` when the image's symbolic links are followed and what is missing at its end is taken
/// as it is.
fn real_path(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    let mut todo: Vec<std::ffi::OsString> = Vec::new();
    let push = |todo: &mut Vec<std::ffi::OsString>, path: &Path| {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => todo.push(name.to_owned()),
                Component::ParentDir => todo.push("..".into()),
                _ => {}
            }
        }
    };
    push(&mut todo, path);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        let below = next.strip_prefix("/").unwrap_or(&next);
        // `real` holds no link, so nothing is followed here.
        match statat(root, below, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(root, below, Vec::new())?;
                let target = PathBuf::from(std::ffi::OsString::from(target.to_string_lossy().into_owned()));
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                push(&mut todo, &target);
            }
            Ok(_) | Err(Errno::NOENT) => real = next,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(real)
}

/// Whether /sys gets a sysfs.
pub(super) fn has_sysfs(spec: &RunSpec) -> bool {
    Sysfs::of(spec) != Sysfs::None
}

/// Where the files of its control group, by which runtimes size themselves, come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LimitFiles {
    /// They are mounted in `sys` already.
    InSys,
    /// The task mounts them itself.
    ToMount(Vec<View>),
}

/// All that a task takes with it.
pub(super) struct Outfit {
    pub(super) root: OwnedFd,
    pub(super) dev: OwnedFd,
    pub(super) shm: OwnedFd,
    pub(super) tmp: Option<OwnedFd>,
    pub(super) etc: Vec<(String, OwnedFd)>,
    /// What [`Common::sys`] gave, or `Shown::sys`.
    pub(super) sys: OwnedFd,
    pub(super) limits: LimitFiles,
    /// In the order in which they are mounted.
    pub(super) volumes: Vec<(PathBuf, OwnedFd)>,
    pub(super) null: OwnedFd,
}
