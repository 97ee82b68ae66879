//! Reads what is in an image, in a process of its own: it sees that image's blobs, read-only, and has neither network nor
//! rights. What it says is bounded in size and time, and a stranger's.
//!
//! ```text
//!   server ── <exe> scanner PARENT 0 CPU_SECONDS, in a folder with the one image ──▶ confines itself, reads
//!          ◀── length, bill of materials or reason, as JSON ──────────────────────── ends
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use watchbell_image::{Image, ImageContent, Limits, Platform, Store};
use watchbell_scan::layers::{Interest, read_layers};
use watchbell_scan::{Collector, Inventory, surface};

use super::bill::{BYTES_MAX, Bill};

/// Longer than any disk and decoder need for bytes that number.
const SECONDS_FREE: u64 = 60;
const BYTES_A_SECOND: u64 = 2 << 20;
/// What a process that could not begin says of it.
const LAST_WORDS_MAX: u64 = 2000;
/// Threads of a scan: it is not what the machine is for.
const THREADS: usize = 2;
/// Of shells and of programs with rights of their own so many are listed.
const PATHS_MAX: usize = 1000;

/// Who reads an image.
pub(super) enum Scanner {
    /// `<program> scanner …`, which confines itself and calls [`scanner_main`].
    Process(PathBuf),
    /// A thread of this process, unconfined: for tests of programs that do not know that word.
    #[cfg(test)]
    Thread,
    /// Reads nothing, and says so when this clock is so many seconds later.
    #[cfg(test)]
    GivesUp { clock: std::sync::Arc<std::sync::atomic::AtomicI64>, seconds: i64 },
}

impl Scanner {
    /// What is in an image of the store, or why that could not be found out.
    pub(super) fn scan(&self, store: &Store, image: &Image) -> Result<Bill, String> {
        let lent = store.lend(image).map_err(|error| error.to_string())?;
        let bill = match self {
            Scanner::Process(program) => ask(program, lent.path(), image),
            #[cfg(test)]
            Scanner::Thread => read(lent.path()),
            #[cfg(test)]
            Scanner::GivesUp { clock, seconds } => {
                clock.fetch_add(*seconds, std::sync::atomic::Ordering::Relaxed);
                Err(format!("it was not read after {seconds} seconds"))
            }
        };
        bill?.bounded()
    }
}

fn ask(program: &Path, folder: &Path, image: &Image) -> Result<Bill, String> {
    let seconds = SECONDS_FREE + image.size() / BYTES_A_SECOND;
    let cannot =
        |step: &'static str| move |e: io::Error| format!("cannot {step} the process that reads it: {e}");
    let (ours, theirs) = UnixStream::pair().map_err(cannot("talk to"))?;
    let mut command = Command::new(program);
    command.arg("scanner").env_clear().current_dir(folder);
    // It makes no file. What ends is the thread that waits for it, and so the process dies with this one.
    for number in [u64::from(std::process::id()), 0, seconds * THREADS as u64] {
        command.arg(number.to_string());
    }
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot("start"))?;
    // The command holds the other end of the line.
    drop(command);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let told = hear(ours, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("it was not read after {seconds} seconds")
        }
        io::ErrorKind::UnexpectedEof => "the process that reads it ended before it was done".to_owned(),
        _ => format!("the process that reads it does not speak as it should: {error}"),
    });
    // It may have ended by itself, which is as wanted.
    let _ = child.kill();
    let ended = end(&mut child).map_err(cannot("wait for"))?;
    match told {
        Ok(told) => told.map_err(|why| clean(&why)),
        Err(why) => Err(format!("{why} ({ended})")),
    }
}

/// How it ended, and its last words.
fn end(child: &mut Child) -> io::Result<String> {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(LAST_WORDS_MAX).read_to_end(&mut words)?;
    }
    let status = child.wait()?;
    let words = clean(String::from_utf8_lossy(&words).trim());
    Ok(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") })
}

