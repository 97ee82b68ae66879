//! System calls that rustix does not have, and the fork-like clone. One function a call, nothing else.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::ExitStatus;

/// Turns the result of a raw system call into `io::Result`.
pub(super) fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Which side of a clone this is.
pub(super) enum Cloned {
    Parent { pid: u32, pidfd: OwnedFd },
    Child,
}

/// `clone_args` of linux/sched.h, as far as it is used (VER2: up to `cgroup`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Clones this process as `fork` does, into `namespaces` and, on the unified hierarchy, into `cgroup`.
///
/// # Safety
/// The process must have one thread: another's locks (the allocator's, for one) would stay locked in the child for ever.
pub(super) unsafe fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut args = CloneArgs {
        flags: namespaces,
        // A child that shares its parent's parent must not name a signal.
        exit_signal: if namespaces & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: one thread, as the caller promises.
    unsafe { clone(args) }
}

/// Clones a brother, as [`clone3`] does a child: a child of this process's parent. Its number stands in `word` before it runs,
/// so that the parent knows of it whatever becomes of this process.
///
/// # Safety
/// As for [`clone3`].
pub(super) unsafe fn clone_brother(
    word: &SharedWord,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    let mut args = CloneArgs {
        flags: namespaces | (libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64,
        parent_tid: word.0.as_ptr() as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: one thread, as the caller promises; `word` is mapped as long as it lives.
    unsafe { clone(args) }
}

/// # Safety
/// As for [`clone3`]; addresses in `args` must be valid.
unsafe fn clone(mut args: CloneArgs) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    args.flags |= libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // SAFETY: `args` has the layout and size that the kernel reads, `pidfd` outlives the call, and without CLONE_VM and
    // with a stack of 0 the child runs on its own copy of this stack.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just stored a new descriptor there, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as u32, pidfd })
}

/// A number that this process and those it clones have in common. 0 at first.
pub(super) struct SharedWord(NonNull<AtomicU32>);

impl SharedWord {
    pub(super) fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicU32>(), protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at.cast()).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn get(&self) -> u32 {
        // SAFETY: the mapping is a zeroed page, which is a valid `AtomicU32`, and lives as long as `self`. Other processes
        // change it by whole words only.
        unsafe { self.0.as_ref() }.load(Ordering::Acquire)
    }
}

impl SharedWord {
    pub(super) fn clear(&self) {
        // SAFETY: as for `get`.
        unsafe { self.0.as_ref() }.store(0, Ordering::Release);
    }
}

impl Drop for SharedWord {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it with this size, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicU32>()) };
    }
}

/// Signals all of a process group by its leader, which must be a child that is not reaped: a kernel before 6.9 knows the group by
/// its number alone.
pub(super) fn signal_group(leader: &OwnedFd, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;
    signal_group_by(PIDFD_SIGNAL_PROCESS_GROUP, leader, signal)
}

fn signal_group_by(flag: u32, leader: &OwnedFd, signal: i32) -> io::Result<()> {
    match send_signal(leader, signal, flag) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => signal_group_by_number(leader, signal),
        other => other,
    }
}

fn signal_group_by_number(leader: &OwnedFd, signal: i32) -> io::Result<()> {
    let number = own_number(leader)?;
    // SAFETY: no memory is passed. A number of 1 or less would mean other processes than one group, and is refused above.
    checked(unsafe { libc::kill(-number, signal) }.into()).map(drop)
}

/// The number of the process that a descriptor is of, in this process's own namespace.
fn own_number(pidfd: &OwnedFd) -> io::Result<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|number| number.trim().parse::<i32>().ok()) {
        Some(number) if number > 1 => Ok(number),
        // It is reaped (-1), or nothing that this process sees (0).
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Signals one process.
pub(super) fn signal_one(process: &OwnedFd, signal: i32) -> io::Result<()> {
    send_signal(process, signal, 0)
}

fn send_signal(pidfd: &OwnedFd, signal: i32, flags: u32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null pointer asks for the usual `siginfo`; no other memory is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, flags) };
    checked(result).map(drop)
}

/// Where this process's command line lies in its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommandLine {
    start: usize,
    length: usize,
}

