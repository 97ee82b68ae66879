use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};

use super::*;

fn ecdsa(
    algorithm: &'static rcgen::SignatureAlgorithm,
    signing: &'static EcdsaSigningAlgorithm,
) -> (PublicKey, Vec<u8>) {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let random = SystemRandom::new();
    let signer = EcdsaKeyPair::from_pkcs8(signing, &pair.serialize_der(), &random).unwrap();
    let signature = signer.sign(&random, b"message").unwrap().as_ref().to_vec();
    (PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap(), signature)
}

/// Every kind verifies what it signed, and nothing else: another message, another kind's signature, one of its bits.
#[test]
fn a_key_verifies_what_it_signed_and_nothing_else() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let signer = Ed25519KeyPair::from_pkcs8(&pair.serialize_der()).unwrap();
    let ed25519 = PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap();
    let all = [
        ecdsa(&rcgen::PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        ecdsa(&rcgen::PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        (ed25519, signer.sign(b"message").as_ref().to_vec()),
    ];
    let kinds: Vec<KeyKind> = all.iter().map(|(key, _)| key.kind()).collect();
    assert_eq!(kinds, [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519]);
    for (n, (key, signature)) in all.iter().enumerate() {
        assert!(key.verifies(b"message", signature));
        assert!(!key.verifies(b"massage", signature));
        for (m, (_, other)) in all.iter().enumerate() {
            assert_eq!(key.verifies(b"message", other), n == m);
        }
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.verifies(b"message", &changed), "{:?} byte {at}", key.kind());
        }
        assert!(!key.verifies(b"message", &[]));
        assert_eq!(PublicKey::from_spki(key.spki()).unwrap(), *key);
    }
}

/// RSA as `openssl` makes it: PKCS #1 1.5 and PSS, and not below 2048 bits.
#[test]
fn rsa_by_openssl_both_ways_and_not_too_small() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let openssl = |args: &[&str]| {
        let output = std::process::Command::new("openssl").args(args).output();
        output.is_ok_and(|o| o.status.success())
    };
    if !openssl(&["version"]) {
        tell("left out: no openssl");
        return;
    }
    std::fs::write(at("message"), "message").unwrap();
    for (bits, expect) in [("2048", true), ("1024", false)] {
        let size = format!("rsa_keygen_bits:{bits}");
        assert!(openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", &size, "-out", &at("key")]));
        assert!(openssl(&["pkey", "-in", &at("key"), "-pubout", "-out", &at("public")]));
        let key = PublicKey::from_pem(&std::fs::read(at("public")).unwrap());
        if !expect {
            assert_eq!(key, Err(KeyError::RsaSize(1024)));
            continue;
        }
        let key = key.unwrap();
        for padding in ["rsa_padding_mode:pkcs1", "rsa_padding_mode:pss"] {
            let mut args = vec!["dgst", "-sha256", "-sigopt", padding];
            if padding.ends_with("pss") {
                args.extend(["-sigopt", "rsa_pss_saltlen:digest"]);
            }
            let (private, signature, message) = (at("key"), at("signature"), at("message"));
            args.extend(["-sign", &private, "-out", &signature, &message]);
            assert!(openssl(&args));
            let signature = std::fs::read(at("signature")).unwrap();
            assert!(key.verifies(b"message", &signature), "{padding}");
            assert!(!key.verifies(b"massage", &signature), "{padding}");
        }
    }
    // A curve that is not known.
    assert!(openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
        "-out",
        &at("key")
    ]));
    assert!(openssl(&["pkey", "-in", &at("key"), "-pubout", "-out", &at("public")]));
    let key = PublicKey::from_pem(&std::fs::read(at("public")).unwrap());
    assert_eq!(key, Err(KeyError::Unknown("1.2.840.10045.2.1".into())));
}

#[test]
fn what_is_no_public_key_is_none() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let public = pair.public_key_pem();
    let check = |text: &str| assert_eq!(PublicKey::from_pem(text.as_bytes()), Err(KeyError::NoPem), "{text}");
    check("");
    check("not a key");
    check(&pair.serialize_pem());
    check(&format!("{public}{public}"));
    check(&public.replace("PUBLIC KEY", "CERTIFICATE"));
    let mut spki = PublicKey::from_pem(public.as_bytes()).unwrap().spki().to_vec();
    spki.push(0);
    assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::Malformed));
    assert_eq!(PublicKey::from_spki(b""), Err(KeyError::Malformed));
}

#[test]
fn hexadecimal_is_read_as_it_is_written() {
    assert_eq!(from_hex(&hex(&[0, 0x1f, 0xff])), Some(vec![0, 0x1f, 0xff]));
    for wrong in ["0", "0g", "+1", "é"] {
        assert_eq!(from_hex(wrong), None, "{wrong}");
    }
}

#[expect(clippy::print_stderr, reason = "a test that was left out says so")]
fn tell(text: &str) {
    eprintln!("{text}");
}
