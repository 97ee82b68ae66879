//! Manifests whose content attacks whoever handles it.

use std::path::Path;

use crate::program::{job, stand_with_program};
use crate::stand::{condition, is_left_out};

#[test]
fn arguments_and_variables_cannot_break_out() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    // A library that is not there: whoever heeded it would say so or fail.
    let env = r#"env: [{name: LD_PRELOAD, value: /tmp/x.so}, {name: LINES, value: "a\nFORGED=1\r\n"}, {name: PATH, value: ""}]"#;
    stand.apply(&job("odd", &["one-of-each", "a\nb", "--", "'; id #", "$(id)"], "", env));
    let done = stand.finished("default", "odd");
    assert!(condition(&done, "Complete"), "{done} {}", stand.server_log());
    for (name, manifest) in [
        ("nul-argument", job("nul-argument", &["one-of-each", "a\0b"], "", "")),
        ("nul-variable", job("nul-variable", &["one-of-each"], "", r#"env: [{name: A, value: "a\0b"}]"#)),
    ] {
        let applied = stand.watchbell_with(&["apply", "-f", "-"], &manifest);
        if applied.code != Some(0) {
            assert!(applied.err.contains(name) || applied.err.contains("line"), "{}", applied.err);
            continue;
        }
        let mut pods = String::new();
        stand.until(&format!("{name} says why it does not start"), |stand| {
            pods = stand.get(&["pods", "-l", &format!("job-name={name}")])["items"][0]["status"].to_string();
            pods.contains("message") && !pods.contains("ContainerCreating")
        });
        assert!(pods.contains("NUL"), "{pods}");
    }
    stand.end();
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
