//! In and out of stores of others: a server of S3, and Icechunk's own library.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use watchbell_array::{
    Array, Bucket, Disk, Error, Import, OnMove, Run, S3Config, S3Credentials, export, export_to_bucket,
    import, verify,
};

/// What `make test` installs, with moto, icechunk and zarr.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/array-venv/bin/python");
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/services.py");
const ICECHUNK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/icechunk/icechunk_directory.py");

fn is_left_out(modules: &str) -> bool {
    let has = Path::new(PYTHON).exists()
        && Command::new(PYTHON)
            .args(["-c", &format!("import {modules}")])
            .status()
            .is_ok_and(|s| s.success());
    if !has {
        eprintln!("NOT TESTED: {PYTHON} has no {modules} (`make test-setup` installs it)");
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

    fn tree(&mut self, prefix: &str) -> BTreeMap<String, String> {
        serde_json::from_str(&self.ask(&format!("tree {prefix}"))).unwrap()
    }

    fn bucket(&self, url: &str) -> Bucket {
        let credentials = S3Credentials {
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned().into(),
            session_token: None,
        };
        let config = S3Config {
            endpoint: Some(self.endpoint.clone()),
            allow_http: true,
            region: None,
            credentials: Some(credentials),
            authorities: None,
        };
        Bucket::new(url, &config).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn plain(dir: &Path, chunks: usize) {
    let array = r#"{"zarr_format": 3, "node_type": "array", "shape": [2400], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["x"], "attributes": {}}"#;
    fs::create_dir_all(dir.join("ä+b/c")).unwrap();
    fs::write(dir.join("zarr.json"), r#"{"zarr_format": 3, "node_type": "group"}"#).unwrap();
    fs::write(dir.join("ä+b/zarr.json"), array).unwrap();
    for chunk in 0..chunks {
        fs::write(dir.join(format!("ä+b/c/{chunk}")), format!("chunk {chunk}")).unwrap();
    }
}

fn hex(dir: &Path) -> BTreeMap<String, String> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(at) = pending.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                pending.push(path);
            } else {
                let text = fs::read(&path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
                found.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), text);
            }
        }
    }
    found
}

