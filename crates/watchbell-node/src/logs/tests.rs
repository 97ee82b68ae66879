use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use watchbell_api::Uid;
use watchbell_api::node::{LogQuery, LogSource, LogStream};
use watchbell_api::types::pod_status::JobLog;
use watchbell_sandbox::ContainerId;

use super::lines::Lines;
use super::{Live, LogDir, Logs, last_words, read_message};

const ID: ContainerId = ContainerId { pod_uid: 1, container: 0, attempt: 0 };
const DIR: &str = "pods/00000000-0000-0000-0000-000000000001";

fn query() -> LogQuery {
    LogQuery { pod_uid: Uid(1), ..LogQuery::default() }
}

struct Place {
    dir: tempfile::TempDir,
    logs: Logs,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs {
            dir: LogDir::new(dir.path().to_owned()),
            live: Arc::new(Live::default()),
            here: Arc::default(),
            data_dir: dir.path().to_owned(),
        };
        Place { dir, logs }
    }

    /// Below the directory.
    fn path(&self, name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.dir.path().join(DIR).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// As the keeper does it.
    fn rotate(&self) {
        let dir = self.dir.path().join(DIR);
        for n in (1..9).rev() {
            let from = dir.join(format!("0.0.log.{n}"));
            if from.exists() {
                fs::rename(from, dir.join(format!("0.0.log.{}", n + 1))).unwrap();
            }
        }
        fs::rename(dir.join("0.0.log"), dir.join("0.0.log.1")).unwrap();
    }

    fn open(&self, query: &LogQuery) -> Box<dyn LogStream> {
        self.logs.open(query).unwrap()
    }

    fn all(&self, query: &LogQuery) -> String {
        let mut stream = self.open(query);
        let text = drain(&mut *stream);
        assert!(stream.finished());
        text
    }
}

/// What there is for now.
#[test]
fn a_trace_is_read_like_a_log_and_goes_with_it() {
    let place = Place::new();
    place.append("0.0.log", "2026-01-01T00:00:00.000000000Z stdout F printed\n");
    assert_eq!(place.all(&LogQuery { trace: true, ..query() }), "", "it was not traced");
    place.append("0.0.log.trace", "2026-01-01T00:00:00.000000000Z stdout F {\"call\":\"read\"}\n");
    assert_eq!(place.all(&LogQuery { trace: true, ..query() }), "{\"call\":\"read\"}\n");
    assert_eq!(place.all(&query()), "printed\n");
    super::remove(&place.logs.dir, &place.path("0.0.log")).unwrap();
    assert_eq!(fs::read_dir(place.dir.path().join(DIR)).unwrap().count(), 0);
}

fn drain(stream: &mut dyn LogStream) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0u8; 7]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return String::from_utf8_lossy(&text).into_owned(),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

fn line(second: u32, tag: &str, text: &str) -> String {
    format!("2026-01-01T00:00:{second:02}.000000001Z stdout {tag} {text}\n")
}

#[test]
fn the_frame_is_taken_off_and_nothing_else() {
    let check = |raw: &str, expect: &str| {
        for step in [1, 2, 5, 1000] {
            let (mut lines, mut out) = (Lines::new(None, false), Vec::new());
            for piece in raw.as_bytes().chunks(step) {
                lines.feed(piece, &mut out);
            }
            lines.new_file(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expect, "{raw:?} in pieces of {step}");
        }
    };
    check("", "");
    check(&line(1, "F", "hello"), "hello\n");
    check(&line(1, "F", ""), "\n");
    check(&line(1, "F", "  two  spaces "), "  two  spaces \n");
    check(&[line(1, "P", "long "), line(1, "P", "long "), line(1, "F", "line")].concat(), "long long line\n");
    check(&line(1, "F:x", "tagged"), "tagged\n");
    check(&line(1, "F", "\u{1b}[31mred\0nul\u{7}"), "\u{1b}[31mred\0nul\u{7}\n");
    check("2026-01-01T00:00:01Z stdout F cut", "cut");
    check("2026-01-01T00:00:01Z std", "2026-01-01T00:00:01Z std");
    check("no frame at all\n", "no frame at all\n");
    check(&format!("{}\n", "x".repeat(300)), &format!("{}\n", "x".repeat(300)));
    check("2026-01-01T00:00:01Z stderr F err\n", "err\n");
    check("\n\n", "\n\n");
}

