//! The system calls of the gate: what it has open, and sockets that speak TCP and UDP.
//!
//! No file, no program, no process, no thread, no signal to others, no other kind of socket, none that listens, no memory that
//! is run.

use super::bpf::{Condition, Rows, Test, Verdict, is};
use super::table::{EPERM, Entry};
use super::unpacker::{RUNTIME, allow};
use super::{compile, verdicts};
use crate::start::kernel::Instruction;
use crate::syscalls::Arch;

/// AF_INET and AF_INET6, SOCK_STREAM and SOCK_DGRAM with SOCK_NONBLOCK and SOCK_CLOEXEC, the usual protocol.
const SOCKETS: Verdict = Verdict::IfAny(Rows {
    rows: &[&[is(0, &[2, 10]), is(1, &[0x8_0801, 0x8_0802]), is(2, &[0])]],
    refused: &[],
    otherwise: EPERM,
});
/// F_GETFL and F_SETFL.
const FLAGS_OF_FILES: &[u32] = &[3, 4];
const FIONBIO: &[u32] = &[0x5421];

const fn one_of(
    reason: &'static str,
    argument: u8,
    of: &'static [u32],
    calls: &'static [&'static str],
) -> Entry {
    Entry {
        reason,
        verdict: Verdict::If(Condition { argument, test: Test::OneOf(of), otherwise: EPERM }),
        calls,
    }
}

static TABLE: &[Entry] = &[
    allow("what is open", &["read", "write", "readv", "writev", "close"]),
    Entry { reason: "TCP and UDP", verdict: SOCKETS, calls: &["socket"] },
    allow(
        "sockets: a door's, those to the other side, and the one to the spawner",
        &[
            "accept4",
            "connect",
            "shutdown",
            "getsockname",
            "getsockopt",
            "setsockopt",
            "sendto",
            "sendmsg",
            "recvfrom",
            "recvmsg",
        ],
    ),
    one_of("whether reads wait", 1, FLAGS_OF_FILES, &["fcntl"]),
    one_of("the same", 1, FIONBIO, &["ioctl"]),
    allow("which of them are ready", &["epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    allow("its own end", &["exit", "exit_group", "getpid", "gettid"]),
];

/// Compiled where it is needed: once in the life of the process.
pub(in crate::start) fn filter() -> Vec<Instruction> {
    let table = verdicts(Arch::NATIVE, RUNTIME).chain(verdicts(Arch::NATIVE, TABLE));
    compile(Arch::NATIVE, Verdict::Errno(EPERM), table)
}

#[cfg(test)]
mod tests {
    use super::super::bpf;
    use super::*;

    #[test]
    fn only_sockets_of_the_internet_are_left() {
        let filter = filter();
        let ask = |call: libc::c_long, args: [u64; 6]| {
            bpf::run(&filter, bpf::audit_arch(Arch::NATIVE), call as u32, args).0
        };
        let (allowed, refused) = (0x7fff_0000, 0x0005_0001);
        let kind = |kind: i32| (kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u64;
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in [kind(libc::SOCK_STREAM), kind(libc::SOCK_DGRAM)] {
                assert_eq!(ask(libc::SYS_socket, [family as u64, kind, 0, 0, 0, 0]), allowed);
                assert_eq!(ask(libc::SYS_socket, [family as u64, kind, 1, 0, 0, 0]), refused);
            }
            assert_eq!(ask(libc::SYS_socket, [family as u64, kind(libc::SOCK_RAW), 0, 0, 0, 0]), refused);
        }
        for family in [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
            assert_eq!(ask(libc::SYS_socket, [family as u64, kind(libc::SOCK_STREAM), 0, 0, 0, 0]), refused);
            assert_eq!(ask(libc::SYS_socket, [family as u64, kind(libc::SOCK_DGRAM), 0, 0, 0, 0]), refused);
        }
        for call in [libc::SYS_read, libc::SYS_connect, libc::SYS_recvmsg, libc::SYS_exit_group] {
            assert_eq!(ask(call, [0; 6]), allowed, "{call}");
        }
        assert_eq!(ask(libc::SYS_ioctl, [0, 0x5421, 0, 0, 0, 0]), allowed);
        for call in [
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_ioctl,
            libc::SYS_fcntl,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_newfstatat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_ptrace,
            libc::SYS_pidfd_getfd,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_prctl,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_memfd_create,
            libc::SYS_io_uring_setup,
            libc::SYS_prlimit64,
        ] {
            assert_eq!(ask(call, [0; 6]), refused, "{call}");
        }
        assert_eq!(ask(libc::SYS_mmap, [0, 4096, 3, 0x22, 0, 0]), allowed);
        assert_eq!(ask(libc::SYS_mprotect, [0, 4096, 5, 0, 0, 0]), refused);
    }
}
