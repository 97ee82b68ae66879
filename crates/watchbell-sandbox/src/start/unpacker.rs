//! A process of ours that reads what strangers wrote, and has nothing but one directory.
//!
//! ```text
//!  <exe> unpacker … ── its directory as a mount ── clone(user, pid) ──▶ process 1: no host, no network, no rights ── work
//!        │                                                                │ its descriptors: 0, 1, 2
//!        └── waits, ends as it ended; the death of whoever started it ends both
//! ```
//!
//! A straight list; each step needs what a later one takes away. Whoever takes the process over finds a directory that he was
//! going to fill anyway, and two descriptors.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags};

use super::kernel::{
    self, Cloned, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use super::landlock::{Access, Rules, Scope, Tcp, landlock_abi};
use super::stash::enter_root;
use super::{identity, seccomp};
use crate::ExitStatus;

/// Its user and group: an id that owns nothing, below the keeper's.
const UID: u32 = crate::DEFAULT_KEEPER_UID - 1;
/// Files get the owners that the archive names, whatever their modes say. In its own user namespace, in which no capability
/// reaches beyond files whose owners it knows.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);
/// What is read is root's.
const KEPT_TO_READ: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;
/// The largest window of a decoder, the names of a layer's directories, and room.
const MEMORY_BYTES: u64 = 1 << 30;
/// The same for several threads, each with an arena of its allocator: room that is mostly never touched.
const MEMORY_BYTES_OF_THREADS: u64 = 2 << 30;
/// As many directories above one another as a layer may have, and room.
const OPEN_FILES: u64 = 1024;
/// Threads of such a process are a handful. Kernels before 5.14 count those of all of them together.
const PROCESSES: u64 = 64;

/// What the process may do with its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// Files of any owner and mode are made in it.
    ToFill,
    /// Files are read; the mount itself is read-only. Such a process may have threads.
    ToRead,
}

/// What bounds the process, as its command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Whose death is to be the process's own.
    pub parent: i32,
    /// The largest file it may make.
    pub file_bytes: u64,
    /// Of processor time.
    pub cpu_seconds: u64,
}

impl Confinement {
    /// Reads `PARENT FILE_BYTES CPU_SECONDS`.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let numbers: Vec<u64> = args.map(|arg| arg.to_str()?.parse().ok()).collect::<Option<_>>()?;
        let [parent, file_bytes, cpu_seconds] = numbers[..] else { return None };
        Some(Self { parent: i32::try_from(parent).ok()?, file_bytes, cpu_seconds })
    }
}

/// Does `work` in a process that sees the working directory of this one as its root, and has nothing else. Standard input,
/// output and error are its own to use. Returns how it ended; an error says that a step of the confinement failed, and that
/// nothing was done.
///
/// Needs root, and a process of one thread that was started for this alone.
pub fn confined(
    confinement: &Confinement,
    directory: Directory,
    work: impl FnOnce(OwnedFd) -> ExitCode,
) -> io::Result<ExitCode> {
    let step =
        |what: &'static str| move |e: io::Error| io::Error::new(e.kind(), format!("cannot {what}: {e}"));
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(confinement.parent) {
        return Err(io::Error::other("whoever started this process is gone"));
    }
    crate::fds::close_all_but(&[]).map_err(step("close what was inherited"))?;
    let root = own_mount(directory).map_err(step("make a mount of the directory"))?;
    let maps = own_maps().map_err(step("read the user ids of this process"))?;
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWPID;
    // SAFETY: this process has one thread, as the caller promises: it is a helper that was just executed.
    match unsafe { kernel::clone3(namespaces as u64, None) }.map_err(step("clone"))? {
        Cloned::Child => {
            drop(go);
            let mut word = [0u8; 1];
            // Until its ids are mapped; nobody writes if the parent dies.
            if !matches!(rustix::io::read(&wait, &mut word), Ok(1)) {
                kernel::exit_now(127);
            }
            match confine(confinement, directory, root, wait) {
                Ok(root) => {
                    let code = work(root);
                    // As `main` would, without destructors of what is the parent's.
                    kernel::exit_now(i32::from(code != ExitCode::SUCCESS))
                }
                Err(error) => {
                    // It ends in any case, and its code says why too.
                    let said = format!("it cannot confine itself: {error}\n");
                    let _ = rustix::io::write(rustix::stdio::stderr(), said.as_bytes());
                    kernel::exit_now(126)
                }
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop((root, wait));
            let begun = write_maps(pid, &maps).and_then(|()| Ok(rustix::io::write(&go, b"g")?));
            if let Err(error) = begun {
                kernel::discard(&pidfd);
                return Err(step("map the user ids of the process")(error));
            }
            // `go` stays open: its end tells the process that this one has died.
            let ended = kernel::wait(&pidfd)?;
            Ok(match ended.status {
                ExitStatus::Code(code) => ExitCode::from(code),
                ExitStatus::Signal(signal) => ExitCode::from(128u8.saturating_add(signal as u8)),
                ExitStatus::Lost => ExitCode::FAILURE,
            })
        }
    }
}

/// The working directory as a mount of its own: `..` leads nowhere above it.
fn own_mount(directory: Directory) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, ".", flags)?;
    let sealed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let attributes = match directory {
        Directory::ToFill => sealed,
        Directory::ToRead => sealed | MOUNT_ATTR_RDONLY,
    };
    kernel::mount_setattr(&mount, attributes, None)?;
    Ok(mount)
}

