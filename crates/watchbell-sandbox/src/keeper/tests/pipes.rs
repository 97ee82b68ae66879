//! The keeper's loop in a thread, with real pipes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use crate::keeper::event_loop::Keeper;
use crate::wire::{Filled, Inbox, Notice, Order, Outbox, decode};
use crate::{LogRate, LogSummary, LogTarget, LogTrouble};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Running {
    dir: tempfile::TempDir,
    socket: UnixStream,
    outbox: Outbox,
    inbox: Inbox,
    /// Told before what was waited for.
    troubles: Vec<(u64, LogTrouble)>,
    thread: JoinHandle<io::Result<()>>,
}

/// The write ends of a task's streams.
struct Streams {
    out: File,
    err: File,
    /// As the spawner holds them.
    _read_ends: [OwnedFd; 2],
}

impl Running {
    fn start() -> io::Result<Self> {
        Self::start_with(LogRate { bytes_per_second: u64::MAX, burst_bytes: u64::MAX })
    }

    fn start_with(rate: LogRate) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = File::open(dir.path())?.into();
        let (socket, theirs) = UnixStream::pair()?;
        let keeper = Keeper::new(root, theirs.into(), rate)?;
        let thread = std::thread::spawn(move || keeper.run());
        let (outbox, inbox) = (Outbox::default(), Inbox::new(4096));
        Ok(Self { dir, socket, outbox, inbox, troubles: Vec::new(), thread })
    }

    fn watch(&mut self, serial: u64, path: &str, max_bytes: u64) -> io::Result<Streams> {
        let ((out_read, out), (err_read, err)) = (rustix::pipe::pipe()?, rustix::pipe::pipe()?);
        let target = LogTarget { path: path.into(), max_bytes, max_files: 2 };
        self.outbox.push(&Order::Watch { serial, target }, [out_read.try_clone()?, err_read.try_clone()?]);
        self.outbox.flush(self.socket.as_fd())?;
        Ok(Streams { out: out.into(), err: err.into(), _read_ends: [out_read, err_read] })
    }

    /// Waits until something is told, which is no completion.
    fn trouble(&mut self) -> Result<(u64, LogTrouble), Box<dyn std::error::Error>> {
        loop {
            if let Some(frame) = self.inbox.next()? {
                match decode(&frame.body)? {
                    Notice::Trouble { serial, trouble } => return Ok((serial, trouble)),
                    other => return Err(format!("{other:?}").into()),
                }
            }
            if self.inbox.fill(self.socket.as_fd())? == Filled::End {
                return Err("the keeper ended".into());
            }
        }
    }

    fn complete(&mut self) -> Result<(u64, LogSummary), Box<dyn std::error::Error>> {
        loop {
            if let Some(frame) = self.inbox.next()? {
                match decode(&frame.body)? {
                    Notice::Complete { serial, summary } => return Ok((serial, summary)),
                    Notice::Trouble { serial, trouble } => self.troubles.push((serial, trouble)),
                    Notice::Shown { session } => return Err(format!("{session} is shown").into()),
                }
            }
            if self.inbox.fill(self.socket.as_fd())? == Filled::End {
                return Err("the keeper ended".into());
            }
        }
    }

    /// Shows the first stream of a task to a session, and waits for the answer.
    fn show(&mut self, serial: u64, session: u64) -> Result<File, Box<dyn std::error::Error>> {
        let (seen, inner) = rustix::pipe::pipe()?;
        self.outbox.push(&Order::Show { serial, session, streams: [true, false] }, [inner]);
        self.outbox.flush(self.socket.as_fd())?;
        loop {
            if let Some(frame) = self.inbox.next()? {
                match decode(&frame.body)? {
                    Notice::Shown { session: told } if told == session => return Ok(seen.into()),
                    other => return Err(format!("{other:?}").into()),
                }
            }
            if self.inbox.fill(self.socket.as_fd())? == Filled::End {
                return Err("the keeper ended".into());
            }
        }
    }

    fn end(self) -> Outcome {
        drop(self.socket);
        self.thread.join().map_err(|_| "the keeper panicked")??;
        Ok(())
    }
}

