//! The task's own part of its start: one step after another, from the clone to the program. Nothing of the container's
//! runs before the last one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::door::Door;
use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::landlock::{Access, Rules, Scope, Tcp};
use super::mounts::{CGROUP_PLACE, LimitFiles, Outfit};
use super::plan::{Step, Sysfs};
use super::program::Program;
use super::seccomp::{self, Filter};
use super::stash::{LANDING, clone_at, enter_above, step_on_floor};
use super::throttles::throttles;
use super::{Failure, as_sandbox_failure, failed, identity, terminal};
use crate::RunSpec;
use crate::tracer::{HandOver, hand_over};

/// Parts of /proc that say too much; covered by an empty file or directory. Those of Docker's and containerd's lists,
/// but for [`WRITE_ONLY`].
pub(super) const MASKED: [&str; 13] = [
    "acpi",
    "asound",
    "interrupts",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "config.gz",
];
/// Covered too.
pub(super) const WRITE_ONLY: &str = "sysrq-trigger";
/// Parts of /proc that settings are written to.
pub(super) const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];
pub(super) const SYS_MASKED: [&str; 4] =
    ["firmware", "devices/virtual/powercap", "kernel/security", "kernel/debug"];

/// The descriptors of namespaces that a pod's containers share.
pub(super) struct SharedNamespaces {
    pub(super) time: Option<OwnedFd>,
    pub(super) user: Option<OwnedFd>,
    pub(super) net: Option<OwnedFd>,
    pub(super) ipc: Option<OwnedFd>,
    pub(super) uts: OwnedFd,
    pub(super) door: Option<Door>,
}

/// The inner ends of what the spawner holds the outer ends of.
pub(super) struct Inner {
    /// `None`: /dev/null.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Where a terminal is handed out, when there is to be one.
    pub(super) way_out: Option<OwnedFd>,
    /// Where the listener goes, of a container that is traced.
    pub(super) tracer: Option<OwnedFd>,
    /// Where a failure is reported; closed by exec.
    pub(super) status: OwnedFd,
}

/// What the task has from the spawner.
pub(super) struct Task<'a> {
    pub(super) spec: &'a RunSpec,
    outfit: Outfit,
    made: Made,
    /// The container's own filter.
    profile: Option<Filter>,
    inner: &'a Inner,
    /// Opened on the way.
    terminal: Option<OwnedFd>,
    /// What the kernel offers of Landlock.
    landlock: Option<u32>,
    /// Those that are attached already.
    volumes: Vec<OwnedFd>,
}

impl<'a> Task<'a> {
    pub(super) fn new(
        spec: &'a RunSpec,
        outfit: Outfit,
        profile: Option<Filter>,
        landlock: Option<u32>,
        inner: &'a Inner,
    ) -> Self {
        let made = Made::default();
        Self { spec, outfit, made, profile, inner, terminal: None, landlock, volumes: Vec::new() }
    }

    /// What its process made before it had this task.
    pub(super) fn with(self, made: Made) -> Self {
        Self { made, ..self }
    }

    /// Carries out the steps. Does not come back unless one failed.
    pub(super) fn run(self, steps: &[Step]) -> Failure {
        // A step closes what this owns; a failure after it must not close that again.
        let mut task = std::mem::ManuallyDrop::new(self);
        task.run_steps(steps)
    }

    fn run_steps(&mut self, steps: &[Step]) -> Failure {
        // Everything that exec needs is made while allocating is still unsuspicious.
        let program = match Program::new(self.spec) {
            Ok(program) => program,
            Err(failure) => return failure,
        };
        for step in steps {
            if let Step::Execute(name) = step {
                return program.execute(name);
            }
            if let Err(cause) = self.carry_out(step) {
                return as_sandbox_failure(step, &cause);
            }
        }
        let cause = io::Error::other("the plan ends without a program");
        failed("carry out", "the plan", &cause)
    }

