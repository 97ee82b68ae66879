//! The catalogue made by a process of its own, which has nothing: no network, no files, no rights. What it reads of an image was
//! written by strangers, and its parsers are many.
//!
//! ```text
//!  this process ── head, then the layers' blobs, one after another ──▶ its standard input
//!               ◀────────────── the inventory, or why there is none ── its standard output
//! ```
//!
//! The process verifies each layer's digest; nothing is taken on its word but the inventory of this image.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use watchbell_image::{ImageContent, StreamHead};

use crate::layers::ReadError;
use crate::{Inventory, catalog};

/// The list of layers, bytes.
const HEAD_BYTES_MAX: u32 = 4 << 20;
/// An inventory; one of a hundred thousand packages takes some tens of megabytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Longer than any disk and decoder need for bytes that number.
const SECONDS_FREE: u64 = 300;
const BYTES_A_SECOND: u64 = 2 << 20;
/// What a process that could not begin says of it.
const LAST_WORDS_MAX: u64 = 2000;

/// Who makes catalogues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cataloguer {
    /// `<program> cataloguer PARENT FILE_BYTES CPU_SECONDS`, started in `empty`, a directory of nothing: it confines itself and
    /// then calls [`cataloguer_main`].
    Process { program: PathBuf, empty: PathBuf },
    /// A thread of this process, unconfined: for tests of programs that do not know that word.
    Thread,
}

type Answer = Result<Inventory, String>;

impl Cataloguer {
    /// The packages of an image, by its files.
    pub fn catalog(&self, image: &ImageContent) -> Result<Inventory, ReadError> {
        let (program, empty) = match self {
            Self::Thread => {
                let (ours, theirs) = UnixStream::pair().map_err(|e| failed("make a socket to", &e))?;
                return std::thread::scope(|scope| {
                    let input = theirs.try_clone().map_err(|e| failed("make a socket to", &e))?;
                    scope.spawn(move || serve(input, theirs));
                    let send = ours.try_clone().map_err(|e| failed("make a socket to", &e))?;
                    scope.spawn(move || {
                        feed(image, &send).and_then(|()| send.shutdown(std::net::Shutdown::Write))
                    });
                    receive(ours, deadline(image))
                });
            }
            Self::Process { program, empty } => (program, empty),
        };
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed("make a socket to", &e))?;
        let mut child = start(program, empty, theirs, image).map_err(|e| failed("start", &e))?;
        let input = child.stdin.take();
        let answer = std::thread::scope(|scope| {
            // It ends early where the process does, which then says why.
            scope.spawn(move || input.map(|input: ChildStdin| feed(image, input)));
            let answer = receive(ours, deadline(image));
            // It may have ended by itself, which is as wanted.
            let _ = child.kill();
            answer
        });
        end(&mut child, answer)
    }
}

fn failed(step: &str, cause: &io::Error) -> ReadError {
    ReadError::Cataloguer { reason: format!("cannot {step} it: {cause}") }
}

fn seconds(image: &ImageContent) -> u64 {
    SECONDS_FREE + image.image.size() / BYTES_A_SECOND
}

fn deadline(image: &ImageContent) -> Instant {
    Instant::now() + Duration::from_secs(seconds(image))
}

fn start(program: &Path, empty: &Path, line: UnixStream, image: &ImageContent) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg("cataloguer").env_clear().current_dir(empty);
    // It makes no file at all. What ends is the thread that waits for it, and so the process dies with this one.
    for number in [u64::from(std::process::id()), 0, seconds(image)] {
        command.arg(number.to_string());
    }
    command.stdin(Stdio::piped()).stdout(OwnedFd::from(line)).stderr(Stdio::piped()).spawn()
}

/// Once the answer has come, or the line has ended without one.
fn end(child: &mut Child, answer: Result<Inventory, ReadError>) -> Result<Inventory, ReadError> {
    let mut words = String::new();
    if let Some(said) = child.stderr.take() {
        // What cannot be read of it only makes the message shorter.
        let _ = said.take(LAST_WORDS_MAX).read_to_string(&mut words);
    }
    let status = child.wait().map_err(|e| failed("wait for", &e))?;
    match answer {
        Err(ReadError::Cataloguer { reason }) => {
            let words: String = words.trim().chars().flat_map(char::escape_debug).collect();
            Err(ReadError::Cataloguer { reason: format!("{reason} ({status}) {words}") })
        }
        answer => answer,
    }
}

