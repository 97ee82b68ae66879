//! What each protection costs: the raw floor, to which one after another is added, by the fewest calls that do it.
//!
//! What stands between the last row and the sandbox is not the kernel's price of a protection but ours: a spawner that is asked, a
//! process that clones, outputs that are kept, events, checks of what was done.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::raw_floor::{FLOOR, Namespaces, checked, run, start};

/// In the order in which they are added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Upto {
    Exec,
    Ids,
    Light,
    Floor,
    Version1,
    Clocks,
    Loopback,
    Root,
    Proc,
    Masks,
    Files,
    Kernels,
    Scratch,
    Identity,
    Landlock,
    Filter,
}

const ROWS: [(Upto, &str); 16] = [
    (Upto::Exec, "clone and exec, in a control group of the unified tree"),
    (Upto::Ids, "+ user and pid namespaces, ids mapped"),
    (Upto::Light, "+ mount, ipc, uts and control group namespaces"),
    (Upto::Floor, "+ network namespace: the raw floor"),
    (Upto::Version1, "+ moves into version 1 control groups, where the host has them"),
    (Upto::Clocks, "+ time namespace"),
    (Upto::Loopback, "+ loopback"),
    (Upto::Root, "+ overlay as its root, the host's gone"),
    (Upto::Proc, "+ /proc"),
    (Upto::Masks, "+ parts of /proc covered and read-only"),
    (Upto::Files, "+ /dev, /sys and three /etc files"),
    (Upto::Kernels, "+ /dev/pts and /dev/mqueue"),
    (Upto::Scratch, "+ /dev/shm and /tmp"),
    (Upto::Identity, "+ session, keyring, bounding set, user, no-new-privileges, capabilities"),
    (Upto::Landlock, "+ Landlock"),
    (Upto::Filter, "+ system call filter"),
];
const FLOOR_ROW: usize = 3;

/// Wall and CPU milliseconds a task of each row, in turn in each round, with what `sandbox` measures at the end of a round.
pub(super) fn print(program: &std::path::Path, numbers: [usize; 3], mut sandbox: impl FnMut() -> [f64; 2]) {
    let [count, rounds, at_once] = numbers;
    let mut all: Vec<Vec<[f64; 2]>> = vec![Vec::new(); ROWS.len() + 1];
    for _ in 0..rounds {
        for (n, row) in all.iter_mut().enumerate().take(ROWS.len()) {
            row.push(measure(program, n, count, at_once));
        }
        all[ROWS.len()].push(sandbox());
    }
    let median = |row: &[[f64; 2]], which: usize| {
        let mut each: Vec<f64> = row.iter().map(|r| r[which]).collect();
        each.sort_by(f64::total_cmp);
        each[each.len() / 2]
    };
    let floor = [0, 1].map(|which| median(&all[FLOOR_ROW], which));
    println!("{count} starts a row and round, {rounds} rounds in turn, {at_once} at once; medians:");
    println!("| | CPU ms a task | more | of the floor's CPU | of its wall time |\n|---|---|---|---|---|");
    let mut before = 0.0;
    let names =
        ROWS.iter().map(|(_, name)| *name).chain(["the sandbox: spawner, outputs kept, events, checks"]);
    for (name, row) in names.zip(&all) {
        let [wall, cpu] = [0, 1].map(|which| median(row, which));
        println!(
            "| {name} | {cpu:.2} | {:.2} | {:.2} | {:.2} |",
            cpu - before,
            cpu / floor[1],
            wall / floor[0]
        );
        before = cpu;
    }
}

