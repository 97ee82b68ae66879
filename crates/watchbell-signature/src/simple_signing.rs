//! Simple signing: the payload that cosign and skopeo sign for an image (containers/image `atomic-signature.md`, as cosign's
//! signature specification takes it over).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::proto;
use crate::refused::Reason;

const BYTES_MAX: usize = 64 << 10;
const TYPE: &str = "cosign container image signature";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    #[expect(dead_code, reason = "named so that it is no unknown field")]
    optional: Option<IgnoredAny>,
}

/// What must be understood: a field that is not known here makes the signature count for nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

/// What the signer said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SimpleSigning {
    /// As which image it was signed; may be empty.
    pub(crate) reference: String,
    pub(crate) digest: String,
}

impl SimpleSigning {
    pub(crate) fn parse(payload: &[u8]) -> Result<SimpleSigning, Reason> {
        let parsed: Payload =
            proto::read(payload, BYTES_MAX).map_err(|reason| Reason::malformed("payload", reason))?;
        if parsed.critical.r#type != TYPE {
            return Err(Reason::OtherClaim(crate::dsse::excerpt(&parsed.critical.r#type)));
        }
        Ok(SimpleSigning {
            reference: parsed.critical.identity.docker_reference,
            digest: parsed.critical.image.docker_manifest_digest,
        })
    }
}

/// Whether what was signed as `reference` belongs to `repository` (`registry/path`, no tag).
pub(crate) fn is_of_repository(reference: &str, repository: &str) -> bool {
    watchbell_image::Reference::parse(reference).is_ok_and(|parsed| parsed.repository() == repository)
}

/// The payload for an image, as cosign writes it.
pub(crate) fn payload(reference: &str, digest: &str) -> Vec<u8> {
    serde_json::json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": TYPE,
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}
