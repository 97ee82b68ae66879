//! Kubernetes' channels in a WebSocket: each message begins with the number of its stream.
//!
//! | channel | carries | from |
//! |---|---|---|
//! | 0 | standard input | client |
//! | 1 | standard output | server |
//! | 2 | standard error | server |
//! | 3 | how it ended: a `Status`, in the oldest protocols the words of an error | server |
//! | 4 | the window's size, `{"Width": 80, "Height": 24}` | client |
//! | 255 | the number of a channel that ends (version 5) | client |

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use serde_json::Value;

use crate::websocket::{Message, Socket};

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const END: u8 = 255;
/// More than the size of any window takes.
const RESIZE_BYTES_MAX: usize = 256;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    encoding: Encoding,
    /// Version 4 and later end with a `Status`.
    pub(super) has_status: bool,
    /// Version 5 ends single channels.
    has_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// The channel is a byte.
    Binary,
    /// The channel is a digit, the rest is base64; messages are text.
    Base64,
}

const PROTOCOLS: [(&str, Channels); 5] = [
    ("v5.channel.k8s.io", Channels { encoding: Encoding::Binary, has_status: true, has_end: true }),
    ("v4.channel.k8s.io", Channels { encoding: Encoding::Binary, has_status: true, has_end: false }),
    ("v4.base64.channel.k8s.io", Channels { encoding: Encoding::Base64, has_status: true, has_end: false }),
    ("channel.k8s.io", Channels { encoding: Encoding::Binary, has_status: false, has_end: false }),
    ("base64.channel.k8s.io", Channels { encoding: Encoding::Base64, has_status: false, has_end: false }),
];

pub(super) fn names() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|(name, _)| *name).collect()
}

/// The first of the client's protocols that is spoken here. Who names none speaks the oldest, and is answered none.
pub(super) fn choose(offered: &[&str]) -> Option<(Channels, Option<&'static str>)> {
    if offered.is_empty() {
        return Some((PROTOCOLS[3].1, None));
    }
    offered.iter().find_map(|offer| {
        let (name, channels) = PROTOCOLS.iter().find(|(name, _)| name == offer)?;
        Some((*channels, Some(*name)))
    })
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Stdin(Bytes),
    StdinEnds,
    Resize {
        columns: u16,
        rows: u16,
    },
    /// A channel that a client has nothing to say on.
    Nothing,
}

impl Channels {
    /// Reads a message; an error is in words for who wrote the client.
    pub(super) fn read(self, message: Message) -> Result<Said, String> {
        let (channel, data) = match (self.encoding, message) {
            (_, Message::Alive | Message::Close(_)) => return Ok(Said::Nothing),
            // Some clients send text where bytes are meant.
            (Encoding::Binary, Message::Text(text)) => split(Bytes::from(text))?,
            (Encoding::Binary, Message::Binary(bytes)) => split(bytes)?,
            (Encoding::Base64, message) => {
                let bytes = match message {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    Message::Alive | Message::Close(_) => Bytes::new(),
                };
                let (digit, data) = split(bytes)?;
                let data = BASE64_STANDARD
                    .decode(&data)
                    .map_err(|_| "a message is not base64 behind its channel's digit".to_owned())?;
                (digit.wrapping_sub(b'0'), Bytes::from(data))
            }
        };
        Ok(match channel {
            STDIN => Said::Stdin(data),
            RESIZE => size(&data),
            END if self.has_end && data.first() == Some(&STDIN) => Said::StdinEnds,
            _ => Said::Nothing,
        })
    }

    /// Sends data on a channel.
    pub(super) fn send(self, socket: &mut Socket, channel: u8, data: &[u8]) {
        match self.encoding {
            Encoding::Binary => {
                let mut message = Vec::with_capacity(data.len() + 1);
                message.push(channel);
                message.extend_from_slice(data);
                socket.send(Bytes::from(message));
            }
            Encoding::Base64 => {
                let mut message = String::from(char::from(b'0' + channel));
                BASE64_STANDARD.encode_string(data, &mut message);
                socket.send_text(message);
            }
        }
    }
}