#[test]
fn times_are_shown_once_a_line() {
    let (mut lines, mut out) = (Lines::new(None, true), Vec::new());
    let raw = [line(1, "P", "a"), line(2, "F", "b"), line(3, "F", "c")].concat();
    lines.feed(raw.as_bytes(), &mut out);
    let expect = "2026-01-01T00:00:01.000000001Z ab\n2026-01-01T00:00:03.000000001Z c\n";
    assert_eq!(String::from_utf8_lossy(&out), expect);
}

#[test]
fn lines_before_a_time_are_left_out() {
    let since: jiff::Timestamp = "2026-01-01T00:00:02Z".parse().unwrap();
    let (mut lines, mut out) = (Lines::new(Some(since.as_nanosecond() as i64), false), Vec::new());
    lines.feed([line(1, "F", "a"), line(2, "F", "b")].concat().as_bytes(), &mut out);
    assert_eq!(out, b"b\n");
}

#[test]
fn rotated_files_are_read_in_order() {
    let place = Place::new();
    place.append("0.0.log.2", &line(1, "F", "one"));
    place.append("0.0.log.1", &[line(2, "F", "two"), line(3, "P", "thr")].concat());
    place.append("0.0.log", &line(4, "F", "ee"));
    assert_eq!(place.all(&query()), "one\ntwo\nthree\n");
    let tail = |n| place.all(&LogQuery { tail_lines: Some(n), ..query() });
    assert_eq!(tail(0), "");
    assert_eq!(tail(9), "one\ntwo\nthree\n");
    let limited = |n| place.all(&LogQuery { limit_bytes: Some(n), ..query() });
    assert_eq!(
        (limited(0).as_str(), limited(6).as_str(), limited(99).as_str()),
        ("", "one\ntw", "one\ntwo\nthree\n")
    );
}

#[test]
fn the_tail_counts_whole_lines() {
    let place = Place::new();
    place.append("0.0.log.1", &[line(1, "F", "a"), line(1, "F", "b")].concat());
    place.append(
        "0.0.log",
        &[
            line(2, "F", "c"),
            line(2, "P", "d"),
            line(2, "F", "e"),
            "2026-01-01T00:00:02Z stdout F cut".to_owned(),
        ]
        .concat(),
    );
    let tail = |n| place.all(&LogQuery { tail_lines: Some(n), ..query() });
    assert_eq!(tail(1), "cut");
    assert_eq!(tail(2), "de\ncut");
    assert_eq!(tail(3), "c\nde\ncut");
    assert_eq!(tail(4), "b\nc\nde\ncut");
    assert_eq!(tail(5), "a\nb\nc\nde\ncut");
}

#[test]
fn a_task_that_printed_nothing_has_an_empty_log() {
    let place = Place::new();
    assert_eq!(place.all(&query()), "");
    assert_eq!(place.all(&LogQuery { tail_lines: Some(5), follow: true, ..query() }), "", "it does not run");
}

#[test]
fn logs_are_kept_apart() {
    let place = Place::new();
    let dir = place.dir.path().join("jobs/00000000-0000-0000-0000-000000000009");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("7.2.1.3.log"), line(1, "F", "mine")).unwrap();
    fs::write(dir.join("7.2.1.2.log"), line(1, "F", "the run before")).unwrap();
    let log = JobLog { job: Uid(9), index: Some(7), attempt: 2 };
    let asked = LogQuery { log: Some(log), container: 1, restart: 3, ..query() };
    assert_eq!(place.all(&asked), "mine\n");
    assert_eq!(place.all(&LogQuery { log: Some(JobLog { index: None, ..log }), ..asked }), "");
}

