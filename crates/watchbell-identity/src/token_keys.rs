//! The keys of service accounts' tokens: one signs, and those that signed before verify until their tokens are over.
//!
//! `DATA_DIR/pki/service-account-keys.json`, mode 0600:
//!
//! ```json
//! {"version": 1, "signing": {"pkcs8": "base64", "madeAt": 0}, "retired": [{"jwk": {}, "until": 0}]}
//! ```
//!
//! Times are Unix seconds. Without the file all keys are made anew, which ends every token.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use watchbell_api::decode;
use watchbell_core::service_account::LIFE_SECONDS_MAX;
use watchbell_core::world::rfc3339;

use crate::jwt::{
    Algorithm, Claims, Expect, JwtError, KeyError, KeySet, SigningKey, Unverified, VerifyingKey,
};
use crate::{IdentityError, files};

const FILE: &str = "service-account-keys.json";
const VERSION: i64 = 1;
/// A key signs so long, then the next one does.
const SIGNS_SECONDS: i64 = 30 * 86_400;
/// So many that were retired may verify beside it: each is tried where a token names none.
const RETIRED_MAX: usize = 16;
/// The server's own clock is meant, which may be set back a little.
const LEEWAY_SECONDS: i64 = 10;

/// The keys, in memory and in their file.
pub struct TokenKeys {
    path: PathBuf,
    current: ArcSwap<Current>,
    /// Held by who changes the file.
    changes: Mutex<()>,
}

struct Current {
    pkcs8: Vec<u8>,
    made_at: i64,
    signing: SigningKey,
    retired: Vec<(VerifyingKey, i64)>,
    /// All that verify.
    set: KeySet,
}

/// What becomes of tokens that the old key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// They live out their time.
    Retire,
    /// They end now: the key is known to others.
    Revoke,
}

impl TokenKeys {
    /// Reads the keys below the directory of certificates, or makes the first one.
    pub(crate) fn open(pki: &Path, now: Timestamp) -> Result<TokenKeys, IdentityError> {
        let path = pki.join(FILE);
        let current = match files::read(&path)? {
            Some(text) => {
                read(&text).map_err(|cause| IdentityError::TokenKeys { path: path.clone(), cause })?
            }
            None => {
                let first = Current::new(Vec::new(), now.as_second())?;
                files::replace(&path, first.to_json().to_string().as_bytes())?;
                first
            }
        };
        let keys = TokenKeys { path, current: ArcSwap::from_pointee(current), changes: Mutex::new(()) };
        keys.tend(now)?;
        Ok(keys)
    }