    fn carry_out(&mut self, step: &Step) -> io::Result<()> {
        let spec = self.spec;
        match step {
            Step::HideMemory
            | Step::BecomeRootInside
            | Step::LeaveNamespaces { .. }
            | Step::LeaveHostMounts { .. }
            | Step::MaskProc => before_it_is_known(step, &mut self.made),
            Step::SetHostname => Ok(rustix::system::sethostname(spec.pod.hostname.as_bytes())?),
            Step::AttachRoot => {
                // On top of what is left of the old one; what follows is resolved from the descriptor, so both are told apart.
                attach(&self.outfit.root, CWD, "/")
            }
            Step::MountProc => {
                let proc = self.made.proc.take().ok_or(io::ErrorKind::NotFound)?;
                self.attach_plain(&proc, "proc")
            }
            Step::MountSys { read_only } => {
                let sys = self.made.sys.take().ok_or(io::ErrorKind::NotFound)?;
                self.attach_plain(&sys, "sys")?;
                if !*read_only {
                    return Ok(());
                }
                let sys = self.open_plain("sys")?;
                let covers = self.made.covers.as_ref().ok_or(io::ErrorKind::NotFound)?;
                covers.mask(&sys, &SYS_MASKED)?;
                let throttles = throttles(&sys)?;
                covers.mask(&sys, &throttles.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Step::HideSys => self.attach_plain(&self.outfit.sys, "sys"),
            Step::ShowLimits => self.show_limits(),
            Step::MountDev => self.attach_plain(&self.outfit.dev, "dev"),
            Step::MountPts => {
                let pts = self.made.pts.take().ok_or(io::ErrorKind::NotFound)?;
                self.attach_plain(&pts, "dev/pts")
            }
            Step::MountShm => self.attach_plain(&self.outfit.shm, "dev/shm"),
            Step::MountQueues => {
                let queues = self.made.queues.as_ref().ok_or(io::ErrorKind::NotFound)?;
                self.attach_plain(queues, "dev/mqueue")
            }
            Step::MountTmp => match &self.outfit.tmp {
                Some(tmp) => self.attach_inside(tmp, Path::new("/tmp")),
                None => Ok(()),
            },
            Step::MountEtc => {
                for (name, file) in &self.outfit.etc {
                    self.attach_inside(file, &Path::new("/etc").join(name))?;
                }
                Ok(())
            }
            Step::MountVolume(target) | Step::MountDeviceFile(target) => {
                let at = self.outfit.volumes.iter().position(|(t, _)| t == Path::new(target));
                let Some(at) = at else { return Err(io::Error::other("the spawner did not hand it over")) };
                let (target, mount) = self.outfit.volumes.remove(at);
                self.attach_inside(&mount, &target)?;
                self.volumes.push(mount);
                Ok(())
            }
            Step::EnterRoot => enter_above(&self.outfit.root),
            Step::OpenTerminal => {
                let way = self.inner.way_out.as_ref().ok_or(io::ErrorKind::NotFound)?;
                let terminal = terminal::open(spec.uid)?;
                terminal::hand_out(&terminal, way.as_fd())?;
                self.terminal = Some(terminal.slave);
                Ok(())
            }
            Step::RestrictFiles(scope) => match self.landlock {
                Some(abi) => self.rules(abi, *scope)?.enforce(),
                // The one protection that a kernel may lack: it only doubles others. `doctor` and the spawner's log tell.
                None => Ok(()),
            },
            Step::Trace => {
                let socket = self.inner.tracer.as_ref().ok_or(io::ErrorKind::NotFound)?;
                identity::may_filter()?;
                let mut message = HandOver::new();
                let filter = seccomp::asks(socket.as_raw_fd(), message.address());
                hand_over(&mut message, socket.as_fd(), || kernel::seccomp_listener(&filter))
            }
            Step::CloseDescriptors => self.descriptors(),
            Step::DieWithSpawner => identity::die_with_spawner(self.inner.status.as_fd()),
            _ => identity::carry_out(spec, self.profile.as_ref(), step),
        }
    }

    /// What the task needs of its own files. Mounts that are read-only stay so whatever is permitted here.
    fn rules(&self, abi: u32, scope: Scope) -> io::Result<Rules> {
        let rules = Rules::new(abi, scope, Tcp::Open)?;
        let of_root = if self.spec.root.read_only { Access::Read } else { Access::Change };
        rules.allow(&self.outfit.root, of_root)?;
        // Settings of one's own processes, devices, a termination message.
        rules.allow(self.open_plain("proc")?, Access::Use)?;
        rules.allow(&self.outfit.dev, Access::Use)?;
        let scratch = [&self.outfit.shm].into_iter().chain(&self.outfit.tmp).chain(&self.made.queues);
        for writable in scratch.chain(&self.volumes) {
            rules.allow(writable, Access::Change)?;
        }
        Ok(rules)
    }

    /// The control group's own files, as every container has them: Java, Node and joblib size themselves by the limits.
    fn show_limits(&self) -> io::Result<()> {
        let has_sysfs = super::mounts::has_sysfs(self.spec);
        let views = match &self.outfit.limits {
            LimitFiles::InSys if has_sysfs => return self.attach_plain(&self.outfit.sys, CGROUP_PLACE),
            LimitFiles::InSys => return Ok(()),
            LimitFiles::ToMount(views) => views,
        };
        if has_sysfs && views.iter().any(|view| !view.place.is_empty()) {
            self.attach_plain(&self.outfit.sys, CGROUP_PLACE)?;
        }
        for view in views {
            let fs = fsopen(view.file_system, FsOpenFlags::FSOPEN_CLOEXEC)?;
            for flag in &view.flags {
                fsconfig_set_flag(&fs, *flag)?;
            }
            fsconfig_create(&fs)?;
            let attributes = MountAttrFlags::from_bits_retain(
                (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) as u32,
            );
            let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
            let place = match view.place.as_str() {
                "" => CGROUP_PLACE.to_owned(),
                place => format!("{CGROUP_PLACE}/{place}"),
            };
            self.attach_plain(&mount, &place).map_err(|e| named(&place, e))?;
        }
        Ok(())
    }

    /// Opens a path inside the new root, which may lead through the image's symbolic links but not out of it.
    fn open_within(&self, path: &Path) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.outfit.root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// Opens a directory inside the new root by a path in which nothing may be a link.
    fn open_plain(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        openat2(&self.outfit.root, path, flags, Mode::empty(), resolve).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => {
                let message = format!("the image has a link or a file at /{path}, where a directory belongs");
                io::Error::new(io::ErrorKind::InvalidData, message)
            }
            e => e.into(),
        })
    }

