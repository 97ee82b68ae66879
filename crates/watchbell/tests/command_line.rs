//! The command line without a server: exit codes, messages, what goes to which stream, and images on a store of one's own.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a command did.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `watchbell LINE` in `dir`, without anything of this machine's user.
fn run(dir: &Path, line: &str) -> Done {
    done(program(dir, line))
}

fn program(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchbell"));
    command
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("KUBECONFIG")
        .env_remove("WATCHBELL_DATA_DIR")
        .env_remove("DOCKER_CONFIG")
        .stdin(Stdio::null());
    command
}

fn done(mut command: Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// It fails with `code`, says `message` on standard error, and nothing on standard output.
#[track_caller]
fn check_refused(line: &str, code: i32, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let done = run(dir.path(), line);
    assert_eq!(done.code, Some(code), "{line}: {done:?}");
    assert!(done.err.contains(message), "{line}: {}", done.err);
    assert_eq!(done.out, "", "{line}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{line} left something");
}

#[track_caller]
fn ok(dir: &Path, line: &str) -> String {
    let done = run(dir, line);
    assert_eq!(done.code, Some(0), "{line}: {done:?}");
    done.out
}

#[test]
fn what_is_wrong_with_a_line_is_said_and_nothing_is_tried() {
    check_refused("", 2, "Usage: watchbell");
    check_refused("gte jobs", 2, "unrecognized subcommand 'gte'");
    check_refused("get", 2, "<WHAT>");
    check_refused("run --image busybox:1", 2, "the image is the first word: watchbell run IMAGE");
    check_refused("run x --image=busybox:1", 2, "the image is the first word: watchbell run IMAGE");
    check_refused("get widgets", 2, "there is no resource type \"widgets\"; there are namespaces, ");
    check_refused("get job/..", 2, "is no object's name");
    check_refused("get jobs -n Not_A_Name", 2, "--namespace \"Not_A_Name\" is no namespace");
    check_refused("get job/a -A", 2, "takes no selector");
    check_refused("delete", 2, "name what to delete");
    check_refused("delete jobs", 2, "which job?");
    check_refused("trigger job/x", 2, "this takes a CronJob, not a Job");
    check_refused("suspend job/x", 2, "this takes a CronJob, not a Job");
    check_refused("resume cronjob/x y", 2, "name one object, as in cronjob/NAME");
    check_refused("logs configmap/x", 2, "a ConfigMap has no logs");
    check_refused("follow pod/x", 2, "this follows Jobs; a Pod cannot be followed");
    check_refused("logs job/x --index 3-1", 2, "--index \"3-1\"");
    check_refused("logs pod/x --index 3", 2, "for the logs of a Job");
    check_refused("apply -f absent.yaml", 2, "cannot read absent.yaml");
    check_refused("run i --schedule @daily --follow -- true", 2, "cannot be used with");
    check_refused("run i --memory lots --dry-run", 2, "--memory \"lots\"");
    check_refused("run Not_An_Image --dry-run", 2, "invalid image reference");
    check_refused("explain-schedule 1", 2, "exactly 5 fields");
    check_refused("explain-schedule @daily --time-zone europe/berlin", 2, "it is spelled \"Europe/Berlin\"");
    check_refused("image inspect UPPER --data-dir d", 2, "invalid image reference");
    check_refused("image build a:1 --copy x --data-dir d", 2, "--copy \"x\" is not HOST:IMAGE");
    check_refused("serve --listen nowhere --data-dir d", 2, "--listen \"nowhere\" is not HOST:PORT");
    check_refused("serve --log x=y=z --data-dir d", 2, "--log \"x=y=z\"");
    check_refused("serve --allow-host-path data --data-dir d", 2, "--allow-host-path data is not absolute");
}

#[test]
fn a_manifest_without_a_name_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n";
    std::fs::write(dir.path().join("a.yaml"), text).unwrap();
    let done = run(dir.path(), "delete -f a.yaml");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("a.yaml: metadata.name: Required value"), "{}", done.err);
}

