//! The system calls a task may make, and those that it may not, each with the reason. Every call that either architecture
//! has stands here once; newer ones are ENOSYS, so that programs take the older way.

use super::bpf::{Condition, Look, Row, Rows, Test, Verdict, is};

/// The last call that these tables were made for (`mseal`).
pub(crate) const LAST_KNOWN: u32 = 462;

pub(super) const EPERM: u16 = 1;
pub(super) const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// `CLONE_NEW*`: time, mount, cgroup, uts, ipc, user, pid, net.
pub(super) const NAMESPACES: u32 =
    0x80 | 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
const EPROTONOSUPPORT: u16 = 93;
const INTERNET: &[u32] = &[2, 10];
/// The usual one, ICMP, TCP, UDP, ICMPv6, raw: what every kernel has built in. Any other number has the host's root load the module
/// that speaks it (SCTP, L2TP, DCCP, SMC).
const PROTOCOLS: &[u32] = &[0, 1, 6, 17, 58, 255];
/// Of a socket's type, what is 0 in SOCK_STREAM, SOCK_DGRAM and SOCK_RAW and not in SOCK_SEQPACKET, SOCK_DCCP and SOCK_PACKET: the
/// usual protocol of those is one of the others, or the family AF_PACKET.
const OTHER_TYPES: u32 = 0xc;
/// AF_UNIX; AF_INET and AF_INET6 with those protocols; of AF_NETLINK the list of interfaces alone (NETLINK_ROUTE), as netfilter's and
/// others' parsers were the way of many escalations. AF_ALG (CVE-2026-31431), AF_VSOCK, AF_PACKET and forty more are not there.
/// Go takes EPROTONOSUPPORT for a kernel without the protocol (it tries MPTCP), and goes on with TCP.
const SOCKETS: Rows = Rows {
    rows: &[
        &[is(0, AF_UNIX)],
        &[is(0, INTERNET), Look { argument: 1, bits: OTHER_TYPES, values: &[0] }, is(2, PROTOCOLS)],
        &[is(0, &[16]), is(2, &[0])],
    ],
    refused: &[(&[is(0, INTERNET)], EPROTONOSUPPORT)],
    otherwise: EAFNOSUPPORT,
};
const AF_UNIX: &[u32] = &[1];
/// AF_ALG and AF_VSOCK: the kernel's cipher code (CVE-2026-31431), and the machine below this one.
const NEVER_SOCKETS: &[u32] = &[38, 40];
/// TIOCSTI types into the terminal of another (CVE-2017-5226 and its kin), TIOCLINUX pastes into it, TIOCSETD loads line
/// disciplines. SIOCGIFBR, SIOCSIFBR, SIOCGIFVLAN, SIOCSIFVLAN, SIOCBRADDBR and SIOCBRDELBR have the host's root load the modules
/// of bridges and of VLANs before anybody asks who calls, on a socket of any family.
pub(super) const NEVER_IOCTLS: &[u32] =
    &[0x5412, 0x541c, 0x5423, 0x8940, 0x8941, 0x8982, 0x8983, 0x89a0, 0x89a1];
/// Of a TCP socket TCP_AO_ADD_KEY (Linux 6.7), which takes the name of any hash, without a right: the code that AF_ALG is refused for,
/// with its modules.
const TCP_HASHES: Row = &[is(1, &[6]), is(2, &[38])];
/// PER_LINUX, UNAME26 of it, PER_LINUX32 as some build systems ask, and the question itself.
const PERSONALITIES: &[u32] = &[0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Calls with one reason, and the answer to them.
pub(crate) struct Entry {
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who review the table, and its test"))]
    pub(crate) reason: &'static str,
    pub(super) verdict: Verdict,
    pub(super) calls: &'static [&'static str],
}

/// Calls that the default refuses with EPERM, with the reason.
pub(crate) struct Refused {
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who review the table, and its test"))]
    pub(crate) reason: &'static str,
    pub(super) lift: Lift,
    pub(super) calls: &'static [&'static str],
}

/// Whether a profile of the machine's own may allow what the default refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lift {
    /// Where namespace and ceiling permit wider profiles: what is at stake is the container, and the kernel's own checks.
    ByProfile,
    /// It is not the container's: the machine, what other filters and mounts keep, or what no namespace holds. Who needs it
    /// asks for a container without a filter, which root has to allow by a flag of its own.
    Never,
}

macro_rules! entries {
    ($($reason:literal, $verdict:expr, [$($call:ident)*];)*) => {
        &[$(Entry { reason: $reason, verdict: $verdict, calls: &[$(stringify!($call)),*] }),*]
    };
}

