//! A session in a container as the command line holds it: a WebSocket to the server, and this process's own streams.

mod connection;
mod terminal;

use std::io::{self, Read as _};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use watchbell_server::websocket::{Close, Message, Socket};

use self::connection::Connected;
pub(crate) use self::connection::Door;
use self::terminal::Raw;
use crate::exit::Failure;
use crate::output;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const END: u8 = 255;

const PIECE: usize = 32 << 10;
/// With so much on its way to the server, no more is read from standard input.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
const PING_EVERY: Duration = Duration::from_secs(10);
/// A server that says nothing for so long, not even to a ping, has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Which streams of this process take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

impl Streams {
    /// What was asked for, as far as this process has it.
    pub(crate) fn of(stdin: bool, tty: bool) -> Streams {
        let is_terminal = io::IsTerminal::is_terminal(&io::stdin());
        if tty && stdin && !is_terminal {
            output::note("standard input is no terminal, so the command gets none either");
        }
        Streams { stdin, tty: tty && (is_terminal || !stdin) }
    }

    /// The query that asks for them.
    pub(crate) fn query(self) -> String {
        let Streams { stdin, tty } = self;
        format!("stdin={stdin}&stdout=true&stderr={}&tty={tty}", !tty)
    }
}

/// Holds a session at `path` to its end.
pub(crate) fn hold(door: &Door, path: &str, streams: Streams) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Refused(format!("cannot start: {e}")))?;
    let result = runtime.block_on(async {
        let connected = door.open(path).await?;
        Held::new(connected, streams)?.carry().await
    });
    // A thread that waits for a key must not hold up the end.
    runtime.shutdown_background();
    result
}

struct Held {
    connected: Connected,
    raw: Option<Raw>,
    input: Option<mpsc::Receiver<Vec<u8>>>,
    is_tty: bool,
    resized: Signal,
    terminated: Signal,
    hung_up: Signal,
    out: Text,
    err: Text,
    status: Option<Value>,
}

impl Held {
    fn new(connected: Connected, streams: Streams) -> Result<Held, Failure> {
        let hear = |kind| signal(kind).map_err(|e| Failure::Refused(format!("cannot hear signals: {e}")));
        let (resized, terminated, hung_up) =
            (hear(SignalKind::window_change())?, hear(SignalKind::terminate())?, hear(SignalKind::hangup())?);
        let raw = if streams.tty && streams.stdin {
            Some(Raw::enter().map_err(|e| Failure::Refused(format!("cannot use the terminal: {e}")))?)
        } else {
            None
        };
        let input = if streams.stdin { Some(read_stdin()?) } else { None };
        let mut held = Held {
            connected,
            raw,
            input,
            is_tty: streams.tty,
            resized,
            terminated,
            hung_up,
            out: Text::default(),
            err: Text::default(),
            status: None,
        };
        held.tell_size();
        Ok(held)
    }

    fn socket(&mut self) -> &mut Socket {
        &mut self.connected.socket
    }

    fn say(&mut self, channel: u8, data: &[u8]) {
        self.socket().send([&[channel], data].concat().into());
    }

    fn tell_size(&mut self) {
        if self.is_tty
            && let Some((columns, rows)) = terminal::size()
        {
            self.say(RESIZE, json!({"Width": columns, "Height": rows}).to_string().as_bytes());
        }
    }

    async fn carry(mut self) -> Result<(), Failure> {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        let mut buffer = vec![0; PIECE];
        let mut must_flush = false;
        loop {
            if self.hear()? {
                return self.end();
            }
            let Held { connected, input, resized, terminated, hung_up, .. } = &mut self;
            let waiting = connected.socket.output();
            let has_room = waiting.len() < OUTPUT_BYTES_MAX;
            tokio::select! {
                // What has come is heard before silence is blamed on anybody.
                biased;
                read = connected.reader.read(&mut buffer) => match read {
                    Ok(count @ 1..) => {
                        heard_at = Instant::now();
                        connected.socket.take(&buffer[..count]);
                    }
                    Ok(0) | Err(_) => return self.end(),
                },
                pushed = push(&mut connected.writer, waiting), if must_flush || !waiting.is_empty() => {
                    let count = pushed.map_err(|_| Failure::Unreachable(LOST.into()))?;
                    connected.socket.sent(count);
                    must_flush = count > 0;
                }
                piece = next(input), if input.is_some() && has_room => match piece {
                    Some(piece) => self.say(STDIN, &piece),
                    None => {
                        self.input = None;
                        if self.connected.has_end {
                            self.say(END, &[STDIN]);
                        }
                    }
                },
                _ = resized.recv() => self.tell_size(),
                _ = terminated.recv() => return Err(Failure::Refused("ended by a signal".into())),
                _ = hung_up.recv() => return Err(Failure::Refused("the terminal went away".into())),
                _ = ping.tick() => {
                    if heard_at.elapsed() > SILENCE {
                        return Err(Failure::Unreachable(LOST.into()));
                    }
                    connected.socket.ping();
                }
            }
        }
    }

