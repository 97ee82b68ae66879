//! What the doctor says of this very machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::stand::{Done, Stand, is_left_out, run};

fn proc_file(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}{}", done.out, done.err))
}

#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

fn doctor(stand: &Stand, dir: &Path, listen: &str) -> Done {
    stand.watchbell(&["doctor", "--data-dir", dir.to_str().unwrap(), "--listen", listen, "-o", "json"])
}

#[test]
fn the_doctor_finds_what_the_machine_says_of_itself() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::unstarted();
    let dir = stand.path("not/there/yet");
    let done = doctor(&stand, &dir, "127.0.0.1:0");
    let report = report(&done);
    assert_eq!((done.code, &report["canServe"]), (Some(0), &Value::Bool(true)), "{report:#}");
    for name in
        ["container-start", "user-namespaces", "idmapped-mounts", "overlay", "seccomp", "control-groups"]
    {
        assert_eq!(check(&report, name)["verdict"], "ok", "{report:#}");
        assert_eq!(check(&report, name)["required"], true);
    }
    let facts = &report["facts"];
    assert_eq!(facts["kernel"], proc_file("/proc/sys/kernel/osrelease"));
    for name in ["kernel.pid_max", "kernel.core_pattern", "user.max_user_namespaces"] {
        assert_eq!(facts["settings"][name], proc_file(&format!("/proc/sys/{}", name.replace('.', "/"))));
    }
    let status = proc_file("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    assert_eq!(facts["caller"]["capabilities"], u64::from_str_radix(effective, 16).unwrap());
    let limits = proc_file("/proc/self/limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(facts["openFilesMax"].to_string(), files.split_whitespace().nth(1).unwrap());
    let swaps = proc_file("/proc/swaps").lines().count() > 1;
    assert_eq!(facts["controlGroups"]["hasSwap"], swaps);
    let mounts = proc_file("/proc/self/mountinfo");
    let (v1, v2) = (mounts.contains(" - cgroup "), mounts.contains(" - cgroup2 "));
    let version = facts["controlGroups"]["version"].as_str().unwrap();
    assert!(
        matches!((version, v1, v2), ("hybrid", true, true) | ("v1", true, false) | ("v2", _, true)),
        "{version}"
    );
    assert_eq!(facts["storage"]["path"], stand.path("").canonicalize().unwrap().to_str().unwrap());
    assert!(facts["storage"]["freeBytes"].as_u64().unwrap() > 0);
    assert!(!stand.path("not").exists(), "nothing is made");
    assert_eq!(fs::read_dir(stand.path("")).unwrap().count(), 0, "nothing stays");
    // For people: a line a check, and what to do below those that are not well.
    let told =
        stand.watchbell(&["doctor", "--data-dir", dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]).ok();
    assert!(told.lines().any(|line| line.starts_with("ok       container-start ")), "{told}");
    assert_eq!(
        told.lines().filter(|line| line.starts_with("weaker ") || line.starts_with("unknown ")).count(),
        told.lines().filter(|line| line.starts_with("         do:  ")).count()
    );
}

/// A port that is taken is a reason, unless it is by the server of this directory.
#[test]
fn the_doctor_knows_the_server_that_runs() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::start();
    let config = fs::read_to_string(stand.kubeconfig()).unwrap();
    let (_, rest) = config.split_once("https://").unwrap();
    let address = rest.lines().next().unwrap().trim().trim_matches('"').to_owned();
    let done = doctor(&stand, &stand.data(), &address);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(check(&report(&done), "listen")["verdict"], "ok");
    let other = doctor(&stand, &stand.path("other"), &address);
    assert_eq!(other.code, Some(1));
    assert!(other.err.contains("serve would not start here: listen"), "{}", other.err);
    stand.end();
}

#[test]
fn what_the_doctor_misses_keeps_the_server_from_starting() {
    if is_left_out(&["setpriv"]) {
        return;
    }
    let stand = Stand::unstarted();
    let weaker = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_time", "--inh-caps=-sys_time"]);
        command.arg(env!("CARGO_BIN_EXE_watchbell")).args(args).env_remove("KUBECONFIG");
        run(command, "")
    };
    let dir = stand.path("data");
    let told =
        weaker(&["doctor", "--data-dir", dir.to_str().unwrap(), "--listen", "127.0.0.1:0", "-o", "json"]);
    let report = report(&told);
    assert_eq!((told.code, &report["canServe"]), (Some(1), &Value::Bool(false)));
    assert_eq!(check(&report, "root")["found"], "root without SYS_TIME");
    assert_eq!(check(&report, "time-namespaces")["verdict"], "missing");
    let cause = check(&report, "container-start")["found"].as_str().unwrap();
    assert!(cause.contains("needs CAP_SYS_TIME"), "{cause}");
    let refused = weaker(&["serve", "--data-dir", dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    for part in ["this host does not keep what is promised to tasks", "time-namespaces", "ProtectClock="] {
        assert!(refused.err.contains(part), "{}", refused.err);
    }
}

#[test]
fn a_user_who_is_not_root_is_told_what_can_be_known() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::unstarted();
    // Where this user may go.
    let dir = stand.path("");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let program = stand.path("watchbell");
    if fs::hard_link(env!("CARGO_BIN_EXE_watchbell"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_watchbell"), &program).unwrap();
    }
    let mut command = Command::new(&program);
    command.args([
        "doctor",
        "--data-dir",
        dir.join("data").to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "-o",
        "json",
    ]);
    command.env_clear().current_dir("/").uid(65_534).gid(65_534);
    let done = run(command, "");
    let report = report(&done);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("serve would not start here: root, container-start"), "{}", done.err);
    assert_eq!(check(&report, "container-start")["verdict"], "unknown");
    assert_eq!(check(&report, "container-start")["advice"], "run it as root to know");
    assert_eq!(check(&report, "seccomp")["verdict"], "ok");
    assert_eq!(report["facts"]["caller"]["uid"], 65_534);
}
