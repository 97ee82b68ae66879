//! What the kernel alone takes: `clone3` into the namespaces of a task and exec, nothing else.
//!
//! ```text
//!  clone3(user, pid, own control group) ─ uid_map, gid_map ─ go ─▶ root inside ─ unshare(mnt, net, ipc, uts, cgroup) ─ exec
//! ```
//!
//! The order is the one the spawner uses, because it is the fastest known. No mount is made, no limit set, no filter
//! loaded, nothing is read of the output: a container needs more. `raw_floor PROGRAM COUNT [AT_ONCE [WORD…]]`, as root. It
//! prints `COUNT WALL_MS CPU_MS`, and with the word `times` then the milliseconds of each from its start to its end.
//!
//! With the word `root` each start gets all eight namespaces of a task, and a root file system of its own: a directory with the
//! program, bound, `pivot_root`, and the host's let go.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Beside the ranges of the spawner.
const FIRST_ID: u32 = 0x7000_0000;
const IDS: u32 = 1 << 16;

/// `clone_args` of linux/sched.h (VER2).
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

/// A group on the unified hierarchy, taken away at the end.
pub(crate) struct Group {
    path: PathBuf,
    dir: fs::File,
}

impl Group {
    pub(crate) fn new(number: usize) -> Option<Group> {
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find(|root| fs::exists(format!("{root}/cgroup.procs")).unwrap_or(false))?;
        let path = PathBuf::from(format!("{root}/raw-floor-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a control group of its own");
        let dir = fs::File::open(&path).expect("the control group just made");
        Some(Group { path, dir })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            println!("# {} stays: {error}", self.path.display());
        }
    }
}

fn pipe() -> [OwnedFd; 2] {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel stores two descriptors in the array.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(result, 0, "pipe2: {}", io::Error::last_os_error());
    // SAFETY: both were just made and nobody else knows them.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) })
}

/// Where a program begins.
#[derive(Clone, Copy)]
pub(crate) struct Namespaces {
    /// By the clone: `CLONE_NEW*`.
    pub(crate) cloned: i32,
    /// By the process itself, as root of its user namespace.
    pub(crate) left: i32,
}

/// Those of the floor.
pub(crate) const FLOOR: Namespaces = Namespaces {
    cloned: libc::CLONE_NEWUSER | libc::CLONE_NEWPID,
    left: libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP,
};

/// Starts the program, and does something more right before it is executed.
pub(crate) fn start(
    program: &CStr,
    group: Option<&Group>,
    namespaces: Namespaces,
    more: impl FnOnce() -> io::Result<()>,
) -> libc::pid_t {
    let argv = [program.as_ptr(), std::ptr::null()];
    let [wait, go] = pipe();
    let mut args = CloneArgs {
        flags: namespaces.cloned as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.dir.as_raw_fd() as u64;
    }
    let has_ids = namespaces.cloned & libc::CLONE_NEWUSER != 0;
    // SAFETY: this process has one thread; `args` has the layout and size that the kernel reads; with a stack of 0 the
    // child runs on its own copy of this one.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    assert!(pid >= 0, "clone3: {}", io::Error::last_os_error());
    if pid == 0 {
        let mut word = [0u8; 1];
        // SAFETY: raw calls on this copy of the process, which ends by exec or `_exit` without destructors; all pointers
        // outlive the calls.
        unsafe {
            let ready = libc::read(wait.as_raw_fd(), word.as_mut_ptr().cast(), 1) == 1
                && (!has_ids
                    || libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
                        && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0)
                && (namespaces.left == 0 || libc::unshare(namespaces.left) == 0);
            match if ready { more() } else { Err(io::Error::last_os_error()) } {
                Ok(()) => {
                    libc::execve(program.as_ptr(), argv.as_ptr(), argv[1..].as_ptr());
                }
                Err(error) => println!("# {error}"),
            }
            libc::_exit(127)
        }
    }
    let files: &[&str] = if has_ids { &["uid_map", "gid_map"] } else { &[] };
    for file in files {
        fs::write(format!("/proc/{pid}/{file}"), format!("0 {FIRST_ID} {IDS}")).expect("ids for the child");
    }
    // SAFETY: one byte of a constant.
    let written = unsafe { libc::write(go.as_raw_fd(), b"g".as_ptr().cast(), 1) };
    assert_eq!(written, 1, "the child died before it began");
    pid as libc::pid_t
}

fn reap() -> libc::pid_t {
    let mut status = 0;
    // SAFETY: the kernel stores the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    assert!(
        pid > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "a program failed: {status:#x}"
    );
    pid
}

