//! Protobuf's messages in their JSON form, as bundles and trust roots are: bytes are base64 of either alphabet, 64-bit
//! numbers are strings, what has its default value may be left out, fields that are not known are passed over.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};

const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads base64 of the standard or the URL alphabet.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let standard: Vec<u8> = text
        .bytes()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    ANY_PADDING.decode(standard).ok()
}

/// Base64 as everybody writes it.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Reads JSON of at most `bytes_max` bytes. serde_json goes 128 levels deep and no further.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, String> {
    if bytes.len() > bytes_max {
        return Err(format!("{} bytes, at most {bytes_max} are read", bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// `bytes`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes in base64")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                decode(text).map(Bytes).ok_or_else(|| E::custom("it is no base64"))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// `int64`, of which only what is not negative has a meaning here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Int64(pub(crate) u64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number that is not negative, or one in a string")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Int64, E> {
                i64::try_from(number).map(|_| Int64(number)).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Int64, E> {
                let number: u64 = text.parse().map_err(|_| E::custom("it is no number"))?;
                self.visit_u64(number)
            }
        }
        deserializer.deserialize_any(Number)
    }
}
