//! cosign's older form: a layer under a tag, with certificate and log entry in its annotations, the log by its promise alone.
//! And the kinds of names that a certificate may have.

use std::collections::BTreeMap;

use rcgen::{OtherNameValue, SanType};
use serde_json::{Value, json};
use watchbell_signature::{
    Claim, Material, Pattern, Policy, Reason, Refused, Signer, Subject, TrustRoot, Verified, VerifiedSigner,
    verify,
};

use crate::case::{digest, now};
use crate::stand::{IDENTITY, ISSUER, Leaf, START, Sigstore, hashed_rekord, hex, pem, unb64};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

fn payload() -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/team/app"},
            "image": {"docker-manifest-digest": digest()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    payload.to_string().into_bytes()
}

/// The annotations of a layer that a signer with this certificate made.
fn annotations(sigstore: &Sigstore, leaf: &Leaf, at: i64) -> BTreeMap<String, String> {
    let signer = sigstore.signer(leaf);
    let (payload, certificate) = (payload(), pem("CERTIFICATE", &signer.der));
    let signature = signer.key.sign(&payload);
    let entry = sigstore.entry(&hashed_rekord(&payload, &signature, &certificate), at);
    let text = |path: &str| entry.pointer(path).and_then(Value::as_str).unwrap();
    let bundle = json!({
        "SignedEntryTimestamp": text("/inclusionPromise/signedEntryTimestamp"),
        "Payload": {
            "body": text("/canonicalizedBody"), "integratedTime": at,
            "logIndex": text("/logIndex").parse::<u64>().unwrap(), "logID": hex(&unb64(text("/logId/keyId"))),
        },
    });
    BTreeMap::from([
        ("dev.cosignproject.cosign/signature".to_owned(), crate::stand::b64(&signature)),
        ("dev.sigstore.cosign/certificate".to_owned(), certificate),
        ("dev.sigstore.cosign/chain".to_owned(), "of no interest".to_owned()),
        ("dev.sigstore.cosign/bundle".to_owned(), bundle.to_string()),
    ])
}

fn ask(
    sigstore: &Sigstore,
    annotations: &BTreeMap<String, String>,
    identity: Pattern,
) -> Result<Verified, Refused> {
    let material = Material::annotated("test", SIMPLE_SIGNING, &payload(), annotations).unwrap();
    let trust_root = TrustRoot::parse(sigstore.trust_root().to_string().as_bytes()).unwrap();
    let signer = Signer::Identity { identity, issuer: Pattern::Exact(ISSUER.into()), trust_root };
    let digest = digest();
    let subject = Subject { digest: &digest, document: None };
    verify(&[material], &subject, &Policy { signer, claim: Claim::Signature { repository: None } }, now())
}

#[test]
fn a_layer_with_a_promise_counts_and_no_annotation_can_be_changed() {
    let sigstore = Sigstore::new();
    let good = annotations(&sigstore, &Leaf::default(), START + 60);
    let identity = || Pattern::Exact(IDENTITY.into());
    let verified = ask(&sigstore, &good, identity()).unwrap();
    assert_eq!(verified.signed_at.unwrap().as_second(), START + 60);
    assert_eq!(verified.log.unwrap().1, 1005);
    for name in ["signature", "certificate", "bundle"] {
        let key = good.keys().find(|key| key.ends_with(&format!("/{name}"))).unwrap();
        for place in 1..8 {
            let mut changed = good.clone();
            let text = changed.get_mut(key).unwrap();
            let at = text.len() * place / 8;
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            text.replace_range(at..=at, other);
            assert!(ask(&sigstore, &changed, identity()).is_err(), "{name} at {place}/8");
        }
        let mut without = good.clone();
        without.remove(key);
        let refused = ask(&sigstore, &without, identity()).unwrap_err();
        let expect = match name {
            "signature" => matches!(refused.reason(), Some(Reason::Malformed { .. })),
            "certificate" => refused.reason() == Some(&Reason::NoCertificate),
            _ => refused.reason() == Some(&Reason::NotInLog),
        };
        assert!(expect, "{name}: {refused}");
    }
    // The promise of another layer's signature, and one after the certificate's end.
    let mut of_another = good.clone();
    let other = annotations(&sigstore, &Leaf::default(), START + 60);
    let bundle = "dev.sigstore.cosign/bundle";
    of_another.insert(bundle.into(), other[bundle].clone());
    let refused = ask(&sigstore, &of_another, identity()).unwrap_err();
    assert!(matches!(refused.reason(), Some(Reason::EntryMismatch(_))), "{refused}");
    let late = annotations(&sigstore, &Leaf::default(), START + 601);
    let refused = ask(&sigstore, &late, identity()).unwrap_err();
    assert!(matches!(refused.reason(), Some(Reason::OutsideCertificate { .. })), "{refused}");
}

#[test]
fn names_of_every_kind_are_compared_whole() {
    let sigstore = Sigstore::new();
    let user_name = vec![1, 3, 6, 1, 4, 1, 57264, 1, 7];
    let names = [
        (SanType::URI("https://ci.example/a".try_into().unwrap()), "https://ci.example/a"),
        (SanType::Rfc822Name("ada@example.com".try_into().unwrap()), "ada@example.com"),
        (SanType::OtherName((user_name, OtherNameValue::Utf8String("ada!example".into()))), "ada!example"),
    ];
    for (name, expect) in names {
        let leaf = Leaf { names: vec![name], ..Leaf::default() };
        let annotations = annotations(&sigstore, &leaf, START + 60);
        let verified = ask(&sigstore, &annotations, Pattern::Exact(expect.into())).unwrap();
        let signer = VerifiedSigner::Identity { identity: expect.into(), issuer: ISSUER.into() };
        assert_eq!(verified.signer, signer);
        assert!(ask(&sigstore, &annotations, Pattern::Exact(format!("{expect}x"))).is_err());
        assert!(ask(&sigstore, &annotations, Pattern::regex(&expect[1..]).unwrap()).is_err());
    }
    // A name that no signer has.
    let leaf = Leaf { names: vec![SanType::DnsName("example.com".try_into().unwrap())], ..Leaf::default() };
    let refused = ask(&sigstore, &annotations(&sigstore, &leaf, START + 60), Pattern::regex(".*").unwrap());
    assert!(matches!(refused.unwrap_err().reason(), Some(Reason::Malformed { what: "certificate", .. })));
}