#[test]
fn a_follower_reads_on_over_rotations_until_the_end() {
    let place = Place::new();
    place.logs.live.begin(ID);
    let mut stream = place.open(&LogQuery { follow: true, ..query() });
    let (tx, rx) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0u8; 64];
        while !stream.finished() {
            let n = stream.read(&mut buffer).unwrap();
            if n > 0 {
                tx.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).unwrap();
            }
        }
    });
    let await_text = |expect: &str| {
        let mut text = String::new();
        while text != expect {
            assert!(expect.starts_with(&text), "{text:?} is not the beginning of {expect:?}");
            text.push_str(&rx.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
        }
    };
    place.append("0.0.log", &line(1, "F", "first"));
    await_text("first\n");
    place.append("0.0.log", &line(2, "F", "second"));
    await_text("second\n");
    // Several rotations at once, faster than it reads.
    place.append("0.0.log", &line(3, "F", "third"));
    place.rotate();
    place.append("0.0.log", &line(4, "F", "fourth"));
    place.rotate();
    place.append("0.0.log", &line(5, "F", "fifth"));
    await_text("third\nfourth\nfifth\n");
    place.append("0.0.log", "2026-01-01T00:00:06Z stdout P last words");
    place.logs.live.end(ID);
    await_text("last words");
    reader.join().unwrap();
}

#[test]
fn a_run_that_the_spawner_lost_ends_its_followers() {
    let place = Place::new();
    place.logs.live.begin(ID);
    place.append("0.0.log", &line(1, "F", "all"));
    let asked = LogQuery { follow: true, ..query() };
    let mut stream = place.open(&asked);
    assert_eq!(stream.read(&mut [0u8; 64]).unwrap(), 4);
    assert!(!stream.finished());
    place.logs.live.only(&[ID].into());
    assert!(!stream.finished());
    place.logs.live.only(&[].into());
    assert_eq!((stream.read(&mut [0u8; 64]).unwrap(), stream.finished()), (0, true));
}

#[test]
fn the_last_words_are_bounded() {
    let place = Place::new();
    let path = place.path("0.0.log");
    let last_words = |path: &Path| last_words(&place.logs.dir, path);
    assert_eq!(last_words(&path), None);
    for i in 0..100 {
        place.append("0.0.log", &line(1, "F", &i.to_string()));
    }
    let words = last_words(&path).unwrap();
    assert_eq!((words.lines().count(), words.lines().next()), (80, Some("20")));
    place.append("0.0.log", &line(1, "F", &"x".repeat(100_000)));
    place.append("0.0.log", &line(1, "F", "the end"));
    assert!(last_words(&path).unwrap().ends_with("the end\n"));
    assert!(last_words(&path).unwrap().len() <= 2048);
}

#[test]
fn a_message_is_read_from_a_plain_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("volume");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(dir.path().join("secret"), "host secret").unwrap();
    fs::write(root.join("sub/message"), "x".repeat(5000)).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    std::os::unix::fs::symlink("..", root.join("up")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(read_message(&root, "sub/message").unwrap().len(), 4096);
    for path in ["link", "up/secret", "../secret", "pipe", "sub", "none", ""] {
        assert_eq!(read_message(&root, path), None, "{path}");
    }
    assert_eq!(read_message(Path::new("/nowhere"), "x"), None);
}

