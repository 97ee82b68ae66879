//! What a log entry is about: it must be this signature, of this key or certificate, over these bytes. Else somebody has put
//! the proof of another signature beside this one (CVE-2022-36056).

use serde::Deserialize;

use crate::dsse::Envelope;
use crate::key::{Hash, blocks, from_hex};
use crate::log_entry::{KindVersion, LogEntry};
use crate::proto::{self, Bytes};
use crate::refused::Reason;

const BODY_BYTES_MAX: usize = 8 << 20;

/// The signature that the entry must be about.
pub(crate) struct Expected<'a> {
    pub(crate) signature: &'a [u8],
    /// What the signature is over: a message, or an envelope's encoding.
    pub(crate) signed: &'a [u8],
    pub(crate) envelope: Option<&'a Envelope>,
    pub(crate) signer: SignerBytes<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum SignerBytes<'a> {
    /// DER.
    Certificate(&'a [u8]),
    /// SubjectPublicKeyInfo in DER.
    Key(&'a [u8]),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<S> {
    spec: S,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    kind: String,
    api_version: String,
}

#[derive(Deserialize)]
struct HexHash {
    algorithm: String,
    value: String,
}

// hashedrekord 0.0.1
#[derive(Deserialize)]
struct HashedRekord1 {
    data: HashedData,
    signature: HashedSignature,
}

#[derive(Deserialize)]
struct HashedData {
    hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedSignature {
    content: Bytes,
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: Bytes,
}

// dsse 0.0.1
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse1 {
    payload_hash: HexHash,
    signatures: Vec<DsseSignature1>,
}

#[derive(Deserialize)]
struct DsseSignature1 {
    signature: Bytes,
    verifier: Bytes,
}

// intoto 0.0.2
#[derive(Deserialize)]
struct Intoto2 {
    content: IntotoContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent {
    envelope: IntotoEnvelope,
    payload_hash: HexHash,
}

#[derive(Deserialize)]
struct IntotoEnvelope {
    signatures: Vec<IntotoSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoSignature {
    /// Base64 of base64.
    sig: Bytes,
    public_key: Bytes,
}

// Rekor 2: hashedrekord 0.0.2 and dsse 0.0.2
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedRekord2 {
    hashed_rekord_v002: HashedRekord2Inner,
}

#[derive(Deserialize)]
struct HashedRekord2Inner {
    data: HashOutput,
    signature: Signature2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse2 {
    dsse_v002: Dsse2Inner,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse2Inner {
    payload_hash: HashOutput,
    signatures: Vec<Signature2>,
}

#[derive(Deserialize)]
struct HashOutput {
    algorithm: String,
    digest: Bytes,
}

#[derive(Deserialize)]
struct Signature2 {
    content: Bytes,
    verifier: Verifier2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier2 {
    x509_certificate: Option<RawBytes>,
    public_key: Option<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: Bytes,
}

/// Whether the entry's body is about `expected`. What the entry's own kind says is only believed when the body says it too.
pub(crate) fn check(entry: &LogEntry, expected: &Expected<'_>) -> Result<(), Reason> {
    let body = &entry.canonicalized_body.0;
    let head: Head = read(body)?;
    let kind = KindVersion { kind: head.kind, version: head.api_version };
    if entry.kind_version.as_ref().is_some_and(|said| *said != kind) {
        return Err(Reason::EntryMismatch("kind of entry"));
    }
    let unknown = || Reason::EntryUnknown(crate::dsse::excerpt(&format!("{} {}", kind.kind, kind.version)));
    match (kind.kind.as_str(), kind.version.as_str(), expected.envelope) {
        ("hashedrekord", "0.0.1", None) => {
            let Body::<HashedRekord1> { spec } = read(body)?;
            check_hex(&spec.data.hash, expected.signed)?;
            check_signature(&spec.signature.content.0, expected)?;
            check_pem(&spec.signature.public_key.content.0, expected)
        }
        ("dsse", "0.0.1", Some(envelope)) => {
            let Body::<Dsse1> { spec } = read(body)?;
            check_hex(&spec.payload_hash, envelope.payload())?;
            let [one] = spec.signatures.as_slice() else {
                return Err(Reason::EntryMismatch("number of signatures"));
            };
            check_signature(&one.signature.0, expected)?;
            check_pem(&one.verifier.0, expected)
        }
        ("intoto", "0.0.2", Some(envelope)) => {
            let Body::<Intoto2> { spec } = read(body)?;
            check_hex(&spec.content.payload_hash, envelope.payload())?;
            let [one] = spec.content.envelope.signatures.as_slice() else {
                return Err(Reason::EntryMismatch("number of signatures"));
            };
            let inner = std::str::from_utf8(&one.sig.0).ok().and_then(proto::decode);
            check_signature(&inner.ok_or(Reason::EntryMismatch("signature"))?, expected)?;
            check_pem(&one.public_key.0, expected)
        }
        // An envelope is logged by its encoding, which is what its signature is over.
        ("hashedrekord", "0.0.2", _) => {
            let Body { spec: HashedRekord2 { hashed_rekord_v002: spec } } = read(body)?;
            check_output(&spec.data, expected.signed)?;
            check_signature_2(&spec.signature, expected)
        }
        ("dsse", "0.0.2", Some(envelope)) => {
            let Body { spec: Dsse2 { dsse_v002: spec } } = read(body)?;
            check_output(&spec.payload_hash, envelope.payload())?;
            let [one] = spec.signatures.as_slice() else {
                return Err(Reason::EntryMismatch("number of signatures"));
            };
            check_signature_2(one, expected)
        }
        // Among others intoto 0.0.1, which does not say which signature it is of.
        _ => Err(unknown()),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Reason> {
    proto::read(body, BODY_BYTES_MAX).map_err(|reason| Reason::malformed("log entry's body", reason))
}

fn check_signature(found: &[u8], expected: &Expected<'_>) -> Result<(), Reason> {
    if found != expected.signature {
        return Err(Reason::EntryMismatch("signature"));
    }
    Ok(())
}

fn check_hex(found: &HexHash, content: &[u8]) -> Result<(), Reason> {
    let hash = match found.algorithm.as_str() {
        "sha256" => Hash::Sha256,
        "sha384" => Hash::Sha384,
        "sha512" => Hash::Sha512,
        other => {
            return Err(Reason::AlgorithmUnknown {
                what: "log entry",
                algorithm: crate::dsse::excerpt(other),
            });
        }
    };
    if from_hex(&found.value).as_deref() != Some(&hash.digest(content)) {
        return Err(Reason::EntryMismatch("digest"));
    }
    Ok(())
}

fn check_output(found: &HashOutput, content: &[u8]) -> Result<(), Reason> {
    let hash = match found.algorithm.as_str() {
        "SHA2_256" => Hash::Sha256,
        "SHA2_384" => Hash::Sha384,
        "SHA2_512" => Hash::Sha512,
        other => {
            return Err(Reason::AlgorithmUnknown {
                what: "log entry",
                algorithm: crate::dsse::excerpt(other),
            });
        }
    };
    if found.digest.0 != hash.digest(content) {
        return Err(Reason::EntryMismatch("digest"));
    }
    Ok(())
}

fn check_signature_2(found: &Signature2, expected: &Expected<'_>) -> Result<(), Reason> {
    check_signature(&found.content.0, expected)?;
    let is_the_signer = match (&found.verifier.x509_certificate, &found.verifier.public_key, expected.signer)
    {
        (Some(certificate), None, SignerBytes::Certificate(der)) => certificate.raw_bytes.0 == der,
        (None, Some(key), SignerBytes::Key(spki)) => key.raw_bytes.0 == spki,
        _ => false,
    };
    if !is_the_signer {
        return Err(Reason::EntryMismatch("signer"));
    }
    Ok(())
}

/// A PEM of the certificate or of the key.
fn check_pem(found: &[u8], expected: &Expected<'_>) -> Result<(), Reason> {
    let blocks = blocks(found).unwrap_or_default();
    let is_the_signer = match (blocks.as_slice(), expected.signer) {
        ([block], SignerBytes::Certificate(der)) => block.label == "CERTIFICATE" && block.contents == der,
        ([block], SignerBytes::Key(spki)) => block.label == "PUBLIC KEY" && block.contents == spki,
        _ => false,
    };
    if !is_the_signer {
        return Err(Reason::EntryMismatch("signer"));
    }
    Ok(())
}
