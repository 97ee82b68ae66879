//! Signatures as they lie beside an image: signed here into a layout, read from there, verified.

use jiff::Timestamp;
use watchbell_image::{Artifact, Attachment, Digest, Layout, NewBlob, NewManifest};
use watchbell_signature::{
    Claim, Material, Policy, PublicKey, Reason, Refused, SignatureForm, Signer, SigningKey, Subject,
    Verified, VerifiedClaim, VerifiedSigner, is_signature, sign, verify,
};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

struct Image {
    _dir: tempfile::TempDir,
    layout: Layout,
    digest: Digest,
}

fn image() -> Image {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    std::fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let layer = NewBlob { media_type: "a".into(), bytes: b"layer".to_vec(), annotations: Vec::new() };
    let digest = layout.attach(&NewManifest::Tagged { tag: "1".into() }, &[layer]).unwrap();
    Image { _dir: dir, layout, digest }
}

fn key() -> SigningKey {
    SigningKey::from_pem(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
}

impl Image {
    fn attached(&self) -> Vec<Artifact> {
        self.layout.attached(&self.digest, &is_signature).unwrap().into_iter().collect()
    }

    fn ask(&self, digest: &Digest, signer: Signer, claim: Claim) -> Result<Verified, Refused> {
        let materials: Vec<Material> = self.attached().iter().flat_map(Material::of).collect();
        let subject = Subject { digest, document: None };
        verify(&materials, &subject, &Policy { signer, claim }, Timestamp::UNIX_EPOCH)
    }

    fn by(&self, key: &PublicKey) -> Result<Verified, Refused> {
        self.ask(&self.digest, by(key), Claim::Signature { repository: None })
    }
}

fn by(key: &PublicKey) -> Signer {
    Signer::Key { key: key.clone(), logs: None }
}

#[test]
fn both_forms_of_every_kind_of_key_count_for_their_image_alone() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
        let public = PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(*key.public_key(), public);
        for form in [SignatureForm::Tag, SignatureForm::Bundle] {
            let image = image();
            assert_eq!(image.by(&public), Err(Refused::Nothing("signature")));
            let (manifest, blob) = sign(&key, &image.digest, "registry.example/team/app:1", form).unwrap();
            image.layout.attach(&manifest, &[blob]).unwrap();
            let verified = image.by(&public).unwrap();
            assert_eq!(verified.signer, VerifiedSigner::Key { fingerprint: public.fingerprint() });
            assert_eq!((verified.signed_at, verified.log), (None, None));
            // For another image, by another key, in a log, as a statement: each for its reason.
            let reason = |result: Result<Verified, Refused>| result.unwrap_err().reason().unwrap().clone();
            let signature = || Claim::Signature { repository: None };
            let other = reason(image.ask(&Digest::of(b"x"), by(&public), signature()));
            assert!(matches!(other, Reason::OtherDigest(_)), "{other}");
            assert_eq!(reason(image.by(self::key().public_key())), Reason::SignatureWrong);
        }
    }
}

/// Where it was signed for is told, and may be asked for.
#[test]
fn a_repository_may_be_asked_for() {
    let (image, key) = (image(), key());
    let (manifest, blob) =
        sign(&key, &image.digest, "registry.example/team/app:1", SignatureForm::Tag).unwrap();
    image.layout.attach(&manifest, &[blob]).unwrap();
    let ask = |repository: &str| {
        let claim = Claim::Signature { repository: Some(repository.into()) };
        image.ask(&image.digest, by(key.public_key()), claim)
    };
    let expect = Some("registry.example/team/app:1".to_owned());
    assert_eq!(
        ask("registry.example/team/app").unwrap().claim,
        VerifiedClaim::Signature { reference: expect }
    );
    let refused = ask("registry.example/team/other").unwrap_err();
    assert!(matches!(refused.reason(), Some(Reason::OtherRepository(_))), "{refused}");
    // A form that does not say it does not count.
    let (manifest, blob) = sign(&key, &image.digest, "", SignatureForm::Bundle).unwrap();
    image.layout.attach(&manifest, &[blob]).unwrap();
    assert!(ask("registry.example/team/app").is_ok() && ask("registry.example/team/other").is_err());
}