fn split(mut bytes: Bytes) -> Result<(u8, Bytes), String> {
    if bytes.is_empty() {
        return Err("a message is empty: it must begin with its channel".into());
    }
    let data = bytes.split_off(1);
    Ok((bytes[0], data))
}

/// What is no size is overlooked: a window that is drawn wrong is no reason to end a session.
fn size(data: &[u8]) -> Said {
    if data.len() > RESIZE_BYTES_MAX {
        return Said::Nothing;
    }
    let size: Value = serde_json::from_slice(data).unwrap_or_default();
    let number = |field: &str| size[field].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    match (number("Width"), number("Height")) {
        (Some(columns), Some(rows)) => Said::Resize { columns, rows },
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(name: &str) -> Channels {
        choose(&[name]).expect("it is spoken").0
    }

    #[test]
    fn the_clients_first_known_protocol_is_taken() {
        let check = |offered: &[&str], expect: Option<Option<&str>>| {
            assert_eq!(choose(offered).map(|(_, name)| name), expect, "{offered:?}");
        };
        check(&["v5.channel.k8s.io"], Some(Some("v5.channel.k8s.io")));
        check(&["v9.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"], Some(Some("v4.channel.k8s.io")));
        check(&[], Some(None));
        check(&["chat"], None);
        check(&["V4.channel.k8s.io"], None);
    }

    #[test]
    fn messages_are_read() {
        let check = |protocol: &str, message: Message, expect: Result<Said, &str>| {
            let got = channels(protocol).read(message.clone());
            assert_eq!(got.as_ref().map_err(String::as_str), expect.as_ref().map_err(|e| *e), "{message:?}");
        };
        let binary = |bytes: &'static [u8]| Message::Binary(Bytes::from_static(bytes));
        let stdin = |bytes: &'static [u8]| Ok(Said::Stdin(Bytes::from_static(bytes)));
        check("v4.channel.k8s.io", binary(b"\x00ls\n"), stdin(b"ls\n"));
        check("v4.channel.k8s.io", Message::Text("\0ls".into()), stdin(b"ls"));
        check("v4.channel.k8s.io", binary(b"\x00"), stdin(b""));
        check("v4.channel.k8s.io", binary(b""), Err("a message is empty: it must begin with its channel"));
        check("v4.channel.k8s.io", binary(b"\xff\x00"), Ok(Said::Nothing));
        check("v5.channel.k8s.io", binary(b"\xff\x00"), Ok(Said::StdinEnds));
        check("v5.channel.k8s.io", binary(b"\xff\x01"), Ok(Said::Nothing));
        check("v5.channel.k8s.io", binary(b"\xff"), Ok(Said::Nothing));
        check("v5.channel.k8s.io", binary(b"\x01out"), Ok(Said::Nothing));
        check("base64.channel.k8s.io", Message::Text("0bHM=".into()), stdin(b"ls"));
        check("base64.channel.k8s.io", Message::Text("4".into()), Ok(Said::Nothing));
        check(
            "base64.channel.k8s.io",
            Message::Text("0%".into()),
            Err("a message is not base64 behind its channel's digit"),
        );
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_overlooked() {
        let check = |text: &str, expect: Option<(u16, u16)>| {
            let said = channels("v5.channel.k8s.io")
                .read(Message::Binary(Bytes::from(format!("\u{4}{text}"))))
                .unwrap();
            let expect = expect.map_or(Said::Nothing, |(columns, rows)| Said::Resize { columns, rows });
            assert_eq!(said, expect, "{text}");
        };
        check("{\"Width\":80,\"Height\":24}\n", Some((80, 24)));
        check(r#"{"Width":70000,"Height":24}"#, None);
        check(r#"{"Width":-1,"Height":24}"#, None);
        check(r#"{"Width":0,"Height":0}"#, None);
        check("[]", None);
        check(&format!("{{\"Width\":80,\"Height\":24,\"x\":\"{}\"}}", "y".repeat(300)), None);
    }
}
