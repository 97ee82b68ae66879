use super::*;

/// The example of C2SP signed-note, and of tlog-cosignature.
const POEM: &str =
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

#[test]
fn a_note_reads_back_and_verifies() {
    let (ours, other) = (key(1), key(2));
    let verifier = ours.verifier("quasimodo.example/salvatore", SignatureKind::Ed25519).unwrap();
    let witness = other.verifier("witness.example/w1", SignatureKind::CosignatureV1).unwrap();
    let signatures = vec![ours.sign(&verifier, POEM), other.cosign(&witness, POEM, 1_679_315_147)];
    let note = Note { text: POEM.into(), signatures };
    let read = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read, note);
    read.verify(&verifier).unwrap();
    assert_eq!(read.cosigned_at(&witness), Ok(1_679_315_147));
    let stranger = key(3).verifier("quasimodo.example/salvatore", SignatureKind::Ed25519).unwrap();
    assert_eq!(read.verify(&stranger), Err(NoteError::Unsigned("quasimodo.example/salvatore".into())));
    // The same key under another kind is another key.
    let swapped = ours.verifier("quasimodo.example/salvatore", SignatureKind::CosignatureV1).unwrap();
    assert!(read.verify(&swapped).is_err());
}

#[test]
fn any_change_of_the_text_is_seen() {
    let ours = key(1);
    let verifier = ours.verifier("a.example/b", SignatureKind::Ed25519).unwrap();
    let note = Note { text: POEM.into(), signatures: vec![ours.sign(&verifier, POEM)] }.to_string();
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        let verified = Note::parse(&bytes).and_then(|note| note.verify(&verifier));
        assert!(verified.is_err(), "byte {at}");
    }
}

/// From Go's `golang.org/x/mod/sumdb/note` documentation: the public vkey of the example, and its signed note.
#[test]
fn a_key_and_a_note_of_another_implementation_verify() {
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key: VerifierKey = vkey.parse().unwrap();
    assert_eq!(key.to_string(), vkey);
    Note::parse(note.as_bytes()).unwrap().verify(&key).unwrap();
    let changed = note.replace("answer", "answers");
    let refused = Note::parse(changed.as_bytes()).unwrap().verify(&key);
    assert_eq!(refused, Err(NoteError::WrongSignature("PeterNeumann".into())));
}

#[test]
fn what_is_no_note_is_refused() {
    let signature = key(1).verifier("a", SignatureKind::Ed25519).map(|v| key(1).sign(&v, "text\n")).unwrap();
    for text in [
        String::new(),
        "text\n".into(),
        "text\n\n".into(),
        format!("text\n{signature}\n"),
        format!("text\n\n{signature}"),
        format!("text\r\n\n{signature}\n"),
        format!("text\n\n{signature}\n\n"),
        format!("text\n\n{}\n", signature.to_string().replace("— a ", "- a ")),
        format!("text\n\n{}\n", signature.to_string().replace("— a ", "— a+b ")),
        format!("text\n\n{}\n", signature.to_string().replace('=', "")),
        "text\n\n— a AAAA\n".into(),
        format!("text\n\n{}", format!("{signature}\n").repeat(65)),
    ] {
        assert!(matches!(Note::parse(text.as_bytes()), Err(NoteError::Malformed(_))), "{text:?}");
    }
    for vkey in [
        "",
        "a+b",
        "a b+00000000+AQ==",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T=",
        "PeterNeumann+c74f20a3+BRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(vkey.parse::<VerifierKey>().is_err(), "{vkey}");
    }
}