#[test]
fn a_hierarchy_comes_from_a_bucket_and_goes_to_one() {
    if is_left_out("moto.server, boto3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // More than a page of a list, and one that is more than a pack takes.
    plain(&dir.path().join("plain"), 1_100);
    fs::write(dir.path().join("plain/ä+b/c/7"), vec![7; 3 << 20]).unwrap();
    let mut server = Server::start();
    server.ask(&format!("upload in {}", dir.path().join("plain").display()));
    let array = Array::create(&dir.path().join("array"), Disk::default()).unwrap();
    let get = |bucket: &Bucket, quota| {
        let (by, on_move) = (&Run::default(), OnMove::Fail);
        let import = Import { by, quota_bytes: quota, message: "", now: Timestamp::UNIX_EPOCH, on_move };
        import.bucket(&array, bucket, &mut |_, _| {})
    };
    // A prefix that leads to nothing is no empty directory.
    let error = get(&server.bucket("s3://data/im/"), None).unwrap_err();
    assert!(error.to_string().contains("there is no file in it"), "{error}");
    // Interrupted: what was read is not read again.
    let source = server.bucket("s3://data/in/");
    assert!(matches!(get(&source, Some(1_000)), Err(Error::Quota { .. })));
    let imported = get(&source, None).unwrap();
    assert_eq!((imported.keys, imported.copied), (1_102, 0));
    let head = array.head().unwrap().unwrap();
    export(&array, head, &dir.path().join("out"), &mut |_, _| {}).unwrap();
    let expected = hex(&dir.path().join("plain"));
    assert!(hex(&dir.path().join("out")) == expected);
    assert!(get(&source, None).unwrap().publication.is_none());
    // And back: what is there stays, what is foreign is left alone, and what is missing is written.
    let put = |bucket: &Bucket| export_to_bucket(&array, head, bucket, &mut |_, _| {});
    let target = server.bucket("s3://data/out");
    assert_eq!(put(&target).unwrap().written, 1_102);
    assert!(server.tree("out") == expected);
    server.ask("delete out/ä+b/c/8");
    server.ask("put out/zarr.json {}");
    assert_eq!(put(&target).unwrap().written, 2);
    server.ask("put out/notes.txt mine");
    let error = put(&target).unwrap_err().to_string();
    assert!(error.starts_with("s3://data/out/notes.txt: it is not of this snapshot"), "{error}");
    // What is no hierarchy, what changed, and who may not.
    server.ask("put in/notes.txt mine");
    let error = get(&source, None).unwrap_err().to_string();
    assert!(error.starts_with("s3://data/in/notes.txt: it is no chunk of this hierarchy"), "{error}");
    let error = get(&server.bucket("s3://nowhere/in"), None).unwrap_err().to_string();
    assert_eq!(error, "s3://nowhere/in: the service says 404 Not Found NoSuchBucket");
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// Stands before a service, and cuts each line over which it hears a word.
struct Cutter {
    endpoint: String,
    word: Arc<Mutex<Option<&'static str>>>,
    /// How often it heard the beginning of the first part.
    first_parts: Arc<AtomicUsize>,
}

impl Cutter {
    /// Its threads end with the connections, and the last with the test's process.
    fn before(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = service.strip_prefix("http://").unwrap().to_owned();
        let cutter =
            Self { endpoint, word: Arc::new(Mutex::new(Some("partNumber=3&"))), first_parts: Arc::default() };
        let (word, first_parts) = (cutter.word.clone(), cutter.first_parts.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(&service) else { return };
                let (mut back, mut forth) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut forth);
                    let _ = forth.shutdown(Shutdown::Both);
                });
                let (word, first_parts) = (word.clone(), first_parts.clone());
                std::thread::spawn(move || {
                    let (mut client, mut upstream) = (client, upstream);
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(length @ 1..) = client.read(&mut buffer) {
                        let heard = |word: &str| {
                            buffer[..length].windows(word.len()).any(|part| part == word.as_bytes())
                        };
                        first_parts.fetch_add(usize::from(heard("partNumber=1&")), Ordering::Relaxed);
                        if word.lock().unwrap().is_some_and(heard)
                            || upstream.write_all(&buffer[..length]).is_err()
                        {
                            break;
                        }
                    }
                    let _ = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
                });
            }
        });
        cutter
    }
}

