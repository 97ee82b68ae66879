/* Attempts by path. A file that must not be written to is opened for writing and closed again; one that must not be read
   counts as reached when it gives a byte. */
#define _GNU_SOURCE
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void writes(const char *path) { got(open(path, O_WRONLY | O_CLOEXEC)); }

static void reads(const char *path) {
    char byte;
    struct stat is;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &is)) {
        got(-1);
        return;
    }
    if (S_ISDIR(is.st_mode)) {
        int entries = 0;
        DIR *directory = fdopendir(fd);
        while (directory && readdir(directory)) entries++;
        said(entries > 2 ? "reached" : "empty");
        return;
    }
    ssize_t n = read(fd, &byte, 1);
    if (n == 0) said("empty");
    else got(n);
}

/* The first of several that opens. */
static void any(const char *const *paths, int flags) {
    int last = ENOENT;
    for (; *paths; paths++) {
        if (open(*paths, flags | O_CLOEXEC | O_NONBLOCK) >= 0) {
            said("reached");
            return;
        }
        if (errno != ENOENT) last = errno;
    }
    errno = last;
    got(-1);
}

/* The same file in every control group hierarchy that is mounted: of version 2 at the top, of version 1 in directories below. */
static void in_hierarchies(const char *name, int flags) {
    static char text[64][512];
    const char *paths[65] = {0};
    int count = 0;
    snprintf(text[count], sizeof text[0], "/sys/fs/cgroup/%s", name);
    paths[count] = text[count];
    count++;
    DIR *top = opendir("/sys/fs/cgroup");
    for (struct dirent *e; top && count < 64 && (e = readdir(top));) {
        struct stat is;
        if (e->d_name[0] == '.') continue;
        if (fstatat(dirfd(top), e->d_name, &is, 0) || !S_ISDIR(is.st_mode)) continue;
        snprintf(text[count], sizeof text[0], "/sys/fs/cgroup/%s/%s", e->d_name, name);
        paths[count] = text[count];
        count++;
    }
    any(paths, flags);
}

static void core_pattern(void) { writes("/proc/sys/kernel/core_pattern"); }
static void modprobe(void) { writes("/proc/sys/kernel/modprobe"); }
static void hotplug(void) { writes("/sys/kernel/uevent_helper"); }
static void sysrq_trigger(void) { writes("/proc/sysrq-trigger"); }
static void sysrq(void) { writes("/proc/sys/kernel/sysrq"); }
static void release_agent(void) { in_hierarchies("release_agent", O_WRONLY); }
static void cgroup_procs(void) { in_hierarchies("cgroup.procs", O_WRONLY); }
/* Of version 2 those of one's own group, as the topmost has none: inside it is the topmost that is seen. */
static void own_limit(void) {
    static char group[256], text[2][512];
    FILE *groups = fopen("/proc/self/cgroup", "r");
    if (!prepared(groups ? 0 : -1, "groups")) return;
    for (char line[512]; fgets(line, sizeof line, groups);) sscanf(line, "0::%255[^\n]", group);
    snprintf(text[0], sizeof text[0], "/sys/fs/cgroup%s/memory.max", group);
    snprintf(text[1], sizeof text[1], "/sys/fs/cgroup%s/pids.max", group);
    const char *paths[] = {text[0], text[1], "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max",
        "/sys/fs/cgroup/unified/cgroup.max.depth", "/sys/fs/cgroup/cpu/cpu.shares", 0};
    any(paths, O_WRONLY);
}
static void devices(void) {
    static const char *const paths[] = {"/dev/kmsg", "/dev/mem", "/dev/kvm", "/dev/fuse", "/dev/loop-control",
        "/dev/loop0", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/dm-0", "/dev/net/tun", "/dev/uinput", "/dev/vhost-net", 0};
    any(paths, O_RDWR);
}
/* A file without a name: the control leaves none. Overlay file systems know those from Linux 6.3 on. */
static void makes_in(const char *directory) {
    char path[64];
    int fd = open(directory, O_TMPFILE | O_WRONLY, 0600);
    if (fd < 0 && errno == EOPNOTSUPP) {
        snprintf(path, sizeof path, "%s/.attack-%d", directory, getpid());
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd >= 0) unlink(path);
    }
    got(fd);
}
static void make_device(void) { makes_in("/dev"); }

