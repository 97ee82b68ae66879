/* What runs inside containers of the tests: does one thing and says how it went. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char *name(long result) {
    return result >= 0 ? "allowed" : strerrorname_np(errno) ? strerrorname_np(errno) : "?";
}

static void say(const char *what, long result) { printf("%s %s\n", what, name(result)); }

static void cat(const char *path) {
    char buffer[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0) { printf("%s\n", strerrorname_np(errno)); return; }
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) fwrite(buffer, 1, n, stdout);
    close(fd);
}

/* These would change the machine if they were allowed: for inside only. */
static void changes(void) {
    say("mount", mount("none", "/tmp", "tmpfs", 0, 0));
    say("remount", mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0));
    say("umount-mask", umount2("/proc/interrupts", MNT_DETACH));
    say("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    say("setns", setns(open("/proc/self/ns/net", O_RDONLY), 0));
    say("mknod", mknod("/tmp/null", S_IFCHR | 0666, (1 << 8) | 3));
    say("setuid", setuid(0));
    say("setgid", setgid(0));
    say("chroot", chroot("/tmp"));
    say("swapon", syscall(SYS_swapon, "/x", 0));
    say("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    say("settime", syscall(SYS_settimeofday, 0, 0));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    say("clock_settime", clock_settime(CLOCK_REALTIME, &now));
    say("adjtimex", adjtimex(&(struct timex){.modes = ADJ_TICK, .tick = 10000}));
    say("clock-offsets", write(open("/proc/self/timens_offsets", O_WRONLY), "boottime 1 0", 12));
    say("sethostname", sethostname("x", 1));
    say("init_module", syscall(SYS_init_module, 0, 0, ""));
    say("write-root", open("/x", O_WRONLY | O_CREAT, 0600));
    say("write-etc", open("/etc/hosts", O_WRONLY));
    say("write-dev", open("/dev/x", O_WRONLY | O_CREAT, 0600));
    say("chmod-null", chmod("/dev/null", 0600));
    say("write-proc-sys", open("/proc/sys/kernel/domainname", O_WRONLY));
    say("raise-oom-score", open("/proc/self/oom_score_adj", O_WRONLY) < 0 ? -1 : 0);
    say("realtime", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, (int[]){50}));
    say("nice", setpriority(0, 0, -5));
    say("own-program", open("/proc/self/exe", O_WRONLY));
    say("unknown-call", syscall(4000, 0));
}

/* What somebody with every capability finds outside the root: by the old way out of a changed one, and by taking it away. */
static void below(void) {
    struct stat inside, found;
    int namespace = open("/proc/self/ns/mnt", O_RDONLY), outside = open("/", O_RDONLY | O_DIRECTORY);
    fstat(outside, &inside);
    say("chroot", chroot("/dev"));
    say("stay", fchdir(outside));
    for (int i = 0; i < 64; i++) chdir("..");
    say("leave", chroot("."));
    say("look", stat("/", &found));
    printf("found %s\n", inside.st_dev == found.st_dev && inside.st_ino == found.st_ino ? "itself" : "another");
    say("umount", umount2("/", MNT_DETACH));
    say("enter", setns(namespace, CLONE_NEWNS));
    DIR *dir = opendir("/");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) printf("below %s\n", entry->d_name);
    say("remount", mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0));
    say("make", mkdir("/x", 0700));
    say("make-inside", mkdir("/landing/x", 0700));
}

static void harmless(void) {
    int pair[2];
    say("socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("socket-inet", socket(AF_INET, SOCK_STREAM, 0));
    say("socket-inet6", socket(AF_INET6, SOCK_DGRAM, 0));
    say("socket-route", socket(AF_NETLINK, SOCK_RAW, 0));
    say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    say("fifo", mkfifo("/tmp/fifo", 0600));
    say("write-tmp", open("/tmp/x", O_WRONLY | O_CREAT, 0600));
    say("write-shm", open("/dev/shm/x", O_WRONLY | O_CREAT, 0600));
    say("null", open("/dev/null", O_RDWR));
    say("urandom", open("/dev/urandom", O_RDONLY));
    say("stdout-again", open("/dev/stdout", O_WRONLY));
    pid_t child = fork();
    if (child == 0) _exit(0);
    say("fork", child);
    waitpid(child, 0, 0);
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof loopback;
    bind(server, (struct sockaddr *)&loopback, length);
    listen(server, 1);
    getsockname(server, (struct sockaddr *)&loopback, &length);
    say("loopback", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&loopback, length));
}