/// All ids that this process has, each as itself: files on the disk carry the owners that archives name.
fn own_maps() -> io::Result<[(&'static str, String); 2]> {
    let identity = |text: String| -> Option<String> {
        text.lines()
            .map(|line| {
                let mut fields = line.split_whitespace();
                let (inside, count) = (fields.next()?, fields.nth(1)?);
                Some(format!("{inside} {inside} {count}\n"))
            })
            .collect()
    };
    let read = |name: &str| {
        identity(std::fs::read_to_string(format!("/proc/self/{name}"))?)
            .ok_or_else(|| io::Error::other(format!("{name} is not as user_namespaces(7) has it")))
    };
    Ok([("uid_map", read("uid_map")?), ("gid_map", read("gid_map")?)])
}

fn write_maps(pid: u32, maps: &[(&str, String)]) -> io::Result<()> {
    maps.iter().try_for_each(|(name, map)| std::fs::write(format!("/proc/{pid}/{name}"), map))
}

/// From the clone to the last step: afterwards nothing is left to be taken. Returns the directory.
fn confine(
    confinement: &Confinement,
    directory: Directory,
    root: OwnedFd,
    wait: OwnedFd,
) -> io::Result<OwnedFd> {
    let (access, kept, filter, memory) = match directory {
        Directory::ToFill => (Access::Unpack, KEPT, seccomp::unpacker_filter(), MEMORY_BYTES),
        Directory::ToRead => (Access::Look, KEPT_TO_READ, seccomp::reader_filter(), MEMORY_BYTES_OF_THREADS),
    };
    let landlock = landlock_abi();
    let (uid, gid) = (Uid::from_raw(UID), Gid::from_raw(UID));
    kernel::unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP,
    )?;
    // The directory becomes the root, and the host's file systems are gone.
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    enter_root(&root)?;
    drop(root);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    if let Some(abi) = landlock {
        let rules = Rules::new(abi, Scope { abstract_sockets: true, signals: true }, Tcp::Closed)?;
        rules.allow(&root, access)?;
        rules.enforce()?;
    }
    kernel::new_session_keyring()?;
    // Files get the modes that the archive names.
    rustix::process::umask(Mode::empty());
    crate::dumps::forbid_core_files()?;
    for (resource, most) in [
        (Resource::As, memory),
        (Resource::Fsize, confinement.file_bytes),
        (Resource::Cpu, confinement.cpu_seconds),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Nproc, PROCESSES),
        // Exactly 1 also keeps the kernel from starting the host's core handler (core(5)).
        (Resource::Core, 1),
    ] {
        let now = rustix::process::getrlimit(resource);
        let most = Some(now.maximum.map_or(most, |maximum| maximum.min(most)));
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    identity::drop_bounding_set(kept.bits())?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    let kept = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, kept)?;
    die_with_parent(wait.as_fd())?;
    drop(wait);
    rustix::thread::set_no_new_privs(true)?;
    kernel::seccomp(&filter, 0)?;
    Ok(root)
}

/// A change of ids clears the signal, so not earlier. The pipe tells whether the parent died before.
fn die_with_parent(wait: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::io::ioctl_fionbio(wait, true)?;
    match rustix::io::read(wait, &mut [0u8; 1]) {
        Err(Errno::AGAIN) => Ok(()),
        Ok(_) => Err(io::Error::other("the process that waits for this one is gone")),
        Err(error) => Err(error.into()),
    }
}
