//! Who unpacks, and the side of whoever asks: a process of its own for each layer, confined before it reads a byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::UnpackRecord;
use super::inside;
use super::lowers::Lowers;
use super::message::{Cause, OpaqueAnswer, ParentAnswer, Request, Said, clean, receive, send};
use super::root::{self, Fill, Root};
use crate::error::LayerError;

/// Longer than any disk and decoder need for bytes that number.
const SECONDS_FREE: u64 = 600;
const BYTES_A_SECOND: u64 = 1 << 20;
/// What a process that could not begin says of it.
const LAST_WORDS_MAX: u64 = 2000;

/// Where layers are unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpacker {
    /// By `<program> unpacker PARENT FILE_BYTES CPU_SECONDS`, in the layer's directory, which confines itself and then calls
    /// [`unpacker_main`](crate::unpacker_main).
    Process(PathBuf),
    /// By a thread of this process, unconfined: for tests of programs that do not know that word.
    Thread,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::Process("/proc/self/exe".into())
    }
}

impl Unpacker {
    /// Unpacks `layer` into the directory at `path`, which is `root`. An error leaves what is there half done, but nobody
    /// who still works on it.
    pub(super) fn unpack(
        &self,
        layer: File,
        request: &Request,
        path: &Path,
        root: &Root,
        lowers: &mut Lowers<'_>,
    ) -> Result<UnpackRecord, LayerError> {
        let (ours, theirs) = UnixStream::pair().map_err(cannot("make a socket to"))?;
        let mut talk = Talk { request, root, lowers };
        let deadline = Instant::now() + Duration::from_secs(seconds(request));
        let line = Line { socket: ours, deadline };
        let mut told = match self {
            Self::Thread => {
                let dir = root.try_clone().map_err(cannot("hand the directory to"))?;
                std::thread::scope(|scope| {
                    scope.spawn(move || inside::serve(layer, theirs, dir));
                    talk.converse(line, &mut || ())
                })
            }
            Self::Process(program) => {
                let mut child = start(program, layer, theirs, path, request).map_err(cannot("start"))?;
                let told = talk.converse(line, &mut || {
                    // It may have ended by itself, which is as wanted.
                    let _ = child.kill();
                });
                end(&mut child, told)
            }
        }?;
        // What it says of its own work counts for its own layer; of what lies outside, ours does.
        told.implicit_parents = talk.lowers.consulted;
        if told.diff_id != request.diff_id || told.bytes > request.bytes_left {
            return Err(LayerError::Unpacker { reason: "it tells of another layer".to_owned() });
        }
        told.special.truncate(UnpackRecord::SPECIAL_MAX);
        Ok(told)
    }
}

fn cannot(step: &'static str) -> impl Fn(io::Error) -> LayerError {
    move |e| LayerError::Unpacker { reason: format!("cannot {step} it: {e}") }
}

fn seconds(request: &Request) -> u64 {
    SECONDS_FREE + request.size / BYTES_A_SECOND
}

fn start(program: &Path, layer: File, line: UnixStream, path: &Path, request: &Request) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg("unpacker").env_clear().current_dir(path);
    // What ends is the thread that waits for it, and so the process dies with this one.
    for number in [u64::from(std::process::id()), request.bytes_left, seconds(request)] {
        command.arg(number.to_string());
    }
    command.stdin(layer).stdout(OwnedFd::from(line)).stderr(Stdio::piped()).spawn()
}

/// Once the line has ended. Says how the process ended when it did not say so itself.
fn end(child: &mut Child, told: Result<UnpackRecord, LayerError>) -> Result<UnpackRecord, LayerError> {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Its writers are gone.
        stderr.take(LAST_WORDS_MAX).read_to_end(&mut words).map_err(cannot("hear"))?;
    }
    let status = child.wait().map_err(cannot("wait for"))?;
    match told {
        Err(LayerError::Unpacker { reason }) => {
            let words = clean(String::from_utf8_lossy(&words).trim());
            let colon = if words.is_empty() { "" } else { ": " };
            Err(LayerError::Unpacker { reason: format!("{reason} ({status}{colon}{words})") })
        }
        told => told,
    }
}

/// Our end of the line. Nothing is waited for beyond the deadline.
struct Line {
    socket: UnixStream,
    deadline: Instant,
}

impl Line {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The conversation with the one that unpacks.
struct Talk<'a, 'l> {
    request: &'a Request,
    root: &'a Root,
    lowers: &'a mut Lowers<'l>,
}

impl Talk<'_, '_> {
    /// Comes back once nobody is at the other end any more; `stop` sees to that where it does not happen by itself.
    fn converse(&mut self, mut line: Line, stop: &mut dyn FnMut()) -> Result<UnpackRecord, LayerError> {
        let told = self.ask(&mut line).unwrap_or_else(|e| {
            let reason = match e.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                    format!("it was not done after {} seconds", seconds(self.request))
                }
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                    "it ended before it was done".to_owned()
                }
                _ => format!("it does not speak as it should: {}", clean(&e.to_string())),
            };
            stop();
            Err(LayerError::Unpacker { reason })
        });
        if !matches!(line.read(&mut [0u8; 1]), Ok(0)) {
            stop();
            // The kernel closes the other end of one that was killed.
            line.socket.set_read_timeout(None).map_err(cannot("wait for the end of"))?;
            while !matches!(line.socket.read(&mut [0u8; 4096]), Ok(0) | Err(_)) {}
        }
        told
    }

    /// Answers until there is an outcome.
    fn ask(&mut self, line: &mut Line) -> io::Result<Result<UnpackRecord, LayerError>> {
        send(line, self.request)?;
        loop {
            match receive(line)?.ok_or(io::ErrorKind::UnexpectedEof)? {
                Said::Parent(path) => {
                    let answer: ParentAnswer = self.parent(&path).map_err(Cause::from);
                    send(line, &answer)?;
                }
                Said::Opaque(path) => {
                    let answer: OpaqueAnswer = self.mark_opaque(&path).map_err(Cause::from);
                    send(line, &answer)?;
                }
                Said::Outcome(outcome) => {
                    return Ok(outcome.map_err(|failure| failure.into_error(self.request)));
                }
            }
        }
    }

    fn parent(&mut self, path: &[Vec<u8>]) -> io::Result<Fill> {
        self.check(path)?;
        self.lowers.parent(path)
    }

    fn mark_opaque(&self, path: &[Vec<u8>]) -> io::Result<()> {
        self.check(path)?;
        root::set_opaque(&self.root.open_dir(path)?)
    }

    /// Names and nothing else: what is asked for is looked up with all rights of this process.
    fn check(&self, path: &[Vec<u8>]) -> io::Result<()> {
        let is_name = |name: &Vec<u8>| {
            !matches!(name.as_slice(), b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | 0))
        };
        // One more than the directories above an entry: the entry itself.
        let is_bounded = (1..=self.request.limits.path_depth_max + 1).contains(&path.len());
        if is_bounded && path.iter().all(is_name) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path within a layer"))
    }
}

#[cfg(test)]
mod tests;
