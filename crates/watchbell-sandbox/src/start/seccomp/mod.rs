//! The system calls a task may make. What is not in this table does not exist for it.
//!
//! Absent on purpose, though ordinary filters have some of them: everything that mounts or makes namespaces, `bpf`,
//! `perf_event_open`, `userfaultfd`, `io_uring_*` (its requests pass no filter), `io_setup` and its kin (their number is the
//! whole machine's), `keyctl` and its kin (keyrings are not
//! namespaced), `ptrace` and `process_vm_*`, `name_to_handle_at` and `open_by_handle_at`, `memfd_secret`, `kexec`, modules,
//! `quotactl`, `acct`, `swapon`, `reboot`, clocks and ports that are set, `vmsplice` (CVE-2026-31431 moved foreign pages
//! with it), `userfaultfd`, `lookup_dcookie`, `uselib`, `ustat`, `_sysctl`, `nfsservctl`, `personality` but for what
//! programs ask of it.

mod bpf;
mod oci;

use std::sync::LazyLock;

use super::kernel::Instruction;
use bpf::{Condition, Rows, Test, Verdict};
pub(crate) use oci::oci_profile;

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// x32 calls have the same architecture and numbers from here on.
#[cfg(target_arch = "x86_64")]
const FOREIGN_FROM: Option<u32> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const FOREIGN_FROM: Option<u32> = None;

/// The last call that this table was made for (`mseal`): newer ones are ENOSYS, so that programs take the older way.
const LAST_KNOWN: u32 = 462;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// `CLONE_NEW*`: time, mount, cgroup, uts, ipc, user, pid, net.
const NAMESPACES: u32 =
    0x80 | 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// AF_UNIX, AF_INET and AF_INET6 of any kind; of AF_NETLINK the list of interfaces alone (NETLINK_ROUTE), as netfilter's and
/// others' parsers were the way of many escalations. AF_ALG (CVE-2026-31431), AF_VSOCK, AF_PACKET and forty more are not there.
const SOCKETS: Rows =
    Rows { rows: &[&[(0, &[1, 2, 10])], &[(0, &[16]), (2, &[0])]], otherwise: EAFNOSUPPORT };
const AF_UNIX: &[u32] = &[1];
/// TIOCSTI types into the terminal of another (CVE-2017-5226 and its kin), TIOCLINUX pastes into it, TIOCSETD loads line
/// disciplines.
const TERMINAL_TRICKS: &[u32] = &[0x5412, 0x541c, 0x5423];
/// PER_LINUX, UNAME26 of it, PER_LINUX32 as some build systems ask, and the question itself.
const PERSONALITIES: &[u32] = &[0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// One entry: calls with one reason.
pub(crate) struct Entry {
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who review the table, and its test"))]
    pub(crate) reason: &'static str,
    verdict: Verdict,
    calls: &'static [libc::c_long],
    /// `SYS_` and each call's name, in the same order.
    names: &'static [&'static str],
}

macro_rules! entries {
    ($($reason:literal, $verdict:expr, [$($call:ident)*];)*) => {
        &[$(Entry { reason: $reason, verdict: $verdict, calls: &[$(libc::$call),*], names: &[$(stringify!($call)),*] }),*]
    };
}

use Verdict::{Allow, Errno, If, IfAny};

