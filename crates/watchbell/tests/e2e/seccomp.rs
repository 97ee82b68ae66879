//! System call profiles of the machine, on real containers.

use serde_json::{Value, json};

use crate::stand::{Stand, condition, is_left_out, job};

/// What busybox' shell needs to print something.
const SHELL: [&str; 40] = [
    "access",
    "arch_prctl",
    "brk",
    "clone",
    "close",
    "dup2",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "fcntl",
    "fork",
    "fstat",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getuid",
    "ioctl",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "openat",
    "pipe2",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "write",
];
const MORE: [&str; 6] = ["open", "stat", "uname", "vfork", "wait4", "faccessat"];

fn profile(more: &[&str]) -> Value {
    let names: Vec<&str> = SHELL.iter().chain(&MORE).chain(more).copied().collect();
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]})
}

impl Stand {
    fn put_profile(&self, name: &str, profile: &Value) {
        std::fs::write(self.data().join("seccomp").join(name), profile.to_string()).unwrap();
    }
}

/// A Job of busybox whose pod has this profile.
fn under(name: &str, profile: &str, script: &str) -> String {
    let context = format!(
        "restartPolicy: Never\n      securityContext: {{seccompProfile: {{type: Localhost, localhostProfile: {profile}}}}}"
    );
    job(name, "backoffLimit: 0", script).replace("restartPolicy: Never", &context)
}

#[test]
fn a_profile_takes_away_and_holds_for_those_who_enter_too() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.put_profile("small.json", &profile(&["rt_sigsuspend", "nanosleep", "clock_nanosleep"]));
    let script = "grep -E '^Seccomp' /proc/self/status; mkdir /tmp/a && echo made; echo printed";
    for (name, manifest) in
        [("plain", job("plain", "backoffLimit: 0", script)), ("small", under("small", "small.json", script))]
    {
        stand.apply(&manifest);
        let done = stand.finished("default", name);
        let log = stand.watchbell(&["logs", &format!("job/{name}")]).ok();
        assert!(condition(&done, "Complete"), "{log}");
        let is_small = name == "small";
        let filters = if is_small { "2" } else { "1" };
        assert!(log.contains(&format!("Seccomp_filters:\t{filters}\n")), "{log}");
        assert_eq!(log.contains("made\n"), !is_small, "{log}");
        assert_eq!(
            log.contains("can't create directory '/tmp/a': Operation not permitted"),
            is_small,
            "{log}"
        );
        assert!(log.ends_with("printed\n"), "{log}");
    }

    let wait = "trap 'exit 0' TERM; echo up; while :; do sleep 1; done";
    stand.apply(&under("waits", "small.json", wait));
    let mut pod = String::new();
    stand.until("it runs", |stand| {
        let pods = stand.get(&["pods", "-l", "job-name=waits"]);
        pod = pods["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        !pod.is_empty() && stand.watchbell(&["logs", &pod]).out == "up\n"
    });
    let entered = stand.watchbell(&["exec", &pod, "--", "/bin/busybox", "mkdir", "/tmp/b"]);
    assert!(entered.code == Some(1) && entered.err.contains("Operation not permitted"), "{entered:?}");
    assert_eq!(stand.watchbell(&["exec", &pod, "--", "/bin/busybox", "echo", "in"]).ok(), "in\n");
    stand.watchbell(&["delete", "job", "waits"]).ok();
    stand.end();
}

#[test]
fn a_container_waits_for_a_profile_and_says_what_is_wrong_with_it() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&under("waits", "team/small.json", "echo ran"));
    let waits = |stand: &mut Stand, part: &str| {
        stand.until(part, |stand| {
            let pods = stand.get(&["pods", "-l", "job-name=waits"]);
            let state = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"];
            let message = state["message"].as_str().unwrap_or_default();
            state["reason"] == "CreateContainerError" && message.contains(part)
        });
    };
    waits(&mut stand, "cannot load seccomp profile \"team/small.json\": there is no such file");
    std::fs::create_dir(stand.data().join("seccomp/team")).unwrap();
    stand.put_profile("team/small.json", &profile(&["ptrace", "kcmp"]));
    waits(&mut stand, "it allows kcmp, ptrace, which the default filter refuses");
    stand.put_profile("team/small.json", &json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
    waits(&mut stand, "defaultAction: SCMP_ACT_NOTIFY: nobody would answer on a listener");
    stand.put_profile("team/small.json", &profile(&[]));
    assert!(condition(&stand.finished("default", "waits"), "Complete"));
    assert_eq!(stand.watchbell(&["logs", "job/waits"]).ok(), "ran\n");
    stand.end();
}
