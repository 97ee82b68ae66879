//! Bundles that are whole but lie: each is refused for its reason, and by the other implementations too.

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::{Value, json};
use watchbell_signature::{Reason, TrustRoot};

use crate::case::{Case, Generation, IN_TOTO, MANIFEST, PROVENANCE, message, provenance, statement};
use crate::peers;
use crate::stand::{
    Key, Leaf, START, Sct, Signer, Sigstore, b64, dsse_rekord, encoding, hashed_rekord, hex, pem, unb64,
};

type IsExpected = fn(&Reason) -> bool;

/// A lie, why it is refused here, and which of the others take it.
struct Lie {
    case: Case,
    expect: IsExpected,
    /// Who is content with it, and why.
    content: &'static [(&'static str, &'static str)],
}

fn lie(name: &str, bundle: Value, predicate: Option<&'static str>, expect: IsExpected) -> Lie {
    Lie { case: Case::new(name, bundle, predicate), expect, content: &[] }
}

impl Lie {
    fn content(self, content: &'static [(&'static str, &'static str)]) -> Lie {
        Lie { content, ..self }
    }
}

fn signature_of(bundle: &Value) -> Vec<u8> {
    unb64(bundle["messageSignature"]["signature"].as_str().unwrap())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Certificates that are not what they should be.
fn certificates(sigstore: &Sigstore) -> Vec<Lie> {
    let of = |leaf: Leaf| message(sigstore, &sigstore.signer(&leaf), Generation::First, START + 60);
    let good = crate::stand::IDENTITY;
    vec![
        lie(
            "another identity",
            of(Leaf { names: vec![uri("https://git.example/evil")], ..Leaf::default() }),
            None,
            |r| matches!(r, Reason::OtherIdentity { identity, .. } if identity == "https://git.example/evil"),
        ),
        lie(
            "another issuer",
            of(Leaf { issuer: Some("https://issuer.evil"), ..Leaf::default() }),
            None,
            |r| matches!(r, Reason::OtherIdentity { issuer, .. } if issuer == "https://issuer.evil"),
        ),
        lie("no issuer", of(Leaf { issuer: None, ..Leaf::default() }), None, |r| {
            matches!(r, Reason::CertificateUnfit(_))
        }),
        lie(
            "two names",
            of(Leaf { names: vec![uri(good), uri("https://git.example/evil")], ..Leaf::default() }),
            None,
            |r| *r == Reason::IdentityAmbiguous(2),
        )
        .content(&[("python", "it takes any of the names"), ("js", "it takes the first name")]),
        lie("no name", of(Leaf { names: Vec::new(), ..Leaf::default() }), None, |r| {
            *r == Reason::IdentityAmbiguous(0)
        }),
        lie("an authority", of(Leaf { is_authority: true, ..Leaf::default() }), None, |r| {
            matches!(r, Reason::CertificateUnfit(_))
        })
        .content(&[("js", "it does not ask whether a signer is an authority")]),
        lie(
            "not for code",
            of(Leaf { uses: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::default() }),
            None,
            |r| matches!(r, Reason::CertificateUnfit(_)),
        )
        .content(&[("js", "it does not look at the use")]),
        lie("no certificate log", of(Leaf { sct: Sct::Missing, ..Leaf::default() }), None, |r| {
            *r == Reason::SctMissing
        }),
        lie("a strange certificate log", of(Leaf { sct: Sct::Stranger, ..Leaf::default() }), None, |r| {
            matches!(r, Reason::SctWrong(_))
        }),
        lie(
            "the certificate log's word on another",
            of(Leaf { sct: Sct::Moved, ..Leaf::default() }),
            None,
            |r| matches!(r, Reason::SctWrong(_)),
        ),
        lie(
            "another sigstore's certificate",
            message(sigstore, &Sigstore::new().signer(&Leaf::default()), Generation::First, START + 60),
            None,
            |r| matches!(r, Reason::CertificateUntrusted(_)),
        ),
    ]
}

/// Times at which the certificate was not valid, and times that nobody said.
fn times(sigstore: &Sigstore, signer: &Signer) -> Vec<Lie> {
    let at = |generation, at| message(sigstore, signer, generation, at);
    let outside: IsExpected = |r| matches!(r, Reason::OutsideCertificate { .. });
    let mut no_time = at(Generation::Second, START + 60);
    no_time["verificationMaterial"].as_object_mut().unwrap().shift_remove("timestampVerificationData");
    let mut unsigned_time = no_time.clone();
    unsigned_time["verificationMaterial"]["tlogEntries"][0]["integratedTime"] =
        json!((START + 60).to_string());
    let mut twice = at(Generation::Second, START + 60);
    let stamps = twice["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
        .as_array_mut()
        .unwrap();
    stamps.push(stamps[0].clone());
    let mut of_another = at(Generation::Second, START + 60);
    of_another["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
        json!(b64(&sigstore.timestamp(b"another signature", START + 60)));
    let mut strange = at(Generation::Second, START + 60);
    let signature = signature_of(&strange);
    strange["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
        json!(b64(&Sigstore::new().timestamp(&signature, START + 60)));
    // The log's time is right, and a stamp says another.
    let mut early_stamp = at(Generation::First, START + 60);
    let signature = signature_of(&early_stamp);
    early_stamp["verificationMaterial"]["timestampVerificationData"] =
        json!({"rfc3161Timestamps": [{"signedTimestamp": b64(&sigstore.timestamp(&signature, START - 60))}]});
    vec![
        lie("before its certificate, by the log", at(Generation::First, START - 1), None, outside),
        lie("after its certificate, by the log", at(Generation::First, START + 601), None, outside),
        lie("before its certificate, by an authority", at(Generation::Second, START - 1), None, outside),
        lie("after its certificate, by an authority", at(Generation::Second, START + 601), None, outside),
        lie("one of two times outside", early_stamp, None, outside),
        lie("no time", no_time, None, |r| *r == Reason::NoTime),
        lie("a time that nobody signed", unsigned_time, None, |r| *r == Reason::NoTime),
        lie("a timestamp twice", twice, None, |r| matches!(r, Reason::TimestampWrong(_))),
        lie("a timestamp of another signature", of_another, None, |r| matches!(r, Reason::TimestampWrong(_))),
        lie("a strange authority's timestamp", strange, None, |r| matches!(r, Reason::TimestampWrong(_))),
        // The log of before the trust root names it.
        lie("before the log's time", at(Generation::First, START - 86_400 * 60), None, |r| {
            matches!(r, Reason::ProofWrong(_))
        }),
        lie("yet to come", at(Generation::First, START + 86_400 * 400), None, |r| {
            matches!(r, Reason::InFuture(_))
        }),
    ]
}

/// Log entries of something else, and proofs of something else.
fn entries(sigstore: &Sigstore, signer: &Signer) -> Vec<Lie> {
    let good = || message(sigstore, signer, Generation::First, START + 60);
    let with_entry = |entry: Value| {
        let mut bundle = good();
        bundle["verificationMaterial"]["tlogEntries"][0] = entry;
        bundle
    };
    let certificate = pem("CERTIFICATE", &signer.der);
    let entry = |message: &[u8], signature: &[u8], pem: &str| {
        sigstore.entry(&hashed_rekord(message, signature, pem), START + 60)
    };
    // The same signature in entries of another digest or certificate (CVE-2022-36056), another's entry as it is.
    let mut other_digest = good();
    let signature = signature_of(&other_digest);
    other_digest["verificationMaterial"]["tlogEntries"][0] = entry(b"another", &signature, &certificate);
    let mut other_certificate = good();
    let signature = signature_of(&other_certificate);
    let other = sigstore.signer(&Leaf::default());
    other_certificate["verificationMaterial"]["tlogEntries"][0] =
        entry(MANIFEST, &signature, &pem("CERTIFICATE", &other.der));
    let mut mislabelled = good();
    mislabelled["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["version"] = json!("0.0.2");
    let mut unknown = hashed_rekord(MANIFEST, &[], &certificate);
    unknown["kind"] = json!("rpm");
    let mut none = good();
    none["verificationMaterial"]["tlogEntries"] = json!([]);
    // A checkpoint that the log did sign, of another tree; one that the other log signed; an older size.
    let proof = "/verificationMaterial/tlogEntries/0/inclusionProof";
    let mut replayed = good();
    let checkpoint = entry(b"another", b"signature", &certificate)["inclusionProof"]["checkpoint"].clone();
    replayed.pointer_mut(proof).unwrap()["checkpoint"] = checkpoint;
    let mut other_log = good();
    let checkpoint = sigstore.entry_2(&json!({}))["inclusionProof"]["checkpoint"].clone();
    other_log.pointer_mut(proof).unwrap()["checkpoint"] = checkpoint;
    let mut other_promise = good();
    other_promise["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"] =
        Sigstore::new().entry(&json!({}), START + 60)["inclusionPromise"].clone();
    let mut strange = good();
    strange["verificationMaterial"]["tlogEntries"][0] =
        Sigstore::new().entry(&hashed_rekord(MANIFEST, &signature_of(&good()), &certificate), START + 60);
    // The second entry lies where the first is right.
    let mut second = good();
    let lying = entry(b"another", &signature_of(&second), &certificate);
    second["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(lying);
    let mismatch: IsExpected = |r| matches!(r, Reason::EntryMismatch(_));
    let proof_wrong: IsExpected = |r| matches!(r, Reason::ProofWrong(_));
    vec![
        lie("in no log", none, None, |r| *r == Reason::NotInLog),
        lie("a strange log", strange, None, |r| matches!(r, Reason::LogUnknown(_))),
        lie("the entry of another digest", other_digest, None, mismatch),
        lie("the entry of another certificate", other_certificate, None, mismatch)
            .content(&[("js", "it does not compare the certificate")]),
        lie(
            "the entry of another signature",
            with_entry(entry(MANIFEST, b"another", &certificate)),
            None,
            mismatch,
        ),
        lie("an entry of another kind", mislabelled, None, mismatch),
        lie("an entry of an unknown kind", with_entry(sigstore.entry(&unknown, START + 60)), None, |r| {
            matches!(r, Reason::EntryUnknown(_))
        }),
        lie("the checkpoint of another tree", replayed, None, proof_wrong),
        lie("the checkpoint of another log", other_log, None, proof_wrong),
        lie("the promise of another log", other_promise, None, proof_wrong),
        lie("two entries, one of something else", second, None, mismatch),
    ]
}

/// Envelopes and statements of something else.
fn statements(sigstore: &Sigstore, signer: &Signer) -> Vec<Lie> {
    let of = |payload_type: &str, payload: &Value| {
        statement(sigstore, signer, Generation::First, START + 60, (payload_type, payload))
    };
    let mut other_subject = provenance();
    other_subject["subject"][0]["digest"]["sha256"] = json!(hex(&[7; 32]));
    let mut sha512_alone = provenance();
    sha512_alone["subject"][0]["digest"] = json!({"sha512": provenance()["subject"][0]["digest"]["sha256"]});
    let mut no_statement = provenance();
    no_statement["_type"] = json!("https://in-toto.io/Link/v1");
    let mut other_predicate = provenance();
    other_predicate["predicateType"] = json!("https://example.com/anything");
    // The envelope of one statement around the payload of another.
    let mut swapped = of(IN_TOTO, &other_subject);
    swapped["dsseEnvelope"]["payload"] = json!(b64(provenance().to_string().as_bytes()));
    // The payload signed as it is, without its type: what is a message for one could be a statement for another.
    let payload = provenance().to_string().into_bytes();
    let mut bare = of(IN_TOTO, &provenance());
    let signature = signer.key.sign(&payload);
    bare["dsseEnvelope"]["signatures"][0]["sig"] = json!(b64(&signature));
    bare["verificationMaterial"]["tlogEntries"][0] =
        sigstore.entry(&dsse_rekord(&payload, &signature, &pem("CERTIFICATE", &signer.der)), START + 60);
    // A statement's encoding, signed as a message.
    let mut confused = message(sigstore, signer, Generation::First, START + 60);
    let signature = signer.key.sign(&encoding(IN_TOTO, &payload));
    confused["messageSignature"]["signature"] = json!(b64(&signature));
    confused["verificationMaterial"]["tlogEntries"][0] =
        sigstore.entry(&hashed_rekord(MANIFEST, &signature, &pem("CERTIFICATE", &signer.der)), START + 60);
    // Another key signed, and the log has it under this certificate.
    let mut other_key = message(sigstore, signer, Generation::First, START + 60);
    let signature = Key::new().sign(MANIFEST);
    other_key["messageSignature"]["signature"] = json!(b64(&signature));
    other_key["verificationMaterial"]["tlogEntries"][0] =
        sigstore.entry(&hashed_rekord(MANIFEST, &signature, &pem("CERTIFICATE", &signer.der)), START + 60);
    let provenance_bundle = of(IN_TOTO, &provenance());
    let wrong: IsExpected = |r| *r == Reason::SignatureWrong;
    let other_claim: IsExpected = |r| matches!(r, Reason::OtherClaim(_));
    let other_digest: IsExpected = |r| matches!(r, Reason::OtherDigest(_));
    let p = Some(PROVENANCE);
    vec![
        lie("another payload type", of("application/json", &provenance()), p, |r| {
            matches!(r, Reason::PayloadType(_))
        }),
        lie("another subject", of(IN_TOTO, &other_subject), p, other_digest),
        lie("the digest under another algorithm", of(IN_TOTO, &sha512_alone), p, other_digest),
        lie("no statement", of(IN_TOTO, &no_statement), p, other_claim),
        lie("another predicate", of(IN_TOTO, &other_predicate), p, other_claim),
        lie("another statement in the envelope", swapped, p, |r| matches!(r, Reason::EntryMismatch(_))),
        lie("a payload signed without its type", bare, p, wrong),
        lie("an envelope's encoding signed as a message", confused, None, wrong),
        lie("another key", other_key, None, wrong),
        lie("a statement where a signature is asked", provenance_bundle, None, other_claim),
        lie(
            "a signature where a statement is asked",
            message(sigstore, signer, Generation::First, START + 60),
            p,
            other_claim,
        ),
    ]
}

#[test]
fn each_lie_is_refused_for_its_reason() {
    let sigstore = Sigstore::new();
    let root_json = sigstore.trust_root();
    let root = TrustRoot::parse(root_json.to_string().as_bytes()).unwrap();
    let signer = sigstore.signer(&Leaf::default());
    let lies: Vec<Lie> = [
        certificates(&sigstore),
        times(&sigstore, &signer),
        entries(&sigstore, &signer),
        statements(&sigstore, &signer),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut wrong = Vec::new();
    for Lie { case, expect, .. } in &lies {
        match case.judged(&root) {
            Ok(_) => wrong.push(format!("here: {} counts", case.name)),
            Err(refused) if !refused.reason().is_some_and(expect) => {
                wrong.push(format!("here: {}: {refused}", case.name));
            }
            Err(_) => {}
        }
    }
    let cases: Vec<Case> = lies.iter().map(|lie| lie.case.clone()).collect();
    for (peer, opinions) in
        [("python", peers::python(&root_json, &cases)), ("js", peers::js(&root_json, &cases))]
    {
        for (lie, theirs) in lies.iter().zip(opinions.unwrap_or_default()) {
            let is_content = lie.content.iter().any(|(name, _)| *name == peer);
            if theirs.is_ok() != is_content {
                wrong.push(format!("{peer}: {}: {theirs:?}", lie.case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "of {} lies:\n{}", lies.len(), wrong.join("\n"));
}

/// A retired log's key signs what it likes: the time is another's word, so the log's end counts for that too.
#[test]
fn a_log_that_was_not_in_use_shows_nothing() {
    let sigstore = Sigstore::new();
    let signer = sigstore.signer(&Leaf::default());
    let second = message(&sigstore, &signer, Generation::Second, START + 60);
    // The first log's entry without its promise, and the time by an authority.
    let mut without_promise = message(&sigstore, &signer, Generation::First, START + 60);
    let signature = signature_of(&without_promise);
    let material = &mut without_promise["verificationMaterial"];
    let entry = material["tlogEntries"][0].as_object_mut().unwrap();
    entry.shift_remove("inclusionPromise");
    entry.shift_remove("integratedTime");
    material["timestampVerificationData"] =
        json!({"rfc3161Timestamps": [{"signedTimestamp": b64(&sigstore.timestamp(&signature, START + 60))}]});
    let judged = |bundle: &Value, log: usize, valid: Value| {
        let mut root = sigstore.trust_root();
        root["tlogs"][log]["publicKey"]["validFor"] = valid;
        let root = TrustRoot::parse(root.to_string().as_bytes()).unwrap();
        Case::new("a log's time", bundle.clone(), None).judged(&root)
    };
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap().to_string();
    for (bundle, log) in [(&second, 1), (&without_promise, 0)] {
        let in_use = [json!({"start": at(START)}), json!({"start": at(START), "end": at(START + 60)})];
        for valid in in_use {
            assert!(judged(bundle, log, valid.clone()).is_ok(), "{valid}");
        }
        let not_in_use =
            [json!({"start": at(START), "end": at(START + 59)}), json!({"start": at(START + 61)})];
        for valid in not_in_use {
            let refused = judged(bundle, log, valid.clone()).unwrap_err();
            assert!(matches!(refused.reason(), Some(Reason::ProofWrong(_))), "{valid}: {refused}");
            assert!(refused.to_string().contains("the log's key was not in use then"), "{valid}: {refused}");
        }
    }
}
