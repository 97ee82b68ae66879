//! A whole sigstore of our own: an authority with an intermediate, a certificate transparency log, a transparency log of each
//! generation, a timestamp authority. It signs what a test asks for, lies included.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use watchbell_audit::{Checkpoint, Hash, leaf_hash, node_hash};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// 2026-01-10T12:00:00Z: certificates of signers are valid from here for ten minutes.
pub(crate) const START: i64 = 1_768_046_400;
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const IDENTITY: &str = "https://git.example/team/app/build.yml@main";

/// An ECDSA signature, most often.
const SIGNATURE_BYTES: usize = 71;

pub(crate) fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn unb64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// A P-256 key that signs.
pub(crate) struct Key {
    pub(crate) rcgen: KeyPair,
    ring: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn new() -> Key {
        let rcgen = KeyPair::generate().unwrap();
        Key::from(rcgen)
    }

    fn from(rcgen: KeyPair) -> Key {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let ring = EcdsaKeyPair::from_pkcs8(algorithm, &rcgen.serialize_der(), &SystemRandom::new()).unwrap();
        Key { rcgen, ring }
    }

    /// Always as long: where a byte of a bundle lies does not depend on chance.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        loop {
            let signature = self.ring.sign(&SystemRandom::new(), message).unwrap();
            if signature.as_ref().len() == SIGNATURE_BYTES {
                return signature.as_ref().to_vec();
            }
        }
    }

    /// SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> Vec<u8> {
        use rcgen::PublicKeyData as _;
        self.rcgen.subject_public_key_info()
    }

    fn id(&self) -> Vec<u8> {
        Sha256::digest(self.spki()).to_vec()
    }
}

struct Authority {
    /// The chain, the root last.
    certificates: Vec<Vec<u8>>,
    /// Of the lowest.
    issuer: Issuer<'static, KeyPair>,
}

/// Which certificate transparency timestamp a certificate has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sct {
    Good,
    Missing,
    /// Of a log that the trust root does not name.
    Stranger,
    /// Of another certificate.
    Moved,
}

/// What a signer's certificate says.
pub(crate) struct Leaf {
    pub(crate) names: Vec<SanType>,
    pub(crate) issuer: Option<&'static str>,
    pub(crate) is_authority: bool,
    pub(crate) uses: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) sct: Sct,
}

impl Default for Leaf {
    fn default() -> Leaf {
        Leaf {
            names: vec![SanType::URI(IDENTITY.try_into().unwrap())],
            issuer: Some(ISSUER),
            is_authority: false,
            uses: vec![ExtendedKeyUsagePurpose::CodeSigning],
            sct: Sct::Good,
        }
    }
}

/// A certificate and its key.
pub(crate) struct Signer {
    pub(crate) der: Vec<u8>,
    pub(crate) key: Key,
}

pub(crate) struct Sigstore {
    authority: Authority,
    certificate_log: Key,
    stranger: Key,
    pub(crate) log: Key,
    log_2: Ed25519KeyPair,
    stamper: Key,
    stamper_chain: Vec<Vec<u8>>,
}

fn time(second: i64) -> ASN1Time {
    ASN1Time::from_timestamp(second).unwrap()
}

/// The certificate whose signature is as long as the others'.
fn as_long(issue: impl Fn() -> Vec<u8>) -> Vec<u8> {
    loop {
        let der = issue();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        if certificate.signature_value.data.len() == SIGNATURE_BYTES {
            return der;
        }
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "sigstore.example");
    name.push(DnType::CommonName, common_name);
    name
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.serial_number = Some(SerialNumber::from_slice(&[0x30; 16]));
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time(START - 86_400 * 30).to_datetime();
    params.not_after = time(START + 86_400 * 3650).to_datetime();
    params
}

fn authority(name: &str) -> Authority {
    let root_params = authority_params(&format!("{name} root"));
    let root_key = KeyPair::generate().unwrap();
    let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
    let root = (root, Issuer::new(root_params, root_key));
    let mut params = authority_params(&format!("{name} intermediate"));
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &root.1).unwrap().der().to_vec();
    Authority { certificates: vec![certificate, root.0], issuer: Issuer::new(params, key) }
}

