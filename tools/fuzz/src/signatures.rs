//! Signatures: bundles, what is inside of them in DER, trust roots, statements, simple signing.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use watchbell_image::Digest;
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, PredicateType, PublicKey, Signer, Statement, Subject,
    TrustRoot, Verified, VerifiedSigner, verify,
};

const ROOT: &[u8] = include_bytes!("../../../crates/watchbell-signature/tests/field/root-staging.json");
const BUNDLE: &[u8] =
    include_bytes!("../../../crates/watchbell-signature/tests/field/staging-rekor-v2.txt.sigstore.json");
const DOCUMENT: &[u8] =
    include_bytes!("../../../crates/watchbell-signature/tests/field/staging-rekor-v2.txt");
const IDENTITY: &str = "jku@goto.fi";

fn root() -> &'static TrustRoot {
    static ROOT_READ: OnceLock<TrustRoot> = OnceLock::new();
    ROOT_READ.get_or_init(|| TrustRoot::parse(ROOT).expect("the field's trust root"))
}

fn judged(material: Material, signer: Signer, claim: Claim) -> Option<Verified> {
    let digest = Digest::of(DOCUMENT);
    let subject = Subject { digest: &digest, document: Some(DOCUMENT) };
    verify(&[material], &subject, &Policy { signer, claim }, Timestamp::MAX).ok()
}

fn by_identity() -> Signer {
    Signer::Identity {
        identity: Pattern::Exact(IDENTITY.into()),
        issuer: Pattern::Exact("https://github.com/login/oauth".into()),
        trust_root: root().clone(),
    }
}

/// Whatever counts was signed by who is asked for, at a time of the log's or an authority's.
pub fn bundle(data: &[u8]) {
    let claims = [
        Claim::Signature { repository: None },
        Claim::Attestation(Conditions::of(PredicateType::Provenance)),
    ];
    for claim in claims {
        if let Some(verified) = judged(Material::bundle("fuzz", data), by_identity(), claim) {
            assert!(verified.signed_at.is_some() && verified.log.is_some());
            assert!(
                matches!(verified.signer, VerifiedSigner::Identity { identity, .. } if identity == IDENTITY)
            );
        }
    }
}

/// The field's bundle with the bytes in place of one of its parts in DER.
fn with(path: &str, data: &[u8]) -> Material {
    let mut bundle: Value = serde_json::from_slice(BUNDLE).expect("the field's bundle");
    *bundle.pointer_mut(path).expect("a path of it") = STANDARD.encode(data).into();
    Material::bundle("fuzz", bundle.to_string().as_bytes())
}

/// No other certificate counts.
pub fn certificate(data: &[u8]) {
    let path = "/verificationMaterial/certificate/rawBytes";
    let original: Value = serde_json::from_slice(BUNDLE).expect("the field's bundle");
    let counts = judged(with(path, data), by_identity(), Claim::Signature { repository: None }).is_some();
    assert_eq!(counts, original.pointer(path) == Some(&STANDARD.encode(data).into()));
}

/// No other time counts than the authority's.
pub fn timestamp(data: &[u8]) {
    let path = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let signature = Claim::Signature { repository: None };
    if let Some(verified) = judged(with(path, data), by_identity(), signature.clone()) {
        let original =
            judged(Material::bundle("field", BUNDLE), by_identity(), signature).expect("the field's counts");
        assert_eq!(verified.signed_at, original.signed_at);
    }
}

pub fn trust_root(data: &[u8]) {
    if let Ok(trust_root) = TrustRoot::parse(data) {
        let signer = Signer::Identity {
            identity: Pattern::Exact(IDENTITY.into()),
            issuer: Pattern::Exact("https://github.com/login/oauth".into()),
            trust_root,
        };
        judged(Material::bundle("field", BUNDLE), signer, Claim::Signature { repository: None });
    }
}

pub fn statement(data: &[u8]) {
    if let Ok(statement) = Statement::parse(data) {
        assert!(statement.subjects.len() <= 1024);
    }
}

/// The bytes as a payload that was signed: what counts names the digest.
pub fn simple_signing(data: &[u8]) {
    static KEY: OnceLock<(EcdsaKeyPair, PublicKey)> = OnceLock::new();
    let random = SystemRandom::new();
    let (pair, public) = KEY.get_or_init(|| {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random numbers");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("its own key");
        let mut spki = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00".to_vec();
        spki.extend_from_slice(pair.public_key().as_ref());
        let public = PublicKey::from_spki(&spki).expect("its own key");
        (pair, public)
    });
    let signature = STANDARD.encode(pair.sign(&random, data).expect("random numbers"));
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), signature)]);
    let media_type = "application/vnd.dev.cosign.simplesigning.v1+json";
    let material = Material::annotated("fuzz", media_type, data, &annotations).expect("a type that is known");
    let signer = Signer::Key { key: public.clone(), logs: None };
    if judged(material, signer, Claim::Signature { repository: None }).is_some() {
        let payload: Value = serde_json::from_slice(data).expect("it was read");
        let named = &payload["critical"]["image"]["docker-manifest-digest"];
        assert_eq!(*named, json!(Digest::of(DOCUMENT).as_str()));
    }
}