#[test]
fn a_server_that_gets_no_port_begins_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let done = run(dir.path(), &format!("serve --data-dir d --listen {}", held.local_addr().unwrap()));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("cannot listen on 127.0.0.1:"), "{}", done.err);
    // No spawner, no node: nobody who could start what is due.
    for begun in ["run", "volumes", "logs"] {
        assert!(!dir.path().join("d").join(begun).exists(), "{begun} is there");
    }
}

#[test]
fn without_a_server_it_says_where_it_looked() {
    check_refused("get jobs", 2, "no kubeconfig: name one with --kubeconfig");
    check_refused("get jobs --kubeconfig absent", 2, "cannot use absent");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config"), "current-context: a\ncontexts: []\n").unwrap();
    let done = run(dir.path(), "get jobs --kubeconfig config");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("current-context \"a\" is not among its contexts"), "{}", done.err);
}

#[test]
fn a_kubeconfig_that_is_named_and_missing_is_not_replaced_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // None of them can be used: which one was looked into is told by the message.
    for name in [".kube/config", "data/admin.kubeconfig"] {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), "current-context: a\ncontexts: []\n").unwrap();
    }
    let check = |line: &str, variables: &[(&str, &str)], code: i32, says: &str| {
        let mut command = program(dir, line);
        command.envs(variables.iter().copied());
        let done = done(command);
        assert!(done.code == Some(code) && done.err.contains(says), "{line} {variables:?}: {done:?}");
    };
    let data = ("WATCHBELL_DATA_DIR", "data");
    for line in ["get jobs", "image ls"] {
        check(line, &[("KUBECONFIG", "absent:gone")], 2, "$KUBECONFIG names \"absent:gone\"");
        check(line, &[("KUBECONFIG", "absent"), data], 2, "$KUBECONFIG names \"absent\"");
        check(line, &[("KUBECONFIG", "absent:data/admin.kubeconfig")], 2, "cannot use data/admin.kubeconfig");
        check(line, &[], 2, ".kube/config: current-context");
        check(line, &[("KUBECONFIG", "")], 2, ".kube/config: current-context");
    }
    // The data directory that is named comes before `~/.kube/config`: for images, which are there without a server too.
    check("get jobs", &[data], 2, "cannot use data/admin.kubeconfig");
    check("image ls", &[data], 0, "");
    check("get jobs", &[("WATCHBELL_DATA_DIR", "empty")], 2, "$WATCHBELL_DATA_DIR names \"empty\"");
}

#[test]
#[expect(clippy::print_stderr, reason = "what is not tested is told")]
fn no_store_is_made_where_nobody_named_one() {
    if Path::new("/var/lib/watchbell").exists() {
        eprintln!("NOT TESTED: this machine has a data directory");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for line in ["image ls", "image save app:1 -o app.tar"] {
        let done = run(dir.path(), line);
        assert!(done.code == Some(1) && done.err.contains("there is no data directory"), "{done:?}");
        assert!(!Path::new("/var/lib/watchbell").exists(), "{line}");
    }
}

#[test]
fn what_is_found_counts_where_nobody_gets_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(
        dir.join("bad.yaml"),
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: UPPER}\nspec: {}\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("good.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good, namespace: default}\n",
    )
    .unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let unread = || std::io::pipe().unwrap().1;
    let lost = "error: cannot write standard output: No space left";
    let check = |line: &str, out: Stdio, code: i32, is_lost: bool| {
        let mut command = program(dir, line);
        command.stdout(out);
        let done = done(command);
        assert_eq!((done.code, done.err.contains(lost)), (Some(code), is_lost), "{line}: {done:?}");
    };
    for format in ["", " -o json", " -o sarif"] {
        check(&format!("lint bad.yaml{format}"), full().into(), 1, true);
        check(&format!("lint bad.yaml{format}"), unread().into(), 1, false);
    }
    check("lint good.yaml -o sarif", full().into(), 1, true);
    check("lint good.yaml -o sarif", unread().into(), 0, false);
    check("explain-schedule @daily", full().into(), 1, true);
    check("explain-schedule @daily", unread().into(), 0, false);
    check("version --client", full().into(), 1, true);
}

