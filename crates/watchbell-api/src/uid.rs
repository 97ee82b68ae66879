//! The 128-bit identity of an object, printed as Kubernetes prints a UID (RFC 9562 form).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An object's UID. Sixteen bytes in memory; hyphenated lower-case hexadecimal everywhere else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uid(pub u128);

/// A text that is no UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct ParseUidError;

impl Uid {
    /// Marks 16 random (or hashed) bytes as a version-4 (or, for derived ones, version-8) UUID of RFC 9562.
    pub fn from_random(bytes: [u8; 16]) -> Uid {
        Uid::stamp(bytes, 4)
    }

    /// As [`Uid::from_random`], for a UID derived from other identities by a hash (version 8: custom).
    pub fn from_hash(bytes: [u8; 16]) -> Uid {
        Uid::stamp(bytes, 8)
    }

    fn stamp(mut bytes: [u8; 16], version: u8) -> Uid {
        bytes[6] = (bytes[6] & 0x0f) | (version << 4);
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uid(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (v >> 96) as u32,
            (v >> 80) as u16,
            (v >> 64) as u16,
            (v >> 48) as u16,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uid {
    type Err = ParseUidError;

    fn from_str(s: &str) -> Result<Uid, ParseUidError> {
        let hyphens_in_place =
            s.len() == 36 && s.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
        if !hyphens_in_place {
            return Err(ParseUidError);
        }
        let mut value = 0u128;
        for byte in s.bytes().filter(|b| *b != b'-') {
            let digit = (byte as char).to_digit(16).ok_or(ParseUidError)?;
            value = (value << 4) | u128::from(digit);
        }
        Ok(Uid(value))
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Uid, D::Error> {
        if d.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(d)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(d).map(Uid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Uid;

    #[test]
    fn prints_and_parses() {
        let uid = Uid::from_random(*b"0123456789abcdef");
        let text = uid.to_string();
        assert_eq!(text.parse::<Uid>(), Ok(uid));
        assert_eq!(&text[14..15], "4");
        assert!("3b9fd1c0".parse::<Uid>().is_err());
        assert!("zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz".parse::<Uid>().is_err());
    }
}
