//! Signed tokens: JWTs (RFC 7519) in JWS' compact form (RFC 7515), as strictly as RFC 8725 asks.
//!
//! ```text
//!  header "." payload "." signature ──▶ Unverified ── kid ──▶ KeySet ──▶ the key's own algorithm ──▶ Claims
//! ```
//!
//! - **The key decides the algorithm.** The header must name the one that the key is for; there is no `none`, and no key for
//!   MACs, so no public key can be taken for one.
//! - What a reader could understand in two ways is refused: duplicate members, padded or sloppy base64, `crit`, and numbers
//!   that are no dates.
//! - Everything is bounded before it is decoded.
//! - Nothing of a token stands in an error.
//!
//! Own code over `ring`: the well-kept crates for it (`jsonwebtoken`, `jwt-simple`) bring a second provider of cryptography.

mod key;
mod sign;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use watchbell_api::decode;

pub use key::{Algorithm, KeyError, KeySet, VerifyingKey};
pub use sign::SigningKey;

/// The longest token that is looked at. Kubernetes' own are about 1 KiB; a head of HTTP holds 64 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The longest header, encoded.
const HEADER_BYTES_MAX: usize = 2 << 10;
/// How many audiences a token may have.
const AUDIENCES_MAX: usize = 64;
/// The end of the year 9999: no date lies beyond it.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Why a token proves nothing. For the server's own log; a client hears only that it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token is not three parts of base64url")]
    NotCompact,
    #[error("the token's header {0}")]
    Header(&'static str),
    #[error("the token was signed with a key that is not known here")]
    UnknownKey,
    #[error("the token names another algorithm than its key is for")]
    OtherAlgorithm,
    #[error("the token's signature does not fit")]
    Signature,
    #[error("the token's payload {0}")]
    Payload(&'static str),
    #[error("the token ended at {0} (Unix seconds)")]
    Expired(i64),
    #[error("the token begins at {0} (Unix seconds)")]
    NotYet(i64),
    #[error("the token is of another issuer")]
    OtherIssuer,
    #[error("the token is for another audience")]
    OtherAudience,
}

/// What a token must say to be taken.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    pub issuer: &'a str,
    /// It must be for one of these.
    pub audiences: &'a [String],
    /// Unix seconds.
    pub now: i64,
    /// How far the clock of who signed may be off.
    pub leeway_seconds: i64,
}

/// What a token says, once its signature was verified and its dates and addressees were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub issuer: String,
    pub subject: Option<String>,
    pub audiences: Vec<String>,
    /// Unix seconds, as all dates here.
    pub expires_at: i64,
    pub not_before: Option<i64>,
    pub issued_at: Option<i64>,
    /// `jti`
    pub id: Option<String>,
    /// Every claim as it stands in the token, those above too.
    pub all: Map<String, Value>,
}

/// Verifies a token and checks what it says of itself.
///
/// # Errors
/// Any [`JwtError`]; one that says that no key fits may be worth a look whether its issuer has new ones.
pub fn verify(token: &str, keys: &KeySet, expect: &Expect<'_>) -> Result<Claims, JwtError> {
    Unverified::parse(token)?.verify(keys, expect).map(|(claims, _)| claims)
}

/// A token that is well formed. What it says is nobody's word yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    /// Header and payload as they stand in the token.
    signed: &'a str,
    algorithm: String,
    key_id: Option<String>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart. The payload may be anything yet.
    pub fn parse(token: &'a str) -> Result<Unverified<'a>, JwtError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::NotCompact);
        };
        if header.len() > HEADER_BYTES_MAX {
            return Err(JwtError::Header("is too long"));
        }
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::NotCompact);
        let (algorithm, key_id) = read_header(&decode(header)?)?;
        Ok(Unverified {
            signed: &token[..header.len() + 1 + payload.len()],
            algorithm,
            key_id,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The algorithm that its header names.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// Who claims to have issued it: good for choosing whose keys to try, and for nothing else.
    pub fn claimed_issuer(&self) -> Option<String> {
        match object(&self.payload)?.remove("iss")? {
            Value::String(issuer) => Some(issuer),
            _ => None,
        }
    }

    /// The one of these keys that signed it.
    fn signer<'k>(&self, keys: &'k KeySet) -> Result<&'k VerifyingKey, JwtError> {
        let mut outcome = JwtError::UnknownKey;
        for key in keys.named(self.key_id.as_deref()) {
            if key.algorithm().name() != self.algorithm {
                if outcome == JwtError::UnknownKey {
                    outcome = JwtError::OtherAlgorithm;
                }
            } else if key.verify(self.signed.as_bytes(), &self.signature) {
                return Ok(key);
            } else {
                outcome = JwtError::Signature;
            }
        }
        Err(outcome)
    }

    /// The payload, if one of the keys signed it.
    pub fn verified_payload(&self, keys: &KeySet) -> Result<&[u8], JwtError> {
        self.signer(keys).map(|_| &*self.payload)
    }

    /// Verifies the signature, then what the token says of itself; with the key that signed it.
    pub fn verify<'k>(
        &self,
        keys: &'k KeySet,
        expect: &Expect<'_>,
    ) -> Result<(Claims, &'k VerifyingKey), JwtError> {
        let key = self.signer(keys)?;
        let claims = Claims::read(&self.payload)?;
        claims.check(expect)?;
        Ok((claims, key))
    }
}

