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
use watchbell_scan::layers::{FileKind, Interest, Tree, read_layers};
use watchbell_scan::{Collector, Inventory};

use super::bill::{BYTES_MAX, Bill};

/// Longer than any disk and decoder need for bytes that number.
const SECONDS_FREE: u64 = 60;
const BYTES_A_SECOND: u64 = 2 << 20;
/// What a process that could not begin says of it.
const LAST_WORDS_MAX: u64 = 2000;
/// Threads of a scan: it is not what the machine is for.
const THREADS: usize = 2;
/// Of shells and of setuid files so many are told.
const PATHS_MAX: usize = 1000;
const SETUID_OR_SETGID: u32 = 0o6000;
const MAY_RUN: u32 = 0o111;

/// Programs that read commands from whoever talks to them, as they are called. One under a name of its own is not found.
const SHELLS: [&str; 22] = [
    "sh", "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "lksh", "loksh", "mksh",
    "nu", "oksh", "pdksh", "pwsh", "rbash", "tcsh", "toybox", "yash", "zsh",
];
/// What distributions put behind such a name.
const OF_SHELLS: [&str; 4] = [".distrib", ".static", "-static", ".real"];

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
    let (shells, setuid) = surface(&tree);
    Ok(Bill::new(inventory, shells, setuid))
}

/// The shells and the files with a setuid or setgid bit.
fn surface(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let (mut shells, mut setuid) = (Vec::new(), Vec::new());
    for (path, node) in tree.iter() {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_file = node.kind == FileKind::File;
        // Where a link leads to the program under another name, the link is how it is called.
        let is_program = match &node.kind {
            FileKind::File => node.mode & MAY_RUN != 0,
            FileKind::Symlink { .. } => {
                tree.resolve(path).is_some_and(|(_, node)| node.kind == FileKind::File)
            }
            _ => false,
        };
        if is_program && is_shell(name) && shells.len() < PATHS_MAX {
            shells.push(path.to_owned());
        }
        if is_file
            && node.mode & SETUID_OR_SETGID != 0
            && node.mode & MAY_RUN != 0
            && setuid.len() < PATHS_MAX
        {
            setuid.push(path.to_owned());
        }
    }
    (shells, setuid)
}

/// `bash`, `bash5.2`, `zsh-5.9`, `busybox.static`.
fn is_shell(name: &str) -> bool {
    let is_version = |rest: &str| rest.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    SHELLS.iter().any(|shell| {
        name.strip_prefix(shell)
            .is_some_and(|rest| rest.is_empty() || OF_SHELLS.contains(&rest) || is_version(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_known_by_their_names() {
        for shell in ["sh", "bash", "bash5.2", "zsh-5.9", "busybox.static", "sh.distrib", "mksh-static"] {
            assert!(is_shell(shell), "{shell}");
        }
        for other in ["ssh", "shred", "fish_indent", "bash-completion", "num", "shell", "shasum"] {
            assert!(!is_shell(other), "{other}");
        }
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