impl Sigstore {
    pub(crate) fn new() -> Sigstore {
        let log_2 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let stamping = authority("stamps");
        let stamper = Key::new();
        let mut params = authority_params("stamper");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Alone and critical, as RFC 3161 has it.
        let mut only_stamps = CustomExtension::from_oid_content(
            &[2, 5, 29, 37],
            b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x08".to_vec(),
        );
        only_stamps.set_criticality(true);
        params.custom_extensions.push(only_stamps);
        let leaf = as_long(|| params.signed_by(&stamper.rcgen, &stamping.issuer).unwrap().der().to_vec());
        let stamper_chain = [leaf].into_iter().chain(stamping.certificates).collect();
        Sigstore {
            authority: authority("people"),
            certificate_log: Key::new(),
            stranger: Key::new(),
            log: Key::new(),
            log_2: Ed25519KeyPair::from_pkcs8(log_2.as_ref()).unwrap(),
            stamper,
            stamper_chain,
        }
    }

    /// `trusted_root.json`
    pub(crate) fn trust_root(&self) -> Value {
        let since = json!({"start": "2025-12-01T00:00:00Z"});
        let certificates =
            |chain: &[Vec<u8>]| -> Value { chain.iter().map(|der| json!({"rawBytes": b64(der)})).collect() };
        let log = |url: &str, spki: &[u8], details: &str, id: &[u8]| {
            json!({
                "baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": {"keyId": b64(id)},
                "publicKey": {"rawBytes": b64(spki), "keyDetails": details, "validFor": since},
            })
        };
        let p256 = "PKIX_ECDSA_P256_SHA_256";
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log("https://log.example", &self.log.spki(), p256, &self.log.id()),
                log("https://log-2.example", &self.log_2_spki(), "PKIX_ED25519", &self.log_2_id()),
            ],
            "certificateAuthorities": [{
                "subject": {"organization": "sigstore.example", "commonName": "people root"},
                "uri": "https://people.example", "validFor": since,
                "certChain": {"certificates": certificates(&self.authority.certificates)},
            }],
            "ctlogs": [log("https://ct.example", &self.certificate_log.spki(), p256, &self.certificate_log.id())],
            "timestampAuthorities": [{
                "subject": {"organization": "sigstore.example", "commonName": "stamps root"},
                "uri": "https://stamps.example", "validFor": since,
                "certChain": {"certificates": certificates(&self.stamper_chain)},
            }],
        })
    }

    /// The certificate that timestamps carry.
    pub(crate) fn stamper(&self) -> &[u8] {
        &self.stamper_chain[0]
    }

    fn log_2_spki(&self) -> Vec<u8> {
        let mut spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
        spki.extend_from_slice(self.log_2.public_key().as_ref());
        spki
    }

    /// As signed-note has it: SHA-256 of name, newline, type and key.
    fn log_2_id(&self) -> Vec<u8> {
        let hash =
            Sha256::new().chain_update("log-2.example\n\x01").chain_update(self.log_2.public_key().as_ref());
        hash.finalize().to_vec()
    }

    pub(crate) fn signer(&self, leaf: &Leaf) -> Signer {
        let key = Key::new();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&[0x31; 16]));
        params.not_before = time(START).to_datetime();
        params.not_after = time(START + 600).to_datetime();
        params.subject_alt_names = leaf.names.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = leaf.uses.clone();
        params.use_authority_key_identifier_extension = true;
        if leaf.is_authority {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        if let Some(issuer) = leaf.issuer {
            let mut add = |oid: &[u64], content: Vec<u8>| {
                params.custom_extensions.push(CustomExtension::from_oid_content(oid, content));
            };
            add(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], issuer.as_bytes().to_vec());
            add(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], tlv(0x0c, &[issuer.as_bytes()]));
        }
        // First without the timestamp of the log, which signs exactly that.
        let sign = |params: &CertificateParams| {
            as_long(|| params.signed_by(&key.rcgen, &self.authority.issuer).unwrap().der().to_vec())
        };
        let (log, signed) = match leaf.sct {
            Sct::Missing => return Signer { der: sign(&params), key },
            Sct::Good => (&self.certificate_log, sign(&params)),
            Sct::Stranger => (&self.stranger, sign(&params)),
            Sct::Moved => {
                let mut other = params.clone();
                other.serial_number = Some(SerialNumber::from_slice(&[0x32; 16]));
                (&self.certificate_log, sign(&other))
            }
        };
        let list = self.certificate_timestamp(log, &signed);
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], list));
        Signer { der: sign(&params), key }
    }

    /// RFC 6962, section 3.3: the list of one timestamp of a precertificate.
    fn certificate_timestamp(&self, log: &Key, precertificate: &[u8]) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(precertificate).unwrap();
        let tbs = parsed.tbs_certificate.as_ref();
        let (_, issuer) = X509Certificate::from_der(&self.authority.certificates[0]).unwrap();
        let milliseconds = ((START + 1) * 1000).to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend_from_slice(&milliseconds);
        signed.extend_from_slice(&[0, 1]);
        signed.extend_from_slice(&Sha256::digest(issuer.public_key().raw));
        signed.extend_from_slice(&(tbs.len() as u32).to_be_bytes()[1..]);
        signed.extend_from_slice(tbs);
        signed.extend_from_slice(&[0, 0]);
        let signature = log.sign(&signed);
        let mut sct = vec![0];
        sct.extend_from_slice(&log.id());
        sct.extend_from_slice(&milliseconds);
        sct.extend_from_slice(&[0, 0, 4, 3]);
        sct.extend_from_slice(&(signature.len() as u16).to_be_bytes());
        sct.extend_from_slice(&signature);
        let mut list = ((sct.len() + 2) as u16).to_be_bytes().to_vec();
        list.extend_from_slice(&(sct.len() as u16).to_be_bytes());
        list.extend_from_slice(&sct);
        tlv(0x04, &[&list])
    }

    /// An entry of the first log: with a promise of the time `at` and a proof in a tree of seven.
    pub(crate) fn entry(&self, body: &Value, at: i64) -> Value {
        let bytes = body.to_string().into_bytes();
        let (index, proof, checkpoint) = tree(&bytes, "log.example - 4711");
        let signature = self.log.sign(checkpoint.as_bytes());
        let signed = json!({
            "body": b64(&bytes), "integratedTime": at, "logID": hex(&self.log.id()), "logIndex": 1000 + index,
        });
        // Sorted by key and without spaces: canonical.
        json!({
            "logIndex": (1000 + index).to_string(),
            "logId": {"keyId": b64(&self.log.id())},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": at.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": b64(&self.log.sign(signed.to_string().as_bytes()))},
            "inclusionProof": with_checkpoint(proof, &checkpoint, "log.example", &self.log.id(), &signature),
            "canonicalizedBody": b64(&bytes),
        })
    }

    /// An entry of the second log: with a proof alone.
    pub(crate) fn entry_2(&self, body: &Value) -> Value {
        let bytes = body.to_string().into_bytes();
        let (index, proof, checkpoint) = tree(&bytes, "log-2.example");
        let signature = self.log_2.sign(checkpoint.as_bytes());
        json!({
            "logIndex": index.to_string(),
            "logId": {"keyId": b64(&self.log_2_id())},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "inclusionProof":
                with_checkpoint(proof, &checkpoint, "log-2.example", &self.log_2_id(), signature.as_ref()),
            "canonicalizedBody": b64(&bytes),
        })
    }

    /// RFC 3161: that `message` was there at `at`.
    pub(crate) fn timestamp(&self, message: &[u8], at: i64) -> Vec<u8> {
        let (_, certificate) = X509Certificate::from_der(&self.stamper_chain[0]).unwrap();
        let sha256 = tlv(0x30, &[b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01"]);
        let generalized = jiff::Timestamp::from_second(at).unwrap().strftime("%Y%m%d%H%M%SZ").to_string();
        let imprint = tlv(0x30, &[&sha256, &tlv(0x04, &[&Sha256::digest(message)])]);
        let info = tlv(
            0x30,
            &[
                b"\x02\x01\x01",
                b"\x06\x03\x2a\x03\x04",
                &imprint,
                b"\x02\x01\x07",
                &tlv(0x18, &[generalized.as_bytes()]),
            ],
        );
        let info_type = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04";
        let attribute = |oid: &[u8], value: &[u8]| tlv(0x30, &[oid, &tlv(0x31, &[value])]);
        let attributes = [
            attribute(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03", info_type),
            attribute(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04", &tlv(0x04, &[&Sha256::digest(&info)])),
        ]
        .concat();
        let signature = self.stamper.sign(&tlv(0x31, &[&attributes]));
        let signer = tlv(
            0x30,
            &[
                b"\x02\x01\x01",
                &tlv(0x30, &[certificate.issuer().as_raw(), &tlv(0x02, &[certificate.raw_serial()])]),
                &sha256,
                &tlv(0xa0, &[&attributes]),
                b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
                &tlv(0x04, &[&signature]),
            ],
        );
        let content = tlv(0x30, &[info_type, &tlv(0xa0, &[&tlv(0x04, &[&info])])]);
        let data = tlv(
            0x30,
            &[
                b"\x02\x01\x03",
                &tlv(0x31, &[&sha256]),
                &content,
                &tlv(0xa0, &[&self.stamper_chain[0]]),
                &tlv(0x31, &[&signer]),
            ],
        );
        let token = tlv(0x30, &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", &tlv(0xa0, &[&data])]);
        tlv(0x30, &[&tlv(0x30, &[b"\x02\x01\x00"]), &token])
    }
}

/// A value of DER.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        length @ 0..128 => out.push(length as u8),
        length @ 128..256 => out.extend_from_slice(&[0x81, length as u8]),
        length => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(&content);
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A tree of seven entries of which the sixth is `body`: its index, its proof, the checkpoint's text.
fn tree(body: &[u8], origin: &str) -> (u64, Value, String) {
    let mut leaves: Vec<Hash> = (0..7u8).map(|n| leaf_hash(&[n])).collect();
    leaves[5] = leaf_hash(body);
    let pair = |a: usize, b: usize| node_hash(&leaves[a], &leaves[b]);
    let left = node_hash(&pair(0, 1), &pair(2, 3));
    let root = node_hash(&left, &node_hash(&pair(4, 5), &leaves[6]));
    let hashes = [leaves[4], leaves[6], left];
    let proof = json!({
        "logIndex": "5", "treeSize": "7", "rootHash": b64(&root), "hashes": hashes.map(|h| b64(&h)),
    });
    (5, proof, Checkpoint { origin: origin.into(), size: 7, root }.text())
}

fn with_checkpoint(mut proof: Value, text: &str, name: &str, id: &[u8], signature: &[u8]) -> Value {
    let line = b64(&[&id[..4], signature].concat());
    proof["checkpoint"] = json!({"envelope": format!("{text}\n\u{2014} {name} {line}\n")});
    proof
}

/// The body of a log entry of a signed message, as the first log has it.
pub(crate) fn hashed_rekord(message: &[u8], signature: &[u8], pem: &str) -> Value {
    json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex(&Sha256::digest(message))}},
        "signature": {"content": b64(signature), "publicKey": {"content": b64(pem.as_bytes())}},
    }})
}

