//! sigstore's bundles, versions 0.1 to 0.3 (`application/vnd.dev.sigstore.bundle`, protobuf's JSON).

use serde::Deserialize;

use crate::dsse::{Envelope, excerpt};
use crate::log_entry::LogEntry;
use crate::proto::{self, Bytes};
use crate::refused::Reason;

/// An attestation may carry a whole bill of materials.
pub(crate) const BYTES_MAX: usize = 32 << 20;
const ENTRIES_MAX: usize = 8;
const TIMESTAMPS_MAX: usize = 8;

/// What a bundle holds.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) content: BundleContent,
    pub(crate) proof: Proof,
}

#[derive(Clone, Debug)]
pub(crate) enum BundleContent {
    /// A signature of the image's manifest. The digest, when it is there, says which.
    Message {
        signature: Vec<u8>,
        digest: Option<Vec<u8>>,
    },
    Envelope(Envelope),
}

/// What shows who signed, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    /// DER.
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) entries: Vec<LogEntry>,
    /// RFC 3161, DER.
    pub(crate) timestamps: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBundle {
    media_type: String,
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<serde::de::IgnoredAny>,
    certificate: Option<RawCertificate>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<LogEntry>,
    timestamp_verification_data: Option<TimestampData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: Bytes,
}

#[derive(Deserialize)]
struct Chain {
    #[serde(default)]
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimestampData {
    #[serde(default)]
    rfc3161_timestamps: Vec<SignedTimestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedTimestamp {
    signed_timestamp: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: Bytes,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: Bytes,
}

/// What the versions differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V01,
    V02,
    V03,
}

impl Bundle {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Bundle, Reason> {
        let malformed = |reason: &str| Reason::malformed("bundle", reason);
        let raw: RawBundle =
            proto::read(bytes, BYTES_MAX).map_err(|reason| Reason::malformed("bundle", reason))?;
        let version = match raw.media_type.as_str() {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => Version::V01,
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => Version::V02,
            "application/vnd.dev.sigstore.bundle+json;version=0.3"
            | "application/vnd.dev.sigstore.bundle.v0.3+json" => Version::V03,
            other => {
                return Err(Reason::malformed("bundle", format!("its media type is \"{}\"", excerpt(other))));
            }
        };
        let material = raw.verification_material;
        if material.tlog_entries.len() > ENTRIES_MAX {
            return Err(malformed("it has more than 8 log entries"));
        }
        for entry in &material.tlog_entries {
            let has_proof = entry.inclusion_proof.as_ref().is_some_and(|proof| proof.checkpoint.is_some());
            match version {
                Version::V01 if entry.inclusion_promise.is_none() => {
                    return Err(malformed("a log entry of version 0.1 has no promise"));
                }
                Version::V02 | Version::V03 if !has_proof => {
                    return Err(malformed("a log entry has no inclusion proof with a checkpoint"));
                }
                _ => {}
            }
            if entry.kind_version.is_none() {
                return Err(malformed("a log entry does not say its kind"));
            }
        }
        let certificate = match (material.certificate, material.x509_certificate_chain, material.public_key) {
            (Some(certificate), None, None) if version == Version::V03 => Some(certificate.raw_bytes.0),
            // The others of the chain are the trust root's to say.
            (None, Some(chain), None) if version != Version::V03 => {
                let first = chain.certificates.into_iter().next();
                Some(first.ok_or_else(|| malformed("its chain of certificates is empty"))?.raw_bytes.0)
            }
            (None, None, Some(_)) => None,
            _ => return Err(malformed("it needs one of certificate and publicKey, as its version has them")),
        };
        let timestamps: Vec<Vec<u8>> = material
            .timestamp_verification_data
            .map(|data| data.rfc3161_timestamps.into_iter().map(|t| t.signed_timestamp.0).collect())
            .unwrap_or_default();
        if timestamps.len() > TIMESTAMPS_MAX {
            return Err(malformed("it has more than 8 timestamps"));
        }
        let content = match (raw.message_signature, raw.dsse_envelope) {
            (Some(message), None) => BundleContent::Message {
                signature: message.signature.0,
                digest: message.message_digest.map(sha256).transpose()?,
            },
            (None, Some(envelope)) => BundleContent::Envelope(envelope),
            _ => return Err(malformed("it needs one of messageSignature and dsseEnvelope")),
        };
        Ok(Bundle { content, proof: Proof { certificate, entries: material.tlog_entries, timestamps } })
    }
}

fn sha256(digest: MessageDigest) -> Result<Vec<u8>, Reason> {
    match digest.algorithm.as_str() {
        "SHA2_256" => Ok(digest.digest.0),
        other => Err(Reason::AlgorithmUnknown { what: "message digest", algorithm: excerpt(other) }),
    }
}