/* A node made in a writable place is of use only where it can be opened. */
static void make_and_open(const char *what, const char *path, mode_t kind, unsigned major, unsigned minor) {
    int made = mknod(path, kind | 0600, makedev(major, minor));
    say(what, made ? made : open(path, O_RDONLY | O_NONBLOCK));
}

static void nodes(void) {
    static const char *const harmless[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) say(harmless[i], open(harmless[i], O_RDWR | O_NOCTTY));
    say("write-null", write(open("/dev/null", O_WRONLY), "x", 1));
    make_and_open("disk", "/dev/disk", S_IFBLK, 8, 0);
    make_and_open("memory", "/dev/memory", S_IFCHR, 1, 1);
    make_and_open("another-null", "/dev/null-again", S_IFCHR, 1, 3);
}

/* Whole seconds, by every way to ask. */
static void clocks(void) {
    static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    char own[64] = "", children[64] = "";
    struct timespec at;
    struct sysinfo info;
    double up = 0;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        syscall(SYS_clock_gettime, ids[i], &at);
        printf("call-%zu %ld\n", i, (long)at.tv_sec);
        clock_gettime(ids[i], &at);
        printf("vdso-%zu %ld\n", i, (long)at.tv_sec);
    }
    sysinfo(&info);
    printf("sysinfo %ld\n", info.uptime);
    FILE *file = fopen("/proc/uptime", "r");
    if (file && fscanf(file, "%lf", &up) == 1) printf("uptime %.0f\n", up);
    readlink("/proc/self/ns/time", own, sizeof own - 1);
    readlink("/proc/self/ns/time_for_children", children, sizeof children - 1);
    printf("namespace %s\nchildren %s\n", own, children);
}

static size_t slurp(const char *path, char *buffer, size_t room) {
    int fd = open(path, O_RDONLY);
    size_t length = 0;
    for (ssize_t n; fd >= 0 && length < room - 1 && (n = read(fd, buffer + length, room - 1 - length)) > 0;) length += n;
    if (fd >= 0) close(fd);
    buffer[length] = 0;
    return length;
}

/* The lines of /proc/<who>/status that say who a process is. */
static void identity(const char *who, char *out) {
    static char text[65536];
    static const char *const names[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:",
                                        "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "SigIgn:", "SigBlk:", "Umask:"};
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/status", who);
    slurp(path, text, sizeof text);
    *out = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n"))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strncmp(line, names[i], strlen(names[i]))) strcat(strcat(out, line), " ");
}

/* Whether this process is who another is, as far as /proc says. */
static void compare(const char *other) {
    static char mine[65536], theirs[65536];
    char path[64];
    identity("self", mine);
    identity(other, theirs);
    printf("identity %s\n", !strcmp(mine, theirs) && *mine ? "same" : mine);
    static const char *const files[] = {"uid_map", "gid_map", "cgroup", "limits", "environ", "oom_score_adj", "mountinfo"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/self/%s", files[i]);
        size_t a = slurp(path, mine, sizeof mine);
        snprintf(path, sizeof path, "/proc/%s/%s", other, files[i]);
        size_t b = slurp(path, theirs, sizeof theirs);
        printf("%s %s\n", files[i], a && a == b && !memcmp(mine, theirs, a) ? "same" : "differs");
    }
    static const char *const links[] = {"ns/user", "ns/mnt", "ns/pid", "ns/pid_for_children", "ns/net", "ns/ipc", "ns/uts",
                                        "ns/cgroup", "ns/time", "cwd", "root"};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "/proc/self/%s", links[i]);
        ssize_t a = readlink(path, mine, sizeof mine);
        snprintf(path, sizeof path, "/proc/%s/%s", other, links[i]);
        ssize_t b = readlink(path, theirs, sizeof theirs);
        printf("%s %s\n", links[i], a > 0 && a == b && !memcmp(mine, theirs, a) ? "same" : "differs");
    }
    printf("leads-session %s\n", getsid(0) == getpid() ? "yes" : "no");
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
}

/* The number that the last process of this pid namespace got. */
static int last_pid(void) {
    static char text[256];
    slurp("/proc/loadavg", text, sizeof text);
    char *at = strrchr(text, ' ');
    return at ? atoi(at) : 0;
}