    fn attach_plain(&self, mount: impl AsFd, path: &str) -> io::Result<()> {
        attach_to(mount, &self.open_plain(path)?)
    }

    fn attach_inside(&self, mount: impl AsFd, target: &Path) -> io::Result<()> {
        let describe = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", target.display()));
        let opened = self.open_within(target).map_err(describe)?;
        attach_to(mount, &opened).map_err(describe)
    }

    /// Standard input, output and error; all mounts are attached, so every other descriptor goes.
    fn descriptors(&mut self) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => {
                rustix::stdio::dup2_stdin(terminal)?;
                rustix::stdio::dup2_stdout(terminal)?;
                rustix::stdio::dup2_stderr(terminal)?;
            }
            None => {
                rustix::stdio::dup2_stdin(self.inner.stdin.as_ref().unwrap_or(&self.outfit.null))?;
                rustix::stdio::dup2_stdout(&self.inner.stdout)?;
                rustix::stdio::dup2_stderr(&self.inner.stderr)?;
            }
        }
        let kept = [Some(&self.inner.status), self.inner.tracer.as_ref()];
        // SAFETY: what owns these descriptors lives in this process's copy of the spawner's memory, which exec or exit ends
        // without running destructors; only the status pipe and the way to the tracer are used from here on, and they are left out.
        unsafe { kernel::close_all_but(kept.into_iter().flatten().map(AsRawFd::as_raw_fd)) }
    }
}

/// What a process makes before it lets go of the host's mounts, and keeps for its task's root.
#[derive(Default)]
pub(super) struct Made {
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    pts: Option<OwnedFd>,
    queues: Option<OwnedFd>,
    covers: Option<Covers>,
}

