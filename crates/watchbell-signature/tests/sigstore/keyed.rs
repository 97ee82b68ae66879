//! Bundles that a key of ours signed: sigstore-js verifies them, and not when something of them was changed.

use serde_json::{Value, json};
use watchbell_signature::{
    Claim, Material, Policy, PublicKey, SignatureForm, Signer, SigningKey, Subject, sign, verify,
};

use crate::case::{digest, now};
use crate::peers;
use crate::stand::{Key, b64};

#[test]
fn bundles_of_a_key_are_verified_by_others() {
    let pair = Key::new();
    let key = SigningKey::from_pem(pair.rcgen.serialize_pem().as_bytes()).unwrap();
    let (_, blob) = sign(&key, &digest(), "", SignatureForm::Bundle).unwrap();
    let good: Value = serde_json::from_slice(&blob.bytes).unwrap();
    let changed = |path: &str, value: String| {
        let mut bundle = good.clone();
        *bundle.pointer_mut(path).unwrap() = value.into();
        bundle
    };
    let (mine, other) = (b64(&pair.spki()), b64(&Key::new().spki()));
    let another_signature = b64(&Key::new().sign(b"another"));
    let cases = [
        (good.clone(), &mine, true),
        (good.clone(), &other, false),
        (changed("/dsseEnvelope/payloadType", "application/json".into()), &mine, false),
        (changed("/dsseEnvelope/payload", b64(b"{}")), &mine, false),
        (changed("/dsseEnvelope/signatures/0/sig", another_signature), &mine, false),
    ];
    for (bundle, spki, expect) in &cases {
        let key = PublicKey::from_spki(&crate::stand::unb64(spki)).unwrap();
        let policy =
            Policy { signer: Signer::Key { key, logs: None }, claim: Claim::Signature { repository: None } };
        let digest = digest();
        let subject = Subject { digest: &digest, document: None };
        let material = Material::bundle("test", bundle.to_string().as_bytes());
        assert_eq!(verify(&[material], &subject, &policy, now()).is_ok(), *expect);
    }
    let question: Value =
        cases.iter().map(|(bundle, key, _)| json!({"bundle": bundle, "key": key})).collect();
    for ((_, _, expect), theirs) in cases.iter().zip(peers::js_by_key(&question).unwrap_or_default()) {
        assert_eq!(theirs.is_ok(), *expect, "{theirs:?}");
    }
}
