/* Attacks on what there is of everything: each takes until it is stopped and says how far it came. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 16];

static const char *why(void) { return strerrorname_np(errno) ? strerrorname_np(errno) : "?"; }

/* forks N: so many children that stay. */
static int forks(long wanted) {
    long made = 0;
    pid_t group = getpid();
    setpgid(0, 0);
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != group) _exit(0);
            for (;;) pause();
        }
    }
    printf("%ld %s\n", made, made < wanted ? why() : "all");
    return 0;
}

/* zombies N: so many that ended and are never waited for. */
static int zombies(long wanted) {
    long made = 0;
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) _exit(0);
    }
    printf("%ld %s\n", made, made < wanted ? why() : "all");
    return 0;
}

/* memory MIB: touches every page. */
static int memory(long mib) {
    for (long n = 0; n < mib; n++) {
        char *page = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) {
            printf("%ld %s\n", n, why());
            return 0;
        }
        memset(page, 1, 1 << 20);
    }
    printf("%ld all\n", mib);
    return 0;
}

/* hold MIB: the same, until it is killed. */
static int hold(long mib) {
    memory(mib);
    puts("holding");
    fflush(stdout);
    for (;;) pause();
}

/* fill PATH MIB */
static int fill(const char *path, long mib) {
    long written = 0, wanted = mib << 20;
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd >= 0)
        for (ssize_t n; written < wanted && (n = write(fd, block, sizeof block)) > 0;) written += n;
    printf("%ld %s\n", written >> 10, fd >= 0 && written >= wanted ? "all" : why());
    return 0;
}

/* files DIRECTORY N */
static int many_files(const char *directory, long wanted) {
    char path[256];
    long made = 0;
    for (; made < wanted; made++) {
        snprintf(path, sizeof path, "%s/%ld", directory, made);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) break;
        close(fd);
    }
    printf("%ld %s\n", made, made < wanted ? why() : "all");
    return 0;
}

/* flood MIB: what terminals obey, and what looks like lines of the log. */
static int flood(long mib) {
    static const char trick[] = "\x1b]0;title\x07\x1b[2J\r\n2020-01-01T00:00:00Z stdout F forged ";
    for (size_t at = 0; at + sizeof trick < sizeof block; at += sizeof trick - 1) memcpy(block + at, trick, sizeof trick - 1);
    for (size_t at = 0; at < sizeof block; at++) if (!block[at]) block[at] = 'x';
    long wanted = mib << 20;
    for (ssize_t n; wanted > 0 && (n = write(1, block, sizeof block)) > 0;) wanted -= n;
    return wanted > 0;
}

/* stay: will not go, and what it started will not either. */
static int stay(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            puts("here");
            fflush(stdout);
            /* Its outputs stay open. */
            for (;;) pause();
        }
        _exit(0);
    }
    for (;;) pause();
}

/* Until there are no more, or `most`. */
static void take(const char *what, int (*one)(void), long most) {
    long count = 0;
    while (count < most && one() >= 0) count++;
    printf("%s %ld %s\n", what, count, count < most ? why() : "all");
}
static int one_inotify(void) { return inotify_init1(IN_CLOEXEC); }
static int one_file(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
static int one_socket(void) { return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); }

/* descriptors MOST, held until it is killed */
static int descriptors(long most) {
    take("inotify", one_inotify, most);
    struct rlimit limit = {most, most};
    fflush(stdout);
    /* In children, as each has a table of its own. */
    for (int n = 0; n < 2; n++)
        if (fork() == 0) {
            setrlimit(RLIMIT_NOFILE, &limit);
            take(n ? "sockets" : "files", n ? one_socket : one_file, most);
            exit(0);
        }
    while (wait(0) > 0) {}
    puts("holding");
    fflush(stdout);
    for (;;) pause();
}