macro_rules! refused {
    ($($reason:literal, $lift:expr, [$($call:ident)*];)*) => {
        &[$(Refused { reason: $reason, lift: $lift, calls: &[$(stringify!($call)),*] }),*]
    };
}

use Lift::{ByProfile, Never};
use Verdict::{Allow, Errno, If, IfAny, Unless};

/// What a task may do.
pub(crate) static ALLOWED: &[Entry] = entries![

    "files: read and write what is open", Allow, [read write readv writev pread64 pwrite64
        preadv pwritev preadv2 pwritev2 lseek close close_range dup dup3 fcntl
        flock fsync fdatasync sync syncfs sync_file_range ftruncate fallocate fadvise64
        readahead copy_file_range sendfile];
    "files: open, look at, change and name them; permissions decide", Allow, [openat openat2 statx fstat
        newfstatat statfs fstatfs faccessat faccessat2 getdents64 getcwd chdir fchdir
        mkdirat unlinkat renameat renameat2 linkat symlinkat readlinkat fchmod fchmodat
        fchown fchownat truncate utimensat umask mknodat];
    "files: extended attributes of one's own files", Allow, [getxattr lgetxattr fgetxattr setxattr
        lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr lremovexattr
        fremovexattr];
    "files: be told of changes (one's own file systems only)", Allow, [inotify_init1 inotify_add_watch
        inotify_rm_watch];
    "pipes and waiting for descriptors", Allow, [pipe2 ppoll pselect6 epoll_create1 epoll_ctl
        epoll_pwait epoll_pwait2 eventfd2 signalfd4 timerfd_create timerfd_settime
        timerfd_gettime];
    "pipes: coreutils copy with them, between the task's own files and pipes", Allow, [splice tee];
    "memory of the process itself", Allow, [brk mmap munmap mremap mprotect madvise msync
        mincore mlock mlock2 munlock mlockall munlockall membarrier memfd_create
        remap_file_pages pkey_alloc pkey_free pkey_mprotect mseal process_madvise
        process_mrelease map_shadow_stack];
    "NUMA placement, which numerical libraries set for their own memory", Allow, [get_mempolicy set_mempolicy
        mbind set_mempolicy_home_node getcpu];
    "threads and their locks", Allow, [futex futex_wait futex_wake futex_requeue futex_waitv set_robust_list get_robust_list set_tid_address
        rseq gettid tgkill tkill sched_yield];
    "processes: end, wait for, signal one's own", Allow, [exit exit_group wait4 waitid kill
        pidfd_open pidfd_send_signal execve execveat getpid getppid getpgid setpgid getsid
        setsid];
    "signals, within the pid namespace", Allow, [rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait
        rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack restart_syscall];
    "identity: asked by everyone; changed within the task's own user namespace only", Allow, [getuid geteuid
        getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid
        setresuid setresgid setfsuid setfsgid setgroups capget capset];
    "scheduling of one's own threads, downwards", Allow, [sched_getaffinity sched_setaffinity sched_getparam
        sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority setpriority
        ioprio_get ioprio_set];
    "time: read and wait", Allow, [clock_gettime clock_getres clock_nanosleep gettimeofday nanosleep
        getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete times];
    "what the system is like", Allow, [uname sysinfo getrandom getrusage getrlimit setrlimit
        prlimit64 prctl];
    "sockets, of the families above", Allow, [bind listen accept accept4 connect getsockname
        getpeername getsockopt shutdown sendto sendmsg sendmmsg recvfrom
        recvmsg recvmmsg];
    "System V and POSIX IPC, in the task's own IPC namespace", Allow, [shmget shmat shmdt shmctl semget
        semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink
        mq_timedsend mq_timedreceive mq_notify mq_getsetattr];
    "a task may confine itself further", Allow, [seccomp landlock_create_ruleset landlock_add_rule
        landlock_restrict_self];
    "only known socket families and protocols", IfAny(SOCKETS), [socket];
    "options of sockets, but no hash of one's own choice", Unless(TCP_HASHES, EPERM), [setsockopt];
    "pairs of local sockets", If(Condition { argument: 0, test: Test::OneOf(AF_UNIX), otherwise: EAFNOSUPPORT }),
        [socketpair];
    "new processes and threads, no new namespaces", If(Condition { argument: 0, test: Test::NoneOf(NAMESPACES), otherwise: EPERM }),
        [clone];
    "its flags lie in memory where no filter sees them; C libraries then use clone", Errno(ENOSYS), [clone3];
    "devices and files, but no typing into terminals and no modules", If(Condition { argument: 1, test: Test::NoneOfThese(NEVER_IOCTLS), otherwise: EPERM }),
        [ioctl];
    "what programs really ask; the others switch protections off", If(Condition { argument: 0, test: Test::OneOf(PERSONALITIES), otherwise: EPERM }),
        [personality];
    // --- x86-64 alone; aarch64 has none of the older ---
    "older forms of the calls above", Allow, [open creat stat lstat access getdents mkdir rmdir
        unlink rename link symlink readlink chmod chown lchown utime utimes
        futimesat mknod dup2 pipe poll select epoll_create epoll_wait eventfd signalfd
        inotify_init fork vfork getpgrp alarm pause time];
    "thread-local storage", Allow, [arch_prctl];
    "files: the newer form of fchmodat", Allow, [fchmodat2];
    "where probes of the host's own tracing land; from anywhere else they are illegal instructions", Allow, [uprobe uretprobe];
];

