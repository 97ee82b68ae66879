//! The control of attacks 41 to 44: the same archives, unpacked by GNU tar as told to believe them (`--absolute-names`), get out
//! of the directory. Every row is an attempt that the tests beside it make of our own unpacker.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::testing::{Raw, RawTar, TestLayer, file, hard_link, names, raw, record, store, symlink};

/// An archive, made with the path of a directory outside that has a file `secret`.
type Archive = fn(outside: &str) -> Vec<u8>;

/// What each is, and its archive.
const ATTACKS: [(&str, Archive); 9] = [
    ("41: up", |_| RawTar::of(&[file("../evil", "x")])),
    ("41: down and up", |_| RawTar::of(&[file("a/../../evil", "x")])),
    ("41: up, behind a dot", |_| RawTar::of(&[file("./.././evil", "x")])),
    ("41: up, in an extended header", |_| {
        let mut tar = RawTar::default();
        tar.pax(&[("path", "../evil")]).push(&file("innocent", "x"));
        tar.end()
    }),
    ("41: up, as GNU writes long names", |_| {
        let mut tar = RawTar::default();
        tar.push(&Raw { content: b"../evil\0", ..raw("././@LongLink", b'L') }).push(&file("innocent", "x"));
        tar.end()
    }),
    ("41: absolute", |outside| RawTar::of(&[file(&format!("{outside}/evil"), "x")])),
    ("42: a hard link", |outside| RawTar::of(&[hard_link("evil", &format!("{outside}/secret"))])),
    ("43: through a link", |outside| RawTar::of(&[symlink("out", outside), file("out/evil", "x")])),
    ("44: a whiteout through a link", |outside| {
        RawTar::of(&[symlink("out", outside), file("out/.wh.secret", "")])
    }),
];

/// What can be seen outside: names, content, and whether somebody else has the file too.
fn seen(outside: &Path) -> (Vec<String>, String, u64) {
    let secret = outside.join("secret");
    (names(outside), fs::read_to_string(&secret).unwrap(), fs::metadata(&secret).unwrap().nlink())
}

fn with_secret() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    outside
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
#[test]
fn attacks_41_to_44_get_out_of_gnu_tar() {
    let version =
        Command::new("tar").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    if !String::from_utf8_lossy(&version).contains("GNU tar") {
        eprintln!("NOT TESTED: GNU tar is not installed, so attacks on an unpacker have no control");
        return;
    }
    for (what, archive) in ATTACKS {
        let outside = with_secret();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        let before = seen(outside.path());
        let mut tar = Command::new("tar")
            .args(["--extract", "--absolute-names", "--no-same-owner", "--file=-", "--directory"])
            .arg(&root)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let bytes = archive(outside.path().to_str().unwrap());
        std::io::Write::write_all(&mut tar.stdin.take().unwrap(), &bytes).unwrap();
        assert!(tar.wait().unwrap().success(), "{what}");
        assert_ne!(seen(outside.path()), before, "{what}: the control proves nothing");

        let outside = with_secret();
        let before = seen(outside.path());
        let t = store();
        let layer = TestLayer::plain(archive(outside.path().to_str().unwrap()));
        // Refused, or landed inside.
        let _ = t.store.unpacked_layers(&record(&t.store, "test", &[layer]));
        assert_eq!(
            (seen(outside.path()), names(t.outside.path())),
            (before, vec!["data".to_owned()]),
            "{what}"
        );
    }
}
