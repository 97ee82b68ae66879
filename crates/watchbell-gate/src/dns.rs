//! As much of DNS (RFC 1035) as the gate speaks, on both sides hostile: questions of tasks and the answers to them, and
//! questions of its own for addresses and what resolvers say to these.

mod answer;
mod question;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Unread, read_answer, write_question};
pub use question::{Asked, Query, Reply, read_query};

/// The largest message that is read or asked for: what crosses networks in one piece (RFC 9715).
pub const MESSAGE_MAX: usize = 1232;
const HEADER: usize = 12;
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
const IN: u16 = 1;
const KIND_A: u16 = 1;
const KIND_CNAME: u16 = 5;
const KIND_AAAA: u16 = 28;
const KIND_OPT: u16 = 41;

// The first two bytes of flags.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
/// Something was cut off.
const TRUNCATED: u16 = 0x0200;
const CODE: u16 = 0x000f;

const NO_ERROR: u16 = 0;
const FORMAT_ERROR: u16 = 1;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const NOT_IMPLEMENTED: u16 = 4;

/// Which addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn kind(self) -> u16 {
        match self {
            Family::V4 => KIND_A,
            Family::V6 => KIND_AAAA,
        }
    }

    fn of_kind(kind: u16) -> Option<Self> {
        match kind {
            KIND_A => Some(Family::V4),
            KIND_AAAA => Some(Family::V6),
            _ => None,
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A name in its wire form, whole and in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WireName(Vec<u8>);

impl WireName {
    /// Reads the name at `at`; gives where what follows it begins.
    fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let (mut name, mut place, mut end) = (Vec::new(), at, None);
        // A pointer leads to what stands before the part that it ends, so this comes to an end.
        let mut part = at;
        loop {
            let length = usize::from(*message.get(place)?);
            match length >> 6 {
                0 => {
                    let label = message.get(place + 1..place + 1 + length)?;
                    name.push(length as u8);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    place += 1 + length;
                    if name.len() > NAME_MAX {
                        return None;
                    }
                    if length == 0 {
                        return Some((Self(name), end.unwrap_or(place)));
                    }
                }
                3 => {
                    let target = usize::from(u16_at(message, place)? & 0x3fff);
                    if target >= part {
                        return None;
                    }
                    end.get_or_insert(place + 2);
                    (part, place) = (target, target);
                }
                _ => return None,
            }
        }
    }

    /// The wire form of a name as people write it, without the dot of the root.
    fn of(name: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(name.len() + 2);
        for label in name.split('.') {
            if label.is_empty() || label.len() > LABEL_MAX {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= NAME_MAX).then_some(Self(wire))
    }

    /// As people write it, if it has letters, digits, `-` and `_` alone.
    fn text(&self) -> Option<String> {
        let (mut text, mut rest) = (String::with_capacity(self.0.len()), &self.0[..]);
        while let [length, after @ ..] = rest
            && *length > 0
        {
            let (label, next) = after.split_at_checked(usize::from(*length))?;
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(*byte)));
            rest = next;
        }
        Some(text).filter(|text| !text.is_empty())
    }
}