/* Looks into every process that appears, until it is told to stop: is there one that is not of here? */
static void spy(void) {
    static char own[65536], text[65536];
    long looks = 0;
    slurp("/proc/self/mountinfo", own, sizeof own);
    puts("here");
    fflush(stdout);
    for (;;) {
        if (open("/tmp/stop", O_RDONLY) >= 0) break;
        /* Numbers go up: the next one is near the last. */
        int last = last_pid();
        for (int pid = last > 2 ? last - 2 : 2; pid < last + 6; pid++) {
            char path[64];
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d/mountinfo", pid);
            if (!slurp(path, text, sizeof text)) continue;
            if (!looks++) {
                puts("looked");
                fflush(stdout);
            }
            if (strcmp(own, text)) printf("leak mountinfo %.2000s\n", text);
            snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
            size_t n = slurp(path, text, sizeof text);
            for (size_t i = 0; i + 1 < n; i++) if (!text[i]) text[i] = ' ';
            if (strstr(text, "spawner") || strstr(text, "state-dir")) printf("leak cmdline %s\n", text);
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            ssize_t length = readlink(path, text, sizeof text - 1);
            if (length > 0 && memmem(text, length, "memfd", 5)) puts("leak exe");
            int fd = open(path, O_WRONLY);
            if (fd >= 0) { printf("leak writable exe\n"); close(fd); }
            snprintf(path, sizeof path, "/proc/%d/environ", pid);
            slurp(path, text, sizeof text);
            if (*text && !strstr(text, "PATH=")) printf("leak environ %s\n", text);
            snprintf(path, sizeof path, "/proc/%d/fd", pid);
            DIR *directory = opendir(path);
            if (directory) {
                for (struct dirent *e; (e = readdir(directory));) if (atoi(e->d_name) > 2) {
                    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, e->d_name);
                    length = readlink(path, text, sizeof text - 1);
                    if (length > 0) { text[length] = 0; printf("leak descriptor %s\n", text); }
                }
                closedir(directory);
            }
        }
    }
}

/* What programs do with files of their own. */
static void files(void) {
    char path[64];
    int fd = open("/tmp/a", O_RDWR | O_CREAT, 0600);
    say("create", fd);
    say("mkdir", mkdir("/tmp/d", 0700));
    say("rename-across", rename("/tmp/a", "/tmp/d/a"));
    say("link-across", link("/tmp/d/a", "/tmp/b"));
    say("symlink", symlink("b", "/tmp/c"));
    say("truncate", truncate("/tmp/b", 0));
    say("open-truncate", open("/tmp/c", O_WRONLY | O_TRUNC));
    say("unlink", unlink("/tmp/b"));
    say("nameless", fd = open("/tmp", O_RDWR | O_TMPFILE, 0600));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    say("reopen-nameless", open(path, O_RDONLY));
    say("name", linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/d/named", AT_SYMLINK_FOLLOW));
    unlink("/tmp/d/named");
    unlink("/tmp/d/a");
    say("rmdir", rmdir("/tmp/d"));
    say("shm", shm_open("/x", O_RDWR | O_CREAT, 0600));
    say("queue", mq_open("/x", O_RDWR | O_CREAT, 0600, (struct mq_attr *)0));
    say("memfd", fd = memfd_create("x", 0));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY);
    say("reopen-memfd", again);
    int own = open("/proc/self/exe", O_RDONLY);
    say("own-program", own);
    for (ssize_t n; (n = sendfile(fd, own, 0, 1 << 20)) > 0;);
    fchmod(fd, 0700);
    close(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", again);
    pid_t child = fork();
    if (child == 0) { execv(path, (char *[]){path, "exit", "7", 0}); _exit(errno); }
    int status = 0;
    waitpid(child, &status, 0);
    printf("run-memfd %d\n", WEXITSTATUS(status));
    say("comm", open("/proc/self/comm", O_WRONLY | O_TRUNC));
    say("stderr-again", open("/dev/stderr", O_WRONLY | O_TRUNC));
    say("terminal", open("/dev/ptmx", O_RDWR));
    int pair[2];
    say("pipe", pipe(pair));
    snprintf(path, sizeof path, "/proc/self/fd/%d", pair[0]);
    say("reopen-pipe", open(path, O_RDONLY | O_NONBLOCK));
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/socket"};
    say("bind", bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address));
    pid_t other = fork();
    if (other == 0) { pause(); _exit(0); }
    snprintf(path, sizeof path, "/proc/%d/environ", other);
    say("environ-of-a-child", open(path, O_RDONLY));
    say("signal-a-child", kill(other, SIGKILL));
    waitpid(other, 0, 0);
}