/// A client is let in when this is answered: what it causes to be printed then must not be missing to it.
#[test]
fn what_is_printed_once_a_session_is_shown_is_seen() -> Outcome {
    let mut keeper = Running::start()?;
    for serial in 0..100 {
        let mut task = keeper.watch(serial, "job/a.log", 1 << 20)?;
        let mut seen = keeper.show(serial, 1000 + serial)?;
        task.out.write_all(b"hello\n")?;
        let mut line = [0u8; 6];
        seen.read_exact(&mut line)?;
        assert_eq!(&line, b"hello\n");
        drop(task);
        assert_eq!(keeper.complete()?.0, serial);
    }
    // Nothing is left to see of what has ended; who asks is told all the same, or would wait for ever.
    let mut rest = Vec::new();
    keeper.show(7, 2000)?.read_to_end(&mut rest)?;
    assert!(rest.is_empty());
    keeper.end()
}

#[test]
fn both_streams_are_written_and_counted() -> Outcome {
    let mut keeper = Running::start()?;
    let mut task = keeper.watch(7, "job/a.log", 1 << 20)?;
    task.out.write_all(b"hello\nworld")?;
    task.err.write_all(b"oops\n")?;
    drop(task);
    let summary = LogSummary { bytes: 16, lines: 2, dropped_bytes: 0 };
    assert_eq!(keeper.complete()?, (7, summary));
    let text = fs::read_to_string(keeper.dir.path().join("job/a.log"))?;
    for part in [" stdout F hello\n", " stdout F world\n", " stderr F oops\n"] {
        assert!(text.contains(part), "{text}");
    }
    keeper.end()
}

#[test]
fn a_task_that_prints_nothing_leaves_no_file() -> Outcome {
    let mut keeper = Running::start()?;
    drop(keeper.watch(1, "job/a.log", 1 << 20)?);
    assert_eq!(keeper.complete()?, (1, LogSummary::default()));
    assert_eq!(fs::read_dir(keeper.dir.path())?.count(), 0);
    keeper.end()
}

#[test]
fn a_stream_that_somebody_else_holds_open_is_finished_when_told() -> Outcome {
    let mut keeper = Running::start()?;
    let mut task = keeper.watch(1, "a.log", 1 << 20)?;
    task.out.write_all(b"last words")?;
    keeper.outbox.push(&Order::Finish { serial: 1 }, []);
    keeper.outbox.flush(keeper.socket.as_fd())?;
    assert_eq!(keeper.complete()?.1.bytes, 10);
    assert!(fs::read_to_string(keeper.dir.path().join("a.log"))?.ends_with(" stdout F last words\n"));
    keeper.end()
}

#[test]
fn a_flood_does_not_keep_another_task_from_its_log() -> Outcome {
    let mut keeper = Running::start()?;
    let flood = keeper.watch(1, "flood.log", 1 << 20)?;
    let Streams { mut out, err, _read_ends } = flood;
    // Until the other one is through, and no longer.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let flooding = std::thread::spawn(move || {
        let lines = b"y\n".repeat(30_000);
        let mut written = 0_u64;
        while stopped.try_recv().is_err() {
            written += out.write(&lines).unwrap_or(0) as u64;
        }
        written
    });
    for serial in 2..50 {
        let mut task = keeper.watch(serial, "quiet.log", 1 << 20)?;
        task.out.write_all(b"done\n")?;
        drop(task);
        assert_eq!(keeper.complete()?.0, serial);
    }
    stop.send(())?;
    let written = flooding.join().map_err(|_| "the flood panicked")?;
    drop(err);
    let (serial, summary) = keeper.complete()?;
    assert_eq!((serial, summary.bytes), (1, written));
    let held: u64 = ["flood.log", "flood.log.1"]
        .iter()
        .filter_map(|name| fs::metadata(keeper.dir.path().join(name)).ok())
        .map(|found| found.len())
        .sum();
    assert!(held <= 2 << 20, "{held}");
    keeper.end()
}

#[test]
fn a_line_without_end_takes_bounded_memory_and_disk() -> Outcome {
    let mut keeper = Running::start()?;
    let mut task = keeper.watch(1, "a.log", 1 << 20)?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..256 {
        task.out.write_all(&piece)?;
    }
    drop(task);
    let (_, summary) = keeper.complete()?;
    assert_eq!((summary.bytes, summary.lines), (256 << 20, 0));
    assert!(summary.dropped_bytes > 250 << 20, "{summary:?}");
    let kept = fs::read(keeper.dir.path().join("a.log"))?;
    let longest = kept.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(longest <= Some((16 << 10) + 41), "{longest:?}");
    keeper.end()
}

