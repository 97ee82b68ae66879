//! The system calls of a process that unpacks a layer: it reads one descriptor, talks through another, and makes files; and of
//! one that reads an image: it makes none, and has threads.
//!
//! No socket, no program, no process, no signal to others, no mount, no attribute, no memory that is both written and run.

use super::bpf::{Condition, Test, Verdict};
use super::table::{ENOSYS, EPERM, Entry};
use super::{compile, verdicts};
use crate::start::kernel::Instruction;
use crate::syscalls::Arch;

const PROT_EXEC: u32 = 4;
const NOT_TO_BE_RUN: Verdict =
    Verdict::If(Condition { argument: 2, test: Test::NoneOf(PROT_EXEC), otherwise: EPERM });

pub(super) const fn allow(reason: &'static str, calls: &'static [&'static str]) -> Entry {
    Entry { reason, verdict: Verdict::Allow, calls }
}

/// Flags of clone for a thread, by glibc and by musl: memory, files, signals and all else are the process's own.
const THREADS: &[u32] = &[0x003d_0f00, 0x007d_0f00];

/// Of every process of ours that is confined: what a program needs before it does anything.
pub(super) static RUNTIME: &[Entry] = &[
    Entry { reason: "memory, none of which is run", verdict: NOT_TO_BE_RUN, calls: &["mmap", "mprotect"] },
    allow("memory", &["munmap", "mremap", "brk", "madvise"]),
    allow(
        "what the runtime of the language does",
        &[
            "futex",
            "getrandom",
            "clock_gettime",
            "sigaltstack",
            "rt_sigaction",
            "rt_sigprocmask",
            "rt_sigreturn",
            "restart_syscall",
            "sched_yield",
        ],
    ),
];

/// Of both.
static SHARED: &[Entry] = &[
    allow(
        "what is open: the layer, the channel",
        &["read", "write", "readv", "writev", "pread64", "lseek", "close", "fstat", "fcntl", "getdents64"],
    ),
    allow("files: look", &["openat", "openat2", "newfstatat", "statx", "readlinkat"]),
    allow(
        "its own end, as after a panic; it is alone in its pid namespace",
        &["exit", "exit_group", "getpid", "gettid", "tgkill"],
    ),
];

static UNPACKS: &[Entry] = &[
    allow("files in the making", &["ftruncate", "fsync"]),
    allow(
        "files of the layer: make, name and remove them",
        &["mkdirat", "unlinkat", "linkat", "symlinkat", "mknodat"],
    ),
    allow(
        "files of the layer: owner, mode and times",
        &["fchmod", "fchmodat", "fchown", "fchownat", "utimensat"],
    ),
];

static READS: &[Entry] = &[
    Entry {
        reason: "its threads, and no process",
        verdict: Verdict::If(Condition { argument: 0, test: Test::OneOf(THREADS), otherwise: EPERM }),
        calls: &["clone"],
    },
    Entry {
        reason: "its flags lie in memory where no filter sees them; C libraries then use clone",
        verdict: Verdict::Errno(ENOSYS),
        calls: &["clone3"],
    },
    // Older calls that do what those above do.
    allow("files: look", &["open", "stat", "lstat", "access", "faccessat2", "readlink", "fadvise64"]),
    allow("who and where it is", &["getuid", "geteuid", "getgid", "getegid", "uname", "getcwd"]),
    allow("what threads do when they begin", &["set_robust_list", "rseq", "sched_getaffinity"]),
];

/// Compiled where it is needed: once in the life of the process.
pub(in crate::start) fn filter() -> Vec<Instruction> {
    of(UNPACKS)
}

/// The same for a process that reads.
pub(in crate::start) fn reader_filter() -> Vec<Instruction> {
    of(READS)
}

fn of(own: &'static [Entry]) -> Vec<Instruction> {
    let table = [RUNTIME, SHARED, own].into_iter().flat_map(|entries| verdicts(Arch::NATIVE, entries));
    compile(Arch::NATIVE, Verdict::Errno(EPERM), table)
}

#[cfg(test)]
mod tests {
    use super::super::bpf;
    use super::*;

    #[test]
    fn who_reads_makes_threads_and_no_files() {
        let filter = reader_filter();
        let ask = |call: libc::c_long, first: u64| {
            bpf::run(&filter, bpf::audit_arch(Arch::NATIVE), call as u32, [first, 0, 0, 0, 0, 0]).0
        };
        let (allowed, refused, unknown) = (0x7fff_0000, 0x0005_0001, 0x0005_0026);
        for call in [libc::SYS_read, libc::SYS_openat2, libc::SYS_futex, libc::SYS_exit_group] {
            assert_eq!(ask(call, 0), allowed, "{call}");
        }
        assert_eq!(ask(libc::SYS_clone, u64::from(THREADS[0])), allowed);
        assert_eq!(ask(libc::SYS_clone, libc::SIGCHLD as u64), refused);
        assert_eq!(ask(libc::SYS_clone, u64::from(THREADS[0]) | libc::CLONE_NEWUSER as u64), refused);
        assert_eq!(ask(libc::SYS_clone3, 0), unknown);
        for call in [
            libc::SYS_mkdirat,
            libc::SYS_unlinkat,
            libc::SYS_linkat,
            libc::SYS_mknodat,
            libc::SYS_fchownat,
            libc::SYS_ftruncate,
            libc::SYS_socket,
            libc::SYS_sendmsg,
            libc::SYS_execve,
            libc::SYS_kill,
            libc::SYS_mount,
            libc::SYS_ptrace,
        ] {
            assert_eq!(ask(call, 0), refused, "{call}");
        }
    }

    #[test]
    fn only_work_on_files_is_left() {
        let filter = filter();
        let ask = |call: libc::c_long, args: [u64; 6]| {
            bpf::run(&filter, bpf::audit_arch(Arch::NATIVE), call as u32, args).0
        };
        let (allowed, refused) = (0x7fff_0000, 0x0005_0001);
        for call in [libc::SYS_read, libc::SYS_openat2, libc::SYS_mknodat, libc::SYS_exit_group] {
            assert_eq!(ask(call, [0; 6]), allowed, "{call}");
        }
        for call in [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_clone,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_kill,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_prctl,
            libc::SYS_fsetxattr,
            libc::SYS_ioctl,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_memfd_create,
            libc::SYS_setrlimit,
            libc::SYS_prlimit64,
        ] {
            assert_eq!(ask(call, [0; 6]), refused, "{call}");
        }
        assert_eq!(ask(libc::SYS_mmap, [0, 4096, 3, 0x22, 0, 0]), allowed);
        assert_eq!(ask(libc::SYS_mmap, [0, 4096, 5, 0x22, 0, 0]), refused);
        assert_eq!(ask(libc::SYS_mprotect, [0, 4096, 5, 0, 0, 0]), refused);
    }
}