/* Somebody hands in a directory of the host; what opens there? */
static void given(const char *socket_path, const char *file) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int s = socket(AF_UNIX, SOCK_STREAM, 0), fd = -1;
    strncpy(address.sun_path, socket_path, sizeof address.sun_path - 1);
    say("connect", connect(s, (struct sockaddr *)&address, sizeof address));
    if (recvmsg(s, &message, 0) > 0 && CMSG_FIRSTHDR(&message)) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    say("descriptor", fd);
    struct stat state;
    say("stat", fstatat(fd, file, &state, 0));
    say("list", openat(fd, ".", O_RDONLY | O_DIRECTORY));
    say("read", openat(fd, file, O_RDONLY));
    say("write", openat(fd, file, O_WRONLY));
    say("create", openat(fd, "made", O_WRONLY | O_CREAT, 0600));
    say("move-out", renameat(AT_FDCWD, "/tmp/x", fd, "moved"));
    say("enter", fchdir(fd));
    say("read-entered", open(file, O_RDONLY));
    pid_t child = fork();
    if (child == 0) { execveat(fd, "program", (char *[]){"program", "exit", "0", 0}, environ, 0); _exit(errno == EACCES ? 13 : 1); }
    int status = 0;
    waitpid(child, &status, 0);
    printf("execute %s\n", WEXITSTATUS(status) == 0 ? "allowed" : WEXITSTATUS(status) == 13 ? "EACCES" : "?");
}

static void on_change(int signal) {}

static void terminal(void) {
    struct winsize size = {0};
    struct sigaction action = {.sa_handler = on_change};
    sigset_t change, before;
    char line[256];
    sigaction(SIGWINCH, &action, 0);
    sigemptyset(&change);
    sigaddset(&change, SIGWINCH);
    sigprocmask(SIG_BLOCK, &change, &before);
    printf("terminals %d%d%d, leads %d, foreground %d\n", isatty(0), isatty(1), isatty(2), getsid(0) == getpid(),
           tcgetpgrp(0) == getpid());
    struct stat s;
    int reopened = open("/dev/tty", O_RDWR);
    fstat(0, &s);
    printf("mine %d, again %d, of devpts %d\n", s.st_uid == getuid(), reopened >= 0, major(s.st_rdev) == 136);
    if (reopened >= 0) close(reopened);
    fflush(stdout);
    while (ioctl(0, TIOCGWINSZ, &size), !size.ws_col) sigsuspend(&before);
    printf("size %d %d\n", size.ws_row, size.ws_col);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return;
    printf("got %s", line);
}

/* What a task may and may not do with a directory that lies above one of the node's. */
static void layered(void) {
    char buffer[64];
    int fd = open("a/0", O_WRONLY);
    say("change", fd);
    say("change-write", write(fd, "changed", 7));
    close(fd);
    close(open("a/new", O_WRONLY | O_CREAT, 0666));
    say("replace", rename("a/new", "a/1"));
    say("remove", unlink("a/2"));
    say("make", mkdir("b", 0777));
    say("rename-directory", rename("a", "c"));
    say("symlink", symlink("/etc/passwd", "link"));
    say("fifo", mkfifo("fifo", 0666));
    say("hard-link", link("a/0", "linked"));
    say("whiteout", mknod("white", S_IFCHR | 0666, 0));
    say("device", mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    close(open("old", O_WRONLY | O_CREAT, 0666));
    say("leave-whiteout", syscall(SYS_renameat2, AT_FDCWD, "old", AT_FDCWD, "moved", 4 /* RENAME_WHITEOUT */));
    say("opaque", setxattr("b", "trusted.overlay.opaque", "y", 1, 0));
    say("redirect", setxattr("b", "trusted.overlay.redirect", "/a", 2, 0));
    say("origin", getxattr("a/0", "trusted.overlay.origin", buffer, sizeof buffer));
    close(open("a/program", O_WRONLY | O_CREAT, 0777));
    int in = open("/proc/self/exe", O_RDONLY), out = open("program", O_WRONLY | O_CREAT, 0777);
    while (sendfile(out, in, 0, 1 << 20) > 0) {}
    close(out);
    say("setuid", chmod("program", 04755));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) { execl("program", "program", "exit", "0", NULL); say("execute", -1); fflush(stdout); _exit(0); }
    waitpid(child, 0, 0);
    int program = open("program", O_RDONLY);
    say("map-program", mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, program, 0) == MAP_FAILED ? -1 : 0);
    say("give-away", chown("program", 0, 0));
    say("remount", mount("none", ".", 0, MS_REMOUNT | MS_BIND, 0));
    long made = 0;
    for (char path[32]; made < 100000; made++) {
        snprintf(path, sizeof path, "b/%ld", made);
        int file = open(path, O_WRONLY | O_CREAT, 0666);
        if (file < 0) break;
        close(file);
    }
    say("many", made < 100000 ? -1 : 0);
}

