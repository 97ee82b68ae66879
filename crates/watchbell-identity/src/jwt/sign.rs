//! Private keys.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use super::key::{Algorithm, KeyError, VerifyingKey};

/// A key that signs tokens.
pub struct SigningKey {
    pair: Pair,
    public: VerifyingKey,
    random: SystemRandom,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// Reads a private key in PKCS#8 (DER). Its name is its thumbprint.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<SigningKey, KeyError> {
        let random = SystemRandom::new();
        let failed = |e: ring::error::KeyRejected| KeyError::Private(e.to_string());
        let ecdsa = |kind| EcdsaKeyPair::from_pkcs8(kind, der, &random).map_err(failed).map(Pair::Ecdsa);
        let pair = match algorithm {
            Algorithm::Es256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::Es384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Algorithm::EdDsa => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(failed)?)
            }
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(failed)?))
            }
        };
        let public = match &pair {
            Pair::Ecdsa(pair) => VerifyingKey::of_bytes(algorithm, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => VerifyingKey::of_bytes(algorithm, pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let public = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                VerifyingKey::of_rsa(algorithm, &public.n, &public.e)
            }
        };
        let id = public.thumbprint();
        Ok(SigningKey { pair, public: public.named(id), random })
    }

    /// What others verify with.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// The kernel gives no randomness, which the signature needs.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let header = json!({"alg": self.public.algorithm().name(), "kid": self.public.id()});
        self.sign_parts(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    pub(super) fn sign_parts(&self, header: &[u8], payload: &[u8]) -> Result<String, KeyError> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut token = format!("{}.{}", encode(header), encode(payload));
        let signed = token.as_bytes();
        let failed = |_| KeyError::Private("no signature was made".into());
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&self.random, signed).map_err(failed)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(signed).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match self.public.algorithm() {
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &self.random, signed, &mut signature).map_err(failed)?;
                signature
            }
        };
        token.push('.');
        token.push_str(&encode(&signature));
        Ok(token)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public).finish()
    }
}