/// What is large goes in parts: an export that is interrupted goes on with those that are there.
#[test]
fn a_large_object_is_written_in_parts_and_gone_on_with() {
    if is_left_out("moto.server, boto3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    plain(&dir.path().join("plain"), 2);
    let large: Vec<u8> = (0..(20u32 << 20) + 5).map(|n| (n >> 12) as u8).collect();
    fs::write(dir.path().join("plain/ä+b/c/1"), &large).unwrap();
    let array = Array::create(&dir.path().join("array"), Disk::default()).unwrap();
    let by = Run::default();
    import(&array, &dir.path().join("plain"), &by, None, "", Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
    let head = array.head().unwrap().unwrap();
    let mut server = Server::start();
    let cutter = Cutter::before(&server.endpoint);
    let service = std::mem::replace(&mut server.endpoint, cutter.endpoint.clone());
    let target = server.bucket("s3://data/large");
    let put = || export_to_bucket(&array, head, &target, &mut |_, _| {}).map(|done| done.written);
    let error = put().unwrap_err().to_string();
    assert!(
        error.starts_with("s3://data/large/ä+b/c/1: it cannot be asked") && error.ends_with("5 times"),
        "{error}"
    );
    assert_eq!(server.ask("uploads large"), "[2]");
    *cutter.word.lock().unwrap() = None;
    assert_eq!(put().unwrap(), 3, "the other chunk was there");
    assert_eq!(server.ask("uploads large"), "[]");
    assert_eq!(cutter.first_parts.load(Ordering::Relaxed), 1, "what was there was not sent again");
    assert!(server.ask("etag large/ä+b/c/1").ends_with("-3\""));
    assert!(server.tree("large") == hex(&dir.path().join("plain")));
    assert_eq!(fs::read_dir(array.dir().join("uploads")).unwrap().count(), 0);
    assert_eq!(put().unwrap(), 0);
    // An upload that the service has forgotten is begun anew.
    *cutter.word.lock().unwrap() = Some("partNumber=3&");
    server.ask("delete large/ä+b/c/1");
    assert!(put().is_err());
    let note = fs::read_dir(array.dir().join("uploads")).unwrap().next().unwrap().unwrap().path();
    fs::write(&note, "gone").unwrap();
    *cutter.word.lock().unwrap() = None;
    assert_eq!(put().unwrap(), 1);
    assert!(server.tree("large") == hex(&dir.path().join("plain")));
    server.endpoint = service;
}

#[test]
fn a_repository_of_icechunk_comes_in_and_goes_out() {
    if is_left_out("icechunk, zarr") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let python = |args: &[&str]| {
        let output = Command::new(PYTHON).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    python(&[SERVICES, "make-icechunk", &path("repository")]);
    python(&[ICECHUNK, "export", &path("repository"), &path("plain")]);
    let array = Array::create(&dir.path().join("array"), Disk::default()).unwrap();
    let by = Run::default();
    import(&array, &dir.path().join("plain"), &by, None, "", Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
    export(&array, array.head().unwrap().unwrap(), &dir.path().join("out"), &mut |_, _| {}).unwrap();
    python(&[ICECHUNK, "import", &path("out"), &path("other"), "--message", "from watchbell"]);
    python(&[SERVICES, "check-icechunk", &path("other")]);
    // A link is not followed, and no key lies outside.
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out/link")).unwrap();
    let output =
        Command::new(PYTHON).args([ICECHUNK, "import", &path("out"), &path("third")]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither a regular file nor a directory"));
    assert!(!output.status.success() && !dir.path().join("third").exists());
    let check = "import sys; sys.path.insert(0, sys.argv[1]); from icechunk_directory import is_path; \
        sys.exit(any(map(is_path, ['', '/etc/x', 'a//b', '../a', 'a/..', './a', 'a\\0'])) or not is_path('a/b.c'))";
    python(&["-B", "-c", check, Path::new(ICECHUNK).parent().unwrap().to_str().unwrap()]);
}

/// A repository in a bucket, which the `AWS_*` variables name.
#[test]
fn a_repository_of_icechunk_in_a_bucket_comes_in_and_goes_out() {
    if is_left_out("moto.server, boto3, icechunk, zarr") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    plain(&dir.path().join("plain"), 20);
    let mut server = Server::start();
    let icechunk = |args: &[&str]| {
        let mut command = Command::new(PYTHON);
        command
            .arg(ICECHUNK)
            .args(args)
            .env("AWS_ENDPOINT_URL", &server.endpoint)
            .env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let repository = "s3://data/weather/repository";
    let (is_well, why) = icechunk(&["import", &path("plain"), repository, "--message", "from watchbell"]);
    assert!(is_well, "{why}");
    let (is_well, why) = icechunk(&["export", repository, &path("out")]);
    assert!(is_well, "{why}");
    assert_eq!(hex(&dir.path().join("out")), hex(&dir.path().join("plain")));
    let (is_well, why) = icechunk(&["export", "s3://data/nowhere", &path("none")]);
    assert!(!is_well && !dir.path().join("none").exists(), "{why}");
    // It lies below the prefix, and nowhere else.
    assert!(!server.tree("weather/repository").is_empty());
}
