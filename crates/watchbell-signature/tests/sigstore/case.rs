//! A bundle with the question that is asked of it, and what is answered here.

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_image::Digest;
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, PredicateType, Refused, Subject, TrustRoot, Verified,
    verify,
};

use crate::stand::{
    IDENTITY, ISSUER, START, Signer, Sigstore, b64, dsse_rekord, dsse_rekord_2, encoding, hashed_rekord,
    hashed_rekord_2, hex, pem,
};

/// What was signed: the manifest of an image.
pub(crate) const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

pub(crate) fn digest() -> Digest {
    Digest::of(MANIFEST)
}

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: Value,
    /// `None` for a signature of the manifest itself.
    pub(crate) predicate: Option<&'static str>,
    pub(crate) identity: &'static str,
    pub(crate) issuer: &'static str,
}

impl Case {
    pub(crate) fn new(name: &str, bundle: Value, predicate: Option<&'static str>) -> Case {
        Case { name: name.to_owned(), bundle, predicate, identity: IDENTITY, issuer: ISSUER }
    }

    /// What watchbell says.
    pub(crate) fn judged(&self, root: &TrustRoot) -> Result<Verified, Refused> {
        let claim = match self.predicate {
            None => Claim::Signature { repository: None },
            Some(predicate) => Claim::Attestation(Conditions::of(PredicateType::parse(predicate))),
        };
        let signer = watchbell_signature::Signer::Identity {
            identity: Pattern::Exact(self.identity.into()),
            issuer: Pattern::Exact(self.issuer.into()),
            trust_root: root.clone(),
        };
        let digest = digest();
        let subject = Subject { digest: &digest, document: Some(MANIFEST) };
        let material = Material::bundle(&self.name, self.bundle.to_string().as_bytes());
        verify(&[material], &subject, &Policy { signer, claim }, now())
    }

    /// For the other implementations.
    pub(crate) fn question(&self) -> Value {
        json!({
            "name": self.name, "bundle": self.bundle, "predicate": self.predicate, "identity": self.identity,
            "issuer": self.issuer,
        })
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(START + 86_400).unwrap()
}

/// Which log, and so whose time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The log says when.
    First,
    /// A timestamp authority does.
    Second,
    /// The same, logged as an envelope rather than as the hash of its encoding.
    SecondAsEnvelope,
}

/// A bundle of the manifest's signature.
pub(crate) fn message(sigstore: &Sigstore, signer: &Signer, generation: Generation, at: i64) -> Value {
    let signature = signer.key.sign(MANIFEST);
    let content = json!({
        "messageDigest": {"algorithm": "SHA2_256", "digest": b64(&sha256(MANIFEST))}, "signature": b64(&signature),
    });
    let entry = match generation {
        Generation::First => {
            sigstore.entry(&hashed_rekord(MANIFEST, &signature, &pem("CERTIFICATE", &signer.der)), at)
        }
        _ => sigstore.entry_2(&hashed_rekord_2(MANIFEST, &signature, &signer.der)),
    };
    let mut bundle = bundle(signer, &entry);
    bundle["messageSignature"] = content;
    stamped(bundle, sigstore, generation, &signature, at)
}

/// A bundle of a statement.
pub(crate) fn statement(
    sigstore: &Sigstore,
    signer: &Signer,
    generation: Generation,
    at: i64,
    (payload_type, payload): (&str, &Value),
) -> Value {
    let payload = payload.to_string().into_bytes();
    let encoded = encoding(payload_type, &payload);
    let signature = signer.key.sign(&encoded);
    let pem = pem("CERTIFICATE", &signer.der);
    let entry = match generation {
        Generation::First => sigstore.entry(&dsse_rekord(&payload, &signature, &pem), at),
        Generation::Second => sigstore.entry_2(&hashed_rekord_2(&encoded, &signature, &signer.der)),
        Generation::SecondAsEnvelope => sigstore.entry_2(&dsse_rekord_2(&payload, &signature, &signer.der)),
    };
    let mut bundle = bundle(signer, &entry);
    bundle["dsseEnvelope"] = json!({
        "payload": b64(&payload), "payloadType": payload_type, "signatures": [{"sig": b64(&signature)}],
    });
    stamped(bundle, sigstore, generation, &signature, at)
}

fn bundle(signer: &Signer, entry: &Value) -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"certificate": {"rawBytes": b64(&signer.der)}, "tlogEntries": [entry]},
    })
}

fn stamped(
    mut bundle: Value,
    sigstore: &Sigstore,
    generation: Generation,
    signature: &[u8],
    at: i64,
) -> Value {
    if generation != Generation::First {
        let stamp = b64(&sigstore.timestamp(signature, at));
        bundle["verificationMaterial"]["timestampVerificationData"] =
            json!({"rfc3161Timestamps": [{"signedTimestamp": stamp}]});
    }
    bundle
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}

/// Provenance of the image.
pub(crate) fn provenance() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": hex(&sha256(MANIFEST))}}],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://ci.example/build/v1",
                "externalParameters": {"workflow": {"repository": "https://git.example/team/app"}},
                "resolvedDependencies": [{"uri": "git+https://git.example/team/app@main"}],
            },
            "runDetails": {"builder": {"id": "https://ci.example/runner"}},
        },
    })
}
