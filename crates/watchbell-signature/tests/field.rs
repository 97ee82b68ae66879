//! Bundles that cosign, sigstore-python, sigstore-js and GitHub made, against the trust roots of their instances.

use jiff::Timestamp;
use watchbell_image::Digest;
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, Predicate, PredicateType, PublicKey, Reason, Refused,
    Signer, Subject, TrustRoot, Verified, VerifiedClaim, VerifiedSigner, verify,
};

const A_TXT: &str = "sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf";
const CONDA: &str = "sha256:54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f";
const GITHUB_LOGIN: &str = "https://github.com/login/oauth";
const GITHUB_ACTIONS: &str = "https://token.actions.githubusercontent.com";
const BEACON: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
                      extremely-dangerous-oidc-beacon.yml@refs/heads/main";

fn file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

fn root(name: &str) -> TrustRoot {
    TrustRoot::parse(&file(&format!("root-{name}.json"))).unwrap()
}

fn by(identity: &str, issuer: &str, instance: &str) -> Signer {
    Signer::Identity {
        identity: Pattern::Exact(identity.into()),
        issuer: Pattern::Exact(issuer.into()),
        trust_root: root(instance),
    }
}

/// What is said of the bundle as a signature of `document`.
fn of_document(bundle: &str, document: &str, signer: Signer) -> Result<Verified, Refused> {
    let document = file(document);
    let digest = Digest::of(&document);
    let subject = Subject { digest: &digest, document: Some(&document) };
    let policy = Policy { signer, claim: Claim::Signature { repository: None } };
    verify(&[Material::bundle(bundle, &file(bundle))], &subject, &policy, now())
}

/// What is said of the bundle as an attestation of `digest`.
fn of_digest(bundle: &str, digest: &str, predicate: &str, signer: Signer) -> Result<Verified, Refused> {
    let digest = Digest::parse(digest).unwrap();
    let policy =
        Policy { signer, claim: Claim::Attestation(Conditions::of(PredicateType::parse(predicate))) };
    let subject = Subject { digest: &digest, document: None };
    verify(&[Material::bundle(bundle, &file(bundle))], &subject, &policy, now())
}

#[track_caller]
fn check_refused(result: Result<Verified, Refused>, is_expected: impl Fn(&Reason) -> bool) {
    let refused = result.unwrap_err();
    assert!(is_expected(refused.reason().unwrap()), "{refused}");
}

#[track_caller]
fn identity(verified: &Verified) -> (&str, &str) {
    match &verified.signer {
        VerifiedSigner::Identity { identity, issuer } => (identity, issuer),
        VerifiedSigner::Key { .. } => panic!("signed by a key"),
    }
}

#[test]
fn documents_signed_by_identities() {
    // cosign 3: log 1 with proof and promise, and a timestamp.
    let verified = of_document(
        "cosign-v3-blob.sigstore.json",
        "cosign-v3-blob.txt",
        by("w.vollprecht@gmail.com", GITHUB_LOGIN, "public"),
    )
    .unwrap();
    assert_eq!(identity(&verified), ("w.vollprecht@gmail.com", GITHUB_LOGIN));
    assert_eq!(verified.signed_at.unwrap().as_second(), 1_764_787_003);
    assert!(verified.log.is_some());
    // sigstore-python with the second generation of the log: no promise, the time is an authority's.
    let verified = of_document(
        "staging-rekor-v2.txt.sigstore.json",
        "staging-rekor-v2.txt",
        by("jku@goto.fi", GITHUB_LOGIN, "staging"),
    )
    .unwrap();
    assert_eq!(verified.log.unwrap().1, 645);
    of_document("timestamped.sigstore.json", "managed-key.txt", by(BEACON, GITHUB_ACTIONS, "timestamped"))
        .unwrap();
}

