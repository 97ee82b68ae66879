/*
 * Tries to get out of a container, or to get more than its share, and prints what it got: a line an attempt, with the number
 * of docs/attacks.md, its name and the outcome.
 *
 *   attack calls             every attempt that is one call or a few
 *   attack control calls     the same as root on the host: what is reached there and not inside is the container's doing.
 *                            In namespaces of its own, so that what succeeds changes nothing; what would be written to is
 *                            only opened.
 *   attack [control] VERB …  one attack on what there is of processes, memory, files, CPU: see exhaust.c
 */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

int is_control;
static const char *current_name;
static int current_number;

void said(const char *word) {
    printf("%d %s %s\n", current_number, current_name, word);
    fflush(stdout);
}

long got(long result) {
    const char *name = strerrorname_np(errno);
    said(result >= 0 ? "reached" : name ? name : "?");
    return result;
}

int prepared(long result, const char *what) {
    if (result >= 0) return 1;
    char text[200];
    snprintf(text, sizeof text, "not-tried:%s:%s", what, strerrorname_np(errno) ? strerrorname_np(errno) : "?");
    said(text);
    return 0;
}

/* Each attempt in a process of its own: what it gains, breaks or is killed for is nothing to the next. */
static void attempt(const struct attack *attack) {
    current_name = attack->name;
    current_number = attack->number;
    fflush(stdout);
    pid_t child = fork();
    if (!prepared(child, "fork")) return;
    if (child == 0) {
        /* For what never returns: however slow the machine is, no attempt takes so long. */
        alarm(200);
        /* Nothing that is mounted or named here is seen by anybody else. */
        if (is_control && !(prepared(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC), "unshare") &&
                            prepared(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0), "private") &&
                            prepared(mount("none", "/tmp", "tmpfs", 0, "size=1m"), "tmp")))
            _exit(0);
        attack->run();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        char text[64];
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(text, sizeof text, "killed-by-SIG%s", name ? name : "?");
        said(text);
    }
}

static void attempts(const struct attack *attacks) {
    for (; attacks->run; attacks++) attempt(attacks);
}

/* Makes the control what a careless runtime makes of a container: a terminal that it controls, a directory of the host that
   is left open. */
static void be_careless(void) {
    int terminal = -1, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master >= 0 && !grantpt(master) && !unlockpt(master)) terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (getpgrp() == getpid()) {
        pid_t child = fork();
        if (child > 0) {
            int status;
            waitpid(child, &status, 0);
            exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        }
    }
    if (terminal < 0 || setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0)) perror("control: no terminal");
    if (dup2(open("/", O_RDONLY | O_DIRECTORY), 9) < 0) perror("control: no directory");
}

int main(int argc, char **argv) {
    is_control = argc > 1 && !strcmp(argv[1], "control");
    if (is_control) argc--, argv++;
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "euid")) return geteuid() == 0 ? 0 : 3;
    if (!strcmp(verb, "calls")) {
        if (is_control) be_careless();
        attempts(kernel_calls);
        attempts(files);
        puts("end");
        return 0;
    }
    return exhaust(verb, argc - 2, argv + 2);
}