#[test]
fn a_schedule_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let line = "explain-schedule @hourly --time-zone Europe/Berlin --from 2026-10-24T23:30:00Z -n 3";
    assert_eq!(
        ok(dir.path(), line),
        "next times in Europe/Berlin:\n  \
         Sun 2026-10-25 02:00:00 +02  (2026-10-25T00:00:00Z)  first of two: the clock will go back over it\n  \
         Sun 2026-10-25 02:00:00 +01  (2026-10-25T01:00:00Z)  second of two: the clock went back over it\n  \
         Sun 2026-10-25 03:00:00 +01  (2026-10-25T02:00:00Z)\n\
         note: on 2026-10-25 the clock goes back from 03:00:00 to 02:00:00: the slot at 2026-10-25T02:00:00 runs twice\n\
         note: on 2027-03-28 the clock goes forward from 02:00:00 to 03:00:00: the slot at 2027-03-28T02:00:00 is skipped\n"
    );
    assert_eq!(ok(dir.path(), &format!("{line} -o name")).lines().last(), Some("2026-10-25T02:00:00Z"));
    let done = Command::new(env!("CARGO_BIN_EXE_watchbell"))
        .args(["explain-schedule", "0 0 30 2 *"])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("never fires"));
}

#[test]
fn a_line_becomes_a_manifest_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        ok(
            dir.path(),
            "run r.example/ml/train:v3 --name train -n ml --array 4 --dry-run -o yaml -- --epochs 3"
        ),
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: train\n  namespace: ml\nspec:\n  completionMode: Indexed\n  \
         completions: 4\n  parallelism: 4\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      \
         - name: task\n        image: r.example/ml/train:v3\n        args:\n        - \"--epochs\"\n        - \"3\"\n"
    );
}

#[test]
fn images_are_built_named_listed_saved_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("app"), b"\x7fELF").unwrap();
    let build = "image build app:1 --data-dir d --copy app:/app --entrypoint /app";
    let first = ok(dir, build);
    assert!(first.starts_with("app:1 sha256:"), "{first}");
    assert_eq!(ok(dir, build), first, "the same files give the same digest");
    ok(dir, "image save app:1 --data-dir d -o app.tar");
    assert_eq!(ok(dir, "image ls --data-dir d -o name"), "app:1\n");
    ok(dir, "image rm app:1 --data-dir d");
    assert_eq!(ok(dir, "image ls --data-dir d -o name"), "");
    let done = run(dir, "image rm app:1 --data-dir d");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("no image \"app:1\" in the store"), "{}", done.err);
    assert_eq!(ok(dir, "image import app.tar --data-dir d"), first);
    assert_eq!(
        ok(dir, "image import app.tar busybox:bar --data-dir d"),
        first.replace("app:1", "busybox:bar")
    );
    let list: serde_json::Value = serde_json::from_str(&ok(dir, "image ls --data-dir d -o json")).unwrap();
    assert_eq!(list[0]["names"], serde_json::json!(["app:1", "busybox:bar"]));
    assert!(ok(dir, "image inspect app:1 --data-dir d").contains("entrypoint:\n  - /app\n"));
    std::fs::write(dir.join("junk"), b"junk").unwrap();
    let done = run(dir, "image import junk --data-dir d");
    assert!(done.code == Some(1) || done.code == Some(2), "{done:?}");
    assert!(done.err.starts_with("error: cannot import"), "{}", done.err);
}

#[test]
fn a_journal_is_backed_up_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let done = run(dir, "backup copy --data-dir d");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("there is no journal in d"), "{}", done.err);
    drop(watchbell_store::Store::open(&dir.join("d")).unwrap());
    assert_eq!(ok(dir, "backup copy --data-dir d"), "copy\n");
    assert!(dir.join("copy/secrets.key").exists());
    // The one that a server holds is copied beside it.
    let held = watchbell_store::Store::open(&dir.join("d")).unwrap();
    assert_eq!(ok(dir, "backup beside --data-dir d --without-key"), "beside\n");
    assert!(!dir.join("beside/secrets.key").exists());
    let done = run(dir, "restore copy --data-dir d");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("a server runs on d; stop it before a restore"), "{}", done.err);
    drop(held);
    assert_eq!(ok(dir, "restore copy --data-dir d"), "restored d as epoch 2\n");
}