#[test]
fn statements_signed_by_identities() {
    let publish = "https://schemas.conda.org/attestations-publish-1.schema.json";
    let action =
        "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    let verified =
        of_digest("conda-attestation.sigstore.json", CONDA, publish, by(action, GITHUB_ACTIONS, "public"))
            .unwrap();
    let VerifiedClaim::Attestation(statement) = verified.claim else { panic!("no attestation") };
    assert!(matches!(statement.predicate, Predicate::Other(_)));
    // An envelope in the second generation's log, by the digest of its encoding; the checkpoint has witnesses too.
    of_digest(
        "conda-attestation-rekor2.sigstore.json",
        CONDA,
        publish,
        by("jku@goto.fi", GITHUB_LOGIN, "staging"),
    )
    .unwrap();
    let verified =
        of_digest("happy-path.sigstore.json", A_TXT, "slsaprovenance1", by(BEACON, GITHUB_ACTIONS, "public"))
            .unwrap();
    let VerifiedClaim::Attestation(statement) = verified.claim else { panic!("no attestation") };
    assert!(matches!(statement.predicate, Predicate::Provenance(_)));
    of_digest(
        "a.dsse.staging-rekor-v2.txt.sigstore.json",
        A_TXT,
        "slsaprovenance1",
        by(BEACON, GITHUB_ACTIONS, "staging"),
    )
    .unwrap();
    // sigstore-js: intoto 0.0.2 in a bundle of version 0.1, subjects by SHA-512.
    let release = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
    let digest = "sha512:46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c";
    let bundle = "sigstore.js@2.0.0-provenance.sigstore.json";
    let verified =
        of_digest(bundle, digest, "slsaprovenance", by(release, GITHUB_ACTIONS, "public")).unwrap();
    let VerifiedClaim::Attestation(statement) = verified.claim else { panic!("no attestation") };
    let Predicate::Provenance(provenance) = statement.predicate else { panic!("no provenance") };
    assert_eq!(provenance.builder_id, "https://github.com/actions/runner/github-hosted");
    assert_eq!(provenance.source_uri.as_deref(), Some("https://github.com/sigstore/sigstore-js"));
    // And by a promise alone, which version 0.1 allows.
    let digest = "sha512:bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f";
    let brian = || by("brian@dehamer.com", "https://github.com/login/oauth", "public");
    let result = of_digest("dsse.sigstore.json", digest, "slsaprovenance", brian());
    assert!(result.is_ok(), "{result:?}");
    check_refused(of_digest("dsse-2sigs.sigstore.json", digest, "slsaprovenance", brian()), |r| {
        matches!(r, Reason::Malformed { what: "envelope", .. })
    });
}

#[test]
fn a_key_of_the_field_with_its_log() {
    let key = PublicKey::from_pem(&file("managed-key.pub")).unwrap();
    let bundle = "managed-key.sigstore.json";
    for logs in [None, Some(root("public"))] {
        let is_logged = logs.is_some();
        let verified =
            of_document(bundle, "managed-key.txt", Signer::Key { key: key.clone(), logs }).unwrap();
        assert_eq!(verified.log.is_some(), is_logged);
    }
    let signer = Signer::Key { key: key.clone(), logs: Some(root("staging")) };
    check_refused(of_document(bundle, "managed-key.txt", signer), |r| matches!(r, Reason::LogUnknown(_)));
    check_refused(of_document(bundle, "cosign-v3-blob.txt", Signer::Key { key, logs: None }), |r| {
        matches!(r, Reason::OtherDigest(_))
    });
    // It has no certificate.
    check_refused(of_document(bundle, "managed-key.txt", by("a@example.com", GITHUB_LOGIN, "public")), |r| {
        *r == Reason::NoCertificate
    });
}

#[test]
fn what_the_field_refuses_is_refused() {
    let william = |instance: &str| by("william@yossarian.net", GITHUB_LOGIN, instance);
    let of_itself = |bundle: &str, signer: Signer| {
        // The signed document is not there; what is wrong shows before.
        let digest = {
            let bundle: serde_json::Value = serde_json::from_slice(&file(bundle)).unwrap();
            let digest = bundle["messageSignature"]["messageDigest"]["digest"].as_str().unwrap().to_owned();
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, digest).unwrap();
            format!("sha256:{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
        };
        let digest = Digest::parse(&digest).unwrap();
        let subject = Subject { digest: &digest, document: None };
        let policy = Policy { signer, claim: Claim::Signature { repository: None } };
        verify(&[Material::bundle(bundle, &file(bundle))], &subject, &policy, now())
    };
    let malformed = |r: &Reason| matches!(r, Reason::Malformed { what: "bundle", .. });
    check_refused(of_itself("bundle_no_checkpoint.txt.sigstore", william("public")), malformed);
    // The identity is another's, the certificate log's key is, the trust root is another instance's.
    check_refused(
        of_document(
            "cosign-v3-blob.sigstore.json",
            "cosign-v3-blob.txt",
            by("w.vollprecht@gmail.com.evil.example", GITHUB_LOGIN, "public"),
        ),
        |r| matches!(r, Reason::OtherIdentity { identity, .. } if identity == "w.vollprecht@gmail.com"),
    );
    check_refused(
        of_document(
            "cosign-v3-blob.sigstore.json",
            "cosign-v3-blob.txt",
            by("w.vollprecht@gmail.com", GITHUB_ACTIONS, "public"),
        ),
        |r| matches!(r, Reason::OtherIdentity { .. }),
    );
    check_refused(
        of_document("cosign-v3-blob.sigstore.json", "cosign-v3-blob.txt", william("staging")),
        |r| matches!(r, Reason::LogUnknown(_)),
    );
    check_refused(
        of_document(
            "invalid-ct-key.sigstore.json",
            "managed-key.txt",
            by(BEACON, GITHUB_ACTIONS, "other-ct-key"),
        ),
        |r| matches!(r, Reason::SctWrong(_)),
    );
    // GitHub's own authority for private repositories writes into no log.
    let private = "sha256:76f1fe8593bf227cca2c089e3c16dc95014a8d3e89c5dd220530469ca043c428";
    check_refused(
        of_digest(
            "github-private-attestation.sigstore.json",
            private,
            "https://in-toto.io/attestation/release/v0.2",
            by("https://dotcom.releases.github.com", "", "github"),
        ),
        |r| *r == Reason::NotInLog,
    );
}
