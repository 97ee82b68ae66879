//! What the process that unpacks and the one that asked it to say to each other, and how.
//!
//! ```text
//!   asks ── Request ──▶ unpacks
//!        ◀─ Ask::Parent, Ask::Opaque ── … one answer each ──▶
//!        ◀─ Outcome ──
//! ```
//!
//! The one that unpacks has read what a stranger wrote: all it says is bounded, and believed only where it concerns its own
//! layer.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::UnpackRecord;
use super::root::Fill;
use crate::error::LayerError;
use crate::{Compression, Digest, Limits};

/// The longest is a record with all that it notes.
const BYTES_MAX: u32 = 4 << 20;
const TEXT_CHARS_MAX: usize = 2000;

/// What is to be unpacked; the layer itself is standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) compression: Compression,
    /// Of the layer as it was received.
    pub(super) size: u64,
    pub(super) diff_id: Digest,
    pub(super) limits: Limits,
    /// Of the image's unpacked bytes.
    pub(super) bytes_left: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// The archive left a parent out: what is it in the layers below?
    Parent(Vec<Vec<u8>>),
    /// This directory hides what is below it. The mark needs a right that the process does not have.
    Opaque(Vec<Vec<u8>>),
    Outcome(Result<UnpackRecord, Failure>),
}

pub(super) type ParentAnswer = Result<Fill, Cause>;
pub(super) type OpaqueAnswer = Result<(), Cause>;

/// A [`LayerError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Entry { entry: String, reason: String },
    Archive { offset: u64, reason: String },
    Mislabelled { found: Compression },
    Limit { reason: String },
    ImageTooLarge,
    DiffId { actual: Digest },
    Decompress { cause: Cause },
    Io { step: String, entry: String, cause: Cause },
    Other { reason: String },
}

/// An [`io::Error`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cause {
    code: Option<i32>,
    text: String,
}

impl From<io::Error> for Cause {
    fn from(e: io::Error) -> Self {
        Self { code: e.raw_os_error(), text: e.to_string() }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        match cause.code {
            Some(code) => Self::from_raw_os_error(code),
            None => Self::other(clean(&cause.text)),
        }
    }
}

impl From<LayerError> for Failure {
    fn from(e: LayerError) -> Self {
        match e {
            LayerError::Entry { entry, reason } => Self::Entry { entry, reason },
            LayerError::Archive { offset, reason } => Self::Archive { offset, reason },
            LayerError::Limit { reason } => Self::Limit { reason },
            LayerError::ImageTooLarge { .. } => Self::ImageTooLarge,
            LayerError::DiffId { actual, .. } => Self::DiffId { actual },
            LayerError::Decompress { cause } => Self::Decompress { cause: cause.into() },
            LayerError::Io { step, entry, cause } => {
                Self::Io { step: step.into_owned(), entry, cause: cause.into() }
            }
            LayerError::Mislabelled { .. } | LayerError::Unpacker { .. } => {
                Self::Other { reason: e.to_string() }
            }
        }
    }
}

impl Failure {
    /// As whoever asked tells it to the user.
    pub(super) fn into_error(self, request: &Request) -> LayerError {
        match self {
            Self::Entry { entry, reason } => {
                LayerError::Entry { entry: clean(&entry), reason: clean(&reason) }
            }
            Self::Archive { offset, reason } => LayerError::Archive { offset, reason: clean(&reason) },
            Self::Mislabelled { found } => {
                LayerError::Mislabelled { claimed: request.compression.as_str(), found: found.as_str() }
            }
            Self::Limit { reason } => LayerError::Limit { reason: clean(&reason) },
            Self::ImageTooLarge => {
                LayerError::ImageTooLarge { bytes_max: request.limits.image_unpacked_bytes_max }
            }
            Self::DiffId { actual } => LayerError::DiffId { expected: request.diff_id.clone(), actual },
            Self::Decompress { cause } => LayerError::Decompress { cause: cause.into() },
            Self::Io { step, entry, cause } => {
                LayerError::Io { step: clean(&step).into(), entry: clean(&entry), cause: cause.into() }
            }
            Self::Other { reason } => LayerError::Unpacker { reason: clean(&reason) },
        }
    }
}

/// Text of a process that may be a stranger's by now: bounded, and nothing that moves a cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|l| *l <= BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    to.write_all(&[&length.to_le_bytes()[..], &json].concat())
}

/// The next message; `None` at the end.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0u8; 4];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if length > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut json = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut json)?;
    Ok(Some(serde_json::from_slice(&json)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_whole() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Said::Opaque(vec![b"a\xff".to_vec()])).unwrap();
        let mut from = &bytes[..];
        let Some(Said::Opaque(path)) = receive(&mut from).unwrap() else { panic!("another message") };
        assert_eq!(path, [b"a\xff".to_vec()]);
        assert!(receive::<Said>(&mut from).unwrap().is_none());
        for cut in 1..bytes.len() {
            assert!(receive::<Said>(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        assert!(receive::<Said>(&mut &[0xff; 64][..]).is_err());
        assert!(send(&mut Vec::new(), &vec![0u8; 3 << 20]).is_err());
    }

    #[test]
    fn what_is_told_on_moves_no_cursor_and_ends() {
        let told = clean(&format!("\x1b[2J{}", "x".repeat(10_000)));
        assert!(!told.contains('\x1b') && told.chars().count() == TEXT_CHARS_MAX);
    }
}