/// Whoever took the keeper over has the directory, and what the server does there it does as root.
#[test]
fn what_is_planted_in_place_of_a_log_is_not_followed() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("0.0.log"), line(1, "F", "secret")).unwrap();
    place.append("0.0.log", &line(1, "F", "kept"));
    let (dir, own) = (&place.logs.dir, place.dir.path().join(DIR));
    let log = place.path("0.0.log");
    assert_eq!(super::size(dir, &log).unwrap(), fs::metadata(own.join("0.0.log")).unwrap().len());

    let check = |what: &str| {
        assert!(place.logs.open(&query()).is_err(), "{what}: it is read");
        place.logs.live.begin(ID);
        assert!(place.logs.open(&LogQuery { follow: true, ..query() }).is_err(), "{what}: it is followed");
        assert_eq!(last_words(dir, &log), None, "{what}");
        assert!(super::size(dir, &log).is_err(), "{what}: it is measured");
    };
    // A link, and a pipe that nobody writes to: to open it for reading would wait.
    fs::remove_file(own.join("0.0.log")).unwrap();
    symlink(outside.path().join("0.0.log"), own.join("0.0.log")).unwrap();
    check("a link");
    super::remove(dir, &log).unwrap();
    assert!(outside.path().join("0.0.log").exists());
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, own.join("0.0.log"), kind, mode, 0).unwrap();
    check("a pipe");
    super::remove(dir, &log).unwrap();
    assert!(!own.join("0.0.log").exists());

    // The directory itself, and the one above it.
    fs::remove_dir(&own).unwrap();
    symlink(outside.path(), &own).unwrap();
    check("a link in place of its directory");
    assert!(super::remove(dir, &log).is_err());
    assert!(dir.remove_tree(Path::new(DIR)).is_err());
    fs::remove_file(&own).unwrap();
    let above = own.parent().unwrap();
    fs::remove_dir(above).unwrap();
    let inside = outside.path().join(own.file_name().unwrap());
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("0.0.log"), line(1, "F", "secret")).unwrap();
    symlink(outside.path(), above).unwrap();
    check("a link in place of the directory above");
    assert!(super::remove(dir, &log).is_err());
    assert!(dir.remove_tree(Path::new(DIR)).is_err());
    assert!(inside.join("0.0.log").exists() && outside.path().join("0.0.log").exists());

    // What is as it should be goes.
    fs::remove_file(above).unwrap();
    place.append("0.0.log", &line(1, "F", "again"));
    dir.remove_tree(Path::new(DIR)).unwrap();
    dir.remove_tree(Path::new(DIR)).unwrap();
    assert!(!own.exists() && above.exists());
}

#[test]
fn before_the_first_log_there_is_nothing() {
    let nowhere = LogDir::new("/nowhere/logs".into());
    let path = Path::new("pods/1/0.0.log");
    assert!(nowhere.open(path).unwrap().is_none());
    assert_eq!(super::size(&nowhere, path).unwrap(), 0);
    super::remove(&nowhere, path).unwrap();
    nowhere.remove_tree(Path::new("pods/1")).unwrap();
}

proptest! {
    /// However the bytes are cut, the same comes out; and what was put into a frame comes out of it.
    #[test]
    fn content_survives_its_frame(texts in prop::collection::vec("[^\n]{0,200}", 0..20), cut in 1usize..300) {
        let raw: String = texts.iter().map(|t| line(1, "F", t)).collect();
        let (mut lines, mut out) = (Lines::new(None, false), Vec::new());
        for piece in raw.as_bytes().chunks(cut) {
            lines.feed(piece, &mut out);
        }
        let expect: String = texts.iter().map(|t| format!("{t}\n")).collect();
        prop_assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..100) {
        let (mut lines, mut out) = (Lines::new(Some(0), true), Vec::new());
        for piece in bytes.chunks(cut) {
            lines.feed(piece, &mut out);
        }
        lines.new_file(&mut out);
        prop_assert!(out.len() <= bytes.len() + 100 * 100);
    }
}

#[test]
fn an_old_run_goes_with_its_rotated_files_alone() {
    let place = Place::new();
    for name in ["0.0.log", "0.0.log.1", "0.0.log.2", "0.1.log"] {
        place.append(name, &line(1, "F", "x"));
    }
    let dir = place.dir.path().join(DIR);
    super::remove(&place.logs.dir, &place.path("0.0.log")).unwrap();
    super::remove(&place.logs.dir, &place.path("0.0.log")).unwrap();
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["0.1.log"]);
}
