//! The bundle: what the runtime finds of the container, in a mount namespace that nobody else is in.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde_json::Value;

use super::super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};
use super::super::mounts::{LimitFiles, Outfit, has_sysfs};
use super::super::stash::{clone_at, tmpfs};
use super::super::task::SharedNamespaces;
use super::super::throttles::throttles;
use super::super::{Failure, failed, identity};
use super::config::{self, Given};
use crate::{RlimitResource, RunSpec};

/// Where it is mounted: a directory that every Linux has and that everybody may pass through, as the container's root has to.
/// What the host has there is hidden from the runtime.
pub(super) const BUNDLE: &str = "/run";
const CGROUPS: &str = "/sys/fs/cgroup";
/// The runtime's own, for root alone.
pub(super) const STATE: &str = "state";

/// What the bundle is made of.
pub(super) struct Surroundings<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) outfit: Outfit,
    pub(super) shared: Option<&'a SharedNamespaces>,
    /// Our subtree in each hierarchy, by its place below /sys/fs/cgroup.
    pub(super) subtrees: Vec<(String, PathBuf)>,
    /// The container's group, below the subtree.
    pub(super) group: &'a str,
    pub(super) first_id: u32,
}

impl Surroundings<'_> {
    /// Makes it in a new mount namespace.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let spec = self.spec;
        let fault = |step: &'static str| move |e: io::Error| failed(step, &spec.name, &e);
        // For the runtime, and so for the container: the specification's release has no word for it.
        if let Some(time) = self.shared.and_then(|shared| shared.time.as_ref()) {
            move_into_link_name_space(time.as_fd(), Some(LinkNameSpaceType::Time))
                .map_err(|e| failed("join the clocks of", &spec.pod.name, &e.into()))?;
        }
        kernel::unshare(UnshareFlags::NEWNS).map_err(fault("make a mount namespace for"))?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(|e| failed("cut off the mounts of", &spec.name, &e.into()))?;
        // The runtime has to see itself.
        self.proc().map_err(fault("mount /proc for the runtime of"))?;
        self.control_groups().map_err(fault("show control groups to the runtime of"))?;
        self.bundle().map_err(fault("make the bundle of"))
    }

    fn proc(&self) -> io::Result<()> {
        use rustix::mount::{FsMountFlags, FsOpenFlags, fsconfig_create, fsmount, fsopen};
        let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&fs)?;
        let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        attach(&mount, CWD, "/proc")
    }

    /// In place of the host's hierarchies, the parts of them that are ours: a runtime that mistakes its path finds nothing of
    /// others. The unified tree of a hybrid host is left out: it only tracks, the shim is in its group already, and crun
    /// would take the host for one of version 2.
    fn control_groups(&self) -> io::Result<()> {
        let open = |(place, base): &(String, PathBuf)| -> io::Result<Option<(String, OwnedFd)>> {
            match openat(CWD, base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(dir) => Ok(Some((place.clone(), clone_at(&dir, "")?))),
                Err(rustix::io::Errno::NOENT) => Ok(None),
                Err(e) => Err(e.into()),
            }
        };
        let parts: Vec<_> =
            self.subtrees.iter().filter_map(|part| open(part).transpose()).collect::<io::Result<_>>()?;
        match unmount(CGROUPS, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Nothing is mounted there.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
        if let [(place, whole)] = &parts[..]
            && place.is_empty()
        {
            return attach(whole, CWD, CGROUPS);
        }
        let top = tmpfs(&[("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")], MountAttrFlags::empty())?;
        // Before anything is mounted in it: what belongs to no mount namespace takes none before Linux 6.15.
        attach(&top, CWD, CGROUPS)?;
        for (place, part) in &parts {
            mkdirat(&top, place, Mode::from(0o755))?;
            // Co-mounted controllers are found by each of their names too.
            for name in place.split(',').filter(|name| *name != place) {
                rustix::fs::symlinkat(place, &top, name)?;
            }
            attach(part, top.as_fd(), place)?;
        }
        Ok(())
    }

    fn bundle(&self) -> io::Result<()> {
        let options = [("mode", "0711"), ("size", "48m"), ("nr_inodes", "8k")];
        let attributes = (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) as u32;
        let bundle = tmpfs(&options, MountAttrFlags::from_bits_retain(attributes))?;
        // Before anything is mounted in it, as above.
        attach(&bundle, CWD, BUNDLE)?;
        mkdirat(&bundle, STATE, Mode::from(0o700))?;
        for dir in [config::ETC, config::VOLUMES, config::NAMESPACES] {
            mkdirat(&bundle, dir, Mode::from(0o711))?;
        }
        let Outfit { root, dev, shm, tmp, etc, sys, volumes, .. } = &self.outfit;
        let place = |name: &str, mount: &OwnedFd| place(bundle.as_fd(), name, mount.as_fd());
        place(config::ROOT, root)?;
        place(config::DEV, dev)?;
        place(config::SHM, shm)?;
        place(config::SYS, sys)?;
        if let Some(tmp) = tmp {
            place(config::TMP, tmp)?;
        }
        for (name, file) in etc {
            place(&format!("{}/{name}", config::ETC), file)?;
        }
        for (n, (_, volume)) in volumes.iter().enumerate() {
            place(&format!("{}/{n}", config::VOLUMES), volume)?;
        }
        if let Some(shared) = self.shared {
            let each = [
                ("user", shared.user.as_ref()),
                ("network", shared.net.as_ref()),
                ("ipc", shared.ipc.as_ref()),
                ("uts", Some(&shared.uts)),
            ];
            for (kind, namespace) in each.into_iter().filter_map(|(kind, ns)| Some((kind, ns?))) {
                place(&format!("{}/{kind}", config::NAMESPACES), &clone_at(namespace, "")?)?;
            }
        }
        write_for_root(&Path::new(BUNDLE).join("config.json"), &self.config()?)?;
        Ok(rustix::process::chdir(BUNDLE)?)
    }

    fn config(&self) -> io::Result<Value> {
        let views: Vec<String> = match &self.outfit.limits {
            LimitFiles::ToMount(views) => views.iter().map(|view| view.place.clone()).collect(),
            // Only a slot shows them so, and a runtime has none.
            LimitFiles::InSys => Vec::new(),
        };
        let throttles = match has_sysfs(self.spec) {
            true => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                throttles(openat(CWD, "/sys", flags, Mode::empty())?)?
            }
            false => Vec::new(),
        };
        let given = Given {
            bundle: Path::new(BUNDLE),
            cgroup: &format!("/{}", self.group),
            views: &views,
            throttles: &throttles,
            first_id: self.first_id,
            hard_limit: &hard_limit,
        };
        Ok(config::config(self.spec, &given))
    }
}

/// What this process, and so the runtime, may not exceed.
pub(super) fn hard_limit(of: RlimitResource) -> u64 {
    rustix::process::getrlimit(identity::resource(of)).maximum.unwrap_or(u64::MAX)
}

/// A file that may hold secrets.
pub(super) fn write_for_root(path: &Path, content: &Value) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(content)?)
}

/// Mounts on a new directory or file of the bundle.
fn place(bundle: BorrowedFd<'_>, name: &str, mount: BorrowedFd<'_>) -> io::Result<()> {
    if FileType::from_raw_mode(fstat(mount)?.st_mode) == FileType::Directory {
        mkdirat(bundle, name, Mode::from(0o711))?;
    } else {
        openat(
            bundle,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from(0o600),
        )?;
    }
    attach(mount, bundle, name)
}

fn attach(mount: impl AsFd, dir: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    Ok(move_mount(mount, "", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
