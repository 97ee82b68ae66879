//! An unpacker that was taken over: a process in the very confinement tries what an intruder would. Beside it the same
//! attempts as root of the host, which get through: a refusal counts only against those.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};
use watchbell_sandbox::{Confinement, Directory, confined, landlock_abi};

use crate::Outcome;
use crate::place::{Failure, PATIENCE};

const FILE_BYTES: u64 = 1 << 20;

type Attempt = (&'static str, fn() -> io::Result<()>);

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(path: &str) -> io::Result<()> {
    File::open(path).map(drop)
}

fn map(bytes: usize, protection: libc::c_int) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A raw call with numbers and strings alone.
fn call(number: libc::c_long, a: libc::c_long, b: libc::c_long, c: libc::c_long) -> io::Result<()> {
    // SAFETY: the attempts below pass numbers, null pointers and constant strings.
    checked(unsafe { libc::syscall(number, a, b, c, 0, 0) })
}

fn text(string: &'static CStr) -> libc::c_long {
    string.as_ptr() as libc::c_long
}

/// What is done to nobody but the process itself and its directory, so that the control may do it.
const ATTEMPTS: &[Attempt] = &[
    ("shadow", || open("/etc/shadow")),
    ("shadow-upwards", || open("../../../../../../../../etc/shadow")),
    ("processes", || open("/proc/self/status")),
    ("kernel", || open("/sys/kernel/uevent_seqnum")),
    ("device", || open("/dev/null")),
    ("socket-unix", || call(libc::SYS_socket, libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0)),
    ("socket-inet", || call(libc::SYS_socket, libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0)),
    ("socketpair-by-netlink", || call(libc::SYS_socket, libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0)),
    // In the control the host's first process; this signal only asks.
    ("signal", || call(libc::SYS_kill, 1, 0, 0)),
    ("trace", || {
        // Nobody has this number: the control gets as far as the search.
        call(libc::SYS_ptrace, libc::PTRACE_ATTACH.into(), 0, 0).or_else(|e| match e.raw_os_error() {
            Some(libc::ESRCH) => Ok(()),
            _ => Err(e),
        })
    }),
    ("fork", || {
        call(libc::SYS_clone, libc::SIGCHLD.into(), 0, 0)?;
        if rustix::process::getpid().as_raw_nonzero().get() != LEADER.load(Ordering::Relaxed) {
            exit_now();
        }
        Ok(())
    }),
    ("execute", || {
        // Looked at, not run: the control must come back.
        call(libc::SYS_execve, text(c"/nowhere"), 0, 0).or_else(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            _ => Err(e),
        })
    }),
    ("unshare", || call(libc::SYS_unshare, libc::CLONE_NEWNS.into(), 0, 0)),
    ("mount", || {
        call(libc::SYS_mount, text(c"none"), text(c"/"), 0).or_else(|e| match e.raw_os_error() {
            // As far as the kernel's own work on a file system that is not named.
            Some(libc::ENODEV | libc::EFAULT | libc::EINVAL) => Ok(()),
            _ => Err(e),
        })
    }),
    ("chroot", || call(libc::SYS_chroot, text(c"."), 0, 0)),
    ("become-root", || call(libc::SYS_setresuid, 0, 0, 0)),
    ("control", || call(libc::SYS_prctl, libc::PR_GET_DUMPABLE.into(), 0, 0)),
    ("keys", || call(libc::SYS_keyctl, 0, -3, 0)),
    ("memory-to-run", || map(4096, libc::PROT_READ | libc::PROT_EXEC)),
    ("much-memory", || map(2 << 30, libc::PROT_READ)),
    ("block-device", || {
        Ok(rustix::fs::mknodat(
            CWD,
            "disk",
            FileType::BlockDevice,
            Mode::from(0o600),
            rustix::fs::makedev(7, 0),
        )?)
    }),
    ("memory-device", || {
        Ok(rustix::fs::mknodat(
            CWD,
            "memory",
            FileType::CharacterDevice,
            Mode::from(0o600),
            rustix::fs::makedev(1, 1),
        )?)
    }),
    ("attribute", || {
        let dir = rustix::fs::open(".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(rustix::fs::fsetxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
    }),
];

/// What unpacking needs, and works.
const WORK: &[Attempt] = &[
    ("make", || fs::write("file", "x")),
    ("own", || {
        Ok(rustix::fs::chownat(
            CWD,
            "file",
            Some(rustix::fs::Uid::from_raw(65534)),
            Some(rustix::fs::Gid::from_raw(7)),
            rustix::fs::AtFlags::empty(),
        )?)
    }),
    ("own-highest", || {
        Ok(rustix::fs::chownat(
            CWD,
            "file",
            Some(rustix::fs::Uid::from_raw(u32::MAX - 1)),
            None,
            rustix::fs::AtFlags::empty(),
        )?)
    }),
    ("mode", || Ok(rustix::fs::chmodat(CWD, "file", Mode::from(0o000), rustix::fs::AtFlags::empty())?)),
    ("open-closed", || open("file")),
    ("whiteout", || Ok(rustix::fs::mknodat(CWD, "white", FileType::CharacterDevice, Mode::empty(), 0)?)),
    ("link", || Ok(rustix::fs::linkat(CWD, "file", CWD, "other", rustix::fs::AtFlags::empty())?)),
    ("remove", || Ok(rustix::fs::unlinkat(CWD, "other", rustix::fs::AtFlags::empty())?)),
];

/// What reading an image needs, and works for a reader.
const READS: &[Attempt] = &[
    ("look", || open("given")),
    ("thread", || {
        let joined = std::thread::Builder::new().spawn(|| 7)?.join();
        if joined.is_ok_and(|seven| seven == 7) { Ok(()) } else { Err(io::Error::other("it did not run")) }
    }),
];

static LEADER: AtomicI32 = AtomicI32::new(0);

fn exit_now() -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(0) }
}