    /// Signs the claims of a token.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.current.load().signing.sign(claims)
    }

    /// Verifies a token of ours for one of these audiences; with the key that signed it.
    pub fn verify(
        &self,
        token: &Unverified<'_>,
        issuer: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(Claims, VerifyingKey), JwtError> {
        let (now, leeway_seconds) = (now.as_second(), LEEWAY_SECONDS);
        let current = self.current.load();
        let expect = Expect { issuer, audiences, now, leeway_seconds };
        token.verify(&current.set, &expect).map(|(claims, key)| (claims, key.clone()))
    }

    /// Whether a key still verifies: it was not revoked, and its tokens are not over.
    pub fn has(&self, key: &VerifyingKey) -> bool {
        self.current.load().set.keys.contains(key)
    }

    /// The public keys as a JWK Set.
    pub fn jwks(&self) -> Value {
        self.current.load().set.to_jwks()
    }

    /// The thumbprints (RFC 7638) of the key that signs and of those that still verify.
    pub(crate) fn thumbprints(&self) -> (String, Vec<String>) {
        let current = self.current.load();
        let retired = current.retired.iter().map(|(key, _)| key.thumbprint()).collect();
        (current.signing.public().thumbprint(), retired)
    }

    /// Makes a new key when its time has come, and forgets those whose tokens are over.
    pub fn tend(&self, now: Timestamp) -> Result<(), IdentityError> {
        let now = now.as_second();
        self.change(|current| {
            if now - current.made_at >= SIGNS_SECONDS {
                return self.next(current, Rotation::Retire, now).map(Some);
            }
            if current.retired.iter().all(|(_, until)| *until >= now) {
                return Ok(None);
            }
            let retired = current.still_retired(now);
            Current::read_key(current.pkcs8.clone(), current.made_at, retired)
                .map(Some)
                .map_err(|e| self.unusable(&e))
        })
    }

    /// Has a new key sign from now on.
    ///
    /// # Errors
    /// The file cannot be written, or too many keys that were retired still verify.
    pub fn rotate(&self, rotation: Rotation, now: Timestamp) -> Result<(), IdentityError> {
        self.change(|current| self.next(current, rotation, now.as_second()).map(Some))
    }

    fn next(&self, current: &Current, rotation: Rotation, now: i64) -> Result<Current, IdentityError> {
        let retired = match rotation {
            Rotation::Revoke => Vec::new(),
            Rotation::Retire => {
                let mut retired = current.still_retired(now);
                if retired.len() >= RETIRED_MAX {
                    return Err(IdentityError::TooManyTokenKeys);
                }
                retired.push((current.signing.public().clone(), now + LIFE_SECONDS_MAX + LEEWAY_SECONDS));
                retired
            }
        };
        Current::new(retired, now)
    }

    /// Changes the keys, in the file first. One at a time: what is decided is decided over what the one before left, so that no
    /// key comes back that was revoked meanwhile.
    fn change(
        &self,
        next: impl FnOnce(&Current) -> Result<Option<Current>, IdentityError>,
    ) -> Result<(), IdentityError> {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = next(&self.current.load())? else {
            // There may be room again for what a change on a full disk took.
            files::hold_room(&self.path);
            return Ok(());
        };
        files::replace_in_room(&self.path, next.to_json().to_string().as_bytes())?;
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// Which keys there are: `{"signing": {"keyID", "since"}, "retired": [{"keyID", "until"}]}`.
    pub fn describe(&self) -> Value {
        let current = self.current.load();
        let retired =
            current.retired.iter().map(|(key, until)| json!({"keyID": key.id(), "until": rfc3339(*until)}));
        json!({
            "signing": {"keyID": current.signing.public().id(), "since": rfc3339(current.made_at)},
            "retired": retired.collect::<Vec<_>>(),
        })
    }

    fn unusable(&self, error: &KeyError) -> IdentityError {
        IdentityError::TokenKeys { path: self.path.clone(), cause: error.to_string() }
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Current {
    /// With a new key.
    fn new(retired: Vec<(VerifyingKey, i64)>, now: i64) -> Result<Current, IdentityError> {
        let failed = |cause: String| IdentityError::Make { what: "the tokens' key", cause };
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| failed("the kernel gives no randomness".into()))?;
        Current::read_key(pkcs8.as_ref().to_vec(), now, retired).map_err(|e| failed(e.to_string()))
    }

    fn read_key(
        pkcs8: Vec<u8>,
        made_at: i64,
        retired: Vec<(VerifyingKey, i64)>,
    ) -> Result<Current, KeyError> {
        let signing = SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8)?;
        let keys = std::iter::once(signing.public()).chain(retired.iter().map(|(key, _)| key));
        let set = KeySet { keys: keys.cloned().collect() };
        Ok(Current { pkcs8, made_at, signing, retired, set })
    }

    /// Those that were retired and whose tokens are not over.
    fn still_retired(&self, now: i64) -> Vec<(VerifyingKey, i64)> {
        self.retired.iter().filter(|(_, until)| *until >= now).cloned().collect()
    }

    fn to_json(&self) -> Value {
        let retired = self.retired.iter().map(|(key, until)| json!({"jwk": key.to_jwk(), "until": until}));
        json!({
            "version": VERSION,
            "signing": {"pkcs8": BASE64_STANDARD.encode(&self.pkcs8), "madeAt": self.made_at},
            "retired": retired.collect::<Vec<_>>(),
        })
    }
}

fn read(text: &str) -> Result<Current, String> {
    let file = decode::json(text.as_bytes()).map_err(|_| "it is no JSON document")?;
    if file["version"] != VERSION {
        return Err("a newer program wrote it; run that one".into());
    }
    let number = |value: &Value| value.as_i64().ok_or("a time in it is none");
    let pkcs8 = file["signing"]["pkcs8"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    let mut retired = Vec::new();
    for entry in file["retired"].as_array().into_iter().flatten() {
        let key = VerifyingKey::from_jwk(&entry["jwk"]).map_err(|e| e.to_string())?;
        retired.push((key, number(&entry["until"])?));
    }
    let made_at = number(&file["signing"]["madeAt"])?;
    Current::read_key(pkcs8.ok_or("its key is missing")?, made_at, retired).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const START: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token(keys: &TokenKeys, now: i64) -> String {
        keys.sign(&json!({"iss": "us", "aud": ["us"], "exp": now + LIFE_SECONDS_MAX, "iat": now})).unwrap()
    }

    fn verify(keys: &TokenKeys, token: &str, now: i64) -> Result<(), JwtError> {
        let token = Unverified::parse(token).unwrap();
        keys.verify(&token, "us", &["us".into()], at(now)).map(drop)
    }

    fn published(keys: &TokenKeys) -> usize {
        keys.jwks()["keys"].as_array().unwrap().len()
    }

    #[test]
    fn a_retired_key_verifies_until_its_tokens_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let keys = TokenKeys::open(dir.path(), at(START)).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let old = token(&keys, START);
        keys.tend(at(START + SIGNS_SECONDS - 1)).unwrap();
        assert_eq!(published(&keys), 1, "it is not time yet");
        keys.rotate(Rotation::Retire, at(START)).unwrap();
        let new = token(&keys, START);
        assert_eq!(published(&keys), 2);
        for keys in [&keys, &TokenKeys::open(dir.path(), at(START)).unwrap()] {
            assert_eq!(verify(keys, &old, START + LIFE_SECONDS_MAX - 1), Ok(()));
            assert_eq!(verify(keys, &new, START), Ok(()));
        }
        let later = START + LIFE_SECONDS_MAX + LEEWAY_SECONDS;
        keys.tend(at(later)).unwrap();
        assert_eq!(published(&keys), 2);
        keys.tend(at(later + 1)).unwrap();
        assert_eq!(published(&keys), 1);
        assert_eq!(verify(&keys, &old, START), Err(JwtError::UnknownKey));
        assert_eq!(verify(&keys, &new, START), Ok(()));
    }

    #[test]
    fn keys_are_changed_by_themselves_and_at_once_when_they_must() {
        let dir = tempfile::tempdir().unwrap();
        let keys = TokenKeys::open(dir.path(), at(START)).unwrap();
        let first = token(&keys, START + SIGNS_SECONDS);
        keys.tend(at(START + SIGNS_SECONDS)).unwrap();
        assert_eq!(published(&keys), 2);
        assert_eq!(verify(&keys, &first, START + SIGNS_SECONDS), Ok(()));
        let stolen = token(&keys, START);
        keys.rotate(Rotation::Revoke, at(START)).unwrap();
        for token in [first, stolen] {
            assert_eq!(verify(&keys, &token, START), Err(JwtError::UnknownKey));
        }
        let again = TokenKeys::open(dir.path(), at(START)).unwrap();
        assert_eq!((published(&again), again.jwks()), (1, keys.jwks()));
    }

    #[test]
    fn space_for_the_next_change_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let keys = TokenKeys::open(dir.path(), at(START)).unwrap();
        let room = dir.path().join(format!("{FILE}.room"));
        let held = std::fs::metadata(&room).unwrap().len();
        // What a change on a full disk leaves.
        std::fs::remove_file(&room).unwrap();
        keys.tend(at(START)).unwrap();
        assert_eq!((published(&keys), std::fs::metadata(&room).unwrap().len()), (1, held));
    }

    /// What one change leaves the next begins with: no key is lost, and none that was revoked comes back.
    #[test]
    fn changes_at_once_come_one_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let keys = TokenKeys::open(dir.path(), at(START)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        keys.rotate(Rotation::Retire, at(START)).unwrap();
                    }
                });
            }
        });
        assert_eq!(published(&keys), 17, "each of the 16 before is still there");
        let error = keys.rotate(Rotation::Retire, at(START)).unwrap_err().to_string();
        assert!(error.contains("16 keys") && error.contains("--revoke"), "{error}");
        let stolen = token(&keys, START);
        std::thread::scope(|scope| {
            let revoke = scope.spawn(|| keys.rotate(Rotation::Revoke, at(START)).unwrap());
            scope.spawn(|| {
                for _ in 0..8 {
                    keys.tend(at(START)).unwrap();
                }
            });
            revoke.join().unwrap();
            assert_eq!(verify(&keys, &stolen, START), Err(JwtError::UnknownKey));
        });
        assert_eq!(verify(&keys, &stolen, START), Err(JwtError::UnknownKey));
        let told = keys.describe();
        assert_eq!(told["signing"]["keyID"], keys.jwks()["keys"][0]["kid"]);
        assert_eq!(
            (&told["signing"]["since"], &told["retired"]),
            (&json!("2027-01-15T08:00:00Z"), &json!([]))
        );
    }

    #[test]
    fn a_broken_file_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in ["", "{}", r#"{"version":2}"#, r#"{"version":1,"signing":{"pkcs8":"AAAA","madeAt":1}}"#] {
            std::fs::write(&path, text).unwrap();
            let error = TokenKeys::open(dir.path(), at(START)).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains("every token"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