/* By calls, as /proc may not be what it was; and which of the paths are not procfs any more. */
static void protections(char **paths) {
    unsigned long kept = 0;
    /* What cannot be asked for counts as kept. */
    for (int n = 0; n <= 40; n++) kept |= (unsigned long)(prctl(PR_CAPBSET_READ, n) != 0) << n;
    printf("no-new-privs %d\nseccomp %d\ncapabilities %lx\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
           prctl(PR_GET_SECCOMP), kept);
    for (; *paths; paths++) {
        struct statfs is;
        printf("%s %s\n", *paths, statfs(*paths, &is) ? strerrorname_np(errno) : is.f_type == 0x9fa0 ? "procfs" : "trap");
    }
}

/* Says "hello" to a place, as `tcp/ADDRESS/PORT` or `udp/…`, and what came back. Five seconds are for ever here. */
static void dial(char *place) {
    char spec[128], text[256] = "";
    snprintf(spec, sizeof spec, "%s", place);
    char *kind = strtok(spec, "/"), *address = strtok(0, "/"), *port = strtok(0, "/");
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
    int is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4) inet_pton(AF_INET6, address, &v6.sin6_addr);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, 0);
    struct timeval wait = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof v4 : sizeof v6) < 0 ||
        send(fd, "hello", 5, MSG_NOSIGNAL) < 0 || recv(fd, text, sizeof text - 1, 0) < 0)
        snprintf(text, sizeof text, "%s", strerrorname_np(errno));
    printf("%s %s\n", place, text);
    close(fd);
}

