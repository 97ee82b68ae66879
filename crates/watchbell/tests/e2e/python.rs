//! The official Python client (PyPI `kubernetes`), in the virtual environment that `make test` makes: each script beside this
//! file is a program of its user.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shared::Lab;
use crate::stand::{Stand, free_address, is_left_out, run};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-venv/bin/python");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/python");

fn has_no_client() -> bool {
    if is_left_out(&["busybox"]) {
        return true;
    }
    let missing = !Path::new(PYTHON).exists();
    if missing {
        eprintln!("NOT TESTED: {PYTHON} is not there (`make test` makes it with PyPI's kubernetes)");
    }
    missing
}

fn script(name: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(format!("{SCRIPTS}/{name}.py"));
    command
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            if has_no_client() {
                return;
            }
            let lab = Lab::open(concat!("python-", stringify!($name)));
            let mut command = script(stringify!($name));
            command.arg(lab.path("kubeconfig")).arg(&lab.namespace);
            lab.surround(&mut command);
            let out = run(command, "").ok();
            assert!(out.starts_with("ok"), "{out}");
        }
    )*};
}

scripts! {
    kinds
    runs
    errors
    streams
    tokens
}

#[test]
fn a_watch_outlives_the_server() {
    if has_no_client() {
        return;
    }
    // The client knows the server by its address.
    let address = free_address();
    let mut stand = Stand::unstarted();
    stand.launch_on(&address);
    stand.wait_ready();
    let mut command = script("restart");
    command.env("NO_PROXY", "*").arg(stand.kubeconfig()).arg("default");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut kills = 0;
    let mut last = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        last = line.unwrap();
        // It waits for a line here, with a watch that is under way.
        if last.strip_prefix("wrote ").is_some_and(|n| n.parse::<u32>().unwrap() % 20 == 10) {
            stand.kill();
            stand.launch_on(&address);
            kills += 1;
            writeln!(input).unwrap();
        }
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{last}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(kills, 3);
    // It resumed where it was, or listed again: either is right, but it went on.
    let counts: Vec<u32> = last.strip_prefix("ok ").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(counts.iter().sum::<u32>() >= 4, "{last}");
    stand.end();
}