/// The algorithm and the name of the key. What else stands there is of no use: keys never come from a token.
fn read_header(bytes: &[u8]) -> Result<(String, Option<String>), JwtError> {
    let mut header = object(bytes).ok_or(JwtError::Header("is no JSON object with each member once"))?;
    if header.contains_key("crit") {
        // Nothing is understood that would have to stand in it.
        return Err(JwtError::Header("has critical members"));
    }
    let Some(Value::String(algorithm)) = header.remove("alg") else {
        return Err(JwtError::Header("names no algorithm"));
    };
    let key_id = match header.remove("kid") {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(JwtError::Header("has a kid that is no text")),
    };
    if header.get("typ").is_some_and(|kind| !kind.is_string()) {
        return Err(JwtError::Header("has a typ that is no text"));
    }
    Ok((algorithm, key_id))
}

/// A JSON object without two members of one name, at any depth.
fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match decode::json(bytes) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

impl Claims {
    fn read(payload: &[u8]) -> Result<Claims, JwtError> {
        let all = object(payload).ok_or(JwtError::Payload("is no JSON object with each claim once"))?;
        let text = |name: &str, wrong: &'static str| match all.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwtError::Payload(wrong)),
        };
        Ok(Claims {
            issuer: text("iss", "has an iss that is no text")?.ok_or(JwtError::Payload("names no issuer"))?,
            subject: text("sub", "has a sub that is no text")?,
            audiences: audiences(all.get("aud"))?,
            expires_at: date(all.get("exp"))?.ok_or(JwtError::Payload("has no end"))?,
            not_before: date(all.get("nbf"))?,
            issued_at: date(all.get("iat"))?,
            id: text("jti", "has a jti that is no text")?,
            all,
        })
    }

    fn check(&self, expect: &Expect<'_>) -> Result<(), JwtError> {
        let Expect { issuer, audiences, now, leeway_seconds } = *expect;
        if self.issuer != issuer {
            return Err(JwtError::OtherIssuer);
        }
        if !self.audiences.iter().any(|audience| audiences.contains(audience)) {
            return Err(JwtError::OtherAudience);
        }
        if now >= self.expires_at.saturating_add(leeway_seconds) {
            return Err(JwtError::Expired(self.expires_at));
        }
        let begins = self.not_before.into_iter().chain(self.issued_at).max();
        match begins {
            Some(begins) if begins > now.saturating_add(leeway_seconds) => Err(JwtError::NotYet(begins)),
            _ => Ok(()),
        }
    }
}

/// `aud`: a text or a list of them. Without one a token is for nobody.
fn audiences(claim: Option<&Value>) -> Result<Vec<String>, JwtError> {
    let wrong = JwtError::Payload("has an aud that is neither a text nor a short list of them");
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) if list.len() <= AUDIENCES_MAX => {
            list.iter().map(|item| item.as_str().map(str::to_owned).ok_or(wrong.clone())).collect()
        }
        Some(_) => Err(wrong),
    }
}

/// A NumericDate (RFC 7519 section 2): seconds, which may have a fraction. It is cut off.
fn date(claim: Option<&Value>) -> Result<Option<i64>, JwtError> {
    let wrong = Err(JwtError::Payload("has a date that is none"));
    let Some(claim) = claim else { return Ok(None) };
    let seconds = match (claim.as_i64(), claim.as_f64()) {
        (Some(seconds), _) => seconds,
        // A fraction is below a second, and the range is checked below.
        (None, Some(seconds)) => seconds.floor() as i64,
        _ => return wrong,
    };
    if (0..=SECONDS_MAX).contains(&seconds) { Ok(Some(seconds)) } else { wrong }
}