fn attempt() {
    LEADER.store(rustix::process::getpid().as_raw_nonzero().get(), Ordering::Relaxed);
    let mut said = String::new();
    for (name, attempt) in READS.iter().chain(WORK).chain(ATTEMPTS) {
        let outcome = match attempt() {
            Ok(()) => "reached".to_owned(),
            Err(e) => format!("{:?}", e.raw_os_error().unwrap_or(-1)),
        };
        said.push_str(&format!("{name} {outcome}\n"));
    }
    let descriptors = (0..4096)
        .filter(|fd| {
            // SAFETY: only asks whether the number is a descriptor.
            unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
        })
        .count();
    said.push_str(&format!("descriptors {descriptors}\n"));
    // Standard output may be buffered by others; the descriptor is not.
    let _ = rustix::io::write(rustix::stdio::stdout(), said.as_bytes());
}

/// `processes taken PARENT FILE CPU`: what the intruder does; `processes free`: the control; `processes busy …`: one that does
/// not end by itself; `processes greedy …`: one that makes a file without end.
pub(crate) fn taken(word: &str, args: impl Iterator<Item = OsString>) -> ExitCode {
    if word == "free" {
        attempt();
        return ExitCode::SUCCESS;
    }
    let Some(confinement) = Confinement::parse(args) else { return ExitCode::from(125) };
    let directory = if matches!(word, "reads" | "crowd") { Directory::ToRead } else { Directory::ToFill };
    let ended = confined(&confinement, directory, |_root| {
        match word {
            "busy" => loop {
                let _ = rustix::io::write(rustix::stdio::stdout(), b"here\n");
                let mut byte = [0u8; 1];
                if matches!(rustix::io::read(rustix::stdio::stdin(), &mut byte), Ok(0) | Err(_)) {
                    std::hint::spin_loop();
                }
            },
            "greedy" => {
                let Ok(mut file) = File::create("large") else { return ExitCode::from(3) };
                while file.write_all(&[1; 1 << 16]).is_ok() {}
            }
            "crowd" => {
                let stays = || {
                    std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
                        loop {
                            std::thread::park();
                        }
                    })
                };
                let threads = (0..1000).take_while(|_| stays().is_ok()).count();
                let _ = rustix::io::write(rustix::stdio::stdout(), format!("threads {threads}\n").as_bytes());
            }
            _ => attempt(),
        }
        ExitCode::SUCCESS
    });
    ended.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(124)
    })
}