/* Anything beyond the three that every program has, and a directory or a device among those. */
static void descriptors(void) {
    for (int fd = 0; fd < 65536; fd++) {
        struct stat is;
        if (fstat(fd, &is)) continue;
        int is_null = S_ISCHR(is.st_mode) && is.st_rdev == makedev(1, 3);
        if (fd > 2 || !(S_ISFIFO(is.st_mode) || is_null || S_ISREG(is.st_mode))) {
            said("reached");
            return;
        }
    }
    said("none");
}
static void own_program(void) { writes("/proc/self/exe"); }

/* The masks are an empty file or directory, whatever the image has in their place; what is there must be what it looks like. */
static void null_device(void) {
    struct stat is;
    if (is_control && !(prepared(mount("none", "/dev", "tmpfs", 0, 0), "mount") &&
                        prepared(symlink("/proc/sys/kernel/core_pattern", "/dev/null"), "link")))
        return;
    if (!prepared(lstat("/dev/null", &is), "null")) return;
    said(S_ISCHR(is.st_mode) && is.st_rdev == makedev(1, 3) ? "genuine" : "reached");
}
static void console(void) { got(open("/dev/console", O_RDWR | O_NOCTTY)); }
/* A write to one's own part of procfs that lands in another, because something was mounted on it. */
static void proc_redirect(void) {
    struct stat root, attr, sys;
    if (is_control && !prepared(mount("none", "/proc/sys/kernel", "tmpfs", 0, 0), "mount")) return;
    if (!prepared(stat("/proc", &root), "proc") || !prepared(stat("/proc/self/attr", &attr), "attr") ||
        !prepared(stat("/proc/sys/kernel", &sys), "sys"))
        return;
    said(root.st_dev == attr.st_dev && root.st_dev == sys.st_dev ? "genuine" : "reached");
}

static void kcore(void) { reads("/proc/kcore"); }
static void keys(void) { reads("/proc/keys"); }
/* Reading takes it from whoever else reads: the control only opens it. */
static void kmsg(void) {
    if (is_control) got(open("/proc/kmsg", O_RDONLY | O_NONBLOCK));
    else reads("/proc/kmsg");
}
static void timers(void) { reads("/proc/timer_list"); }
static void interrupts(void) { reads("/proc/interrupts"); }
static void symbols(void) { reads("/proc/kallsyms"); }
static void configuration(void) { reads("/proc/config.gz"); }
static void acpi(void) { reads("/proc/acpi"); }
static void scsi(void) { reads("/proc/scsi"); }
static void firmware(void) { reads("/sys/firmware"); }
static void security(void) { reads("/sys/kernel/security"); }
static void debugging(void) { reads("/sys/kernel/debug"); }
static void disks(void) { reads("/sys/block"); }

static void write_root(void) { makes_in("/"); }
/* Not every machine has the first. */
static void write_etc(void) {
    static const char *const paths[] = {"/etc/hosts", "/etc/passwd", 0};
    any(paths, O_WRONLY);
}
static void replace_message(void) {
    const char *path = is_control ? "/tmp/termination-log" : "/dev/termination-log";
    if (unlink(path) && errno != ENOENT) got(-1);
    else got(symlink("/etc/shadow", path));
}
static void oom_score(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    if (prepared(fd, "open")) got(write(fd, "-500", 4));
}

const struct attack files[] = {
    {1, "core-pattern", core_pattern},
    {1, "modprobe", modprobe},
    {1, "uevent-helper", hotplug},
    {2, "sysrq-trigger", sysrq_trigger},
    {2, "sysrq", sysrq},
    {3, "release-agent", release_agent},
    {3, "cgroup-procs", cgroup_procs},
    {3, "cgroup-limits", own_limit},
    {17, "devices", devices},
    {17, "make-device", make_device},
    {21, "descriptors", descriptors},
    {22, "own-program", own_program},
    {23, "null-device", null_device},
    {24, "console", console},
    {25, "proc-redirect", proc_redirect},
    {31, "termination-link", replace_message},
    {32, "kcore", kcore},
    {32, "keys", keys},
    {32, "kmsg", kmsg},
    {32, "timer-list", timers},
    {32, "interrupts", interrupts},
    {32, "kallsyms", symbols},
    {32, "config", configuration},
    {32, "acpi", acpi},
    {32, "scsi", scsi},
    {32, "firmware", firmware},
    {32, "security", security},
    {32, "debug", debugging},
    {32, "disks", disks},
    {35, "write-root", write_root},
    {35, "write-etc", write_etc},
    {40, "oom-score", oom_score},
    {0, 0, 0},
};