/// One good signature among others is enough; of those that do not count the one that came furthest is named first.
#[test]
fn one_of_several_is_enough() {
    let (image, mine, other) = (image(), key(), key());
    let layer = |key: &SigningKey, digest: &Digest| sign(key, digest, "", SignatureForm::Tag).unwrap().1;
    let tag = NewManifest::Tagged { tag: Attachment::Signatures.tag(&image.digest) };
    let mut no_signature = layer(&mine, &image.digest);
    no_signature.annotations.clear();
    let of_another = layer(&mine, &Digest::of(b"x"));
    let bad = vec![no_signature, layer(&other, &image.digest), of_another];
    image.layout.attach(&tag, &bad).unwrap();
    let refused = image.by(mine.public_key()).unwrap_err();
    let Refused::Attempts(attempts) = &refused else { panic!("{refused}") };
    assert_eq!(attempts.len(), 3);
    assert!(matches!(attempts[0].reason, Reason::OtherDigest(_)), "{refused}");
    assert_eq!(attempts[1].reason, Reason::SignatureWrong);
    assert!(matches!(attempts[2].reason, Reason::Malformed { what: "signature", .. }));
    let all = [bad, vec![layer(&mine, &image.digest)]].concat();
    image.layout.attach(&tag, &all).unwrap();
    assert!(image.by(mine.public_key()).is_ok());
}

/// The payload must be understood: what is critical and not known, of another type, or there twice makes it count for nothing.
#[test]
fn a_payload_that_is_not_understood_does_not_count() {
    use base64::Engine as _;
    let (image, random) = (image(), ring::rand::SystemRandom::new());
    let pair = rcgen::KeyPair::generate().unwrap();
    let public = PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let ring = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der(), &random).unwrap();
    let check = |payload: String, expect: fn(&Reason) -> bool| {
        let signature = ring.sign(&random, payload.as_bytes()).unwrap();
        let annotation = base64::engine::general_purpose::STANDARD.encode(signature.as_ref());
        let blob = NewBlob {
            media_type: SIMPLE_SIGNING.into(),
            bytes: payload.clone().into_bytes(),
            annotations: vec![("dev.cosignproject.cosign/signature".into(), annotation)],
        };
        let tag = NewManifest::Tagged { tag: Attachment::Signatures.tag(&image.digest) };
        image.layout.attach(&tag, &[blob]).unwrap();
        match image.by(&public) {
            Ok(_) => panic!("{payload} counts"),
            Err(refused) => assert!(refused.reason().is_some_and(expect), "{payload}: {refused}"),
        }
    };
    let digest = &image.digest;
    let payload = |critical: &str| format!(r#"{{"critical":{{{critical}}},"optional":{{"a":[1]}}}}"#);
    let of = |digest: &str| format!(r#""image":{{"docker-manifest-digest":"{digest}"}}"#);
    let identity = r#""identity":{"docker-reference":"a"}"#;
    let kind = r#""type":"cosign container image signature""#;
    let malformed: fn(&Reason) -> bool = |r| matches!(r, Reason::Malformed { what: "payload", .. });
    let mine = of(digest.as_str());
    check(payload(&format!(r#"{identity},{mine},"type":"atomic container signature""#)), |r| {
        matches!(r, Reason::OtherClaim(_))
    });
    check(payload(&format!(r#"{identity},{mine},{kind},"expires":"yesterday""#)), malformed);
    check(payload(&format!("{identity},{},{mine},{kind}", of("sha256:00"))), malformed);
    check(payload(&format!("{identity},{mine}")), malformed);
    check(payload(&format!("{identity},{},{kind}", of("sha256:00"))), |r| {
        matches!(r, Reason::OtherDigest(_))
    });
    check("[".repeat(10_000), malformed);
    check(format!("{}{}", payload(&format!("{identity},{mine},{kind}")), " ".repeat(64 << 10)), malformed);
}

#[test]
fn what_is_no_private_key_signs_nothing() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let encrypted = pair.serialize_pem().replace("PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY");
    for text in ["", &pair.public_key_pem(), &encrypted, &pair.serialize_pem().replace('A', "B")] {
        assert!(SigningKey::from_pem(text.as_bytes()).is_err(), "{text}");
    }
}