/// A process of its own, as for the floor.
fn measure(program: &std::path::Path, row: usize, count: usize, at_once: usize) -> [f64; 2] {
    let output = Command::new("/proc/self/exe")
        .arg("row")
        .arg(program)
        .args([row, count, at_once].map(|n| n.to_string()))
        .output()
        .expect("the row runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    [numbers[1] / count as f64, numbers[2] / count as f64]
}

/// One row: `row PROGRAM ROW COUNT AT_ONCE`.
pub(super) fn row() {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let number = |at: usize| args[at].parse::<usize>().expect("a number");
    let upto = ROWS[number(1)].0;
    let host = Host::new(upto, &args[0]).expect("what the starts have in common");
    let program = CString::new(if upto >= Upto::Root { "/true" } else { &args[0] }).expect("a path");
    let namespaces = match upto {
        Upto::Exec => Namespaces { cloned: 0, left: 0 },
        Upto::Ids => Namespaces { left: 0, ..FLOOR },
        Upto::Light => Namespaces { left: FLOOR.left & !libc::CLONE_NEWNET, ..FLOOR },
        _ => FLOOR,
    };
    run(number(2), number(3), false, |group| {
        let given = host.give().expect("mounts for a start");
        if upto >= Upto::Clocks {
            host.begin_clocks().expect("clocks");
        }
        let pid = start(&program, group, namespaces, || host.protect(&given));
        if upto >= Upto::Clocks {
            host.go_home().expect("the way back");
        }
        pid
    });
}

/// What all starts of a row share.
struct Host {
    upto: Upto,
    version1: Version1,
    clocks: OwnedFd,
    home: OwnedFd,
    mounts: Option<Mounts>,
    filter: Vec<libc::sock_filter>,
}

/// Attached, as clones are made of such alone.
struct Mounts {
    root: OwnedFd,
    files: OwnedFd,
}

/// What one start is handed.
#[derive(Default)]
struct Given {
    root: Option<OwnedFd>,
    files: Vec<(&'static str, OwnedFd)>,
    blanks: Vec<OwnedFd>,
    scratch: Vec<(&'static str, OwnedFd)>,
}

/// A group in each version 1 hierarchy that the sandbox uses, taken away at the end.
struct Version1(Vec<(PathBuf, fs::File)>);

impl Version1 {
    fn new() -> io::Result<Self> {
        let mut groups = Vec::new();
        for controller in ["cpu", "cpuacct", "memory", "pids"] {
            let base = PathBuf::from(format!("/sys/fs/cgroup/{controller}"));
            if base.join("tasks").exists() {
                let path = base.join(format!("raw-price-{}", std::process::id()));
                fs::create_dir(&path)?;
                groups.push((path.clone(), fs::File::options().write(true).open(path.join("cgroup.procs"))?));
            }
        }
        Ok(Self(groups))
    }
}

impl Drop for Version1 {
    fn drop(&mut self) {
        for (path, _) in &self.0 {
            if let Err(error) = fs::remove_dir(path) {
                println!("# {} stays: {error}", path.display());
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Blank {
    File,
    Directory,
}

/// Beside `interrupts`; what this kernel has not is left out.
const MASKED: [(&str, Blank); 9] = [
    ("acpi", Blank::Directory),
    ("kallsyms", Blank::File),
    ("kcore", Blank::File),
    ("keys", Blank::File),
    ("kmsg", Blank::File),
    ("timer_list", Blank::File),
    ("sched_debug", Blank::File),
    ("sysrq-trigger", Blank::File),
    ("config.gz", Blank::File),
];
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];
const ETC: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

impl Host {
    fn new(upto: Upto, program: &str) -> io::Result<Self> {
        let version1 = if upto >= Upto::Version1 { Version1::new()? } else { Version1(Vec::new()) };
        let open = |path: &str, flags| openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty());
        let clocks = open("/proc/self/timens_offsets", OFlags::WRONLY)?;
        let home = open("/proc/self/ns/time", OFlags::RDONLY)?;
        let mounts = (upto >= Upto::Root).then(|| Mounts::new(program)).transpose()?;
        Ok(Self { upto, version1, clocks, home, mounts, filter: filter() })
    }

    fn begin_clocks(&self) -> io::Result<()> {
        // SAFETY: this process has one thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWTIME) }?;
        rustix::io::write(&self.clocks, b"monotonic -1 0\nboottime -1 0\n")?;
        Ok(())
    }

    fn go_home(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Time))?)
    }

    /// Detached mounts, as the spawner makes them.
    fn give(&self) -> io::Result<Given> {
        let mut given = Given::default();
        let Some(Mounts { root, files }) = &self.mounts else { return Ok(given) };
        given.root = Some(clone(root, "")?);
        if self.upto >= Upto::Masks {
            given.blanks = vec![clone(files, "file")?, clone(files, "dir")?];
        }
        if self.upto >= Upto::Files {
            for name in ["dev", "sys"].into_iter().chain(ETC) {
                given.files.push((name, clone(files, name)?));
            }
        }
        if self.upto >= Upto::Scratch {
            let bounds = [("size", "67108864"), ("nr_inodes", "4096"), ("mode", "1777")];
            given.scratch = vec![("dev/shm", tmpfs(&bounds)?), ("tmp", tmpfs(&bounds)?)];
        }
        Ok(given)
    }

    /// In the child, up to exec.
    fn protect(&self, given: &Given) -> io::Result<()> {
        if self.upto >= Upto::Version1 {
            for (_, door) in &self.version1.0 {
                rustix::io::write(door, b"0")?;
            }
        }
        if self.upto >= Upto::Loopback {
            loopback_up()?;
        }
        if let Some(root) = &given.root {
            attach(root, CWD.as_fd(), "/")?;
            self.mounts(root, given)?;
            rustix::process::fchdir(root)?;
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            rustix::process::chdir("/")?;
        }
        if self.upto >= Upto::Identity {
            identity()?;
        }
        if self.upto >= Upto::Landlock
            && let Some(root) = &given.root
        {
            landlock(root)?;
        }
        if self.upto >= Upto::Filter {
            seccomp(&self.filter)?;
        }
        if self.upto >= Upto::Identity {
            let none = rustix::thread::CapabilitySet::empty();
            let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
            rustix::thread::set_capabilities(None, sets)?;
        }
        Ok(())
    }

    fn mounts(&self, root: &OwnedFd, given: &Given) -> io::Result<()> {
        if self.upto >= Upto::Proc {
            attach(&new("proc", &[])?, root.as_fd(), "proc")?;
        }
        if let [file, dir] = given.blanks.as_slice() {
            let proc = openat(root, "proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            attach(file, proc.as_fd(), "interrupts")?;
            for (name, blank) in MASKED {
                let blank = match blank {
                    Blank::File => clone(file, "")?,
                    Blank::Directory => dir.try_clone()?,
                };
                match attach(&blank, proc.as_fd(), name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    attached => attached?,
                }
            }
            for name in READ_ONLY {
                let part = clone(&proc, name)?;
                read_only(&part)?;
                attach(&part, proc.as_fd(), name)?;
            }
        }
        for (name, mount) in &given.files {
            attach(mount, root.as_fd(), name)?;
        }
        if self.upto >= Upto::Kernels {
            let options = [("ptmxmode", "0666"), ("mode", "0620")];
            attach(&new("devpts", &options)?, root.as_fd(), "dev/pts")?;
            attach(&new("mqueue", &[])?, root.as_fd(), "dev/mqueue")?;
        }
        for (name, mount) in &given.scratch {
            attach(mount, root.as_fd(), name)?;
        }
        Ok(())
    }
}

impl Mounts {
    /// In a mount namespace of this process's own.
    fn new(program: &str) -> io::Result<Self> {
        // SAFETY: this process has one thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        let stash = tmpfs(&[("mode", "0755")])?;
        for dir in
            ["layer", "root", "files", "layer/etc", "layer/proc", "layer/sys", "layer/dev", "layer/tmp"]
        {
            mkdirat(&stash, dir, Mode::from(0o755))?;
        }
        let place = format!("/proc/self/fd/{}", stash.as_raw_fd());
        fs::copy(program, format!("{place}/layer/true"))?;
        for file in ETC {
            fs::write(format!("{place}/layer/{file}"), "")?;
        }
        move_mount(&stash, "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let files = tmpfs(&[("mode", "0755")])?;
        for dir in ["dev", "dev/pts", "dev/shm", "dev/mqueue", "sys", "etc", "dir"] {
            mkdirat(&files, dir, Mode::from(0o755))?;
        }
        for file in ETC.into_iter().chain(["file"]) {
            openat(&files, file, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o644))?;
        }
        mknodat(&files, "dev/null", FileType::CharacterDevice, Mode::from(0o666), makedev(1, 3))?;
        attach(&files, stash.as_fd(), "files")?;
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&overlay, "lowerdir", "/tmp/layer:/tmp/files")?;
        fsconfig_create(&overlay)?;
        let overlay = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        attach(&overlay, stash.as_fd(), "root")?;
        let open = |path: &str| openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { root: open("/tmp/root")?, files: open("/tmp/files")? })
    }
}

fn tmpfs(options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    new("tmpfs", options)
}

fn new(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?)
}