/* Listens as servers do, on all addresses, and says what it heard there by loopback. */
static void meets_itself(int port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&any, sizeof any) || listen(listener, 1)) { say("listen", -1); return; }
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    say("loopback", connect(one, (void *)&any, sizeof any));
    int accepted = accept(listener, 0, 0);
    char text[8] = "";
    send(one, "self", 4, 0);
    recv(accepted, text, sizeof text - 1, 0);
    printf("heard %s\n", text);
    close(one);
    close(accepted);
    char place[64];
    snprintf(place, sizeof place, "tcp/203.0.113.9/%d", port);
    dial(place);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    const char *arg = argc > 2 ? argv[2] : "";
    if (!strcmp(verb, "exit")) return atoi(arg);
    if (!strcmp(verb, "signal")) {
        /* The first process of a namespace ignores its own signals unless it handles them, but not faults. */
        if (atoi(arg) == SIGSEGV) *(volatile int *)0 = 0;
        return raise(atoi(arg));
    }
    if (!strcmp(verb, "cat")) { for (int i = 2; i < argc; i++) cat(argv[i]); return 0; }
    if (!strcmp(verb, "env")) { for (char **e = environ; *e; e++) puts(*e); return 0; }
    if (!strcmp(verb, "ls")) {
        DIR *directory = opendir(arg);
        if (!directory) { printf("%s\n", strerrorname_np(errno)); return 0; }
        for (struct dirent *e; (e = readdir(directory));) puts(e->d_name);
        return 0;
    }
    if (!strcmp(verb, "write")) {
        int fd = open(arg, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        say("open", fd);
        if (fd >= 0 && argc > 3) say("write", write(fd, argv[3], strlen(argv[3])));
        return 0;
    }
    if (!strcmp(verb, "stat")) {
        struct stat s;
        if (stat(arg, &s)) { printf("%s\n", strerrorname_np(errno)); return 0; }
        printf("%o %u %u %ld\n", s.st_mode, s.st_uid, s.st_gid, (long)s.st_size);
        return 0;
    }
    if (!strcmp(verb, "who")) {
        char directory[4096], host[256];
        gethostname(host, sizeof host);
        printf("%d %d %d %d %d %s %s\n", getuid(), getgid(), getpid(), getppid(), getsid(0), host,
               getcwd(directory, sizeof directory) ? directory : "?");
        return 0;
    }
    if (!strcmp(verb, "dial")) { for (int i = 2; i < argc; i++) dial(argv[i]); return 0; }
    if (!strcmp(verb, "meets-itself")) { meets_itself(atoi(arg)); return 0; }
    if (!strcmp(verb, "clocks")) { clocks(); return 0; }
    if (!strcmp(verb, "compare")) { compare(arg); return 0; }
    if (!strcmp(verb, "spy")) { spy(); return 0; }
    if (!strcmp(verb, "terminal")) { terminal(); return 5; }
    if (!strcmp(verb, "touch")) { close(open(arg, O_WRONLY | O_CREAT, 0600)); return 0; }
    if (!strcmp(verb, "swap")) {
        /* A directory becomes a link to somewhere else. */
        say("rmdir", rmdir(arg));
        say("symlink", symlink(argv[3], arg));
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(verb, "exchange")) {
        /* The same for ever, by turns. */
        say("exchange", syscall(SYS_renameat2, AT_FDCWD, arg, AT_FDCWD, argv[3], RENAME_EXCHANGE));
        fflush(stdout);
        for (;;) syscall(SYS_renameat2, AT_FDCWD, arg, AT_FDCWD, argv[3], RENAME_EXCHANGE);
    }
    if (!strcmp(verb, "protections")) { protections(argv + 2); return 0; }
    if (!strcmp(verb, "changes")) { changes(); return 0; }
    if (!strcmp(verb, "below")) { below(); return 0; }
    if (!strcmp(verb, "layered")) { if (chdir(arg)) return 3; layered(); return 0; }
    if (!strcmp(verb, "files")) { files(); return 0; }
    if (!strcmp(verb, "given")) { given(arg, argv[3]); return 0; }
    if (!strcmp(verb, "signal-to")) { say("signal", kill(atoi(arg), 0)); return 0; }
    if (!strcmp(verb, "reach")) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strncpy(address.sun_path + 1, arg, sizeof address.sun_path - 2);
        socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(arg);
        say("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, length));
        return 0;
    }
    if (!strcmp(verb, "harmless")) { harmless(); return 0; }
    if (!strcmp(verb, "nodes")) { nodes(); return 0; }
    if (!strcmp(verb, "eat")) {
        for (;;) {
            char *page = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (page == MAP_FAILED) return 3;
            memset(page, 1, 1 << 20);
        }
    }
    if (!strcmp(verb, "forks")) {
        int made = 0;
        for (; made < atoi(arg); made++) {
            pid_t child = fork();
            if (child < 0) { printf("%d %s\n", made, strerrorname_np(errno)); return 0; }
            if (child == 0) { pause(); _exit(0); }
        }
        printf("%d all\n", made);
        return 0;
    }
    if (!strcmp(verb, "fill")) {
        static char block[1 << 16];
        int fd = open(arg, O_WRONLY | O_CREAT, 0600);
        long written = 0;
        for (ssize_t n; (n = write(fd, block, sizeof block)) > 0;) written += n;
        printf("%ld %s\n", written, strerrorname_np(errno));
        return 0;
    }
    if (!strcmp(verb, "watch")) {
        /* Does anybody else use this file? */
        char events[4096];
        int watch = inotify_init1(IN_NONBLOCK);
        say("watch", inotify_add_watch(watch, arg, IN_ALL_EVENTS));
        fflush(stdout);
        for (int i = 0; i < 300; i++) {
            if (read(watch, events, sizeof events) > 0) { puts("seen"); return 0; }
            usleep(10000);
        }
        puts("nothing seen");
        return 0;
    }
    if (!strcmp(verb, "use")) { for (int i = 0; i < 100; i++) close(open(arg, O_RDONLY)); return 0; }
    if (!strcmp(verb, "fds")) {
        for (int fd = 0; fd < 65536; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
        puts("");
        return 0;
    }
    if (!strcmp(verb, "abstract")) {
        struct sockaddr { unsigned short family; char path[14]; } address = {AF_UNIX, "\0watchbell-x"};
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        say("connect", connect(s, (void *)&address, sizeof address));
        return 0;
    }
    if (!strcmp(verb, "outlive")) {
        /* Whoever started it may end without it. */
        say("forget", prctl(PR_SET_PDEATHSIG, 0));
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(verb, "pause")) {
        puts("here");
        fflush(stdout);
        for (;;) pause();
    }
    fprintf(stderr, "no verb %s\n", verb);
    return 99;
}