#[test]
fn it_outlives_its_spawner_until_the_pipes_end() -> Outcome {
    let mut keeper = Running::start()?;
    let mut task = keeper.watch(1, "a.log", 1 << 20)?;
    // The first line is on its way to the file before the spawner goes.
    let Running { dir, socket, thread, .. } = keeper;
    drop(socket);
    task.out.write_all(b"written after the spawner died\n")?;
    drop(task);
    thread.join().map_err(|_| "the keeper panicked")??;
    let text = fs::read_to_string(dir.path().join("a.log"))?;
    assert!(text.ends_with("written after the spawner died\n"));
    Ok(())
}

/// A rate that gives nothing more within the life of a test.
const HARDLY: LogRate = LogRate { bytes_per_second: 1, burst_bytes: 100 << 10 };

#[test]
fn who_prints_too_fast_waits_and_loses_nothing() -> Outcome {
    let mut keeper = Running::start_with(HARDLY)?;
    let mut task = keeper.watch(1, "fast.log", 1 << 20)?;
    let text = b"0123456789abcde\n".repeat(64 << 10);
    let mut out = task.out.try_clone()?;
    let writing = std::thread::spawn(move || out.write_all(&text[..400 << 10]));
    assert_eq!(keeper.trouble()?, (1, LogTrouble::Held));
    // The other stream waits too, and a task beside it does not.
    task.err.write_all(b"error\n")?;
    let mut other = keeper.watch(2, "other.log", 1 << 20)?;
    other.out.write_all(b"hello\n")?;
    drop(other);
    assert_eq!(keeper.complete()?, (2, LogSummary { bytes: 6, lines: 1, dropped_bytes: 0 }));
    // The burst, one turn more, and what a pipe holds were taken; the rest is in the hands of the writer.
    assert!(!writing.is_finished());
    let taken = fs::read_to_string(keeper.dir.path().join("fast.log"))?.lines().count() * 16;
    assert!((90 << 10..(100 + 128) << 10).contains(&taken), "{taken}");
    // The end of the task ends the wait: what stands in the pipes is read, whatever the rate.
    drop(task);
    keeper.outbox.push(&Order::Finish { serial: 1 }, []);
    keeper.outbox.flush(keeper.socket.as_fd())?;
    let bytes = keeper.complete()?.1.bytes;
    keeper.end()?;
    // A pipe whose reader is gone takes no more, so the writer did not wait for ever.
    let _ = writing.join().map_err(|_| "the writer panicked")?;
    assert!(bytes >= (100 << 10) + 6, "{bytes}");
    Ok(())
}

#[test]
fn a_held_task_goes_on_when_its_time_has_come() -> Outcome {
    // Every turn is more than the bucket holds, so each is followed by a wait, of some milliseconds for what a pipe holds.
    let rate = LogRate { bytes_per_second: 4 << 20, burst_bytes: 1 };
    let mut keeper = Running::start_with(rate)?;
    let mut task = keeper.watch(1, "a.log", 64 << 20)?;
    let piece = b"0123456789abcde\n".repeat(4 << 10);
    for _ in 0..16 {
        task.out.write_all(&piece)?;
        task.err.write_all(b"beside it\n")?;
    }
    drop(task);
    let summary = LogSummary { bytes: (16 * piece.len() + 160) as u64, lines: 16 * 4097, dropped_bytes: 0 };
    assert_eq!(keeper.complete()?, (1, summary));
    // It is told once.
    assert_eq!(keeper.troubles, [(1, LogTrouble::Held)]);
    let text = fs::read_to_string(keeper.dir.path().join("a.log"))?;
    assert_eq!(text.lines().count() as u64, summary.lines);
    keeper.end()
}

#[test]
fn a_log_that_cannot_be_written_is_told_once() -> Outcome {
    let mut keeper = Running::start()?;
    // A directory stands where the log should be.
    fs::create_dir(keeper.dir.path().join("a.log"))?;
    let mut task = keeper.watch(1, "a.log", 1 << 20)?;
    task.out.write_all(b"one\n")?;
    let (serial, trouble) = keeper.trouble()?;
    assert!(
        matches!(&trouble, LogTrouble::Lost { cause } if serial == 1 && !cause.is_empty()),
        "{trouble:?}"
    );
    task.out.write_all(b"two\n")?;
    drop(task);
    assert_eq!(keeper.complete()?, (1, LogSummary { bytes: 8, lines: 2, dropped_bytes: 8 }));
    assert_eq!(keeper.troubles, []);
    keeper.end()
}
