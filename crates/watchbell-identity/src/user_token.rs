//! Users' bearer tokens: what they look like, and what is kept of them.
//!
//! ```text
//!  wbt_ada-x7k2p_4fK…43 digits…Q0aB3d9
//!  │   │         │              └ 6 digits: SHA-256 of all that stands before, so that a scanner knows a token by itself
//!  │   │         └ 256 random bits, base 62
//!  │   └ the name of the UserToken object
//!  └ so that secret scanners find it: wbt_[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?_[0-9A-Za-z]{49}
//! ```
//!
//! The server keeps the SHA-256 of the random bits. They have no pattern to guess by, so no slow hash is needed.

use std::fmt;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "wbt_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The fewest digits that hold 256 bits.
const SECRET_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
/// An RFC 1123 label.
const NAME_BYTES_MAX: usize = 63;

/// The random part of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Of random bytes.
    pub fn new(random: [u8; 32]) -> Secret {
        Secret(random)
    }

    /// What is kept of it: its SHA-256.
    pub fn digest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        out
    }

    /// Whether this is the secret of which `kept` was kept. Takes the same time whatever the answer.
    pub fn matches(&self, kept: &[u8; 32]) -> bool {
        self.digest().ct_eq(kept).into()
    }

    /// The token as its user gets it.
    pub fn token(&self, name: &str) -> String {
        let body = format!("{PREFIX}{name}_{}", digits(&self.0, SECRET_DIGITS));
        let check = check(&body);
        format!("{body}{check}")
    }
}

/// A token that somebody showed. Nothing is known of it yet but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Of the `UserToken` object.
    pub name: &'a str,
    pub secret: Secret,
}

/// Whether a text means to be a user's token; it may still be a broken one.
pub fn is_user_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Reads a token; `None` when it is none that was ever given out.
pub fn read(text: &str) -> Option<Shown<'_>> {
    let body = text.get(..text.len().checked_sub(CHECK_DIGITS)?)?;
    let (name, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    let is_label = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    // A typing error costs no look-up; the check is no secret.
    if !is_label || secret.len() != SECRET_DIGITS || text[body.len()..] != check(body) {
        return None;
    }
    Some(Shown { name, secret: Secret(bytes(secret)?) })
}

fn check(body: &str) -> String {
    let hash = digest(&SHA256, body.as_bytes());
    let mut head = [0; 4];
    head.copy_from_slice(&hash.as_ref()[..4]);
    digits(&head, CHECK_DIGITS)
}

/// A number of big-endian bytes in base 62, most significant digit first.
fn digits(number: &[u8], count: usize) -> String {
    let mut number = number.to_vec();
    let mut out = vec![0u8; count];
    for digit in out.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let part = rest << 8 | u32::from(*byte);
            *byte = (part / 62) as u8;
            rest = part % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    out.into_iter().map(char::from).collect()
}

/// The way back; `None` for what is no digit, and for a number beyond 256 bits.
fn bytes(digits: &str) -> Option<[u8; 32]> {
    let mut out = [0u8; 32];
    for digit in digits.bytes() {
        let mut carry = ALPHABET.binary_search(&digit).ok()? as u32;
        for byte in out.iter_mut().rev() {
            let part = u32::from(*byte) * 62 + carry;
            *byte = part as u8;
            carry = part >> 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_known_by_its_form() {
        let token = Secret::new([7; 32]).token("ada-x7k2p");
        assert_eq!(token.len(), "wbt_ada-x7k2p_".len() + 49);
        assert!(token.starts_with("wbt_ada-x7k2p_"));
        assert_eq!(read(&token), Some(Shown { name: "ada-x7k2p", secret: Secret::new([7; 32]) }));
        assert!(Secret::new([7; 32]).matches(&Secret::new([7; 32]).digest()));
        assert!(!Secret::new([7; 32]).matches(&Secret::new([8; 32]).digest()));
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(…)", "no secret in a log");
    }

    #[test]
    fn other_texts_are_none() {
        let good = Secret::new([255; 32]).token("a");
        for wrong in [
            "",
            "wbt_",
            "wbt__",
            "wbt_a_",
            "é",
            "wbt_a_é000000000000000000000000000000000000000000000000",
            &good[..good.len() - 1],
            &format!("{good}0"),
            &good.replace("wbt_a", "wbt_b"),
            &good.replace("wbt_", "WBT_"),
            &good.replace("wbt_a_", "wbt_a\u{0}_"),
            // Beyond 256 bits, with the right check.
            &{
                let body = format!("wbt_a_{}", "z".repeat(43));
                let check = check(&body);
                format!("{body}{check}")
            },
            // No label, with the right check.
            &Secret::new([1; 32]).token("A"),
            &Secret::new([1; 32]).token(""),
            &Secret::new([1; 32]).token(&"a".repeat(64)),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_given_out_is_read_back(random in any::<[u8; 32]>(), name in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?") {
            let token = Secret::new(random).token(&name);
            let shown = read(&token).unwrap();
            prop_assert_eq!(shown.name, name.as_str());
            prop_assert!(shown.secret.matches(&Secret::new(random).digest()));
        }

        #[test]
        fn a_changed_character_is_found(random in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), to in "[ -~]") {
            let token = Secret::new(random).token("ada");
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(read(&changed).is_some(), changed == token);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,80}") {
            let _ = read(&text);
            let _ = read(&format!("wbt_{text}"));
        }
    }
}