/// On both architectures.
static COMMON: &[Entry] = entries![
    "files: read and write what is open", Allow, [SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64
        SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_fcntl
        SYS_flock SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_ftruncate SYS_fallocate SYS_fadvise64
        SYS_readahead SYS_copy_file_range SYS_sendfile];
    "files: open, look at, change and name them; permissions decide", Allow, [SYS_openat SYS_openat2 SYS_statx SYS_fstat
        SYS_newfstatat SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2 SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir
        SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_readlinkat SYS_fchmod SYS_fchmodat
        SYS_fchown SYS_fchownat SYS_truncate SYS_utimensat SYS_umask SYS_mknodat];
    "files: extended attributes of one's own files", Allow, [SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_setxattr
        SYS_lsetxattr SYS_fsetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_removexattr SYS_lremovexattr
        SYS_fremovexattr];
    "files: be told of changes (one's own file systems only)", Allow, [SYS_inotify_init1 SYS_inotify_add_watch
        SYS_inotify_rm_watch];
    "pipes and waiting for descriptors", Allow, [SYS_pipe2 SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl
        SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4 SYS_timerfd_create SYS_timerfd_settime
        SYS_timerfd_gettime];
    "pipes: coreutils copy with them, between the task's own files and pipes", Allow, [SYS_splice SYS_tee];
    "memory of the process itself", Allow, [SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_msync
        SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_membarrier SYS_memfd_create
        SYS_remap_file_pages SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_mseal SYS_process_madvise
        SYS_process_mrelease];
    "NUMA placement, which numerical libraries set for their own memory", Allow, [SYS_get_mempolicy SYS_set_mempolicy
        SYS_mbind SYS_set_mempolicy_home_node SYS_getcpu];
    "threads and their locks", Allow, [SYS_futex SYS_futex_waitv SYS_set_robust_list SYS_get_robust_list SYS_set_tid_address
        SYS_rseq SYS_gettid SYS_tgkill SYS_tkill SYS_sched_yield];
    "processes: end, wait for, signal one's own", Allow, [SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill
        SYS_pidfd_open SYS_pidfd_send_signal SYS_execve SYS_execveat SYS_getpid SYS_getppid SYS_getpgid SYS_setpgid SYS_getsid
        SYS_setsid];
    "signals, within the pid namespace", Allow, [SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigtimedwait
        SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_rt_sigsuspend SYS_sigaltstack SYS_restart_syscall];
    "identity: asked by everyone; changed within the task's own user namespace only", Allow, [SYS_getuid SYS_geteuid
        SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid SYS_setregid
        SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset];
    "scheduling of one's own threads, downwards", Allow, [SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam
        SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority
        SYS_ioprio_get SYS_ioprio_set];
    "time: read and wait", Allow, [SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_gettimeofday SYS_nanosleep
        SYS_getitimer SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun
        SYS_timer_delete SYS_times];
    "what the system is like", Allow, [SYS_uname SYS_sysinfo SYS_getrandom SYS_getrusage SYS_getrlimit SYS_setrlimit
        SYS_prlimit64 SYS_prctl];
    "sockets, of the families above", Allow, [SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname
        SYS_getpeername SYS_getsockopt SYS_setsockopt SYS_shutdown SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_recvfrom
        SYS_recvmsg SYS_recvmmsg];
    "System V and POSIX IPC, in the task's own IPC namespace", Allow, [SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget
        SYS_semop SYS_semtimedop SYS_semctl SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink
        SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr];
    "a task may confine itself further", Allow, [SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule
        SYS_landlock_restrict_self];
    "only known socket families and protocols", IfAny(SOCKETS), [SYS_socket];
    "pairs of local sockets", If(Condition { argument: 0, test: Test::OneOf(AF_UNIX), otherwise: EAFNOSUPPORT }),
        [SYS_socketpair];
    "new processes and threads, no new namespaces", If(Condition { argument: 0, test: Test::NoneOf(NAMESPACES), otherwise: EPERM }),
        [SYS_clone];
    "its flags lie in memory where no filter sees them; C libraries then use clone", Errno(ENOSYS), [SYS_clone3];
    "devices and files, but no typing into terminals", If(Condition { argument: 1, test: Test::NoneOfThese(TERMINAL_TRICKS), otherwise: EPERM }),
        [SYS_ioctl];
    "what programs really ask; the others switch protections off", If(Condition { argument: 0, test: Test::OneOf(PERSONALITIES), otherwise: EPERM }),
        [SYS_personality];
];

/// Older forms that only x86-64 has.
#[cfg(target_arch = "x86_64")]
static NATIVE: &[Entry] = entries![
    "older forms of the calls above", Allow, [SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_getdents SYS_mkdir SYS_rmdir
        SYS_unlink SYS_rename SYS_link SYS_symlink SYS_readlink SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes
        SYS_futimesat SYS_mknod SYS_dup2 SYS_pipe SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd
        SYS_inotify_init SYS_fork SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time];
    "thread-local storage", Allow, [SYS_arch_prctl];
    "files: the newer form of fchmodat", Allow, [SYS_fchmodat2];
];
#[cfg(target_arch = "aarch64")]
static NATIVE: &[Entry] =
    // libc has no name for it on this architecture.
    &[Entry {
        reason: "files: the newer form of fchmodat",
        verdict: Allow,
        calls: &[452],
        names: &["SYS_fchmodat2"],
    }];

static FILTER: LazyLock<Vec<Instruction>> = LazyLock::new(|| bpf::compile(ARCH, FOREIGN_FROM, &verdicts()));

