//! Into and out of buckets of S3 (moto's), by the variables that a user sets.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::interrupted::killed;
use crate::{Place, walk};

/// What `make test` installs, with moto.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/array-venv/bin/python");
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../watchbell-array/tests/services/services.py");

fn is_left_out() -> bool {
    let has = Path::new(PYTHON).exists()
        && Command::new(PYTHON).args(["-c", "import moto.server, boto3"]).status().is_ok_and(|s| s.success());
    if !has {
        eprintln!("NOT TESTED: {PYTHON} has no moto.server, boto3 (`make test-setup` installs it)");
    }
    !has
}

/// A server of S3 that ends with its input.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    endpoint: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(PYTHON);
        command.args([SERVICES, "s3"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Self { child, input, output, endpoint: String::new() };
        server.endpoint = server.answer();
        server
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        self.answer()
    }

    /// Each object below a prefix, in hexadecimal digits.
    fn tree(&mut self, prefix: &str) -> BTreeMap<String, String> {
        serde_json::from_str(&self.ask(&format!("tree {prefix}"))).unwrap()
    }

    fn variables(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]
    }

    fn done(&self, place: &Place, line: &str) -> (String, String) {
        let done = place.array_with(&self.variables(), line);
        assert_eq!(done.code, Some(0), "{line}: {}", done.err);
        (done.out.trim().to_owned(), done.err)
    }

    fn refused(&self, place: &Place, line: &str, message: &str) {
        let done = place.array_with(&self.variables(), line);
        assert_eq!(done.code, Some(1), "{line}: {}{}", done.out, done.err);
        assert!(done.err.contains(message), "{line}: {}", done.err);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn hex(dir: &Path) -> BTreeMap<String, String> {
    let of = |path: &Path| fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let key = |path: &Path| path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
    walk(dir).iter().map(|path| (key(path), of(path))).collect()
}

#[test]
fn an_array_comes_from_a_bucket_and_goes_to_one_in_the_clear_or_encrypted() {
    if is_left_out() {
        return;
    }
    let place = Place::marked();
    place.key("key", "7", 0o600);
    let plain = place.0.path().join("plain");
    let mut server = Server::start();
    server.ask(&format!("upload in {}", plain.display()));
    for name in ["secret", "clear"] {
        if name == "secret" {
            place.done("create secret --encrypt-key-file key");
        }
        // What is wrong with who asks, or where, leaves nothing behind.
        for (line, message) in [
            (
                format!("import {name} s3://nowhere/in"),
                "s3://nowhere/in: the service says 404 Not Found NoSuchBucket",
            ),
            (format!("import {name} s3://data/none"), "there is no file in it"),
        ] {
            server.refused(&place, &line, message);
        }
        let http =
            server.variables().into_iter().filter(|(name, _)| *name != "AWS_ALLOW_HTTP").collect::<Vec<_>>();
        let done = place.array_with(&http, &format!("import {name} s3://data/in"));
        assert!(done.code == Some(2) && done.err.contains("AWS_ALLOW_HTTP=true"), "{}", done.err);
        let (first, said) = server.done(&place, &format!("import {name} s3://data/in -m first"));
        assert!(said.contains("12 keys: 12 added"), "{said}");
        let (_, said) = server.done(&place, &format!("import {name} s3://data/in"));
        assert!(said.contains("has this content already"), "{said}");
        let (_, said) = server.done(&place, &format!("export {name} s3://data/out-{name}"));
        assert!(said.contains("12 written now"), "{said}");
        assert!(server.tree(&format!("out-{name}")) == hex(&plain), "an export is in the clear");
        let (_, said) = server.done(&place, &format!("export {name} s3://data/out-{name}"));
        assert!(said.contains("0 written now"), "{said}");
        // A second snapshot, and the first again.
        server.ask("put in/t/c/5 changed");
        let (second, _) = server.done(&place, &format!("import {name} s3://data/in"));
        assert_eq!(place.done(&format!("diff {name} {first} {second}")), "~ t/c/5\n");
        server.done(&place, &format!("checkout {name} {first} s3://data/before-{name}"));
        assert!(server.tree(&format!("before-{name}")) == hex(&plain));
        server.done(&place, &format!("export {name} s3://data/out-{name}"));
        assert!(server.tree(&format!("out-{name}")) == server.tree("in"));
        place.done(&format!("verify {name}"));
        let blame = place.json(&format!("blame {name} t/c/5"));
        assert_eq!(blame["items"][0]["run"], "import of s3://data/in");
        // What is foreign is left alone, on both sides.
        server.ask(&format!("put out-{name}/notes.txt mine"));
        server.refused(
            &place,
            &format!("export {name} s3://data/out-{name}"),
            "notes.txt: it is not of this snapshot",
        );
        server.ask("put in/notes.txt mine");
        server.refused(
            &place,
            &format!("import {name} s3://data/in"),
            "notes.txt: it is no chunk of this hierarchy",
        );
        server.ask("delete in/notes.txt");
        if name == "secret" {
            assert_eq!(place.in_the_clear(), Vec::<String>::new());
            let kept = fs::read(place.0.path().join("data/arrays/default/secret/encryption")).unwrap();
            assert!(!kept.is_empty());
        } else {
            assert!(!place.in_the_clear().is_empty(), "what is looked for is found where it is");
        }
        server.ask(&format!("upload in {}", plain.display()));
    }
}

/// Also what it has staged is sealed.
#[test]
fn nothing_that_an_encrypted_import_leaves_is_in_the_clear() {
    if is_left_out() {
        return;
    }
    let place = Place::marked();
    place.key("key", "7", 0o600);
    let mut server = Server::start();
    server.ask(&format!("upload in {}", place.0.path().join("plain").display()));
    place.done("create secret --encrypt-key-file key");
    place.done("quota secret 100");
    server.refused(&place, "import secret s3://data/in", "the array's quota is 100");
    assert_eq!(place.in_the_clear(), Vec::<String>::new());
    place.done("quota secret none");
    let (_, said) = server.done(&place, "import secret s3://data/in");
    assert!(said.contains("12 keys: 12 added"), "{said}");
    place.done("export secret out");
    assert!(hex(&place.0.path().join("out")) == hex(&place.0.path().join("plain")));
    assert_eq!(place.in_the_clear(), Vec::<String>::new());
}

/// Stands before a service, and hears how often a word is said. Its threads end with the connections, and the last with the
/// test's process.
fn heard_before(service: &str, word: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = service.strip_prefix("http://").unwrap().to_owned();
    let count = Arc::new(AtomicUsize::new(0));
    let heard = count.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let Ok(mut upstream) = TcpStream::connect(&service) else { return };
            let (mut back, mut forth) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut forth);
                let _ = forth.shutdown(Shutdown::Both);
            });
            let heard = heard.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    let is_it = buffer[..length].windows(word.len()).any(|part| part == word.as_bytes());
                    heard.fetch_add(usize::from(is_it), Ordering::Relaxed);
                    if upstream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                let _ = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
            });
        }
    });
    (endpoint, count)
}