fn start(word: &str, dir: &Path, cpu_seconds: u64) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(word).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    for number in [u64::from(std::process::id()), FILE_BYTES, cpu_seconds] {
        command.arg(number.to_string());
    }
    Ok(command.spawn()?)
}

fn outcomes(word: &str) -> Result<BTreeMap<String, String>, Failure> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("given"), "x")?;
    let output = start(word, dir.path(), 60)?.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{word} ended with {:?}: {output:?}", output.status).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    Ok(printed.lines().filter_map(|l| l.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

pub(crate) fn a_taken_over_unpacker_reaches_nothing() -> Outcome {
    let (taken, free) = (outcomes("taken")?, outcomes("free")?);
    for (name, _) in WORK {
        assert_eq!((taken[*name].as_str(), free[*name].as_str()), ("reached", "reached"), "{name}");
    }
    // EPERM of the filter; EACCES of Landlock; ENOENT of a root that has nothing but the directory; ENOMEM of the limit.
    let absent = libc::ENOENT.to_string();
    let (refused, fenced) = (libc::EPERM.to_string(), libc::EACCES.to_string());
    for (name, _) in ATTEMPTS {
        assert_eq!(free[*name], "reached", "the control's {name}");
        let expected = match *name {
            "shadow" | "shadow-upwards" | "processes" | "kernel" | "device" => absent.clone(),
            "much-memory" => libc::ENOMEM.to_string(),
            // Nobody it could name.
            "block-device" if landlock_abi().is_some() => fenced.clone(),
            _ => refused.clone(),
        };
        assert_eq!(taken[*name], expected, "{name}");
    }
    // Standard input, output, error and its directory.
    assert_eq!(taken["descriptors"], "4");
    Ok(())
}

pub(crate) fn a_taken_over_reader_reaches_nothing() -> Outcome {
    let (taken, free) = (outcomes("reads")?, outcomes("free")?);
    for (name, _) in READS {
        assert_eq!((taken[*name].as_str(), free[*name].as_str()), ("reached", "reached"), "{name}");
    }
    for (name, _) in WORK.iter().chain(ATTEMPTS) {
        assert_eq!(free[*name], "reached", "the control's {name}");
        assert_ne!(taken[*name], "reached", "{name}");
    }
    assert_eq!(taken["descriptors"], "4");
    // It may have threads, and no crowd of them.
    let threads: usize = outcomes("crowd")?["threads"].parse()?;
    assert!((4..64).contains(&threads), "{threads} threads");
    Ok(())
}

pub(crate) fn an_unpacker_is_bounded_and_dies_with_who_started_it() -> Outcome {
    let dir = tempfile::tempdir()?;
    // A file ends at its limit.
    let greedy = start("greedy", dir.path(), 60)?.wait()?;
    assert_eq!(greedy.code(), Some(0), "{greedy:?}");
    assert_eq!(fs::metadata(dir.path().join("large"))?.len(), FILE_BYTES);
    // Processor time as well: a busy one is killed by the kernel.
    let mut busy = start("busy", dir.path(), 1)?;
    drop(busy.stdin.take());
    let mut out = busy.stdout.take().ok_or("no output")?;
    io::copy(&mut out, &mut io::sink())?;
    assert_eq!(busy.wait()?.code(), Some(128 + libc::SIGKILL));
    // When the one that waits is killed, the one inside goes too: its output ends.
    let mut busy = start("busy", dir.path(), PATIENCE.as_secs())?;
    let mut out = busy.stdout.take().ok_or("no output")?;
    out.read_exact(&mut [0u8; 5])?;
    busy.kill()?;
    busy.wait()?;
    io::copy(&mut out, &mut io::sink())?;
    Ok(())
}
