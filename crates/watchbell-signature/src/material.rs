//! From what is attached to an image to signatures: cosign's layers with annotations, and bundles.

use std::collections::BTreeMap;

use serde::Deserialize;
use watchbell_image::{Artifact, ArtifactBlob, ArtifactManifest, Attachment};

use crate::bundle::{self, Bundle, BundleContent, Proof};
use crate::dsse::Envelope;
use crate::key::{blocks, from_hex};
use crate::log_entry::{LogEntry, LogId, Promise};
use crate::proto::{self, Bytes, Int64};
use crate::refused::Reason;

pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The annotations of cosign's signature specification.
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const REKOR: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// One signature, not verified yet.
#[derive(Clone, Debug)]
pub struct Material {
    /// The digest of the artifact that it came in, or where else it came from.
    pub origin: String,
    pub(crate) content: Result<Signed, Reason>,
}

#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) content: Content,
    pub(crate) proof: Proof,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    SimpleSigning {
        payload: Vec<u8>,
        signature: Vec<u8>,
    },
    /// Of the image's manifest.
    Manifest {
        signature: Vec<u8>,
        digest: Option<Vec<u8>>,
    },
    Envelope(Envelope),
}

/// Whether an artifact may hold signatures or attestations: the content of others need not be read.
pub fn is_signature(attachment: Attachment, manifest: &ArtifactManifest) -> bool {
    let is_known = |media_type: &str| {
        media_type == SIMPLE_SIGNING || media_type == ENVELOPE || media_type.starts_with(BUNDLE)
    };
    match attachment {
        Attachment::Signatures | Attachment::Attestations => true,
        Attachment::Sbom => false,
        Attachment::Referrer => manifest.layers.iter().any(|layer| is_known(&layer.media_type)),
    }
}

impl Material {
    /// Reads a bundle.
    pub fn bundle(origin: &str, bytes: &[u8]) -> Material {
        let content = Bundle::parse(bytes).map(|Bundle { content, proof }| Signed {
            content: match content {
                BundleContent::Message { signature, digest } => Content::Manifest { signature, digest },
                BundleContent::Envelope(envelope) => Content::Envelope(envelope),
            },
            proof,
        });
        Material { origin: origin.to_owned(), content }
    }

    /// Reads a layer whose annotations carry the signature and what shows whose it is. `None` for a type that is not known.
    pub fn annotated(
        origin: &str,
        media_type: &str,
        bytes: &[u8],
        annotations: &BTreeMap<String, String>,
    ) -> Option<Material> {
        let content = match media_type {
            SIMPLE_SIGNING => simple_signing(bytes, annotations),
            ENVELOPE => envelope(bytes),
            _ => return None,
        };
        let signed = content.and_then(|content| Ok(Signed { content, proof: annotated_proof(annotations)? }));
        Some(Material { origin: origin.to_owned(), content: signed })
    }

    /// The signatures in an artifact. What is malformed is one too: it is refused with its reason when it is verified.
    pub fn of(artifact: &Artifact) -> Vec<Material> {
        let origin = artifact.digest.to_string();
        let read = |ArtifactBlob { descriptor, bytes }: &ArtifactBlob| {
            if descriptor.media_type.starts_with(BUNDLE) {
                return Some(Material::bundle(&origin, bytes));
            }
            Material::annotated(&origin, &descriptor.media_type, bytes, &descriptor.annotations)
        };
        artifact.blobs.iter().filter_map(read).collect()
    }
}

fn simple_signing(payload: &[u8], annotations: &BTreeMap<String, String>) -> Result<Content, Reason> {
    let signature = annotations.get(SIGNATURE).and_then(|text| proto::decode(text));
    let signature =
        signature.ok_or_else(|| Reason::malformed("signature", "its annotation is not base64"))?;
    Ok(Content::SimpleSigning { payload: payload.to_vec(), signature })
}

fn envelope(bytes: &[u8]) -> Result<Content, Reason> {
    let envelope = proto::read(bytes, bundle::BYTES_MAX);
    envelope.map(Content::Envelope).map_err(|reason| Reason::malformed("envelope", reason))
}

/// cosign's form of what a bundle has: a log entry by its promise alone.
fn annotated_proof(annotations: &BTreeMap<String, String>) -> Result<Proof, Reason> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RekorBundle {
        signed_entry_timestamp: Bytes,
        payload: RekorPayload,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RekorPayload {
        body: Bytes,
        integrated_time: Int64,
        log_index: Int64,
        #[serde(rename = "logID")]
        log_id: String,
    }
    #[derive(Deserialize)]
    struct Stamped {
        #[serde(rename = "SignedRFC3161Timestamp")]
        signed: Bytes,
    }
    // An annotation may be there and empty.
    let annotation = |name: &str| annotations.get(name).filter(|text| !text.is_empty() && *text != "null");
    let mut proof = Proof::default();
    if let Some(pem) = annotation(CERTIFICATE) {
        proof.certificate = match blocks(pem.as_bytes()).as_deref() {
            Some([block]) if block.label == "CERTIFICATE" => Some(block.contents.clone()),
            _ => return Err(Reason::malformed("certificate", "it is no PEM file with one certificate")),
        };
    }
    if let Some(json) = annotation(REKOR) {
        let bundle: RekorBundle = proto::read(json.as_bytes(), bundle::BYTES_MAX)
            .map_err(|reason| Reason::malformed("log entry", reason))?;
        let key_id = from_hex(&bundle.payload.log_id)
            .ok_or_else(|| Reason::malformed("log entry", "its logID is no hexadecimal number"))?;
        proof.entries.push(LogEntry {
            log_index: bundle.payload.log_index,
            log_id: LogId { key_id: Bytes(key_id) },
            kind_version: None,
            integrated_time: bundle.payload.integrated_time,
            inclusion_promise: Some(Promise { signed_entry_timestamp: bundle.signed_entry_timestamp }),
            inclusion_proof: None,
            canonicalized_body: bundle.payload.body,
        });
    }
    if let Some(json) = annotation(TIMESTAMP) {
        let stamped: Stamped =
            proto::read(json.as_bytes(), 1 << 20).map_err(|reason| Reason::malformed("timestamp", reason))?;
        proof.timestamps.push(stamped.signed.0);
    }
    Ok(proof)
}