fn verdicts() -> Vec<(u32, Verdict)> {
    entries().flat_map(|e| e.calls.iter().map(|call| (*call as u32, e.verdict))).collect()
}

/// The whole table.
pub(crate) fn entries() -> impl Iterator<Item = &'static Entry> {
    COMMON.iter().chain(NATIVE)
}

/// The default filter; compiled once, shared by all tasks.
pub(super) fn default_filter() -> &'static [Instruction] {
    &FILTER
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = 0x7fff_0000;
    const KILLED: u32 = 0x8000_0000;

    fn errno(n: u32) -> u32 {
        0x0005_0000 | n
    }

    fn ask(number: libc::c_long, args: [u64; 6]) -> u32 {
        bpf::run(default_filter(), ARCH, number as u32, args)
    }

    #[test]
    fn the_search_finds_what_the_table_says() {
        let table = verdicts();
        for number in 0..=LAST_KNOWN + 50 {
            let found = bpf::run(default_filter(), ARCH, number, [0; 6]);
            match table.iter().find(|(n, _)| *n == number) {
                Some((_, Allow)) => assert_eq!(found, ALLOWED, "{number}"),
                Some((_, Errno(e))) => assert_eq!(found, errno(u32::from(*e)), "{number}"),
                Some((_, If(_) | IfAny(_) | Verdict::Kill)) => {}
                None if number > LAST_KNOWN => assert_eq!(found, errno(38), "{number}"),
                None => assert_eq!(found, errno(1), "{number}"),
            }
        }
    }

    #[test]
    fn no_call_stands_twice() {
        let mut numbers: Vec<u32> = verdicts().iter().map(|(n, _)| *n).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(numbers.iter().all(|n| *n <= LAST_KNOWN), "raise LAST_KNOWN");
    }

    #[test]
    fn foreign_architectures_and_x32_end_the_process() {
        const I386: u32 = 0x4000_0003;
        assert_eq!(bpf::run(default_filter(), I386, 1, [0; 6]), KILLED);
        if FOREIGN_FROM.is_some() {
            assert_eq!(ask(0x4000_0000 + libc::SYS_read, [0; 6]), KILLED);
        }
    }

    #[test]
    fn arguments_decide() {
        for (family, verdict) in [
            (1, ALLOWED),
            (2, ALLOWED),
            (10, ALLOWED),
            (16, ALLOWED),
            (38, errno(97)),
            (40, errno(97)),
            (17, errno(97)),
        ] {
            assert_eq!(ask(libc::SYS_socket, [family, 1, 0, 0, 0, 0]), verdict, "family {family}");
        }
        for (protocol, verdict) in [(0, ALLOWED), (6, errno(97)), (9, errno(97)), (12, errno(97))] {
            assert_eq!(ask(libc::SYS_socket, [16, 3, protocol, 0, 0, 0]), verdict, "netlink {protocol}");
        }
        assert_eq!(ask(libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]), ALLOWED);
        assert_eq!(ask(libc::SYS_socketpair, [16, 3, 0, 0, 0, 0]), errno(97));
        let thread = 0x003d_0f00;
        assert_eq!(ask(libc::SYS_clone, [thread, 0, 0, 0, 0, 0]), ALLOWED);
        for flag in [0x80, 0x0002_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            assert_eq!(ask(libc::SYS_clone, [thread | flag, 0, 0, 0, 0, 0]), errno(1), "{flag:#x}");
        }
        assert_eq!(ask(libc::SYS_clone3, [0; 6]), errno(38));
        assert_eq!(ask(libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOWED);
        assert_eq!(ask(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), errno(1));
        assert_eq!(ask(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOWED);
        assert_eq!(ask(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]), errno(1));
    }

    #[test]
    fn what_must_not_be_there_is_not() {
        for call in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_pivot_root,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_name_to_handle_at,
            libc::SYS_open_by_handle_at,
            libc::SYS_memfd_secret,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_mount_setattr,
            libc::SYS_vmsplice,
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
            libc::SYS_chroot,
            libc::SYS_syslog,
            libc::SYS_settimeofday,
            libc::SYS_fanotify_init,
            libc::SYS_quotactl,
        ] {
            assert_eq!(ask(call, [0; 6]), errno(1), "{call}");
        }
    }

    #[test]
    fn every_entry_has_a_reason() {
        for entry in entries() {
            assert!(entry.reason.len() > 10, "{}", entry.reason);
        }
    }
}
