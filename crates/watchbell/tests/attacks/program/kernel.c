/* Attempts by system call. What a filter, a capability check or a namespace must stop is called with arguments that would
   succeed, so that a failure is a refusal and no accident. */
#define _GNU_SOURCE
#include "attack.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define HIGH_BIT (1UL << 32)

/* A child that waits to be attacked. */
static pid_t victim(void) {
    pid_t child = fork();
    if (child == 0)
        for (;;) pause();
    return prepared(child, "fork") ? child : -1;
}
/* It ends whatever was done to it, as it holds the output open. */
static void release(pid_t child, long result) {
    got(result);
    kill(child, SIGKILL);
    waitpid(child, 0, __WALL);
}

/* For calls that make a process when they succeed. */
static void got_child(long child) {
    if (child == 0) _exit(0);
    if (got(child) > 0) waitpid(child, 0, 0);
}

static int scratch_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT, 0700);
    return prepared(fd, "scratch") ? fd : -1;
}

/* 3, 4: mounts. */
static void mount_cgroup(void) {
    if (prepared(mkdir("/tmp/cg", 0700), "mkdir")) got(mount("none", "/tmp/cg", "cgroup", 0, "memory"));
}
static void mount_cgroup2(void) {
    if (prepared(mkdir("/tmp/cg2", 0700), "mkdir")) got(mount("none", "/tmp/cg2", "cgroup2", 0, 0));
}
static void mount_tmpfs(void) { got(mount("none", "/tmp", "tmpfs", 0, 0)); }
static void mount_proc(void) {
    if (prepared(mkdir("/tmp/p", 0700), "mkdir")) got(mount("none", "/tmp/p", "proc", 0, 0));
}
static void remount_root(void) { got(mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0)); }
static void bind_mount(void) {
    if (prepared(mkdir("/tmp/b", 0700), "mkdir")) got(mount("/proc/sys", "/tmp/b", 0, MS_BIND, 0));
}
static void unmount_proc(void) { got(umount2("/proc", MNT_DETACH)); }
static void open_fs(void) { got(syscall(SYS_fsopen, "tmpfs", 0)); }
static void open_tree_clone(void) { got(syscall(SYS_open_tree, AT_FDCWD, "/proc", 1 /* OPEN_TREE_CLONE */)); }
static void set_mount_attributes(void) {
    uint64_t attributes[4] = {0, 1 /* RDONLY off */, 0, 0};
    got(syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, attributes, sizeof attributes));
}
static void pivot(void) { got(syscall(SYS_pivot_root, "/", "/")); }
static void change_root(void) { got(chroot("/tmp")); }