    /// Passes on what has come; whether that was the end.
    fn hear(&mut self) -> Result<bool, Failure> {
        loop {
            let message = match self.socket().message() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(false),
                Err(error) => return Err(Failure::Unreachable(error.to_string())),
            };
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Alive => continue,
                Message::Close(_) => return Ok(true),
            };
            let Some((channel, data)) = bytes.split_first() else { continue };
            let written = match *channel {
                STDOUT => self.out.write(io::stdout().lock(), data, self.is_tty),
                STDERR => self.err.write(io::stderr().lock(), data, self.is_tty),
                ERROR if !data.is_empty() => {
                    self.status = serde_json::from_slice(data).ok();
                    Ok(())
                }
                _ => Ok(()),
            };
            if written.is_err() {
                // Who read it has gone, so the command may go too.
                self.socket().close(Close::Normal, "");
                return Err(Failure::Refused("nobody reads the output any more".into()));
            }
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        // First of all the terminal is as it was.
        self.raw = None;
        let status = self.status.take().ok_or_else(|| Failure::Unreachable(LOST.into()))?;
        if status["status"] == "Success" {
            return Ok(());
        }
        let causes = status["details"]["causes"].as_array();
        let code = causes.and_then(|list| list.iter().find(|cause| cause["reason"] == "ExitCode"));
        match code.and_then(|cause| cause["message"].as_str()?.parse().ok()) {
            Some(code) if status["reason"] == "NonZeroExitCode" => Err(Failure::Remote(code)),
            _ => Err(Failure::Refused(
                status["message"].as_str().unwrap_or("the server does not say why").to_owned(),
            )),
        }
    }
}

const LOST: &str = "the connection to the server broke; the command is ended there";

/// Bytes of a container on their way to this process's output.
#[derive(Default)]
struct Text {
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
}

impl Text {
    /// A command that was given the terminal may do with it what it likes; any other output is shown to a person without
    /// control characters, and written to a file as it is.
    fn write(
        &mut self,
        mut to: impl io::Write + io::IsTerminal,
        data: &[u8],
        owns_terminal: bool,
    ) -> io::Result<()> {
        if owns_terminal || !to.is_terminal() {
            to.write_all(data)?;
            return to.flush();
        }
        self.begun.extend_from_slice(data);
        let whole = whole_characters(&self.begun);
        let rest = self.begun.split_off(whole);
        let shown = std::mem::replace(&mut self.begun, rest);
        to.write_all(output::printable(&String::from_utf8_lossy(&shown)).as_bytes())?;
        to.flush()
    }
}

/// Up to where the bytes end with a whole character, or with what is none.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // What is wrong in the middle is shown as such; only the end may still be completed.
        Err(_) => {
            let tail = bytes.len().saturating_sub(3);
            (tail..bytes.len())
                .find(|at| {
                    std::str::from_utf8(&bytes[*at..])
                        .is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
                })
                .unwrap_or(bytes.len())
        }
        Ok(_) => bytes.len(),
    }
}

/// Reads standard input on a thread of its own, which a terminal may hold for ever.
fn read_stdin() -> Result<mpsc::Receiver<Vec<u8>>, Failure> {
    let (sender, receiver) = mpsc::channel(4);
    let read = move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            match stdin.read(&mut buffer) {
                Ok(count @ 1..) if sender.blocking_send(buffer[..count].to_vec()).is_ok() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(read)
        .map_err(|e| Failure::Refused(format!("cannot read standard input: {e}")))?;
    Ok(receiver)
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => None,
    }
}

/// Writes what fits; when there is nothing to write, lets go what TLS still holds.
async fn push(writer: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn a_character_is_shown_once_it_is_whole() {
        let check = |bytes: &[u8], expect: usize| assert_eq!(whole_characters(bytes), expect, "{bytes:?}");
        check(b"", 0);
        check(b"abc", 3);
        check("aü".as_bytes(), 3);
        check(&"aü".as_bytes()[..2], 1);
        check(&"a€".as_bytes()[..3], 1);
        check(&"a😀".as_bytes()[..4], 1);
        check(b"a\xff", 2);
        check(&[b"\xff", &"a€".as_bytes()[..3]].concat(), 2);
        check(b"\xff\xff\xff\xff", 4);
    }
}
