use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::LogTarget;
use crate::keeper::cri::{Records, Stamp, Stream, StreamName};
use crate::keeper::log_file::LogFile;

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Logs {
    dir: tempfile::TempDir,
    root: OwnedFd,
}

impl Logs {
    fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = fs::File::open(dir.path())?.into();
        Ok(Self { dir, root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lines(&self, name: &str) -> io::Result<usize> {
        Ok(fs::read_to_string(self.path(name))?.lines().count())
    }
}

fn log(path: &str, max_bytes: u64, max_files: u32) -> LogFile {
    LogFile::new(LogTarget { path: path.into(), max_bytes, max_files })
}

fn records(text: &str) -> Records {
    let mut out = Records::default();
    Stream::new(StreamName::Stdout).feed(text.as_bytes(), &Stamp::new(0), &mut out);
    out
}

#[test]
fn a_file_is_made_at_the_first_byte_with_its_directories() -> Outcome {
    let logs = Logs::new()?;
    let mut file = log("ns/job/7.log", 4096, 1);
    assert!(!logs.path("ns").exists());
    file.write(logs.root.as_fd(), &records("one\ntwo\n"))?;
    assert_eq!(logs.lines("ns/job/7.log")?, 2);
    assert_eq!(file.dropped_bytes(), 0);
    Ok(())
}

#[test]
fn rotation_keeps_whole_lines_and_counts_what_falls_off() -> Outcome {
    let logs = Logs::new()?;
    // A record of a line of 59 bytes is 100 bytes, so a file holds 40.
    let line = format!("{}\n", "x".repeat(59));
    let mut file = log("a.log", 4096, 3);
    for _ in 0..5 {
        file.write(logs.root.as_fd(), &records(&line.repeat(40)))?;
    }
    for name in ["a.log", "a.log.1", "a.log.2"] {
        assert_eq!(logs.lines(name)?, 40, "{name}");
        assert!(fs::metadata(logs.path(name))?.len() <= 4096);
    }
    assert!(!logs.path("a.log.3").exists());
    assert_eq!(file.dropped_bytes(), 2 * 40 * 60);
    Ok(())
}

#[test]
fn one_file_is_replaced_by_itself() -> Outcome {
    let logs = Logs::new()?;
    let line = format!("{}\n", "x".repeat(59));
    let mut file = log("a.log", 4096, 1);
    file.write(logs.root.as_fd(), &records(&line.repeat(101)))?;
    assert_eq!(logs.lines("a.log")?, 21);
    assert_eq!(fs::read_dir(logs.dir.path())?.count(), 1);
    assert_eq!(file.dropped_bytes(), 80 * 60);
    Ok(())
}

#[test]
fn a_line_above_the_limit_of_a_file_gets_its_own() -> Outcome {
    let logs = Logs::new()?;
    let mut file = log("a.log", 4096, 3);
    file.write(logs.root.as_fd(), &records(&format!("short\n{}\nshort\n", "x".repeat(9000))))?;
    assert_eq!([logs.lines("a.log")?, logs.lines("a.log.1")?, logs.lines("a.log.2")?], [1, 1, 1]);
    assert_eq!(file.dropped_bytes(), 0);
    Ok(())
}

#[test]
fn another_keeper_goes_on_where_one_died() -> Outcome {
    let logs = Logs::new()?;
    log("a.log", 4096, 2).write(logs.root.as_fd(), &records("one\n"))?;
    log("a.log", 4096, 2).write(logs.root.as_fd(), &records("two\n"))?;
    assert_eq!(logs.lines("a.log")?, 2);
    Ok(())
}

/// The trap is laid at `place`; nothing outside may change and nothing may block.
fn trapped(place: &str, lay: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Outcome {
    let outside = tempfile::tempdir()?;
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched")?;
    let logs = Logs::new()?;
    lay(&logs.path(place), outside.path())?;
    let mut file = log("job/a.log", 4096, 2);
    assert!(file.write(logs.root.as_fd(), &records("secret\n")).is_err());
    assert_eq!(file.dropped_bytes(), 7);
    assert_eq!(fs::read_to_string(&victim)?, "untouched");
    assert_eq!(fs::read_dir(outside.path())?.count(), 1);
    Ok(())
}

/// The control: who opens by path and asks no more is led out by each of the links, and held up by the FIFO.
fn follows() -> Outcome {
    use std::os::unix::fs::{OpenOptionsExt as _, symlink};
    let outside = tempfile::tempdir()?;
    let logs = Logs::new()?;
    let append = |path: &Path| -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        // What would wait for a reader for ever says so.
        let mut options = fs::OpenOptions::new();
        options.append(true).create(true).custom_flags(libc::O_NONBLOCK);
        options.open(path)?.write_all(b"secret\n")
    };
    symlink(outside.path(), logs.path("job"))?;
    append(&logs.path("job/through-the-directory"))?;
    fs::remove_file(logs.path("job"))?;
    fs::create_dir(logs.path("job"))?;
    symlink(outside.path().join("new"), logs.path("job/a.log"))?;
    append(&logs.path("job/a.log"))?;
    fs::hard_link(outside.path().join("new"), logs.path("job/b.log"))?;
    append(&logs.path("job/b.log"))?;
    assert_eq!(fs::read_to_string(outside.path().join("through-the-directory"))?, "secret\n");
    assert_eq!(fs::read_to_string(outside.path().join("new"))?, "secret\nsecret\n");
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, logs.path("job/c.log"), rustix::fs::FileType::Fifo, mode, 0)?;
    let held_up = append(&logs.path("job/c.log")).err().and_then(|e| e.raw_os_error());
    assert_eq!(held_up, Some(libc::ENXIO), "a FIFO without a reader");
    Ok(())
}

#[test]
fn no_trap_in_the_log_directory_leads_out_or_blocks() -> Outcome {
    use std::os::unix::fs::symlink;
    follows()?;
    trapped("job", |place, outside| symlink(outside, place))?;
    trapped("job/a.log", |place, outside| {
        fs::create_dir(place.parent().unwrap_or(place))?;
        symlink(outside.join("victim"), place)
    })?;
    trapped("job/a.log", |place, outside| {
        fs::create_dir(place.parent().unwrap_or(place))?;
        symlink(outside.join("new"), place)
    })?;
    trapped("job/a.log", |place, outside| {
        fs::create_dir(place.parent().unwrap_or(place))?;
        fs::hard_link(outside.join("victim"), place)
    })?;
    trapped("job/a.log", |place, _| {
        fs::create_dir(place.parent().unwrap_or(place))?;
        let mode = rustix::fs::Mode::from(0o600);
        Ok(rustix::fs::mknodat(rustix::fs::CWD, place, rustix::fs::FileType::Fifo, mode, 0)?)
    })?;
    trapped("job/a.log", |place, _| fs::create_dir_all(place))?;
    trapped("job", |place, _| fs::write(place, "a file"))
}