/// CPU time of this process and of all that it reaped.
fn cpu_ms() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            // SAFETY: an all-zero `rusage` is valid, and the kernel fills it.
            let usage = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &raw mut usage);
                usage
            };
            [usage.ru_utime, usage.ru_stime]
                .map(|t| t.tv_sec as f64 * 1e3 + t.tv_usec as f64 / 1e3)
                .iter()
                .sum::<f64>()
        })
        .iter()
        .sum()
}

/// Keeps so many running until all have ended, and prints what it took.
pub(crate) fn run(
    count: usize,
    at_once: usize,
    with_times: bool,
    mut start: impl FnMut(Option<&Group>) -> libc::pid_t,
) {
    let groups: Vec<Option<Group>> = (0..at_once).map(Group::new).collect();
    let mut running: Vec<Option<(libc::pid_t, Instant)>> = vec![None; at_once];
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    let begun = Instant::now();
    let cpu_before = cpu_ms();
    let (mut started, mut ended) = (0, 0);
    while ended < count {
        while started < count
            && let Some(place) = running.iter().position(Option::is_none)
        {
            let asked = Instant::now();
            running[place] = Some((start(groups[place].as_ref()), asked));
            started += 1;
        }
        let pid = reap();
        let place = running.iter().position(|place| place.is_some_and(|(running, _)| running == pid));
        let (_, asked) = place.and_then(|place| running[place].take()).expect("it was started here");
        times.push(asked.elapsed());
        ended += 1;
    }
    println!("{count} {:.1} {:.1}", begun.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu_before);
    if with_times {
        times.iter().for_each(|time| println!("{:.3}", time.as_secs_f64() * 1e3));
    }
}

/// Where the root of a start lies, seen by this process alone.
const DIR: &CStr = c"/tmp";

/// A directory with the program in it.
struct Root {
    home: OwnedFd,
}

impl Root {
    fn new(program: &str) -> Root {
        // SAFETY: this process has one thread.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()).expect("a mount namespace");
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE).expect("mounts of its own");
        let bytes = fs::read(program).expect("the program");
        mount(Some(c"tmpfs"), DIR, Some(c"tmpfs"), 0).expect("a tmpfs of its own");
        let copy = "/tmp/true";
        fs::write(copy, bytes).expect("a copy of the program");
        fs::set_permissions(copy, PermissionsExt::from_mode(0o755)).expect("which may be executed");
        let home = fs::File::open("/proc/self/ns/time").expect("a kernel with time namespaces").into();
        Root { home }
    }

    /// By the cloner: its next child begins in a time namespace of its own.
    fn begin_clocks() {
        // SAFETY: this process has one thread.
        checked(unsafe { libc::unshare(libc::CLONE_NEWTIME) }.into()).expect("a time namespace");
    }

    fn go_home(&self) {
        // SAFETY: the descriptor is open; no memory is passed.
        checked(unsafe { libc::setns(self.home.as_raw_fd(), libc::CLONE_NEWTIME) }.into())
            .expect("the way back");
    }

    /// By the child. What it bound itself it may pivot to, unlike what the host's root mounted.
    fn enter() -> io::Result<()> {
        mount(Some(DIR), DIR, None, libc::MS_BIND)?;
        // SAFETY: strings that outlive the calls.
        unsafe {
            checked(libc::chdir(DIR.as_ptr()).into())?;
            checked(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
            checked(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into())?;
            checked(libc::chdir(c"/".as_ptr()).into())
        }
    }
}

pub(crate) fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: strings that outlive the call, or null where the kernel takes none.
    checked(
        unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, std::ptr::null()) }
            .into(),
    )
}

pub(crate) fn main() {
    // As a part of a bench it is named by a first word.
    let args: Vec<String> = std::env::args().skip(1).filter(|word| word != "floor").collect();
    let [program, count, rest @ ..] = args.as_slice() else {
        panic!("usage: raw_floor PROGRAM COUNT [AT_ONCE [times] [root]]")
    };
    let count: usize = count.parse().expect("COUNT is a number");
    let at_once: usize = rest.first().map_or(2, |n| n.parse().expect("AT_ONCE is a number"));
    let with_times = rest.iter().any(|word| word == "times");
    if rest.iter().any(|word| word == "root") {
        let root = Root::new(program);
        run(count, at_once, with_times, |group| {
            Root::begin_clocks();
            let pid = start(c"/true", group, FLOOR, Root::enter);
            root.go_home();
            pid
        });
    } else {
        let program = CString::new(program.as_str()).expect("a path");
        run(count, at_once, with_times, |group| start(&program, group, FLOOR, || Ok(())));
    }
}