/* 5, 6: namespaces. */
static void unshare_user(void) { got(unshare(CLONE_NEWUSER)); }
static void unshare_net(void) { got(unshare(CLONE_NEWNET)); }
static void unshare_mount(void) { got(unshare(CLONE_NEWNS)); }
static void netfilter(void) { got(socket(AF_NETLINK, SOCK_RAW, 12)); }
static void clone3_user(void) {
    uint64_t args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    got_child(syscall(SYS_clone3, args, sizeof args));
}
static void clone_user(void) { got_child(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static void clone_high(void) { got_child(syscall(SYS_clone, HIGH_BIT | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
/* The control is in namespaces of its own: its parent is in the host's. */
static pid_t outsider(void) { return is_control ? getppid() : 1; }
static void set_namespace(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", outsider());
    int fd = open(path, O_RDONLY);
    if (prepared(fd, "open")) got(setns(fd, CLONE_NEWNS));
}
static void set_namespace_pidfd(void) {
    int fd = syscall(SYS_pidfd_open, outsider(), 0);
    if (prepared(fd, "pidfd")) got(setns(fd, CLONE_NEWNS | CLONE_NEWUTS));
}

/* 8: other processes. */
static void trace(void) {
    pid_t child = victim();
    if (child > 0) release(child, ptrace(PTRACE_ATTACH, child, 0, 0));
}
static void trace_seize(void) {
    pid_t child = victim();
    if (child > 0) release(child, ptrace(PTRACE_SEIZE, child, 0, 0));
}
static void read_memory(void) {
    static char here[8] = "memory", there[8];
    struct iovec to = {there, 8}, from = {here, 8};
    pid_t child = victim();
    if (child > 0) release(child, process_vm_readv(child, &to, 1, &from, 1, 0));
}
static void take_descriptor(void) {
    pid_t child = victim();
    int fd = child > 0 ? syscall(SYS_pidfd_open, child, 0) : -1;
    if (prepared(fd, "pidfd")) release(child, syscall(SYS_pidfd_getfd, fd, 1, 0));
}
static void compare(void) {
    pid_t child = victim();
    if (child > 0) release(child, syscall(SYS_kcmp, getpid(), child, 1, 0, 0));
}
/* Anybody but this program and its first process. */
static void others(void) {
    int found = 0;
    DIR *proc = opendir("/proc");
    if (!prepared(proc ? 0 : -1, "proc")) return;
    for (struct dirent *e; (e = readdir(proc));) {
        int pid = atoi(e->d_name);
        if (pid > 0 && pid != getpid() && pid != getppid()) found++;
    }
    said(found ? "reached" : "nobody");
}
static void signal_others(void) { got(kill(-1, 0)); }

/* 9–13: parts of the kernel that a task has no use for. */
static void keyring(void) { got(syscall(SYS_keyctl, 0, -3, 0)); }
static void join_keyring(void) { got(syscall(SYS_keyctl, 1, "attack")); }
static void add_key(void) { got(syscall(SYS_add_key, "user", "attack", "x", 1, -2)); }
static void request_key(void) { got(syscall(SYS_request_key, "user", "attack-no-such-key", 0, 0)); }
static void bpf_map(void) {
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    got(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
}
static void perf(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK};
    got(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}
static void io_uring(void) {
    static char params[256];
    got(syscall(SYS_io_uring_setup, 1, params));
}
static void aio(void) {
    unsigned long context = 0;
    got(syscall(SYS_io_setup, 1, &context));
}
static void page_faults(void) { got(syscall(SYS_userfaultfd, O_CLOEXEC)); }
static void file_events(void) { got(syscall(SYS_fanotify_init, 0, 0)); }
static void secret_memory(void) { got(syscall(SYS_memfd_secret, 0)); }
static void splice_memory(void) {
    int ends[2];
    struct iovec page = {"x", 1};
    if (prepared(pipe(ends), "pipe")) got(vmsplice(ends[1], &page, 1, 0));
}
/* What is set is what it was. */
static void adjust_clock(void) {
    struct timex now = {0};
    /* To read is allowed in most places. */
    long result = syscall(SYS_adjtimex, &now);
    now.modes = ADJ_TICK;
    got(result < 0 ? result : syscall(SYS_adjtimex, &now));
}
static void time_zone(void) {
    struct timezone now;
    if (prepared(syscall(SYS_gettimeofday, 0, &now), "gettimeofday")) got(syscall(SYS_settimeofday, 0, &now));
}
/* A pod of this suite is younger than that, whatever it runs on. */
static void uptime(void) {
    struct timespec up;
    if (prepared(syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &up), "clock")) said(up.tv_sec > 600 ? "reached" : "young");
}
static void kernel_log(void) { got(syscall(SYS_syslog, 10, 0, 0)); }

/* 14, 15: socket families. */
static void alg(void) { got(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static void alg_high(void) { got(syscall(SYS_socket, HIGH_BIT | AF_ALG, SOCK_SEQPACKET, 0)); }
#ifdef __x86_64__
static long int80(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    if (result >= 0 || result < -4095) return result;
    errno = -result;
    return -1;
}
static void alg_int80(void) { got(int80(359, AF_ALG, SOCK_SEQPACKET, 0)); }
static void pid_int80(void) { got(int80(20, 0, 0, 0)); }
static void pid_x32(void) { got(syscall(0x40000000 + SYS_getpid)); }
#endif
/* A key of a TCP socket names any hash, which the kernel finds or loads: linux/tcp.h of 6.7. */
static void alg_tcp(void) {
    struct {
        struct sockaddr_storage address;
        char hash[64];
        int32_t interface;
        uint32_t flags;
        uint16_t reserved;
        uint8_t prefix, send_id, receive_id, mac_length, key_flags, key_length, key[80];
    } __attribute__((aligned(8))) add = {.hash = "hmac(sha1)", .key_length = 3, .key = "key"};
    add.address.ss_family = AF_INET;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (prepared(fd, "socket")) got(setsockopt(fd, IPPROTO_TCP, 38 /* TCP_AO_ADD_KEY */, &add, sizeof add));
}
static void vsock(void) { got(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static void packet(void) { got(socket(AF_PACKET, SOCK_RAW, htons(3))); }
static void raw_ip(void) { got(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
/* All that are neither local sockets, nor internet, nor netlink. */
static void families(void) {
    char text[256] = "";
    for (int family = 3; family < 64; family++) {
        if (family == AF_INET6 || family == AF_NETLINK) continue;
        for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++) {
            if (socket(family, type, 0) < 0 && (errno == EAFNOSUPPORT || errno == EPERM)) continue;
            snprintf(text + strlen(text), sizeof text - strlen(text), ",%d", family);
            break;
        }
    }
    said(*text ? "reached" : "none");
}
/* Of the internet, all that root would have to load a module for somewhere: any protocol but TCP, UDP, ICMP and raw ones. First those
   that most kernels have: for each that is not there a program is run. */
static void internet_protocols(void) {
    static const int families[] = {AF_INET, AF_INET6}, likely[] = {262 /* MPTCP */, IPPROTO_UDPLITE, IPPROTO_SCTP};
    int first = sizeof likely / sizeof *likely;
    for (int n = -first; n <= 262; n++)
        for (size_t i = 0; i < 2; i++)
            for (int type = SOCK_STREAM; type <= SOCK_DCCP; type++) {
                int protocol = n < 0 ? likely[n + first] : n;
                int is_usual = !protocol || protocol == IPPROTO_ICMP || protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
                               protocol == IPPROTO_ICMPV6 || protocol == IPPROTO_RAW;
                if (type <= SOCK_RAW && is_usual) continue;
                int fd = socket(families[i], type, protocol);
                if (fd < 0) continue;
                close(fd);
                said("reached");
                return;
            }
    said("none");
}
/* All of netlink but the list of interfaces. */
static void netlinks(void) {
    for (int protocol = 1; protocol < 32; protocol++)
        if (socket(AF_NETLINK, SOCK_RAW, protocol) >= 0) {
            said("reached");
            return;
        }
    said("none");
}

/* Questions to bridges and VLANs, of which only a module knows the answer. It is loaded before anybody asks who calls; ENOPKG says that
   there is none. */
static void bridges(void) {
    unsigned long version[3] = {0};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (prepared(fd, "socket")) got(ioctl(fd, 0x8940 /* SIOCGIFBR */, version));
}
static void vlans(void) {
    struct { int command; char device[24], more[24]; short quality; } unknown = {255};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (!prepared(fd, "socket")) return;
    long result = ioctl(fd, 0x8982 /* SIOCGIFVLAN */, &unknown);
    /* The module's own word for what it does not know. */
    got(result < 0 && errno == EOPNOTSUPP ? 0 : result);
}

/* 16: the host's files by number, whatever the path. */
static void name_to_handle(void) {
    struct { struct file_handle head; char bytes[128]; } handle = {.head.handle_bytes = 128};
    int mount;
    got(name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount, 0));
}
static void open_by_handle(void) {
    struct { struct file_handle head; uint32_t inode, generation; } root = {{8, 1}, 2, 0};
    int at = open("/", O_RDONLY | O_DIRECTORY);
    if (prepared(at, "open")) got(open_by_handle_at(at, &root.head, O_RDONLY));
}

/* 17: devices of one's own making. */
static void make_disk(void) { got(mknod("/tmp/disk", S_IFBLK | 0600, makedev(7, 0))); }
static void make_memory(void) { got(mknod("/tmp/memory", S_IFCHR | 0600, makedev(1, 1))); }

/* 18: more rights than one was given. */
static void become_root(void) { got(setresuid(0, 0, 0)); }
static void join_group(void) { got(setgroups(1, (gid_t[]){0})); }
static void raise_capabilities(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}};
    got(syscall(SYS_capset, &head, sets));
}
static void give_to_root(void) {
    int fd = scratch_file("/tmp/owned");
    if (fd >= 0) got(fchown(fd, getuid() ? 0 : 12345, -1));
}
static void capable_file(void) {
    uint32_t value[5] = {0x02000001, 1u << CAP_SYS_ADMIN};
    int fd = scratch_file("/tmp/capable");
    if (fd >= 0) got(fsetxattr(fd, "security.capability", value, sizeof value, 0));
}
/* `/suid` is this program in the image, root's and with the bit; the control makes one. As a user that is not root. */
static void run_setuid(void) {
    const char *program = "/suid";
    if (access(program, F_OK)) {
        char bytes[1 << 16];
        int from = open("/proc/self/exe", O_RDONLY), to = scratch_file("/tmp/suid");
        program = "/tmp/suid";
        for (ssize_t n; (n = read(from, bytes, sizeof bytes)) > 0;)
            if (!prepared(write(to, bytes, n) == n ? 0 : -1, "copy")) return;
        if (!prepared(fchmod(to, 04755), "mode")) return;
        close(to);
        chmod("/tmp", 0755);
    }
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgroups(0, 0) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))) _exit(4);
        execl(program, program, "euid", (char *)0);
        _exit(5);
    }
    int status;
    if (!prepared(child, "fork") || waitpid(child, &status, 0) < 0) return;
    switch (WIFEXITED(status) ? WEXITSTATUS(status) : -1) {
    case 0: said("reached"); break;
    case 3: said("same-user"); break;
    default: said("not-tried:exec");
    }
}

/* 19, 20. */
static void no_randomness(void) { got(personality(ADDR_NO_RANDOMIZE)); }
static void executable_data(void) { got(personality(READ_IMPLIES_EXEC)); }
static void controlling_terminal(void) { got(open("/dev/tty", O_RDWR)); }
/* A terminal of one's own; typing into it is what the kernel may refuse. */
static void type_into(unsigned long command) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    if (!prepared(master, "ptmx") || !prepared(unlockpt(master), "unlock")) return;
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (!prepared(terminal, "pts")) return;
    setsid();
    ioctl(terminal, TIOCSCTTY, 0);
    got(syscall(SYS_ioctl, terminal, command, "x"));
}
static void type_in(void) { type_into(TIOCSTI); }
static void type_in_high(void) { type_into(HIGH_BIT | TIOCSTI); }
static void line_discipline(void) { type_into(TIOCSETD); }

/* 40. */
static void realtime(void) { got(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, (int[]){50})); }
static void deadline(void) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; }
        attr = {48, 6, 0, 0, 0, 1000000, 10000000, 10000000};
    got(syscall(SYS_sched_setattr, 0, &attr, 0));
}
static void niceness(void) { got(setpriority(PRIO_PROCESS, 0, -5)); }
static void io_realtime(void) { got(syscall(SYS_ioprio_set, 1, 0, (1 << 13) | 4)); }

