//! Envelopes of signed statements (DSSE, protocol 1.0.2): what is signed is the payload with its type.

use serde::Deserialize;

use crate::proto::Bytes;
use crate::refused::Reason;

pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    payload: Bytes,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Clone, Debug, Deserialize)]
struct EnvelopeSignature {
    sig: Bytes,
}

impl Envelope {
    /// The one signature: with several it would not be said which of them the log entry and the timestamp are of.
    pub(crate) fn signature(&self) -> Result<&[u8], Reason> {
        match self.signatures.as_slice() {
            [one] => Ok(&one.sig.0),
            several => Err(Reason::malformed(
                "envelope",
                format!("it has {} signatures instead of one", several.len()),
            )),
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload.0
    }

    /// The payload, once its type is that of a statement.
    pub(crate) fn statement(&self) -> Result<&[u8], Reason> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(Reason::PayloadType(excerpt(&self.payload_type)));
        }
        Ok(&self.payload.0)
    }

    /// What is signed.
    pub(crate) fn encoding(&self) -> Vec<u8> {
        encoding(&self.payload_type, &self.payload.0)
    }
}

/// DSSE's pre-authentication encoding: "DSSEv1" LEN(type) type LEN(payload) payload.
pub(crate) fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// At most the first 120 characters of foreign text, for a reason.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::encoding;

    #[test]
    fn the_encoding_is_the_specifications() {
        let expect = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(encoding("http://example.com/HelloWorld", b"hello world"), expect);
    }

    proptest! {
        /// What is signed as one is never another's: type and payload can be read back.
        #[test]
        fn two_envelopes_have_two_encodings(kind in ".{0,20}", payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded = encoding(&kind, &payload);
            let field = |rest: &[u8]| {
                let space = rest.iter().position(|b| *b == b' ').unwrap();
                let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
                (rest[space + 1..][..length].to_vec(), rest[space + 1 + length..].to_vec())
            };
            let (read_kind, rest) = field(&encoded["DSSEv1 ".len()..]);
            let (read_payload, rest) = field(&rest[1..]);
            prop_assert_eq!((read_kind, read_payload, rest), (kind.into_bytes(), payload, Vec::new()));
        }
    }
}