#[test]
fn an_import_from_a_bucket_that_is_killed_reads_nothing_twice() {
    if is_left_out() {
        return;
    }
    let place = Place::marked();
    place.key("key", "7", 0o600);
    let mut server = Server::start();
    server.ask(&format!("upload in {}", place.0.path().join("plain").display()));
    let (endpoint, chunks_read) = heard_before(&server.endpoint, "GET /data/in/t/c/");
    server.endpoint = endpoint;
    place.done("create clear");
    place.done("create secret --encrypt-key-file key");
    for name in ["secret", "clear"] {
        killed(&place, name, "s3://data/in", &server.variables());
        place.refused(&format!("show {name}"), 1, "the array has no snapshot yet");
        assert_eq!(chunks_read.swap(0, Ordering::Relaxed), 10);
        if name == "secret" {
            assert_eq!(place.in_the_clear(), Vec::<String>::new());
        }
        // One is another by now: it alone is read.
        server.ask("put in/t/c/5 changed");
        let (_, said) = server.done(&place, &format!("import {name} s3://data/in"));
        assert!(said.contains("12 keys: 12 added"), "{said}");
        assert_eq!(chunks_read.swap(0, Ordering::Relaxed), 1);
        place.done(&format!("verify {name}"));
        place.done(&format!("export {name} out-{name}"));
        assert_eq!(place.read(&format!("out-{name}/t/c/5")).as_deref(), Some("changed"));
        server.ask("put in/t/c/5 55");
    }
}
