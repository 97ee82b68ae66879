//! The other side of the line was taken over.

use std::fs;
use std::io::Write as _;

use super::*;
use crate::unpack::message::Failure;
use crate::{Compression, Digest, Limits};

fn request() -> Request {
    Request {
        compression: Compression::None,
        size: 1024,
        diff_id: Digest::of(b"promised"),
        limits: Limits::default(),
        bytes_left: 1000,
    }
}

fn record() -> UnpackRecord {
    UnpackRecord {
        version: 0,
        diff_id: Digest::of(b"promised"),
        bytes: 10,
        entries: 1,
        opaque_root: false,
        implicit_parents: false,
        special: Vec::new(),
        special_omitted: 0,
    }
}

/// What the talk ends with when `other` is at the other end, and whether it was stopped.
fn talk(dir: &Path, other: impl FnOnce(&mut UnixStream) + Send) -> (Result<UnpackRecord, LayerError>, bool) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let root = Root::open(dir).unwrap();
    let (request, mut lowers) = (request(), Lowers::new(&[]));
    let deadline = Instant::now() + Duration::from_secs(20);
    let breaker = theirs.try_clone().unwrap();
    let mut stopped = false;
    let told = std::thread::scope(|scope| {
        scope.spawn(move || {
            other(&mut theirs);
            // As its end does.
            let _ = theirs.shutdown(std::net::Shutdown::Both);
        });
        let mut talk = Talk { request: &request, root: &root, lowers: &mut lowers };
        talk.converse(Line { socket: ours, deadline }, &mut || {
            stopped = true;
            // As the kernel does with what a process has that was killed.
            breaker.shutdown(std::net::Shutdown::Both).unwrap();
        })
    });
    (told, stopped)
}

fn begin(line: &mut UnixStream) {
    receive::<Request>(line).unwrap().unwrap();
}

#[test]
fn what_is_asked_for_stays_in_the_layer() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("root");
    fs::create_dir_all(dir.join("inside")).unwrap();
    std::os::unix::fs::symlink("..", dir.join("link")).unwrap();
    let names = |path: &[&str]| path.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    let (told, _) = talk(&dir, |line| {
        begin(line);
        let deep = vec!["a"; 300];
        for path in [&[".."][..], &["inside/.."], &["a", "..", "b"], &[""], &["."], &[], &["a\0"], &deep] {
            send(line, &Said::Parent(names(path))).unwrap();
            assert!(receive::<ParentAnswer>(line).unwrap().unwrap().is_err(), "{path:?}");
            send(line, &Said::Opaque(names(path))).unwrap();
            assert!(receive::<OpaqueAnswer>(line).unwrap().unwrap().is_err(), "{path:?}");
        }
        // A link is no directory of the layer.
        for path in [&["link"][..], &["link", "root"], &["nowhere"]] {
            send(line, &Said::Opaque(names(path))).unwrap();
            assert!(receive::<OpaqueAnswer>(line).unwrap().unwrap().is_err(), "{path:?}");
        }
        send(line, &Said::Opaque(names(&["inside"]))).unwrap();
        receive::<OpaqueAnswer>(line).unwrap().unwrap().unwrap();
        send(line, &Said::Outcome(Ok(record()))).unwrap();
    });
    told.unwrap();
    let opaque = |path: &Path| root::is_opaque(&fs::File::open(path).unwrap().into()).unwrap();
    assert!(opaque(&dir.join("inside")) && !opaque(&dir) && !opaque(outside.path()));
}

#[test]
fn one_that_breaks_off_or_babbles_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let check = |other: fn(&mut UnixStream), says: &str| {
        let (told, stopped) = talk(dir.path(), other);
        let error = told.unwrap_err().to_string();
        assert!(error.contains(says) && stopped, "{error}");
    };
    check(|_| (), "ended before it was done");
    check(begin, "ended before it was done");
    check(
        |line| {
            begin(line);
            line.write_all(b"\x07\0\0\0{\"x\":1}").unwrap();
        },
        "does not speak",
    );
    check(
        |line| {
            begin(line);
            line.write_all(&[0xff; 64]).unwrap();
        },
        "does not speak",
    );
    // Still there after its last word, it is stopped too.
    let (told, stopped) = talk(dir.path(), |line| {
        begin(line);
        send(line, &Said::Outcome(Ok(record()))).unwrap();
        line.write_all(b"more").unwrap();
    });
    assert!(told.is_ok() && stopped);
}

#[test]
fn what_it_says_of_a_failure_moves_no_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let (told, _) = talk(dir.path(), |line| {
        begin(line);
        let failure = Failure::Entry { entry: "\x1b[2J".into(), reason: "x\ny".repeat(10_000) };
        send(line, &Said::Outcome(Err(failure))).unwrap();
    });
    let error = told.unwrap_err().to_string();
    assert!(!error.contains(char::is_control) && error.len() < 10_000, "{error}");
}

#[test]
fn a_program_that_is_no_unpacker_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    for (program, says) in [("/bin/false", "exit status: 1"), ("/nowhere", "cannot start it")] {
        let layer = tempfile::tempfile().unwrap();
        let unpacker = Unpacker::Process(program.into());
        let told = unpacker.unpack(layer, &request(), dir.path(), &root, &mut Lowers::new(&[]));
        let error = told.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
