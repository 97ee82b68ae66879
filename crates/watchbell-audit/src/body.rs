//! What stands in an entry in the place of a request's body: a hash that says which body it was to who has the body, and nothing
//! to who has not, nor to anybody once the key is gone. HMAC-SHA-256 (RFC 2104), twice:
//!
//! ```text
//!   key of the directory ── HMAC(entry's audit id) ──▶ salt of the entry ── HMAC(body) ──▶ hash
//! ```
//!
//! So the salt of one entry can be handed to an auditor without those of all others.

use ring::hmac;

/// Bytes of the key.
pub const BODY_KEY_BYTES: usize = 32;
const SCHEME: &str = "hmac-sha256";

/// The key that all salts come from.
pub struct BodyKey {
    key: hmac::Key,
    id: String,
}

/// What a hash says of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyMatch {
    Same,
    Other,
    /// It was made with another key, so nothing can be said.
    OtherKey,
    /// It is no hash of this form.
    Unreadable,
}

impl BodyKey {
    pub fn new(bytes: &[u8; BODY_KEY_BYTES]) -> BodyKey {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        // No audit id is empty.
        let id = hex(&hmac::sign(&key, b"").as_ref()[..4]);
        BodyKey { key, id }
    }

    /// The hash of a body: `hmac-sha256:KEY:HASH`, where KEY names the key and tells nothing of it.
    pub fn hash(&self, audit_id: &str, body: &[u8]) -> String {
        format!("{SCHEME}:{}:{}", self.id, hex(hmac::sign(&self.salt(audit_id), body).as_ref()))
    }

    /// Whether `hash` is that of this body.
    pub fn compare(&self, audit_id: &str, body: &[u8], hash: &str) -> BodyMatch {
        let mut parts = hash.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(SCHEME), Some(id), Some(_), None) if id != self.id => BodyMatch::OtherKey,
            (Some(SCHEME), Some(_), Some(digits), None) if digits.len() == 64 => {
                if hash == self.hash(audit_id, body) { BodyMatch::Same } else { BodyMatch::Other }
            }
            _ => BodyMatch::Unreadable,
        }
    }

    fn salt(&self, audit_id: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.key, audit_id.as_bytes()).as_ref())
    }
}

impl std::fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BodyKey({})", self.id)
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::export::hex(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_its_own_body_of_its_own_entry_and_no_other() {
        let key = BodyKey::new(&[1; 32]);
        let hash = key.hash("id-1", b"body");
        assert_eq!(key.compare("id-1", b"body", &hash), BodyMatch::Same);
        assert_eq!(key.compare("id-1", b"body ", &hash), BodyMatch::Other);
        assert_eq!(key.compare("id-2", b"body", &hash), BodyMatch::Other);
        assert_ne!(key.hash("id-2", b"body"), hash, "equal bodies do not show that they are equal");
        assert_eq!(BodyKey::new(&[2; 32]).compare("id-1", b"body", &hash), BodyMatch::OtherKey);
        for wrong in ["", "sha256:1:2", "hmac-sha256", &hash[..hash.len() - 1], &format!("{hash}:")] {
            assert_eq!(key.compare("id-1", b"body", wrong), BodyMatch::Unreadable, "{wrong}");
        }
        assert!(!format!("{key:?}").contains("01010101"));
    }

    /// By hand, as somebody else would do it (Python's hmac).
    #[test]
    fn the_scheme_is_the_one_that_is_written_down() {
        let hash = BodyKey::new(&[1; 32]).hash("id-1", b"body");
        assert_eq!(
            hash,
            "hmac-sha256:2e72eb66:03838594f20dabba9bc71c0da918e2217861046a2efb23181223a3cb4afdc736"
        );
    }
}