/* inotify UID N: as a user who has nothing else, held until it is killed. With 0 it stays who it is. */
static int inotify_of(long uid, long wanted) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (uid && setresuid(uid, uid, uid)) return 97;
    take("inotify", one_inotify, wanted);
    puts("holding");
    fflush(stdout);
    for (;;) pause();
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Of the kernel's own memory, so much at a time: a full pipe, a full socket, a full queue, a large set. */
static int one_pipe(void) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK)) return -1;
    while (write(ends[1], block, sizeof block) > 0) {}
    return errno == EAGAIN ? 0 : -1;
}
static int one_pair(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)) return -1;
    while (write(ends[1], block, sizeof block) > 0) {}
    return errno == EAGAIN ? 0 : -1;
}
static int one_queue(void) {
    struct { long type; char text[8000]; } message = {1, {0}};
    int id = msgget(IPC_PRIVATE, 0600);
    if (id < 0) return -1;
    while (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == 0) {}
    return errno == EAGAIN ? 0 : -1;
}
static int one_set(void) { return semget(IPC_PRIVATE, 32000, 0600); }

/* kernel WHAT N */
static int kernel(const char *what, long wanted) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (is_control && unshare(CLONE_NEWIPC)) return 98;
    take(what, !strcmp(what, "pipes")     ? one_pipe
               : !strcmp(what, "sockets") ? one_pair
               : !strcmp(what, "queues")  ? one_queue
                                          : one_set, wanted);
    return 0;
}

/* one-of-each: whether there is any left for others. */

/* A number of a file of one's own control group, behind the word if there is one: of version 2, else of version 1, whose controller
   of CPU time may share its hierarchy. */
static long of_group(const char *name, const char *older, const char *word) {
    const char *const tried[][2] = {{"/sys/fs/cgroup", name}, {"/sys/fs/cgroup/cpu", older}, {"/sys/fs/cgroup/cpu,cpuacct", older}};
    char path[128], text[1024] = "";
    int fd = -1;
    for (int i = 0; i < 3 && fd < 0; i++) {
        snprintf(path, sizeof path, "%s/%s", tried[i][0], tried[i][1]);
        fd = open(path, O_RDONLY);
    }
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0) return -1;
    close(fd);
    char *at = strstr(text, word);
    return at ? atol(at + strlen(word)) : -1;
}
static long waits(void) { return of_group("cpu.stat", "cpu.stat", "nr_throttled "); }

/* burn MS: CPU time, until the kernel made the control group wait, or so much. Says what it may take of each period, in
   microseconds, and whether it was made to wait. How long that takes says nothing: others run too. */
static int burn(long ms) {
    long before = waits();
    while (waits() <= before && seconds(CLOCK_PROCESS_CPUTIME_ID) < ms / 1e3) {}
    printf("%ld %s\n", of_group("cpu.max", "cpu.cfs_quota_us", ""), waits() > before ? "waited" : "free");
    return 0;
}

/* reveal PATH: how long the secrets are that it was given, as a variable and as a file. */
static int reveal(const char *path) {
    char bytes[256];
    const char *key = getenv("KEY");
    int fd = open(path, O_RDONLY);
    printf("%zu %zd\n", key ? strlen(key) : 0, read(fd, bytes, sizeof bytes));
    return 0;
}

int exhaust(const char *verb, int argc, char **argv) {
    /* What the control fills is its own: nobody else sees this mount, and it ends with it. */
    if (is_control && (unshare(CLONE_NEWNS) || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) ||
                       mount("none", "/tmp", "tmpfs", 0, 0) || mount("none", "/dev/shm", "tmpfs", 0, 0))) {
        perror("control: no directory of its own");
        return 98;
    }
    const char *path = argc > 1 ? argv[0] : "";
    long number = argc > 0 ? atol(argv[argc - 1]) : 0;
    if (!strcmp(verb, "forks")) return forks(number);
    if (!strcmp(verb, "zombies")) return zombies(number);
    if (!strcmp(verb, "memory")) return memory(number);
    if (!strcmp(verb, "hold")) return hold(number);
    if (!strcmp(verb, "inotify")) return inotify_of(atol(path), number);
    if (!strcmp(verb, "fill")) return fill(path, number);
    if (!strcmp(verb, "files")) return many_files(path, number);
    if (!strcmp(verb, "flood")) return flood(number);
    if (!strcmp(verb, "stay")) return stay();
    if (!strcmp(verb, "descriptors")) return descriptors(number);
    if (!strcmp(verb, "reveal")) return reveal(argv[0]);
    if (!strcmp(verb, "one-of-each")) return one_inotify() < 0 || one_file() < 0 || one_socket() < 0;
    if (!strcmp(verb, "kernel")) return kernel(path, number);
    if (!strcmp(verb, "burn")) return burn(number);
    fprintf(stderr, "no verb %s\n", verb);
    return 99;
}
