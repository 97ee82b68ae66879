//! Public keys, and sets of them as issuers publish them: JWK (RFC 7517, 7518, 8037).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Value, json};
use watchbell_api::decode;

/// How many keys of a set are taken: nobody rotates through more.
const KEYS_MAX: usize = 64;
/// The longest document of keys that is looked at.
const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// The longest name of a key.
const ID_BYTES_MAX: usize = 512;

/// An algorithm of signatures (RFC 7518 section 3.1, RFC 8037), by its name in headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Es256,
    Es384,
    Rs256,
    Ps256,
    EdDsa,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
            Algorithm::Ps256 => "PS256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the keys are not a JSON Web Key Set of at most {DOCUMENT_BYTES_MAX} bytes and {KEYS_MAX} keys")]
    NotASet,
    #[error("the key is of a kind or for a use that is not known here")]
    Unusable,
    #[error("the key's {0} is missing or wrong")]
    Member(&'static str),
    #[error("the private key cannot be used: {0}")]
    Private(String),
}

/// A public key with the one algorithm that it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// As ring takes it: an uncompressed point, or Ed25519's 32 bytes.
    Bytes(Vec<u8>),
    /// Big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl VerifyingKey {
    /// A key on a curve, as `ring` gives its public half.
    pub(super) fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> VerifyingKey {
        VerifyingKey { id: None, algorithm, material: Material::Bytes(bytes.to_vec()) }
    }

    pub(super) fn of_rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> VerifyingKey {
        VerifyingKey { id: None, algorithm, material: Material::Rsa { n: n.to_vec(), e: e.to_vec() } }
    }

    pub(super) fn named(self, id: String) -> VerifyingKey {
        VerifyingKey { id: Some(id), ..self }
    }

    /// Reads a JWK. An RSA key that names no algorithm is for RS256.
    ///
    /// # Errors
    /// [`KeyError::Unusable`]: a secret or for encryption, of a kind, curve or algorithm that is not known. [`KeyError::Member`]:
    /// broken.
    pub fn from_jwk(jwk: &Value) -> Result<VerifyingKey, KeyError> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let is_for_signatures = jwk.get("use").is_none_or(|value| value == "sig")
            && jwk
                .get("key_ops")
                .is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")));
        if !is_for_signatures {
            return Err(KeyError::Unusable);
        }
        let bytes = |name: &'static str| {
            text(name)
                .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
                .filter(|bytes| !bytes.is_empty())
                .ok_or(KeyError::Member(name))
        };
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if (x.len(), y.len()) != (length, length) {
                return Err(KeyError::Member("x or y"));
            }
            Ok([&[4][..], &x, &y].concat())
        };
        let key = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => Self::of_bytes(Algorithm::Es256, &point(32)?),
            (Some("EC"), Some("P-384")) => Self::of_bytes(Algorithm::Es384, &point(48)?),
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err(KeyError::Member("x"));
                }
                Self::of_bytes(Algorithm::EdDsa, &x)
            }
            (Some("RSA"), _) => {
                let algorithm = match text("alg") {
                    Some("PS256") => Algorithm::Ps256,
                    _ => Algorithm::Rs256,
                };
                let (n, e) = (bytes("n")?, bytes("e")?);
                // RFC 7518 section 6.3.1: the shortest form. Below 2048 bits a key is no protection.
                if n[0] == 0 || !(256..=1024).contains(&n.len()) || e[0] == 0 || e.len() > 8 {
                    return Err(KeyError::Member("n or e"));
                }
                Self::of_rsa(algorithm, &n, &e)
            }
            _ => return Err(KeyError::Unusable),
        };
        if jwk.get("alg").is_some_and(|named| named != key.algorithm.name()) {
            return Err(KeyError::Unusable);
        }
        match jwk.get("kid") {
            None => Ok(key),
            Some(Value::String(id)) if id.len() <= ID_BYTES_MAX => Ok(key.named(id.clone())),
            Some(_) => Err(KeyError::Member("kid")),
        }
    }

    /// The key as it is published.
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.essence();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.name().into();
        if let Some(id) = &self.id {
            jwk["kid"] = id.clone().into();
        }
        jwk
    }

    /// What makes it this key, in the order of RFC 7638.
    fn essence(&self) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, bytes: &[u8]| {
            let (x, y) = bytes[1..].split_at((bytes.len() - 1) / 2);
            json!({"crv": curve, "kty": "EC", "x": text(x), "y": text(y)})
        };
        match (&self.material, self.algorithm) {
            (Material::Rsa { n, e }, _) => json!({"e": text(e), "kty": "RSA", "n": text(n)}),
            (Material::Bytes(bytes), Algorithm::Es256) => point("P-256", bytes),
            (Material::Bytes(bytes), Algorithm::Es384) => point("P-384", bytes),
            (Material::Bytes(bytes), _) => json!({"crv": "Ed25519", "kty": "OKP", "x": text(bytes)}),
        }
    }

    /// Its JWK thumbprint with SHA-256 (RFC 7638): a name that follows from the key.
    pub fn thumbprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.essence().to_string().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(digest)
    }

    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this key made the signature of these bytes.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        let rsa: &RsaParameters = match self.algorithm {
            Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            _ => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        let other: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDsa => &signature::ED25519,
            Algorithm::Rs256 | Algorithm::Ps256 => rsa,
        };
        match &self.material {
            Material::Bytes(bytes) => UnparsedPublicKey::new(other, bytes).verify(signed, signature).is_ok(),
            Material::Rsa { n, e } => {
                signature::RsaPublicKeyComponents { n, e }.verify(rsa, signed, signature).is_ok()
            }
        }
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({}, {:?})", self.algorithm.name(), self.id)
    }
}

/// The keys of one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    pub keys: Vec<VerifyingKey>,
}

impl KeySet {
    /// Reads a JWK Set. Keys that are not understood are left out (RFC 7517 section 5), as are those of other uses.
    pub fn from_jwks(document: &[u8]) -> Result<KeySet, KeyError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(KeyError::NotASet);
        }
        let document = decode::json(document).map_err(|_| KeyError::NotASet)?;
        let list = document.get("keys").and_then(Value::as_array).filter(|list| list.len() <= KEYS_MAX);
        let keys = list.ok_or(KeyError::NotASet)?.iter();
        Ok(KeySet { keys: keys.filter_map(|jwk| VerifyingKey::from_jwk(jwk).ok()).collect() })
    }

    /// The set as it is published.
    pub fn to_jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(VerifyingKey::to_jwk).collect::<Vec<_>>()})
    }

    /// Those that a token means: of its `kid`, or all if it names none.
    pub(super) fn named<'k>(&'k self, id: Option<&str>) -> impl Iterator<Item = &'k VerifyingKey> {
        self.keys.iter().filter(move |key| id.is_none() || key.id.as_deref() == id)
    }
}
