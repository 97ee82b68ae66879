//! WebSocket (RFC 6455) without I/O: bytes go in, messages come out, and the other way round. The server and the command
//! line drive it, each over a connection of its own.
//!
//! ```text
//!   connection ── bytes ──▶ take ──▶ message
//!   connection ◀─ output ◀── send ◀── message       pongs and the answer to a close join the output unasked
//! ```

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

/// The largest message that is taken: larger input comes in pieces.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const READ_BUFFER_BYTES: usize = 16 << 10;
const QUEUE_BYTES_KEPT: usize = 64 << 10;
/// What RFC 6455 adds to a client's key before it is hashed.
const KEY_SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A message of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Binary(Bytes),
    Text(String),
    /// The peer ends the connection; its words, if it had any. The answer is in the output already.
    Close(String),
    /// A ping or a pong: the peer lives.
    Alive,
}

/// Why the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("a message of more than {MESSAGE_BYTES_MAX} bytes: send it in pieces")]
    TooLarge,
    #[error("the connection broke off")]
    CutOff,
    #[error("no WebSocket: {0}")]
    Protocol(String),
}

/// Why we end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    Normal,
    /// The server ends.
    GoingAway,
    /// The peer broke the protocol.
    Protocol,
    TooLarge,
}

/// One end of a connection.
pub struct Socket {
    context: WebSocketContext,
    wire: Wire,
    /// A close was sent: nothing follows it.
    is_closing: bool,
    /// The peer's close came: nothing follows it.
    has_ended: bool,
}

/// The connection as tungstenite sees it: it reads what has come, and writes never block.
#[derive(Default)]
struct Wire {
    input: Queue,
    output: Queue,
}

/// Bytes that are added at the end and taken from the front.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    taken: usize,
}

impl Queue {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn add(&mut self, bytes: &[u8]) {
        // What was taken goes when it is at least as much as what would have to move.
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
            // One large message does not hold memory for the rest of the session.
            self.bytes.shrink_to(QUEUE_BYTES_KEPT);
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.input.rest();
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.input.advance(count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    pub fn server() -> Socket {
        Socket::new(Role::Server)
    }

    pub fn client() -> Socket {
        Socket::new(Role::Client)
    }

    fn new(role: Role) -> Socket {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Socket {
            context: WebSocketContext::new(role, Some(config)),
            wire: Wire::default(),
            is_closing: false,
            has_ended: false,
        }
    }

    /// Takes bytes that came over the connection.
    pub fn take(&mut self, bytes: &[u8]) {
        self.wire.input.add(bytes);
    }

    /// The next message among the bytes taken so far.
    pub fn message(&mut self) -> Result<Option<Message>, Broken> {
        use tungstenite::{Error, Message as Frame};
        if self.has_ended {
            return Ok(None);
        }
        match self.context.read(&mut self.wire) {
            Ok(Frame::Binary(bytes)) => Ok(Some(Message::Binary(bytes))),
            Ok(Frame::Text(text)) => Ok(Some(Message::Text(text.as_str().to_owned()))),
            Ok(Frame::Close(frame)) => {
                // The answer is queued by now; this puts it into the output.
                let _ = self.context.flush(&mut self.wire);
                self.is_closing = true;
                self.has_ended = true;
                Ok(Some(Message::Close(frame.map(|f| f.reason.as_str().to_owned()).unwrap_or_default())))
            }
            Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => {
                let _ = self.context.flush(&mut self.wire);
                Ok(Some(Message::Alive))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Err(Broken::CutOff),
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Err(Broken::TooLarge),
            Err(error) => Err(Broken::Protocol(error.to_string())),
        }
    }

    /// Sends bytes. After a close nothing more is sent.
    pub fn send(&mut self, bytes: Bytes) {
        self.write(tungstenite::Message::Binary(bytes));
    }

    pub fn send_text(&mut self, text: String) {
        self.write(tungstenite::Message::Text(text.into()));
    }

    pub fn ping(&mut self) {
        self.write(tungstenite::Message::Ping(Bytes::new()));
    }

    /// Says that this is the end. `reason` is cut to what a close may carry.
    pub fn close(&mut self, close: Close, reason: &str) {
        if self.is_closing {
            return;
        }
        self.is_closing = true;
        let code = match close {
            Close::Normal => CloseCode::Normal,
            Close::GoingAway => CloseCode::Away,
            Close::Protocol => CloseCode::Protocol,
            Close::TooLarge => CloseCode::Size,
        };
        // A control frame carries 125 bytes, two of them the code.
        let reason = &reason[..reason.floor_char_boundary(123)];
        let frame = CloseFrame { code, reason: reason.into() };
        // Writing to memory does not fail.
        let _ = self.context.close(&mut self.wire, Some(frame));
    }

    fn write(&mut self, message: tungstenite::Message) {
        if !self.is_closing {
            // Writing to memory does not fail.
            let _ = self.context.write(&mut self.wire, message);
            let _ = self.context.flush(&mut self.wire);
        }
    }

    /// What waits to go over the connection.
    pub fn output(&self) -> &[u8] {
        self.wire.output.rest()
    }

    /// So much of the output went over the connection.
    pub fn sent(&mut self, count: usize) {
        self.wire.output.advance(count);
    }
}

/// The answer to the key of a client's handshake.
pub fn accept(key: &str) -> String {
    let salted = format!("{key}{KEY_SALT}");
    // RFC 6455 asks for SHA-1; nothing secret hangs on it.
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes());
    BASE64_STANDARD.encode(digest)
}

/// Whether a key is one that a client may send: 16 bytes in base64.
pub fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests;