impl CommandLine {
    pub(super) fn find() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let unreadable = || io::Error::other("/proc/self/stat is not as proc(5) has it");
        let (_, fields) = stat.rsplit_once(')').ok_or_else(unreadable)?;
        // The first field after the name is the third; these are the 48th and 49th.
        let field = |n: usize| fields.split_whitespace().nth(n - 3).and_then(|f| f.parse::<usize>().ok());
        let (start, end) = field(48).zip(field(49)).ok_or_else(unreadable)?;
        Ok(Self { start, length: end.saturating_sub(start) })
    }

    /// Blanks it: `/proc/<pid>/cmdline` is for everybody to read, and ours names paths of the host.
    ///
    /// # Safety
    /// Nothing in this process may look at its arguments any more.
    pub(super) unsafe fn blank(self) {
        // SAFETY: the kernel put the strings there when this program was executed, in memory that a process may write and
        // that nothing gives back; nobody reads them, as the caller promises.
        unsafe { std::ptr::write_bytes(self.start as *mut u8, 0, self.length) };
    }
}

/// Joins what was freed and gives whole pages of it back. Else each process that is cloned from here does the former at its first
/// larger allocation, and copies the pages for it.
pub(super) fn tidy_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator changes what is free, under its own locks.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Ends this process at once, without destructors and handlers: they are the parent's.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Tells of the ends of children from now on, by a descriptor instead of a signal.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is a valid, empty one; both calls fill and read structures that outlive them.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        checked(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        // A new descriptor, which nobody else knows.
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Takes every child that has ended, but for one that somebody waits for.
pub(super) fn reap_all_but(told: &OwnedFd, but: &OwnedFd) -> io::Result<()> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    // Ends that come from here on are told anew.
    let mut signals = [0u8; 4096];
    while rustix::io::read(told, &mut signals).is_ok() {}
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    while let Some(ended) = child_that_ended()? {
        // Not yet over now, so it was not that one then.
        let is_over = waitid(WaitId::PidFd(but.as_fd()), look | WaitIdOptions::NOWAIT)?.is_some();
        let Some(pid) = Pid::from_raw(ended).filter(|_| !is_over) else { break };
        waitid(WaitId::Pid(pid), look)?;
    }
    Ok(())
}

/// The number of a child that has ended, which stays to be reaped.
fn child_that_ended() -> io::Result<Option<i32>> {
    // SAFETY: plain data for which all zero bytes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel fills the structure, which outlives the call.
    checked(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }.into())?;
    // SAFETY: waitid has set this field of the union, to 0 where no child has ended.
    let pid = unsafe { info.si_pid() };
    Ok((pid > 0).then_some(pid))
}

/// Ends this process as one that this signal ended.
pub(super) fn end_by(signal: i32) -> ! {
    // Nothing is to be done where it fails: the code below says the same in a shell's words.
    let _ = reset_signals();
    // SAFETY: both take any number; the process has one thread.
    unsafe { libc::kill(libc::getpid(), signal) };
    exit_now(128 + signal)
}

pub(super) const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub(super) const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub(super) const MOUNT_ATTR_NODEV: u64 = 0x4;
pub(super) const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets attributes of a mount and of those below it, cuts them off from propagation and, with `ids`, maps their owners through that
/// user namespace.
pub(super) fn mount_setattr(mount: impl AsFd, set: u64, ids: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set | ids.map_or(0, |_| MOUNT_ATTR_IDMAP),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: ids.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the path is a constant string and `attr` has the layout and size that the kernel reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    checked(result).map(drop)
}

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Puts this thread, and what it becomes, under a seccomp filter.
pub(super) fn seccomp(filter: &[Instruction], flags: libc::c_ulong) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program { len, filter: filter.as_ptr() };
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies and checks them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    checked(result).map(drop)
}

/// Whether a filter can hand calls to another process.
pub(super) fn seccomp_can_notify() -> io::Result<()> {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;
    // SECCOMP_RET_USER_NOTIF
    let action = 0x7fc0_0000u32;
    // SAFETY: the kernel reads one number, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    checked(result).map(drop)
}

