//! The attacking program of tests/attacks in a pod that asks for nothing, and under runc as Docker sets it up: an attempt a
//! row. `cargo bench -p watchbell --bench attacks` (root; cc; runc).

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod docker;
mod stand;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stand::Stand;

const JOB: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: calls}\nspec:\n  backoffLimit: 0\n  template:\n    spec: \
    {restartPolicy: Never, containers: [{name: main, image: 'attack:1', imagePullPolicy: Never, command: [/attack, calls]}]}\n";

fn main() {
    let mut stand = Stand::new();
    let tree = stand.dir.path().join("tree");
    build(&tree);
    let ours = inside_ours(&mut stand, &tree);
    stand.stop();
    let (mut reached, mut names) = ([0, 0], 0);
    let docker = docker::run(stand.dir.path(), &tree, &["/attack", "calls"]);
    let (docker, is_there) = match docker {
        Ok(text) => (outcomes(&text), true),
        Err(why) => {
            println!("Docker's column is left out: {why}");
            (BTreeMap::new(), false)
        }
    };
    println!("   attempt               runc as Docker        watchbell");
    for ((number, name), ours) in &ours {
        let theirs = docker.get(&(*number, name.clone())).map_or("", String::as_str);
        println!("{number:>2} {name:<22}{theirs:<22}{ours}");
        names += 1;
        reached[0] += usize::from(theirs == "reached");
        reached[1] += usize::from(ours == "reached");
    }
    let docker = if is_there { format!("runc as Docker {}, ", reached[0]) } else { String::new() };
    println!("reached, of {names} attempts: {docker}watchbell {}", reached[1]);
}

/// The program in the tree of an image, once more as a setuid program of root's.
fn build(tree: &Path) {
    for dir in ["dev", "tmp"] {
        std::fs::create_dir_all(tree.join(dir)).unwrap();
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/program");
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O1", "-w", "-o"]).arg(tree.join("attack"));
    for part in ["attack.c", "exhaust.c", "files.c", "kernel.c"] {
        cc.arg(sources.join(part));
    }
    assert!(cc.status().unwrap().success());
    std::fs::copy(tree.join("attack"), tree.join("suid")).unwrap();
    std::fs::set_permissions(tree.join("suid"), PermissionsExt::from_mode(0o4755)).unwrap();
    // Where a runtime looks for what it covers others with, and writes a console's settings (CVE-2025-31133, CVE-2025-52565).
    symlink("/proc/sys/kernel/core_pattern", tree.join("dev/null")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", tree.join("dev/console")).unwrap();
}

fn inside_ours(stand: &mut Stand, tree: &Path) -> BTreeMap<(u8, String), String> {
    let built = Stand::program()
        .args(["image", "build", "attack:1", "--data-dir"])
        .arg(stand.data())
        .arg("--copy")
        .arg(format!("{}:/", tree.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(built.success());
    stand.launch();
    let client = stand.client();
    let kubeconfig = stand.data().join("admin.kubeconfig");
    let command = |args: &[&str]| {
        let mut command = Stand::program();
        command.arg("--kubeconfig").arg(&kubeconfig).args(args).stdout(Stdio::piped());
        command
    };
    let mut apply = command(&["apply", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    apply.stdin.take().unwrap().write_all(JOB.as_bytes()).unwrap();
    assert!(apply.wait().unwrap().success());
    let begun = Instant::now();
    loop {
        let status = client.get("/apis/batch/v1/namespaces/default/jobs/calls")["status"].take();
        if status["succeeded"] == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120) && status["failed"].is_null(), "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = command(&["logs", "job/calls"]).output().unwrap();
    outcomes(&String::from_utf8_lossy(&log.stdout))
}

fn outcomes(text: &str) -> BTreeMap<(u8, String), String> {
    let row = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some(((words.next()?.parse().ok()?, words.next()?), words.next()?))
    };
    assert!(text.ends_with("end\n"), "it did not come to its end: {text}");
    text.lines().filter_map(row).collect()
}