/// The same in the second log.
pub(crate) fn hashed_rekord_2(message: &[u8], signature: &[u8], certificate: &[u8]) -> Value {
    json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_256", "digest": b64(&Sha256::digest(message))},
        "signature": {"content": b64(signature), "verifier": {
            "keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": {"rawBytes": b64(certificate)},
        }},
    }}})
}

/// The body of a log entry of an envelope.
pub(crate) fn dsse_rekord(payload: &[u8], signature: &[u8], pem: &str) -> Value {
    json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "envelopeHash": {"algorithm": "sha256", "value": hex(&Sha256::digest(b"whatever"))},
        "payloadHash": {"algorithm": "sha256", "value": hex(&Sha256::digest(payload))},
        "signatures": [{"signature": b64(signature), "verifier": b64(pem.as_bytes())}],
    }})
}

/// The same in the second log.
pub(crate) fn dsse_rekord_2(payload: &[u8], signature: &[u8], certificate: &[u8]) -> Value {
    json!({"apiVersion": "0.0.2", "kind": "dsse", "spec": {"dsseV002": {
        "payloadHash": {"algorithm": "SHA2_256", "digest": b64(&Sha256::digest(payload))},
        "signatures": [{"content": b64(signature), "verifier": {
            "keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": {"rawBytes": b64(certificate)},
        }}],
    }}})
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = b64(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// DSSE's encoding of what is signed.
pub(crate) fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}
