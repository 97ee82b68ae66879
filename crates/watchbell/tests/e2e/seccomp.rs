//! System call profiles of the machine, on real containers.

use std::process::Stdio;

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
    // In one stream: two have no order between them.
    let script = "exec 2>&1; grep -E '^Seccomp' /proc/self/status; mkdir /tmp/a && echo made; echo printed";
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
    let steps = stand.watchbell(&["explain", "sandbox", &pod]).ok();
    assert!(steps.contains("filter system calls by a profile of the machine too"), "{steps}");
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

#[test]
fn a_traced_job_teaches_a_profile_under_which_it_runs_and_another_does_not() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let script = "echo start; ls / >/dev/null; (echo in a child) | cat; umount /proc 2>/dev/null; nc -l -p 1 -w 1 >/dev/null 2>&1; \
                  echo $JOB_COMPLETION_INDEX";
    let spec =
        "backoffLimit: 0\n  completions: 2\n  parallelism: 2\n  completionMode: Indexed\n  suspend: true";
    stand.apply(&job("work", spec, script));
    let file = stand.path("learned.json");
    let done = stand.watchbell(&["trace", "job/work", "-o", file.to_str().unwrap(), "--index", "1"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    for part in ["job.batch/work-trace-", "  execve\n", "  socket  (first argument ", "the profile is in "] {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    assert!(done.out.is_empty());
    let left = stand.watchbell(&["get", "jobs", "-o", "name"]).ok();
    assert_eq!(left, "job.batch/work\n", "the copy is gone");
    let profile: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let names = profile["syscalls"][0]["names"].as_array().unwrap();
    let has = |name: &str| names.iter().any(|n| n == name);
    assert!(has("execve") && has("getdents64") && has("exit_group"), "{profile:#}");
    // The filter refused it, and nobody was asked; it is no part of what was learned.
    assert!(!has("umount2") && !has("mkdir") && !has("mkdirat") && names.len() < 90, "{profile:#}");

    stand.put_profile("learned.json", &profile);
    let printed = "start\nin a child\n1\n";
    for (name, script, expect) in [
        ("same", script.replace("$JOB_COMPLETION_INDEX", "1"), printed),
        (
            "other",
            "mkdir /tmp/a 2>&1; echo $?".to_owned(),
            "mkdir: can't create directory '/tmp/a': Operation not permitted\n1\n",
        ),
    ] {
        stand.apply(&under(name, "learned.json", &script));
        let done = stand.finished("default", name);
        let log = stand.watchbell(&["logs", &format!("job/{name}")]).ok();
        assert!(condition(&done, "Complete"), "{done} {log}");
        assert_eq!(log, expect);
    }
    // A control: without the profile the other one gets through.
    stand.apply(&job("free", "backoffLimit: 0", "mkdir /tmp/a 2>&1; echo $?"));
    stand.finished("default", "free");
    assert_eq!(stand.watchbell(&["logs", "job/free"]).ok(), "0\n");
    stand.end();
}

#[test]
fn a_run_that_fails_teaches_nothing_and_a_cronjob_can_be_traced() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&job("fails", "backoffLimit: 0", "exit 3"));
    stand.finished("default", "fails");
    let done = stand.watchbell(&["trace", "fails"]);
    assert!(done.code != Some(0) && done.out.is_empty(), "{}", done.out);
    assert!(done.err.contains("no profile was written"), "{}", done.err);
    let done = stand.watchbell(&["trace", "configmap/x"]);
    assert!(done.code == Some(2) || done.code == Some(64), "{done:?}");
    assert!(done.err.contains("this traces Jobs, CronJobs and Pods"), "{}", done.err);

    let template =
        job("x", "backoffLimit: 0", "echo nightly").split_once("spec:\n").unwrap().1.replace('\n', "\n    ");
    stand.apply(&format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: nightly}}\nspec:\n  schedule: '0 3 * * *'\n  suspend: true\n  jobTemplate:\n    spec:\n    {template}\n"
    ));
    let profile: Value = serde_json::from_str(&stand.watchbell(&["trace", "cronjob/nightly"]).ok()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let jobs = stand.get(&["jobs"]);
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "{jobs}");
    stand.end();
}

#[test]
fn a_pod_is_traced_as_the_index_that_it_is_or_alone() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let spec = "backoffLimit: 0\n  completions: 2\n  completionMode: Indexed";
    stand.apply(&job("work", spec, "test $JOB_COMPLETION_INDEX = 0 || sleep 0.01"));
    stand.finished("default", "work");
    let pods = stand.get(&["pods"]);
    let name_of = |index: &str| {
        let of_index = |pod: &&Value| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == index
        };
        pods["items"].as_array().unwrap().iter().find(of_index).unwrap()["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let sleeps = |profile: &str| profile.contains("nanosleep");
    for (index, expect) in [("0", false), ("1", true)] {
        let profile = stand.watchbell(&["trace", &format!("pod/{}", name_of(index))]).ok();
        assert_eq!(sleeps(&profile), expect, "{index}: {profile}");
    }
    let done = stand.watchbell(&["trace", &format!("pod/{}", name_of("0")), "--index", "1"]);
    assert!(done.err.contains("a pod is one index"), "{}", done.err);
    // A pod of nobody's runs once more as it was asked for.
    stand.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: alone}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: main, \
         image: 'busybox:bar', imagePullPolicy: Never, command: [/bin/busybox, sh, -c, 'sleep 0.01']}\n",
    );
    let profile = stand.watchbell(&["trace", "pod/alone"]).ok();
    assert!(sleeps(&profile), "{profile}");
    let jobs = stand.get(&["jobs"]);
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "the copies are gone: {jobs}");
    stand.end();
}

#[test]
fn a_trace_that_a_signal_ends_leaves_no_copy() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&job("long", "backoffLimit: 0", "trap exit TERM; while true; do sleep 0.1; done"));
    stand.watchbell(&["delete", "pods", "--all"]).ok();
    stand.finished("default", "long");
    for (signal, keep) in [
        (rustix::process::Signal::INT, false),
        (rustix::process::Signal::TERM, false),
        (rustix::process::Signal::HUP, true),
    ] {
        let mut command = stand.program();
        command.arg("--kubeconfig").arg(stand.kubeconfig()).args(["trace", "job/long"]);
        command.args(keep.then_some("--keep"));
        let trace = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        stand.until("the copy runs", |stand| {
            let pods = stand.get(&["pods"]);
            pods["items"].as_array().unwrap().iter().any(|pod| pod["status"]["phase"] == "Running")
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&trace), signal).unwrap();
        let ended = trace.wait_with_output().unwrap();
        let says = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(128 + signal.as_raw()), "{says}");
        assert!(says.contains("no profile was written"), "{says}");
        let jobs = stand.get(&["jobs"]);
        let copies: Vec<&Value> = jobs["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|job| job["metadata"]["name"] != "long")
            .collect();
        assert_eq!(copies.len(), usize::from(keep), "{jobs}");
        // Of one that is killed too, the copy goes by itself.
        let ttl = copies.first().map(|copy| copy["spec"]["ttlSecondsAfterFinished"].clone());
        assert_eq!(ttl, keep.then_some(Value::Null));
        stand.until("its pods are gone", |stand| {
            keep || stand.get(&["pods"])["items"].as_array().unwrap().is_empty()
        });
    }
    stand.watchbell(&["delete", "jobs", "--all"]).ok();
    stand.end();
}