/// Text of a process that may be a stranger's by now: bounded, and nothing that moves a cursor.
fn clean(text: &str) -> String {
    text.chars().take(LAST_WORDS_MAX as usize).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

type Told = Result<Bill, String>;

fn hear(mut line: UnixStream, deadline: Instant) -> io::Result<Told> {
    let mut length = [0u8; 8];
    fill(&mut line, &mut length, deadline)?;
    let length = u64::from_le_bytes(length);
    if length > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
    }
    let mut bytes = Vec::new();
    let mut left = length as usize;
    // Memory is taken as it is filled, whatever the length says.
    while left > 0 {
        let begin = bytes.len();
        let more = left.min(1 << 20);
        bytes.resize(begin + more, 0);
        fill(&mut line, &mut bytes[begin..], deadline)?;
        left -= more;
    }
    Ok(serde_json::from_slice(&bytes)?)
}

fn fill(line: &mut UnixStream, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !into.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        line.set_read_timeout(Some(left))?;
        match line.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => into = &mut into[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the image that the root directory is, and tells what is in it through standard output, which is a socket. For a
/// process that was confined before.
pub fn scanner_main(_root: OwnedFd) -> ExitCode {
    let Ok(line) = io::stdout().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let told: Told = read(Path::new("/"));
    match say(File::from(line), &told) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone, and nobody else is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn say(mut line: impl Write, told: &Told) -> io::Result<()> {
    let json = serde_json::to_vec(told)?;
    line.write_all(&(json.len() as u64).to_le_bytes())?;
    line.write_all(&json)
}

/// Reads the one image of a layout, each layer once.
fn read(folder: &Path) -> Told {
    let image = ImageContent::open(folder, None, &Platform::host(), &Limits::default())
        .map_err(|error| error.to_string())?;
    let collector = Collector::default();
    let packages = Interest {
        wants: &|facts| collector.wants(facts),
        takes: &|facts, content| collector.takes(facts, content),
    };
    let tree = read_layers(&image, &[packages], THREADS).map_err(|error| error.to_string())?;
    let again = |links: Interest<'_>| read_layers(&image, &[links], THREADS).map(drop);
    collector.follow_links(&tree, again).map_err(|error| error.to_string())?;
    let inventory: Inventory = collector.finish(&tree, &image.image.layers);
    let (shells, shells_more) = listed(surface::shells(&tree).map(|(path, _)| path));
    let (setuid, setuid_more) = listed(surface::privileged(&tree).map(|(path, _)| path));
    let mut bill = Bill::new(inventory, shells, setuid);
    (bill.shells_more, bill.setuid_more) = (shells_more, setuid_more);
    Ok(bill)
}

/// What is listed, and how many more there are.
fn listed<T: Into<String>>(paths: impl Iterator<Item = T>) -> (Vec<String>, usize) {
    let mut paths = paths;
    let listed = paths.by_ref().take(PATHS_MAX).map(Into::into).collect();
    (listed, paths.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_counted() {
        let (paths, more) = listed((0..PATHS_MAX + 7).map(|n| n.to_string()));
        assert_eq!((paths.len(), more), (PATHS_MAX, 7));
        assert_eq!(listed(["bin/sh"].into_iter()), (vec!["bin/sh".to_owned()], 0));
    }

    #[test]
    fn what_a_stranger_says_is_bounded_and_waited_for_until_then() {
        let soon = || Instant::now() + Duration::from_secs(60);
        let heard = |bytes: &[u8], deadline| {
            let (mut theirs, ours) = UnixStream::pair().unwrap();
            theirs.write_all(bytes).unwrap();
            drop(theirs);
            hear(ours, deadline).map_err(|error| error.kind())
        };
        let mut whole = Vec::new();
        let bill = Bill::new(Inventory::default(), vec!["bin/sh".into()], Vec::new());
        say(&mut whole, &Ok(bill.clone())).unwrap();
        assert_eq!(heard(&whole, soon()), Ok(Ok(bill)));
        for cut in 0..whole.len() {
            assert_eq!(heard(&whole[..cut], soon()), Err(io::ErrorKind::UnexpectedEof), "{cut}");
        }
        assert_eq!(heard(&[0xff; 64], soon()), Err(io::ErrorKind::InvalidData));
        assert_eq!(heard(&whole, Instant::now()), Err(io::ErrorKind::TimedOut));
    }
}
