//! Bills of materials by the program itself: printed, attached, and made by the process that sees the image alone.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use watchbell_image::{BuildSpec, ImageContent, Layout, Limits, Platform, Reference, Store, build_scratch};
use watchbell_scan::{attached_bills, catalog, is_bill};

const PROGRAM: &str = env!("CARGO_BIN_EXE_watchbell");

/// A layout with one image, in which packages of several kinds are.
struct Home {
    dir: tempfile::TempDir,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let file = |path: &str, content: &[u8]| {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    file("etc/os-release", b"ID=debian\nVERSION_ID=12\n");
    file(
        "var/lib/dpkg/status",
        b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\nSource: glibc\n",
    );
    file("opt/a-1.dist-info/METADATA", b"Name: a\nVersion: 1\nLicense: MIT\n");
    // Programs, locks and a data base of SQLite take other ways through the same parsers.
    file("opt/Cargo.lock", b"[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n");
    file("opt/pnpm-lock.yaml", b"packages:\n  b@1.0.0:\n    x: y\n");
    file("opt/broken.jar", b"PK but no more");
    std::fs::copy("/bin/sh", tree.join("opt/program")).unwrap();
    let database = dir.path().join("rpmdb.sqlite");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)").unwrap();
    drop(connection);
    file("usr/lib/sysimage/rpm/rpmdb.sqlite", &std::fs::read(database).unwrap());
    let store = Store::open(dir.path()).unwrap();
    let spec = BuildSpec { copies: vec![(tree, "/".into())], ..BuildSpec::default() };
    build_scratch(&store, &spec, &Reference::parse("demo:1").unwrap()).unwrap();
    // A layout beside the store: in the store itself nothing is attached.
    let (from, to) = (dir.path().join("images"), dir.path().join("lay"));
    std::fs::create_dir_all(to.join("blobs/sha256")).unwrap();
    for name in ["oci-layout", "index.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for name in names(&from.join("blobs/sha256")) {
        std::fs::copy(from.join("blobs/sha256").join(&name), to.join("blobs/sha256").join(&name)).unwrap();
    }
    Home { dir }
}

impl Home {
    fn layout(&self) -> PathBuf {
        self.dir.path().join("lay")
    }

    fn image(&self) -> String {
        format!("oci:{}:1", self.layout().display())
    }

    fn content(&self) -> ImageContent {
        ImageContent::open(&self.layout(), Some("1"), &Platform::host(), &Limits::default()).unwrap()
    }
}

fn watchbell(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_bill_of_an_image_is_printed_and_says_what_is_not_known() {
    let home = home();
    let shown = watchbell(&["image", "sbom", "show", &home.image(), "-o", "cyclonedx"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let bill: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let purls: Vec<&str> =
        bill["components"].as_array().unwrap().iter().filter_map(|c| c["purl"].as_str()).collect();
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/libc6@2.36?arch=amd64&distro=debian-12&upstream=glibc",
            "pkg:pypi/a@1",
            "pkg:npm/b@1.0.0",
            "pkg:cargo/serde@1.0.0",
        ]
    );
    let said = text(&shown.stderr);
    assert!(said.contains("not known: opt/broken.jar: "), "{said}");
    assert!(said.contains("not known: opt/program: no package owns"), "{said}");
    // The same bytes again, and a table without a form.
    assert_eq!(watchbell(&["image", "sbom", "show", &home.image(), "-o", "cyclonedx"]).stdout, shown.stdout);
    let table = text(&watchbell(&["image", "sbom", "show", &home.image()]).stdout);
    assert!(table.lines().nth(1).unwrap().starts_with("libc6"), "{table}");
}

#[test]
fn a_bill_is_attached_and_one_of_another_image_is_not() {
    let home = home();
    let pushed = watchbell(&["image", "sbom", "push", &home.image(), "--form", "spdx"]);
    assert!(pushed.status.success(), "{}", text(&pushed.stderr));
    let digest = home.content().image.digest;
    let layout = Layout::open(&home.layout()).unwrap();
    let attached = || attached_bills(&digest, &layout.attached(&digest, &is_bill).unwrap());
    assert_eq!(attached().len(), 1);
    assert_eq!(attached()[0].artifact.as_str(), text(&pushed.stdout).trim());
    assert_eq!(attached()[0].read.as_ref().unwrap().digest.as_ref(), Some(&digest));

    let foreign = home.dir.path().join("foreign.json");
    let version = format!("sha256:{}", "0".repeat(64));
    let bill = serde_json::json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [],
        "metadata": {"component": {"name": "x", "version": version}}});
    std::fs::write(&foreign, bill.to_string()).unwrap();
    let refused = watchbell(&["image", "sbom", "push", &home.image(), "--file", foreign.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("says it is of sha256:000"), "{}", text(&refused.stderr));
    assert_eq!(attached().len(), 1);
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn the_process_that_sees_the_image_alone_finds_the_same() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a process is confined by root alone");
        return;
    }
    let home = home();
    let content = home.content();
    let told = scanned(&home.layout());
    let here = serde_json::to_value(catalog(&content, 1).unwrap()).unwrap();
    assert_eq!(told["Ok"]["inventory"], here);
    // A layer that is not what its name says is refused.
    let layer = &content.image.layers[0];
    let blob = home.layout().join("blobs/sha256").join(layer.digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let told = scanned(&home.layout());
    let why = told["Err"].as_str().unwrap_or_else(|| panic!("it was read: {told}"));
    assert!(why.contains(layer.digest.as_str()), "{why}");
}

/// What `watchbell scanner` says of the image in a folder.
fn scanned(folder: &Path) -> Value {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let parent = std::process::id().to_string();
    let mut child = Command::new(PROGRAM)
        .args(["scanner", &parent, "0", "600"])
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let mut length = [0u8; 8];
    ours.read_exact(&mut length).unwrap();
    let mut told = vec![0; usize::try_from(u64::from_le_bytes(length)).unwrap()];
    ours.read_exact(&mut told).unwrap();
    assert!(child.wait().unwrap().success());
    serde_json::from_slice(&told).unwrap()
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect()
}
