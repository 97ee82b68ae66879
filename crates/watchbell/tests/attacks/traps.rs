//! Images and manifests that are traps for whoever starts them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::calls::check_default;
use crate::host::Host;
use crate::program::{build_tree, job, outcomes, printed, stand_with_program};
use crate::stand::{Stand, is_left_out, run};

/// What a volume over a part of /proc, /sys or /dev redirects is the task's own view and nothing of what starts it
/// (CVE-2025-52881): every protection is as without.
#[test]
fn a_volume_over_proc_takes_no_protection_away() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    let host = Host::look();
    for (n, path) in [
        "/proc",
        "/proc/self/attr",
        "/proc/sys/kernel",
        "/proc/thread-self",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/null",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("over-{n}");
        let mount = format!("volumeMounts: [{{name: over, mountPath: {path}}}]");
        let manifest = job(
            &name,
            &["calls"],
            "volumes: [{name: over, emptyDir: {medium: Memory, sizeLimit: 1Mi}}],",
            &mount,
        );
        stand.apply(&manifest);
        let ended = stand.finished("default", &name);
        if crate::stand::condition(&ended, "Complete") {
            let log = stand.watchbell(&["logs", &format!("job/{name}")]).ok();
            check_default(&outcomes(&log), path);
            println!("{path}: started, with every protection");
        } else {
            let pods = stand.get(&["pods", "-l", &format!("job-name={name}")]);
            let state = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
            let message = state["message"].as_str().unwrap_or_default();
            assert!(message.contains(path.trim_end_matches("/null")), "{path}: {pods}");
            println!("{path}: not started: {message}");
        }
    }
    host.assert_unchanged();
    stand.end();
}

/// CVE-2019-5736: the runtime is made to execute itself inside, with a loader of the image.
#[test]
fn the_runtimes_own_program_is_not_written_to() {
    if is_left_out(&["cc"]) {
        return;
    }
    if !cfg!(target_arch = "x86_64") {
        eprintln!("NOT TESTED: the loader that attacks the runtime makes its calls as x86-64 does");
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    let tree = stand.path("loader");
    let loader =
        tree.join(interpreter(Path::new(env!("CARGO_BIN_EXE_watchbell"))).strip_prefix("/").unwrap());
    std::fs::create_dir_all(loader.parent().unwrap()).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-nostdlib", "-static-pie", "-fPIE", "-fno-stack-protector", "-ffreestanding", "-o"]);
    cc.arg(&loader).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/program/loader.c"));
    run(cc, "").ok();
    build_tree(&stand, "loader:1", &tree);
    let (host, before) = (Host::look(), spawners_program(&stand));
    stand.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: root, labels: {pod-security.kubernetes.io/enforce: baseline}}\n",
    );
    for (namespace, context) in [("default", ""), ("root", "securityContext: {runAsUser: 0}")] {
        let manifest = job("exe", &["x"], "", context)
            .replace("attack:1", "loader:1")
            .replace("command: [/attack]", "command: [/proc/self/exe]");
        let log = printed(&mut stand, namespace, "exe", &manifest);
        let result = |mark: &str| -> i32 {
            log.lines().find_map(|line| line.strip_prefix(mark)).unwrap().trim().parse().unwrap()
        };
        assert!(result("r") >= 0, "the runtime was not executed at all: {log}");
        for mark in ["w", "p", "t", "m"] {
            assert!(result(mark) < 0, "{mark}: {log}");
        }
        println!("{namespace}: {}", log.replace('\n', ", "));
    }
    host.assert_unchanged();
    assert!(before == spawners_program(&stand), "the spawner's own copy was changed");
    stand.end();
}

/// The loader that a program names.
fn interpreter(program: &Path) -> PathBuf {
    let bytes = std::fs::read(program).unwrap();
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let header = (0..count).map(|n| headers + n * size).find(|at| number(*at, 4) == 3);
    let at = header.expect("it has a loader");
    let (from, length) = (number(at + 8, 8), number(at + 32, 8));
    PathBuf::from(std::str::from_utf8(&bytes[from..from + length - 1]).unwrap())
}

/// The bytes of the program that the stand's spawner runs.
fn spawners_program(stand: &Stand) -> Vec<u8> {
    let [pid] = crate::exhaust::spawners(stand)[..] else { panic!("one spawner") };
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(
        program.to_string_lossy().starts_with("/memfd:"),
        "the spawner runs {}, which can be found",
        program.display()
    );
    std::fs::read(format!("/proc/{pid}/exe")).unwrap()
}