/// What the default refuses.
pub(crate) static REFUSED: &[Refused] = refused![
    "replace, extend or stop the kernel", Never, [kexec_load kexec_file_load init_module finit_module delete_module
        create_module query_module get_kernel_syms reboot];
    "programs that run in the kernel", Never, [bpf];
    "swap, accounting and quotas are the machine's", Never, [swapon swapoff acct quotactl quotactl_fd];
    "ports of the hardware", Never, [iopl ioperm];
    "new namespaces, and those of others: the way to most of the kernel's parsers", Never, [unshare setns];
    "mounts: what is covered and read-only would not stay so", Never, [mount umount2 pivot_root fsopen fsconfig fsmount fspick
        open_tree move_mount mount_setattr];
    "their requests pass no filter", Never, [io_uring_setup io_uring_enter io_uring_register];
    "any file of a file system, whatever the path", Never, [open_by_handle_at];
    "keyrings are in no namespace, and asking for a key runs a program of the host", Never, [keyctl add_key request_key];
    "memory and descriptors of other processes", ByProfile, [ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd];
    "what the processor counts, for the machine as a whole", ByProfile, [perf_event_open];
    "holds the kernel up in the midst of a copy, as exploits like it", ByProfile, [userfaultfd];
    "their number is the whole machine's", ByProfile, [io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents];
    "moves pages that belong to others (CVE-2026-31431)", ByProfile, [vmsplice];
    "memory that nobody can look into", ByProfile, [memfd_secret];
    "watches whole file systems", ByProfile, [fanotify_init fanotify_mark];
    "names of files and mounts beyond paths, another root", ByProfile, [name_to_handle_at statmount listmount chroot];
    "the machine's clocks", ByProfile, [settimeofday clock_settime clock_adjtime adjtimex];
    "names that the pod was given", ByProfile, [sethostname setdomainname];
    "the kernel's log", ByProfile, [syslog];
    "where the memory of others lies", ByProfile, [migrate_pages move_pages];
    "what others have read lately", ByProfile, [cachestat];
    "security modules", ByProfile, [lsm_get_self_attr lsm_set_self_attr lsm_list_modules];
    "segments of 16 and 32 bits", ByProfile, [modify_ldt set_thread_area get_thread_area];
    "hangs up a terminal", ByProfile, [vhangup];
    "of the past: no program of today needs them", ByProfile, [_sysctl sysfs ustat uselib lookup_dcookie nfsservctl
        afs_syscall getpmsg putpmsg security tuxcall vserver epoll_ctl_old epoll_wait_old];
];

/// What stays refused, or has to look like this, whatever a profile says.
pub(crate) static FLOOR: &[Entry] = entries![
    "no new namespaces", If(Condition { argument: 0, test: Test::NoneOf(NAMESPACES), otherwise: EPERM }), [clone];
    "its flags lie in memory where no filter sees them; C libraries then use clone", Errno(ENOSYS), [clone3];
    "no way into the kernel's cipher code and below this machine",
        If(Condition { argument: 0, test: Test::NoneOfThese(NEVER_SOCKETS), otherwise: EAFNOSUPPORT }), [socket socketpair];
    "the same by keys of TCP", Unless(TCP_HASHES, EPERM), [setsockopt];
    "no typing into terminals, no modules", If(Condition { argument: 1, test: Test::NoneOfThese(NEVER_IOCTLS), otherwise: EPERM }),
        [ioctl];
];