/// The steps that do not depend on the task.
pub(super) fn before_it_is_known(step: &Step, made: &mut Made) -> io::Result<()> {
    match step {
        Step::HideMemory => identity::hide_memory(),
        Step::BecomeRootInside => identity::become_root(),
        Step::LeaveNamespaces { net, ipc, shared } => {
            let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP;
            if !*shared {
                flags.set(UnshareFlags::NEWNET, *net);
                flags.set(UnshareFlags::NEWIPC, *ipc);
                // The host's name is the host's as long as its network is.
                flags.set(UnshareFlags::NEWUTS, *net);
            }
            kernel::unshare(flags)
        }
        Step::LoopbackUp => kernel::loopback_up(),
        Step::LeaveHostMounts { sysfs, queues } => {
            let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
            made.proc = Some(mount_fs("proc", &[], attributes)?);
            made.sys = match sysfs {
                Sysfs::None => None,
                Sysfs::ReadOnly => Some(mount_fs("sysfs", &[], attributes | MOUNT_ATTR_RDONLY)?),
                Sysfs::Writable => Some(mount_fs("sysfs", &[], attributes)?),
            };
            let options = [("ptmxmode", "0666"), ("mode", "0620")];
            made.pts = Some(mount_fs("devpts", &options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?);
            made.queues = queues.then(|| mount_fs("mqueue", &[], attributes)).transpose()?;
            made.covers = Some(Covers::new(step_on_floor()?)?);
            Ok(())
        }
        Step::MaskProc => {
            let (Some(proc), Some(covers)) = (&made.proc, &made.covers) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            // Covers can only be attached to what is attached itself.
            attach(proc, CWD, LANDING)?;
            covers.mask(proc, &MASKED)?;
            covers.mask(proc, &[WRITE_ONLY])?;
            READ_ONLY.iter().try_for_each(|name| make_read_only(proc, name))
        }
        _ => Err(io::Error::other("it depends on the task")),
    }
}

/// Joins the namespaces that a pod's containers share. That of the clocks is the host's root's, so it is entered as such; then
/// the user namespace, which owns the others.
pub(super) fn join(shared: &SharedNamespaces) -> io::Result<()> {
    let each = [
        (shared.time.as_ref(), LinkNameSpaceType::Time),
        (shared.user.as_ref(), LinkNameSpaceType::User),
        (shared.net.as_ref(), LinkNameSpaceType::Network),
        (shared.ipc.as_ref(), LinkNameSpaceType::InterProcessCommunication),
        (Some(&shared.uts), LinkNameSpaceType::HostNameAndNISDomainName),
    ];
    for (namespace, kind) in each {
        if let Some(namespace) = namespace {
            move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        }
    }
    Ok(())
}

/// An empty file and an empty directory that cover others.
struct Covers {
    file: Cover,
    dir: Cover,
}

struct Cover {
    opened: OwnedFd,
    /// Device and inode: by what it is known wherever it covers something.
    identity: (u64, u64),
}

impl Covers {
    fn new([file, dir]: [OwnedFd; 2]) -> io::Result<Self> {
        Ok(Self { file: Cover::new(file)?, dir: Cover::new(dir)? })
    }

    /// Covers the paths that exist below `dir`, each opened without following anything.
    fn mask(&self, dir: &OwnedFd, paths: &[&str]) -> io::Result<()> {
        for path in paths {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let target = match openat2(dir, *path, flags, Mode::empty(), resolve) {
                Ok(target) => target,
                // Not in this kernel.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(named(path, e.into())),
            };
            let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
            let blank = if is_dir { &self.dir } else { &self.file };
            let cover = clone_at(&blank.opened, "").map_err(|e| named(path, e))?;
            attach_to(&cover, &target).map_err(|e| named(path, e))?;
            // What stands there now must be the cover (CVE-2025-31133).
            let seen = statat(dir, *path, AtFlags::SYMLINK_NOFOLLOW)?;
            if (seen.st_dev, seen.st_ino) != blank.identity {
                return Err(named(path, io::Error::other("the cover is not what stands there")));
            }
        }
        Ok(())
    }
}

impl Cover {
    fn new(opened: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&opened)?;
        Ok(Self { opened, identity: (stat.st_dev, stat.st_ino) })
    }
}

fn make_read_only(dir: &OwnedFd, path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = match openat(dir, path, flags, Mode::empty()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(named(path, e.into())),
    };
    let part = clone_at(&target, "").map_err(|e| named(path, e))?;
    let flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    kernel::mount_setattr(&part, flags, None).map_err(|e| named(path, e))?;
    attach_to(&part, &target).map_err(|e| named(path, e))?;
    // What stands there now must be the same part of procfs, and read-only (CVE-2025-52881).
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let seen = openat(dir, path, flags, Mode::empty())?;
    let (before, after) = (rustix::fs::fstat(&target)?, rustix::fs::fstat(&seen)?);
    let read_only = rustix::fs::fstatvfs(&seen)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino) || !read_only {
        return Err(named(path, io::Error::other("it is not what stands there, or can be written to")));
    }
    Ok(())
}

fn named(path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

fn attach(mount: impl AsFd, dir: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    Ok(move_mount(mount, "", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attach_to(mount: impl AsFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// A new mount of a file system of the kernel's own.
fn mount_fs(name: &str, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