/// Whether something keeps the machine's clock right.
pub(super) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: all zero bytes are a value of it, which asks without changing anything.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure, which outlives the call.
    checked(unsafe { libc::adjtimex(&raw mut state) }.into())?;
    Ok(state.status & libc::STA_UNSYNC == 0)
}

/// The same with a filter that asks; gives the listener that the questions come from, which exec closes.
pub(super) fn seccomp_listener(filter: &[Instruction]) -> io::Result<libc::c_int> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program { len, filter: filter.as_ptr() };
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    // Once a question was read, only a fatal signal may take it back: else a call would be made and asked about again.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies and checks them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    checked(result).map(|fd| fd as libc::c_int)
}

/// Gives this process a new, empty session keyring. A kernel without keyrings has nothing to leak.
pub(super) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    match checked(result) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.map(drop),
    }
}

/// What happens to the descriptors of a range.
#[derive(Clone, Copy)]
pub(super) enum Descriptors {
    Close,
    CloseOnExec,
}

/// Closes all descriptors from `first` to `last`, at once or when a program is executed.
///
/// # Safety
/// Nothing that owns a descriptor of the range may use it afterwards.
pub(super) unsafe fn close_range(first: u32, last: u32, how: Descriptors) -> io::Result<()> {
    let flags = match how {
        Descriptors::Close => 0,
        Descriptors::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: no memory is passed; that the descriptors are given up is the caller's promise.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Closes every descriptor above standard error but these, which exec closes.
///
/// # Safety
/// As for [`close_range`].
pub(super) unsafe fn close_all_but(keep: impl IntoIterator<Item = RawFd>) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    // SAFETY: the caller's promise.
    unsafe {
        for fd in keep.into_iter().filter(|fd| *fd > 2) {
            if fd > first {
                close_range(first, fd - 1, Descriptors::Close)?;
            }
            first = fd + 1;
        }
        close_range(first, u32::MAX, Descriptors::Close)?;
        close_range(3, u32::MAX, Descriptors::CloseOnExec)
    }
}

/// `struct sigaction` of the kernel: action, flags, restorer, mask. Not through libc, which keeps two real-time signals for
/// itself: ignored by whoever started us, they would stay so in every task.
type SignalAction = [u64; 4];

/// Exec keeps what is ignored and takes handlers away by itself. Nothing of this program begins to ignore a signal later.
static IGNORED: LazyLock<io::Result<Vec<i32>>> = LazyLock::new(|| {
    let mut ignored = Vec::new();
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        let mut now: SignalAction = [0; 4];
        signal_action(signal, None, Some(&mut now))?;
        if now[0] == libc::SIG_IGN as u64 {
            ignored.push(signal);
        }
    }
    Ok(ignored)
});

fn signal_action(signal: i32, new: Option<&SignalAction>, old: Option<&mut SignalAction>) -> io::Result<()> {
    // SAFETY: the kernel reads and fills structures of this size (the mask has 8 bytes), which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            new.map_or(std::ptr::null(), |new| new.as_ptr()),
            old.map_or(std::ptr::null_mut(), |old| old.as_mut_ptr()),
            8usize,
        )
    };
    checked(result).map(drop)
}

/// Looks which signals are ignored, so that not every task asks for each of 64.
pub(super) fn find_ignored_signals() -> io::Result<()> {
    match &*IGNORED {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Every signal as it is for a new program: the Rust runtime ignores SIGPIPE, and exec would keep that.
pub(super) fn reset_signals() -> io::Result<()> {
    find_ignored_signals()?;
    for signal in IGNORED.iter().flatten() {
        signal_action(*signal, Some(&[0; 4]), None)?;
    }
    let none = 0u64;
    // SAFETY: a mask has 8 bytes and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            8usize,
        )
    };
    checked(result).map(drop)
}

/// How a process ended.
pub(super) struct Waited {
    pub(super) status: ExitStatus,
    /// Of it, and of those of its children that it waited for.
    pub(super) max_rss_bytes: u64,
}

