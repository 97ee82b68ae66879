//! An entry of the journal, and what its body says, read once and leniently: an export never stops at an entry.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::logs::LogPlace;

/// One life of the log; a restore begins the next. Random, so that the numbers of two lives are never taken for each other.
pub type EpochId = [u8; 16];

/// A committed entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The life of the log that it was written in.
    pub epoch: EpochId,
    /// Its place among all entries of the journal, from 0.
    pub index: u64,
    /// Its place in its log's own tree.
    pub log: Option<LogPlace>,
    pub at_unix_nanos: i64,
    /// JSON, the leaf of the tree byte by byte.
    pub body: Vec<u8>,
}

impl Entry {
    /// The name that it has everywhere, now and after a restore: `EPOCH-INDEX`.
    pub fn id(&self) -> String {
        let mut id = hex(&self.epoch);
        id.push('-');
        id.push_str(&self.index.to_string());
        id
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The sixteen bytes of 32 hexadecimal digits, lower case.
pub fn epoch_of(text: &str) -> Option<EpochId> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d)) {
        return None;
    }
    let mut epoch = [0; 16];
    for (byte, pair) in epoch.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(epoch)
}

/// The index and epoch in an entry's [`Entry::id`].
pub fn place_of(id: &str) -> Option<(EpochId, u64)> {
    let (epoch, index) = id.split_once('-')?;
    Some((epoch_of(epoch)?, index.parse().ok()?))
}

/// The body of either kind: an `Event` of `audit.k8s.io/v1` or a `RunEvent` of `watchbell.dev/v1alpha1`. A kind's fields
/// are absent in the other's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) level: Option<Cow<'a, str>>,
    #[serde(rename = "auditID")]
    pub(super) audit_id: Option<Cow<'a, str>>,
    pub(super) stage: Option<Cow<'a, str>>,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: Option<Cow<'a, str>>,
    pub(super) verb: Option<Cow<'a, str>>,
    pub(super) user: Option<User<'a>>,
    pub(super) impersonated_user: Option<User<'a>>,
    #[serde(rename = "sourceIPs")]
    pub(super) source_ips: Vec<Cow<'a, str>>,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) object_ref: Option<ObjectRef<'a>>,
    pub(super) response_status: Option<ResponseStatus<'a>>,
    pub(super) request_received_timestamp: Option<Cow<'a, str>>,
    pub(super) stage_timestamp: Option<Cow<'a, str>>,
    pub(super) annotations: Map<String, Value>,
    // Of a run.
    pub(super) action: Option<Cow<'a, str>>,
    pub(super) details: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User<'a> {
    #[serde(borrow)]
    pub(super) username: Cow<'a, str>,
    pub(super) uid: Option<Cow<'a, str>>,
    pub(super) groups: Vec<Cow<'a, str>>,
    /// What else is known of him, such as which certificate or token it was.
    pub(super) extra: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ObjectRef<'a> {
    #[serde(borrow)]
    pub(super) resource: Cow<'a, str>,
    pub(super) subresource: Option<Cow<'a, str>>,
    pub(super) namespace: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) uid: Option<Cow<'a, str>>,
    pub(super) api_group: Option<Cow<'a, str>>,
    pub(super) api_version: Option<Cow<'a, str>>,
    pub(super) resource_version: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseStatus<'a> {
    pub(super) code: Option<u16>,
    #[serde(borrow)]
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) message: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_one() {
        let entry = Entry { epoch: [0xab; 16], index: 7, log: None, at_unix_nanos: 0, body: Vec::new() };
        assert_eq!(entry.id(), "abababababababababababababababab-7");
        assert_eq!(place_of(&entry.id()), Some(([0xab; 16], 7)));
        for wrong in [
            "",
            "-7",
            "ab-7",
            "abababababababababababababababab",
            "ABABABABABABABABABABABABABABABAB-7",
            "abababababababababababababababab-",
            "abababababababababababababababab--1",
        ] {
            assert_eq!(place_of(wrong), None, "{wrong}");
        }
    }
}
