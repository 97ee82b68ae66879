//! Signing with a key: what is attached to an image, in the forms that cosign and skopeo verify.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use watchbell_image::{Attachment, Digest, NewBlob, NewManifest};
use zeroize::Zeroizing;

use crate::attestation::COSIGN_SIGN;
use crate::dsse::{self, PAYLOAD_TYPE};
use crate::key::{PublicKey, blocks};
use crate::material::{SIGNATURE, SIMPLE_SIGNING};
use crate::{der, proto, simple_signing};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A private key. It never leaves this type.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a file is no private key, or cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    #[error(
        "it is no PEM file with one \"PRIVATE KEY\" (PKCS #8, not encrypted) for ECDSA on P-256 or P-384, or Ed25519; \
         make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    NoKey,
    #[error("the system has no random numbers")]
    NoRandom,
}

/// The form of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// Simple signing under the tag `sha256-HEX.sig`: cosign, skopeo, Podman.
    Tag,
    /// A bundle of version 0.3 that refers to the image: cosign 3.
    Bundle,
}

impl SigningKey {
    /// From PKCS #8 in PEM.
    ///
    /// # Errors
    /// [`SigningError::NoKey`].
    pub fn from_pem(text: &[u8]) -> Result<SigningKey, SigningError> {
        let no_key = SigningError::NoKey;
        let mut blocks = blocks(text).ok_or(no_key)?;
        let pkcs8 = match (blocks.pop(), blocks.is_empty()) {
            (Some(block), true) if block.label == "PRIVATE KEY" => Zeroizing::new(block.contents),
            _ => return Err(no_key),
        };
        let random = SystemRandom::new();
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).ok().map(Pair::Ecdsa);
        let pair = ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING))
            .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok().map(Pair::Ed25519))
            .ok_or(no_key)?;
        let public = PublicKey::from_spki(&spki(&pair)).map_err(|_| no_key)?;
        Ok(SigningKey { pair, public })
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature =
                    pair.sign(&SystemRandom::new(), message).map_err(|_| SigningError::NoRandom)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// The SubjectPublicKeyInfo of a pair.
fn spki(pair: &Pair) -> Vec<u8> {
    const P256: &[u8] =
        b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
    const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
    let (algorithm, key) = match pair {
        // A point that is not compressed: a byte, and both coordinates.
        Pair::Ecdsa(pair) if pair.public_key().as_ref().len() == 65 => (P256, pair.public_key().as_ref()),
        Pair::Ecdsa(pair) => (P384, pair.public_key().as_ref()),
        Pair::Ed25519(pair) => (ED25519, pair.public_key().as_ref()),
    };
    let mut bits = vec![0];
    bits.extend_from_slice(key);
    let mut content = algorithm.to_vec();
    content.extend_from_slice(&der::write(0x03, &bits));
    der::write(0x30, &content)
}

/// Signs that the image with this digest is the key's, as `reference` where the form says that. The result is put beside the
/// image, with the signatures that are there already.
///
/// # Errors
/// [`SigningError::NoRandom`].
pub fn sign(
    key: &SigningKey,
    digest: &Digest,
    reference: &str,
    form: SignatureForm,
) -> Result<(NewManifest, NewBlob), SigningError> {
    match form {
        SignatureForm::Tag => {
            let payload = simple_signing::payload(reference, digest.as_str());
            let signature = proto::encode(&key.sign(&payload)?);
            let blob = NewBlob {
                media_type: SIMPLE_SIGNING.into(),
                bytes: payload,
                annotations: vec![(SIGNATURE.into(), signature)],
            };
            Ok((NewManifest::Tagged { tag: Attachment::Signatures.tag(digest) }, blob))
        }
        SignatureForm::Bundle => {
            let statement = json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {digest.algorithm().as_str(): digest.hex()}}],
                "predicateType": COSIGN_SIGN,
                "predicate": {},
            });
            let payload = statement.to_string().into_bytes();
            let signature = key.sign(&dsse::encoding(PAYLOAD_TYPE, &payload))?;
            let bundle = json!({
                "mediaType": BUNDLE,
                "verificationMaterial": {"publicKey": {"hint": proto::encode(&Sha256::digest(key.public.spki()))}},
                "dsseEnvelope": {
                    "payload": proto::encode(&payload),
                    "payloadType": PAYLOAD_TYPE,
                    "signatures": [{"sig": proto::encode(&signature)}],
                },
            });
            let blob = NewBlob {
                media_type: BUNDLE.into(),
                bytes: bundle.to_string().into_bytes(),
                annotations: Vec::new(),
            };
            Ok((NewManifest::Referrer { artifact_type: BUNDLE.into(), subject: digest.clone() }, blob))
        }
    }
}