/// Takes the status of a child that has ended or was killed. rustix leaves out what the child used.
pub(super) fn wait(pidfd: impl AsFd) -> io::Result<Waited> {
    // SAFETY: both are plain data for which all zero bytes are a value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills both structures, which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_fd().as_raw_fd(),
            &raw mut info,
            libc::WEXITED,
            &raw mut usage,
        )
    };
    checked(result)?;
    // SAFETY: waitid has set this field of the union.
    let value = unsafe { info.si_status() };
    let status = match info.si_code {
        libc::CLD_EXITED => ExitStatus::Code((value & 0xff) as u8),
        _ => ExitStatus::Signal(value),
    };
    Ok(Waited { status, max_rss_bytes: usage.ru_maxrss as u64 * 1024 })
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is a valid one with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    checked(result.into()).map(drop)
}

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config`, of which nothing but the file and the flags is said.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    before_flags: [u32; 13],
    flags: u32,
    after_flags: [u64; 22],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// The number of a loop device that nobody has.
pub(super) fn free_loop(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), LOOP_CTL_GET_FREE) };
    Ok(checked(number.into())? as u32)
}

/// Lays a loop device on a file, to be taken away by the kernel with its last user.
pub(super) fn configure_loop(device: impl AsFd, file: impl AsFd) -> io::Result<()> {
    let config = LoopConfig {
        fd: file.as_fd().as_raw_fd() as u32,
        block_size: 0,
        before_flags: [0; 13],
        flags: LO_FLAGS_AUTOCLEAR,
        after_flags: [0; 22],
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a `loop_config`, whose size is checked above and which outlives the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    checked(result.into()).map(drop)
}

const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;

/// Ends an ext4: nothing is written to its device any more.
pub(super) fn shut_down(root: impl AsFd) -> io::Result<()> {
    let flags = EXT4_GOING_FLAGS_NOLOGFLUSH;
    // SAFETY: EXT4_IOC_SHUTDOWN reads a `u32`, which outlives the call.
    let result = unsafe { libc::ioctl(root.as_fd().as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
    checked(result.into()).map(drop)
}

/// Strings as exec wants them.
pub(super) struct Strings {
    pointers: Vec<*const libc::c_char>,
    _owned: Vec<CString>,
}

impl Strings {
    pub(super) fn new(owned: Vec<CString>) -> Self {
        let mut pointers: Vec<*const libc::c_char> = owned.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { pointers, _owned: owned }
    }
}

/// Becomes another program; returns only when that failed.
pub(super) fn execve(program: &CStr, argv: &Strings, env: &Strings) -> io::Error {
    // SAFETY: both arrays end with a null pointer and point to strings that they own.
    unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends and reaps a child that was cloned and is not wanted.
pub(crate) fn discard(pidfd: &OwnedFd) {
    // It may have ended by itself; both calls then say so, which is as wanted.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
}

/// The same for one that has no descriptor. It must be a child that nobody else reaps.
pub(super) fn discard_by_number(pid: rustix::process::Pid) {
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    let _ =
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), rustix::process::WaitIdOptions::EXITED);
}

/// Leaves namespaces for new ones. Of the descriptor table nobody asks.
pub(super) fn unshare(namespaces: rustix::thread::UnshareFlags) -> io::Result<()> {
    if namespaces.contains(rustix::thread::UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: without FILES no thread loses sight of another's descriptors.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    /// What no kernel knows, an older one answers as it answers what came later.
    #[test]
    fn a_kernel_without_groups_by_descriptor_signals_all_of_one() {
        const UNKNOWN: u32 = 1 << 30;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut leader = command.spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&leader), PidfdFlags::empty()).unwrap();
        let mut stdout = leader.stdout.take().unwrap();
        let mut first = [0u8; 1];
        stdout.read_exact(&mut first).unwrap();
        signal_group_by(UNKNOWN, &pidfd, libc::SIGKILL).unwrap();
        // The end: nobody of the group has it any more.
        stdout.read_to_string(&mut String::new()).unwrap();
        leader.wait().unwrap();
        // Its number may be another's by now.
        let late = signal_group_by(UNKNOWN, &pidfd, libc::SIGKILL).unwrap_err();
        assert_eq!(late.raw_os_error(), Some(libc::ESRCH));
    }
}
