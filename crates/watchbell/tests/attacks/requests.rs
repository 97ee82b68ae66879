//! Manifests whose content attacks whoever handles it.

use std::path::Path;
use std::process::Command;

use crate::program::{build_tree, job, stand_with_program};
use crate::stand::{Stand, condition, is_left_out, run};

#[test]
fn arguments_and_variables_cannot_break_out() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    dynamic_image(&stand);
    let heeded = format!("'{LIBRARY}' from LD_PRELOAD cannot be preloaded");
    // The control: the loader says so of whoever heeds it, of our own program too.
    let ours = stand.program().arg("--version").env("LD_PRELOAD", LIBRARY).output().unwrap();
    assert!(String::from_utf8_lossy(&ours.stderr).contains(&heeded), "{ours:?}");
    let env = format!(
        r#"env: [{{name: LD_PRELOAD, value: {LIBRARY}}}, {{name: LINES, value: "a\nFORGED=1\r\n"}}, {{name: PATH, value: ""}}]"#
    );
    let odd = job("odd", &["one-of-each", "a\nb", "--", "'; id #", "$(id)"], "", &env);
    stand.apply(&odd.replace("attack:1", "dynamic:1"));
    let done = stand.finished("default", "odd");
    assert!(condition(&done, "Complete"), "{done} {}", stand.server_log());
    // The program of the task heeds it, and nobody else does.
    let log = stand.watchbell(&["logs", "job/odd"]).ok();
    assert!(log.contains(&heeded), "{log:?}");
    let spawner = std::fs::read_to_string(stand.data().join("run/spawner.log")).unwrap();
    assert!(spawner.contains("is connected"), "nothing is in the spawner's log: {spawner}");
    for (who, said) in [("the server", stand.server_log()), ("the spawner", spawner)] {
        assert!(!said.contains(LIBRARY) && !said.contains("preload"), "{who}: {said}");
    }
    for (name, manifest, said) in [
        ("nul-argument", job("nul-argument", &["one-of-each", "a\0b"], "", ""), "argv: holds a NUL byte"),
        (
            "nul-variable",
            job("nul-variable", &["one-of-each"], "", r#"env: [{name: A, value: "a\0b"}]"#),
            "the value of variable A holds a NUL byte",
        ),
    ] {
        stand.apply(&manifest);
        stand.until(&format!("{name} says why it does not start: {said}"), |stand| {
            let pods = stand.get(&["pods", "-l", &format!("job-name={name}")]);
            let state = &pods["items"][0]["status"]["containerStatuses"][0]["state"];
            ["terminated", "waiting"].iter().any(|is| state[is]["message"] == said)
        });
    }
    stand.end();
}

/// A library that is not there.
const LIBRARY: &str = "/tmp/watchbell-preloaded.so";

/// The attacking program as `dynamic:1`: with a loader, and what that loads.
fn dynamic_image(stand: &Stand) {
    let tree = stand.path("dynamic");
    std::fs::create_dir_all(tree.join("tmp")).unwrap();
    let program = tree.join("attack");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/program");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-w", "-o"]).arg(&program);
    cc.args(["attack.c", "exhaust.c", "files.c", "kernel.c"].map(|part| sources.join(part)));
    run(cc, "").ok();
    let mut ldd = Command::new("ldd");
    ldd.arg(&program);
    for library in run(ldd, "").ok().split_whitespace().filter(|word| word.starts_with('/')) {
        let target = tree.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(library, target).unwrap();
    }
    build_tree(stand, "dynamic:1", &tree);
}

#[test]
fn a_secret_is_found_nowhere_but_in_its_task() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    let marker = "hunter2-0d9f3c51";
    stand.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{key: {marker}}}\n"
    ));
    let from = "env: [{name: KEY, valueFrom: {secretKeyRef: {name: key, key: key}}}], volumeMounts: [{name: key, mountPath: /key}]";
    stand.apply(&job(
        "uses",
        &["reveal", "/key/key"],
        "volumes: [{name: key, secret: {secretName: key}}],",
        from,
    ));
    let volume = "volumes: [{name: key, secret: {secretName: key}}],";
    // It is there, in both ways, and says so; one that fails tells of it in its message.
    let done = stand.finished("default", "uses");
    assert!(condition(&done, "Complete"), "{done}");
    let log = stand.watchbell(&["logs", "job/uses"]).ok();
    assert_eq!(log.trim(), format!("{} {}", marker.len(), marker.len()));
    stand.apply(&job("fails", &["x"], volume, from).replace("/attack", "/not-there"));
    stand.finished("default", "fails");
    for what in ["jobs", "pods", "events"] {
        let shown = stand.watchbell(&["get", what, "-o", "json"]).ok();
        assert!(!shown.contains(marker), "{what}: {shown}");
    }
    let mut read = 0;
    search(&stand.data(), marker.as_bytes(), &mut read);
    assert!(read > 100_000, "only {read} bytes were searched");
    assert!(!stand.server_log().contains(marker));
    // Whoever may read it still can: what was searched for is what is stored.
    let secret = stand.get(&["secret", "key"]);
    assert_eq!(secret["data"]["key"], "aHVudGVyMi0wZDlmM2M1MQ==");
    search(&stand.data(), b"aHVudGVyMi0wZDlmM2M1MQ", &mut read);
    stand.end();
}

/// Looks for the bytes in every file below.
fn search(dir: &Path, wanted: &[u8], read: &mut usize) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search(&entry.path(), wanted, read);
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            *read += bytes.len();
            let found = bytes.windows(wanted.len()).any(|part| part == wanted);
            assert!(!found, "it is in {}", entry.path().display());
        }
    }
}
