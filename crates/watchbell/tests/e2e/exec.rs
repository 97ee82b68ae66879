//! Sessions in real containers: kubectl, the official Python client and the command line of our own.

use std::process::{Command, Stdio};

use crate::stand::{Stand, is_left_out, job, run};

fn kubectl(stand: &Stand, args: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.env("HOME", stand.path("home")).env("KUBECONFIG", stand.kubeconfig()).args(args);
    command
}

/// A Job whose pod stays until it is told to go, and the pod's name.
fn staying(stand: &mut Stand, script: &str) -> String {
    stand.apply(&job("stay", "backoffLimit: 0", script));
    let mut pod = String::new();
    stand.until("the pod runs", |stand| {
        let pods = stand.get(&["pods"]);
        let is_running = pods["items"][0]["status"]["phase"] == "Running";
        pod = pods["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        is_running
    });
    pod
}

#[test]
fn kubectl_enters_a_container() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let pod = staying(&mut stand, "export HERE=yes; echo up > /tmp/up; sleep 1000");
    let out = run(
        kubectl(
            &stand,
            &[
                "exec",
                &pod,
                "--",
                "/bin/busybox",
                "sh",
                "-c",
                "until [ -s /tmp/up ]; do :; done; cat /tmp/up; hostname",
            ],
        ),
        "",
    )
    .ok();
    assert!(out.starts_with("up\n"), "{out}");
    let text = "a line of some length that goes there and back\n".repeat(50_000);
    assert_eq!(run(kubectl(&stand, &["exec", "-i", &pod, "--", "/bin/busybox", "cat"]), &text).ok(), text);
    let done = run(
        kubectl(&stand, &["exec", &pod, "--", "/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 42"]),
        "",
    );
    assert_eq!((done.code, done.out.as_str()), (Some(42), "out\n"), "{done:?}");
    assert!(done.err.starts_with("err\n"), "{done:?}");
    let refused = run(kubectl(&stand, &["exec", &pod, "--", "/no/such/program"]), "");
    assert!(
        refused.code.is_some_and(|code| code != 0) && refused.err.contains("/no/such/program"),
        "{refused:?}"
    );
    // The session's process is one of the container: it sees the others, and goes when its client does.
    let mut command = kubectl(&stand, &["exec", &pod, "--", "/bin/busybox", "sleep", "1234"]);
    let mut held = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let list = |stand: &Stand| {
        run(kubectl(stand, &["exec", &pod, "--", "/bin/busybox", "ps", "-o", "args"]), "").ok()
    };
    stand.until("the process is in the container", |stand| list(stand).contains("sleep 1234"));
    held.kill().unwrap();
    held.wait().unwrap();
    stand.until("the process went with its client", |stand| !list(stand).contains("sleep 1234"));
    stand.end();
}

const SCRIPT: &str = r#"
import sys
from kubernetes import client, config
from kubernetes.stream import stream

config.load_kube_config(sys.argv[1])
core, pod = client.CoreV1Api(), sys.argv[2]
out = stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["/bin/busybox", "echo", "from python"],
             stderr=True, stdin=False, stdout=True, tty=False)
assert out == "from python\n", repr(out)
held = stream(core.connect_get_namespaced_pod_exec, pod, "default",
              command=["/bin/busybox", "sh", "-c", "read a; echo got $a; echo bad >&2; exit 3"],
              stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
held.write_stdin("a word\n")
held.run_forever(timeout=60)
assert held.read_stdout() == "got a word\n", held
assert held.read_stderr() == "bad\n", held
assert held.returncode == 3, held.returncode
tty = stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["/bin/busybox", "tty"],
             stderr=True, stdin=True, stdout=True, tty=True)
assert "/dev/" in tty, repr(tty)
try:
    stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["x"], container="none", stdout=True)
    raise SystemExit("a container that is not there was entered")
except client.ApiException as e:
    assert e.status == 400 or "400" in str(e), e
print("ok")
"#;

#[test]
fn the_python_client_enters_a_container() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-venv/bin/python");
    if !std::path::Path::new(venv).exists() {
        eprintln!("NOT TESTED: {venv} is not there (`make test` makes it with PyPI's kubernetes)");
        return;
    }
    let mut stand = Stand::with_busybox();
    let pod = staying(&mut stand, "sleep 1000");
    let script = stand.path("script.py");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut command = Command::new(venv);
    command.env("NO_PROXY", "*").arg(&script).arg(stand.kubeconfig()).arg(&pod);
    assert_eq!(run(command, "").ok(), "ok\n");
    stand.end();
}

#[test]
fn the_command_line_enters_a_container() {
    if is_left_out(&["busybox", "script"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let pod = staying(&mut stand, "echo up; read word; echo heard $word; sleep 1000");
    let sh = |script: &'static str| ["--", "/bin/busybox", "sh", "-c", script];
    let exec = |stand: &Stand, what: &[&str], rest: &[&str], input: &str| {
        stand.watchbell_with(&[&["exec"], what, rest].concat(), input)
    };
    let done = exec(&stand, &[&pod], &sh("echo out; echo err >&2; exit 42"), "");
    assert_eq!((done.code, done.out.as_str()), (Some(42), "out\n"), "{done:?}");
    assert_eq!(done.err, "err\ncommand terminated with exit code 42\n");
    let text = "there and back\n".repeat(100_000);
    let done = exec(&stand, &["-i", "job/stay", "-c", "main"], &["--", "/bin/busybox", "cat"], &text);
    assert_eq!((done.code, done.out == text), (Some(0), true), "{}", done.err);
    // What is refused says so and is no exit code of a command.
    let done = exec(&stand, &[&pod, "-c", "side"], &["--", "ls"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("container side is not valid for pod"), "{done:?}");
    let done = exec(&stand, &["job/stay", "--index", "3"], &["--", "ls"], "");
    assert!(
        done.code == Some(1) && done.err.contains("no pod of index 3 of job stay is running"),
        "{done:?}"
    );
    assert_eq!(exec(&stand, &["none"], &["--", "ls"], "").code, Some(1));
    // With a terminal: its size is that of ours (told in a moment, as kubectl does), and ours is as it was afterwards.
    let program = env!("CARGO_BIN_EXE_watchbell");
    let line = format!(
        "stty rows 33 cols 101; {program} --kubeconfig {} exec -it {pod} -- /bin/busybox sh -c 'until test -n \"$(busybox stty size 2>/dev/null)\"; do :; done; busybox stty size; tty'; \
         echo code $?; stty -a | tr ';' '\\n' | grep -c -w -e '-icanon'",
        stand.kubeconfig().display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("HOME", stand.path("home"));
    let done = run(command, "");
    assert!(done.out.contains("33 101\r\n") && done.out.contains("/dev/"), "{done:?}");
    assert!(done.out.contains("code 0\r\n0\r\n"), "{done:?}");
    stand.end();
}