fn clone(dir: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(dir, path, flags)?)
}

fn attach(mount: &OwnedFd, dir: rustix::fd::BorrowedFd<'_>, path: &str) -> io::Result<()> {
    Ok(move_mount(mount, "", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn read_only(mount: &OwnedFd) -> io::Result<()> {
    // `struct mount_attr`: set, clear, propagation, user namespace.
    let attributes: [u64; 4] = [MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), 0, libc::MS_PRIVATE, 0];
    // SAFETY: the kernel reads a structure of this size, which outlives the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })
}

fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero `ifreq` is a valid one with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) }.into())
}

/// As the container's user, with nothing that it could get back.
fn identity() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, Gid, Uid};
    rustix::process::setsid()?;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, 1, 0) })?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// One rule for all files; a kernel without it has no such price.
fn landlock(root: &OwnedFd) -> io::Result<()> {
    const ALL: u64 = (1 << 15) - 1;
    // SAFETY: the kernel reads structures of these sizes, which outlive the calls.
    unsafe {
        let set = libc::syscall(libc::SYS_landlock_create_ruleset, [ALL].as_ptr(), 8usize, 0u32);
        if set < 0 {
            return Ok(());
        }
        let mut rule = [0u8; 12];
        rule[..8].copy_from_slice(&ALL.to_ne_bytes());
        rule[8..].copy_from_slice(&root.as_raw_fd().to_ne_bytes());
        checked(libc::syscall(libc::SYS_landlock_add_rule, set, 1u32, rule.as_ptr(), 0u32))?;
        checked(libc::syscall(libc::SYS_landlock_restrict_self, set, 0u32))
    }
}

/// As long as the default one, and searched as that is: every tenth call from 300 on would be refused.
fn filter() -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20;
    const AT_LEAST: u16 = 0x35;
    const ANSWER: u16 = 0x06;
    let insn = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    fn search(
        from: u32,
        to: u32,
        insn: &dyn Fn(u16, u8, u8, u32) -> libc::sock_filter,
    ) -> Vec<libc::sock_filter> {
        if to - from == 1 {
            let is_refused = from % 2 == 1 && from >= 30;
            return vec![insn(ANSWER, 0, 0, if is_refused { 0x0005_0001 } else { 0x7fff_0000 })];
        }
        let middle = (from + to) / 2;
        let below = search(from, middle, insn);
        let mut code = vec![insn(AT_LEAST, below.len() as u8, 0, middle * 10)];
        code.extend(below);
        code.extend(search(middle, to, insn));
        code
    }
    let mut program = vec![insn(LOAD, 0, 0, 0)];
    program.extend(search(0, 50, &insn));
    program
}

fn seccomp(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the instructions, which outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program) })
}