/// The head, then all blobs as they lie in the store.
fn feed(image: &ImageContent, mut to: impl Write) -> io::Result<()> {
    let head = serde_json::to_vec(&image.stream_head())?;
    let length = u32::try_from(head.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&head)?;
    for index in 0..image.image.layers.len() {
        let mut blob = image.blob(index).map_err(io::Error::other)?.take(image.image.layers[index].size);
        io::copy(&mut blob, &mut to)?;
    }
    to.flush()
}

fn receive(line: UnixStream, deadline: Instant) -> Result<Inventory, ReadError> {
    let mut bytes = Vec::new();
    let mut line = line.take(ANSWER_BYTES_MAX + 1);
    let mut chunk = vec![0u8; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ReadError::Cataloguer { reason: "it takes too long".to_owned() });
        }
        line.get_ref().set_read_timeout(Some(left)).map_err(|e| failed("wait for", &e))?;
        match line.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(e) => return Err(failed("hear", &e)),
        }
    }
    if bytes.len() as u64 > ANSWER_BYTES_MAX {
        return Err(ReadError::Cataloguer { reason: "its answer is too long".to_owned() });
    }
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|e| ReadError::Cataloguer { reason: format!("it ended without an answer: {e}") })?;
    answer.map_err(|reason| ReadError::Refused { reason: reason.chars().take(4000).collect() })
}

/// Answers one request on standard input and output. For a process that was confined before: it reads what strangers wrote.
pub fn cataloguer_main(_empty: OwnedFd) -> ExitCode {
    let streams = (io::stdin().as_fd().try_clone_to_owned(), io::stdout().as_fd().try_clone_to_owned());
    let (Ok(input), Ok(output)) = streams else { return ExitCode::FAILURE };
    match serve(std::fs::File::from(input), std::fs::File::from(output)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone, and nobody else is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut input: impl Read + Send + 'static, mut output: impl Write) -> io::Result<()> {
    let mut length = [0u8; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length).min(HEAD_BYTES_MAX);
    let mut head = vec![0u8; length as usize];
    input.read_exact(&mut head)?;
    let head: StreamHead = serde_json::from_slice(&head)?;
    let image = ImageContent::of_stream(head, Box::new(input));
    // One thread: the process may make no other.
    let answer: Answer = catalog(&image, 1).map_err(|e| e.to_string());
    output.write_all(&serde_json::to_vec(&answer)?)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use watchbell_image::Limits;

    use super::*;
    use crate::testing::{Tar, gzip, image, image_of};

    #[test]
    fn it_finds_what_is_found_here() {
        let metadata = "Name: a\nVersion: 1\n";
        let image = image(vec![
            Tar::default().file("a.dist-info/METADATA", metadata).file("b", "x".repeat(100_000)),
            Tar::default().file("c.dist-info/METADATA", metadata).file("broken/Cargo.lock", "["),
        ]);
        let inventory = Cataloguer::Thread.catalog(&image.content).unwrap();
        assert_eq!(inventory, catalog(&image.content, 2).unwrap());
        assert_eq!((inventory.packages.len(), inventory.gaps.len()), (1, 1));
    }

    #[test]
    fn a_damaged_layer_is_told_as_it_is_here() {
        let layer = Tar::default().file("a", "x".repeat(1000)).bytes();
        let compressed = gzip(&layer);
        let cut = compressed[..compressed.len() - 4].to_vec();
        let image = image_of(&[layer], vec![cut], &Limits::default()).unwrap();
        let here = catalog(&image.content, 1).unwrap_err().to_string();
        assert_eq!(Cataloguer::Thread.catalog(&image.content).unwrap_err().to_string(), here);
    }

    #[test]
    fn a_program_that_is_none_is_an_error() {
        let image = image(vec![Tar::default().file("a", "")]);
        let dir = tempfile::tempdir().unwrap();
        for program in ["/bin/false", "/nonexistent"] {
            let cataloguer = Cataloguer::Process { program: program.into(), empty: dir.path().to_owned() };
            let error = cataloguer.catalog(&image.content).unwrap_err().to_string();
            assert!(error.starts_with("the process that reads the image failed"), "{error}");
        }
    }
}
