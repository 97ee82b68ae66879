//! The system calls of a process that unpacks a layer: it reads one descriptor, talks through another, and makes files.
//!
//! No socket, no program, no process, no signal to others, no mount, no attribute, no memory that is both written and run.

use super::bpf::{Condition, Test, Verdict};
use super::table::{EPERM, Entry};
use super::{compile, verdicts};
use crate::start::kernel::Instruction;
use crate::syscalls::Arch;

const PROT_EXEC: u32 = 4;
const NOT_TO_BE_RUN: Verdict =
    Verdict::If(Condition { argument: 2, test: Test::NoneOf(PROT_EXEC), otherwise: EPERM });

const fn allow(reason: &'static str, calls: &'static [&'static str]) -> Entry {
    Entry { reason, verdict: Verdict::Allow, calls }
}

static CALLS: &[Entry] = &[
    allow(
        "what is open: the layer, the channel, files in the making",
        &[
            "read",
            "write",
            "readv",
            "writev",
            "pread64",
            "lseek",
            "close",
            "fstat",
            "fcntl",
            "ftruncate",
            "fsync",
            "getdents64",
        ],
    ),
    allow(
        "files of the layer: look, make, name and remove them",
        &[
            "openat",
            "openat2",
            "newfstatat",
            "statx",
            "mkdirat",
            "unlinkat",
            "linkat",
            "symlinkat",
            "readlinkat",
            "mknodat",
        ],
    ),
    allow(
        "files of the layer: owner, mode and times",
        &["fchmod", "fchmodat", "fchown", "fchownat", "utimensat"],
    ),
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
    allow(
        "its own end, as after a panic; it is alone in its pid namespace",
        &["exit", "exit_group", "getpid", "gettid", "tgkill"],
    ),
];

/// Compiled where it is needed: once in the life of the process.
pub(in crate::start) fn filter() -> Vec<Instruction> {
    compile(Arch::NATIVE, Verdict::Errno(EPERM), verdicts(Arch::NATIVE, CALLS))
}

#[cfg(test)]
mod tests {
    use super::super::bpf;
    use super::*;

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