const struct attack kernel_calls[] = {
    {1, "adjust-clock", adjust_clock},
    {1, "time-zone", time_zone},
    {3, "mount-cgroup", mount_cgroup},
    {3, "mount-cgroup2", mount_cgroup2},
    {4, "mount-tmpfs", mount_tmpfs},
    {4, "mount-proc", mount_proc},
    {4, "remount-root", remount_root},
    {4, "bind-mount", bind_mount},
    {4, "unmount-proc", unmount_proc},
    {4, "fsopen", open_fs},
    {4, "open-tree", open_tree_clone},
    {4, "mount-setattr", set_mount_attributes},
    {4, "pivot-root", pivot},
    {4, "chroot", change_root},
    {5, "unshare-user", unshare_user},
    {5, "unshare-net", unshare_net},
    {5, "unshare-mount", unshare_mount},
    {5, "netfilter", netfilter},
    {6, "clone3-user", clone3_user},
    {6, "clone-user", clone_user},
    {6, "clone-user-high-bits", clone_high},
    {7, "setns-init", set_namespace},
    {7, "setns-pidfd", set_namespace_pidfd},
    {8, "ptrace", trace},
    {8, "ptrace-seize", trace_seize},
    {8, "process-vm-readv", read_memory},
    {8, "pidfd-getfd", take_descriptor},
    {8, "kcmp", compare},
    {8, "other-processes", others},
    {8, "signal-others", signal_others},
    {9, "keyctl", keyring},
    {9, "keyctl-join", join_keyring},
    {9, "add-key", add_key},
    {9, "request-key", request_key},
    {10, "bpf", bpf_map},
    {11, "perf", perf},
    {12, "io-uring", io_uring},
    {12, "aio", aio},
    {13, "userfaultfd", page_faults},
    {13, "fanotify", file_events},
    {13, "memfd-secret", secret_memory},
    {14, "af-alg", alg},
    {14, "af-alg-high-bits", alg_high},
    {14, "tcp-ao", alg_tcp},
#ifdef __x86_64__
    {14, "af-alg-int80", alg_int80},
    {14, "int80", pid_int80},
    {14, "x32", pid_x32},
#endif
    {14, "vmsplice", splice_memory},
    {15, "af-vsock", vsock},
    {15, "af-packet", packet},
    {15, "raw-ip", raw_ip},
    {15, "socket-families", families},
    {15, "netlink-protocols", netlinks},
    {15, "internet-protocols", internet_protocols},
    {15, "bridges", bridges},
    {15, "vlans", vlans},
    {16, "name-to-handle", name_to_handle},
    {16, "open-by-handle", open_by_handle},
    {17, "mknod-disk", make_disk},
    {17, "mknod-memory", make_memory},
    {18, "setuid", become_root},
    {18, "setgroups", join_group},
    {18, "capset", raise_capabilities},
    {18, "chown", give_to_root},
    {18, "file-capability", capable_file},
    {18, "setuid-program", run_setuid},
    {19, "no-randomize", no_randomness},
    {19, "read-implies-exec", executable_data},
    {20, "controlling-terminal", controlling_terminal},
    {20, "tiocsti", type_in},
    {20, "tiocsti-high-bits", type_in_high},
    {20, "tiocsetd", line_discipline},
    {32, "kernel-log", kernel_log},
    {32, "uptime", uptime},
    {40, "realtime", realtime},
    {40, "deadline", deadline},
    {40, "nice", niceness},
    {40, "io-realtime", io_realtime},
    {0, 0, 0},
};
