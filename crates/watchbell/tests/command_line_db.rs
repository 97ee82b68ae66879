//! `watchbell db`: the index from files and from a publisher's server on this machine.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

const RECORD: &str = r#"{"id":"PYSEC-2030-1","modified":"2025-03-01T10:00:00Z","aliases":["CVE-2030-0001"],"affected":[{"package":{"ecosystem":"PyPI","name":"unpack-it"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.4.3"}]}]}]}"#;

fn run(dir: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watchbell"))
        .arg("db")
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("XDG_CACHE_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Ends with `code` and says all of `texts` on the stream that it is for.
#[track_caller]
fn check(dir: &Path, line: &str, code: i32, out: &[&str], err: &[&str]) {
    let output = run(dir, line);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}: {stdout}{stderr}");
    for text in out {
        assert!(stdout.contains(text), "{line}: no {text:?} in {stdout}");
    }
    for text in err {
        assert!(stderr.contains(text), "{line}: no {text:?} in {stderr}");
    }
    if out.is_empty() {
        assert_eq!(stdout, "", "{line}");
    }
}

#[test]
fn files_become_an_index_with_an_age() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    check(
        dir,
        "status --db db",
        1,
        &[],
        &["there is no advisory index in db; make one with `watchbell db import PATH`"],
    );
    fs::write(dir.join("pypi.jsonl"), format!("{RECORD}\n{{\"id\":7}}\n{RECORD}\n")).unwrap();
    check(
        dir,
        "import pypi.jsonl --db db --licence CC-BY",
        0,
        &[],
        &[
            "left out: pypi.jsonl, line 2: invalid type",
            "pypi: 2 records, 1 statements",
            "db/advisories.index: ",
        ],
    );
    check(dir, "status --db db --verify", 0, &["SOURCE", "pypi     2025-03-01"], &[]);
    check(dir, "status --db db --licence pypi", 0, &["CC-BY"], &[]);
    check(dir, "status --db db --max-age 7d", 1, &["too old"], &["older than 7d: pypi"]);
    check(dir, "status --db db --max-age 36500d", 0, &["2025-03-01"], &[]);
    let status: serde_json::Value =
        serde_json::from_slice(&run(dir, "status --db db -o json").stdout).unwrap();
    assert_eq!(status["sources"][0]["counts"]["bad"], 1);
    assert_eq!(status["sources"][0]["newest"], "2025-03-01T10:00:00Z");

    // Older, of another kind, and nothing at all: what is there stays.
    let before = fs::read(dir.join("db/advisories.index")).unwrap();
    fs::write(dir.join("old.jsonl"), RECORD.replace("2025-03-01", "2024-03-01")).unwrap();
    check(dir, "import old.jsonl --source pypi --db db", 1, &[], &["is of 2024-03-01", "--allow-older"]);
    fs::write(dir.join("empty.jsonl"), "").unwrap();
    check(dir, "import empty.jsonl --db db", 1, &[], &["there are no advisories"]);
    check(dir, "import missing.json --db db", 1, &[], &["cannot look at missing.json"]);
    check(dir, "import pypi.jsonl old.jsonl --source a/b --db db", 2, &[], &["is no name of a source"]);
    assert!(fs::read(dir.join("db/advisories.index")).unwrap() == before);
    check(dir, "import old.jsonl --source pypi --db db --allow-older", 0, &[], &["pypi: 1 records"]);

    // A damaged index is said, and begins anew.
    fs::write(dir.join("db/advisories.index"), b"rubbish").unwrap();
    check(dir, "status --db db", 1, &[], &["is damaged", "make it anew"]);
    check(dir, "import pypi.jsonl --db db", 0, &[], &["it begins anew now"]);
    check(dir, "status --db db", 0, &["pypi"], &[]);
}

/// Answers with a state and its name, or that it is the one which is known. Returns how many were served.
fn publisher(states: Vec<(&'static str, String)>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/all.jsonl", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        for (etag, body) in states {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0);
            }
            let is_known = head.to_lowercase().contains(&format!("if-none-match: \"{etag}\""));
            let answer = if is_known {
                "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned()
            } else {
                let length = body.len();
                format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"{etag}\"\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, thread)
}

#[test]
fn an_update_fetches_what_changed_and_keeps_what_cannot_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let newer = RECORD.replace("2025-03-01", "2025-04-01");
    let older = RECORD.replace("2025-03-01", "2025-02-01");
    let states = vec![("one", RECORD.to_owned()), ("one", String::new()), ("two", newer), ("three", older)];
    let (url, thread) = publisher(states);
    fs::create_dir(dir.join("db")).unwrap();
    fs::write(dir.join("own.jsonl"), RECORD).unwrap();
    check(dir, "update --db db", 2, &[], &["cannot read db/sources.yaml", "docs/advisories.md"]);
    let config =
        format!("sources:\n- name: pypi\n  url: {url}\n  licence: CC-BY\n- name: own\n  path: own.jsonl\n");
    fs::write(dir.join("db/sources.yaml"), config).unwrap();
    check(dir, "update --db db nobody", 2, &[], &["names no source \"nobody\""]);

    check(dir, "update --db db", 0, &[], &["pypi: 1 records", "own: 1 records"]);
    check(dir, "status --db db --max-age 1h", 1, &["pypi     2025-03-01", "own "], &["older than 1h: own;"]);
    check(dir, "update --db db pypi", 0, &[], &["pypi: unchanged"]);
    check(dir, "update --db db pypi", 0, &[], &["pypi: 1 records"]);
    check(dir, "status --db db", 0, &["pypi     2025-04-01"], &[]);
    // An older state, and then nobody who answers.
    check(
        dir,
        "update --db db",
        1,
        &[],
        &["error: pypi: the data of pypi is of 2025-02-01", "own: 1 records", "not updated: pypi"],
    );
    thread.join().unwrap();
    check(dir, "update --db db pypi", 1, &[], &["cannot fetch", "not updated: pypi"]);
    check(dir, "status --db db", 0, &["pypi     2025-04-01"], &[]);
    let left: Vec<_> = fs::read_dir(dir.join("db")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the index, its lock and the configuration: {left:?}");
}

#[test]
fn what_is_said_anew_of_a_source_counts_though_its_server_has_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (url, thread) = publisher(vec![("one", RECORD.to_owned()); 6]);
    fs::create_dir(dir.join("db")).unwrap();
    let configure = |more: &str| {
        let config = format!("sources:\n- name: pypi\n  url: {url}\n{more}");
        fs::write(dir.join("db/sources.yaml"), config).unwrap();
    };
    let covered = || {
        let status = run(dir, "status --db db -o json").stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        status["sources"][0]["ecosystems"].clone()
    };
    configure("  licence: CC-BY\n");
    check(dir, "update --db db", 0, &[], &["pypi: 1 records"]);
    check(dir, "update --db db", 0, &[], &["pypi: unchanged"]);
    let before = covered();
    configure("  licence: CC0\n");
    check(dir, "update --db db", 0, &[], &["pypi: 1 records"]);
    check(dir, "status --db db --licence pypi", 0, &["CC0"], &[]);
    assert_eq!(covered(), before);
    configure("  licence: CC0\n  ecosystems: [npm]\n");
    check(dir, "update --db db", 0, &[], &["pypi: 1 records"]);
    assert_ne!(covered(), before, "PyPI is not what it is for");
    configure("  licence: CC0\n");
    check(dir, "update --db db", 0, &[], &["pypi: 1 records"]);
    assert_eq!(covered(), before);
    check(dir, "update --db db", 0, &[], &["pypi: unchanged"]);
    thread.join().unwrap();
}
