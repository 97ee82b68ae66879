//! Public keys, and which signatures they verify. The key decides the algorithm; nothing that is signed says it.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest as _, Sha256};
use x509_parser::asn1_rs::Tag;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

const PEM_BYTES_MAX: usize = 64 << 10;
/// ring verifies from 2048 bits on, which is also the least that is taken for safe, to 8192.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Rsa,
}

/// A public key of a kind that is known.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo (RFC 5280), DER.
    spki: Vec<u8>,
    /// The bit string of it.
    bits: Vec<u8>,
}

/// Why something is no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "it is no PEM file with one \"PUBLIC KEY\"; write the key with `cosign public-key` or `openssl pkey -pubout`"
    )]
    NoPem,
    #[error("it is no SubjectPublicKeyInfo in DER")]
    Malformed,
    #[error("keys of algorithm {0} are not known; ECDSA on P-256 and P-384, Ed25519 and RSA are")]
    Unknown(String),
    #[error("an RSA key of {0} bits; from 2048 to 8192 are taken")]
    RsaSize(usize),
}

/// A hash function, where what is signed names one (RFC 3161).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            Hash::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
        }
    }
}

impl PublicKey {
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &[u8]) -> Result<PublicKey, KeyError> {
        if text.len() > PEM_BYTES_MAX {
            return Err(KeyError::NoPem);
        }
        match blocks(text).ok_or(KeyError::NoPem)?.as_slice() {
            [block] if block.label == "PUBLIC KEY" => PublicKey::from_spki(&block.contents),
            _ => Err(KeyError::NoPem),
        }
    }

    /// From a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, KeyError> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Malformed)?;
        if !rest.is_empty() {
            return Err(KeyError::Malformed);
        }
        let algorithm = spki.algorithm.algorithm.to_id_string();
        let curve = spki.algorithm.parameters.as_ref().filter(|p| p.tag() == Tag::Oid);
        let curve = curve.and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
        let kind = match (algorithm.as_str(), curve.as_deref()) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => KeyKind::EcdsaP256,
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => KeyKind::EcdsaP384,
            ("1.3.101.112", None) => KeyKind::Ed25519,
            ("1.2.840.113549.1.1.1", None) => {
                let Ok(Parsed::RSA(key)) = spki.parsed() else { return Err(KeyError::Malformed) };
                let bits = key.key_size();
                if !RSA_BITS.contains(&bits) {
                    return Err(KeyError::RsaSize(bits));
                }
                KeyKind::Rsa
            }
            (algorithm, _) => return Err(KeyError::Unknown(algorithm.to_owned())),
        };
        let bits = spki.subject_public_key.data.to_vec();
        Ok(PublicKey { kind, spki: der.to_vec(), bits })
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.spki))
    }

    /// Whether this key signed `message`, by one of the schemes that are usual for its kind. ECDSA on P-384 comes with
    /// SHA-384 by sigstore's registry of algorithms and with SHA-256 by older cosign; RSA as PKCS #1 1.5 or PSS.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let schemes: &[&'static dyn VerificationAlgorithm] = match self.kind {
            KeyKind::EcdsaP256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            KeyKind::EcdsaP384 => &[&signature::ECDSA_P384_SHA384_ASN1, &signature::ECDSA_P384_SHA256_ASN1],
            KeyKind::Ed25519 => &[&signature::ED25519],
            KeyKind::Rsa => &[
                &signature::RSA_PKCS1_2048_8192_SHA256,
                &signature::RSA_PSS_2048_8192_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA512,
                &signature::RSA_PSS_2048_8192_SHA512,
                &signature::RSA_PKCS1_2048_8192_SHA384,
                &signature::RSA_PSS_2048_8192_SHA384,
            ],
        };
        schemes.iter().any(|scheme| self.verifies_by(*scheme, message, signature))
    }

    /// The same where the hash function is said. `None` when this is no scheme that is known.
    pub(crate) fn verifies_with(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Option<bool> {
        let scheme: &'static dyn VerificationAlgorithm = match (self.kind, hash) {
            (KeyKind::EcdsaP256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (KeyKind::EcdsaP256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (KeyKind::EcdsaP384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (KeyKind::EcdsaP384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (KeyKind::Rsa, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::Ed25519, _) => &signature::ED25519,
            (KeyKind::EcdsaP256 | KeyKind::EcdsaP384, Hash::Sha512) => return None,
        };
        Some(self.verifies_by(scheme, message, signature))
    }

    fn verifies_by(
        &self,
        scheme: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(scheme, &self.bits).verify(message, signature).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?} {})", self.kind, self.fingerprint())
    }
}

/// The blocks of a PEM file, or `None` where one is malformed or there is none.
pub(crate) fn blocks(text: &[u8]) -> Option<Vec<Pem>> {
    let blocks: Vec<Pem> = Pem::iter_from_buffer(text).collect::<Result<_, _>>().ok()?;
    (!blocks.is_empty()).then_some(blocks)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads lowercase or uppercase hexadecimal.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests;
