//! Bills that lie beside an image at a registry or in a layout, and the blob that ours becomes there.

use watchbell_image::{Artifact, ArtifactManifest, Attachment, Digest, NewBlob};

use super::{DocumentError, ReadDocument, Subject, read_document};
use crate::{Gap, Inventory, Location};

/// Media types of bills, as their specifications register them and as tools write them.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.cyclonedx+json",
    "application/spdx+json",
    "text/spdx+json",
    "application/vnd.syft+json",
];

/// The form of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillForm {
    CycloneDx,
    Spdx,
}

impl BillForm {
    /// Also the artifact type under which it is attached.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => MEDIA_TYPES[0],
            Self::Spdx => MEDIA_TYPES[1],
        }
    }

    /// The bill as it is attached to an image.
    pub fn blob(self, inventory: &Inventory, subject: &Subject) -> NewBlob {
        let document = match self {
            Self::CycloneDx => super::cyclonedx(inventory, subject),
            Self::Spdx => super::spdx(inventory, subject),
        };
        NewBlob {
            media_type: self.media_type().to_owned(),
            bytes: document.to_string().into_bytes(),
            annotations: Vec::new(),
        }
    }
}

/// Which attachments are bills: for the functions that read attachments. A descriptor's type is nobody's word here, the
/// manifest's and its layers' are.
pub fn is_bill(attachment: Attachment, manifest: &ArtifactManifest) -> bool {
    attachment == Attachment::Sbom
        || is_media_type(&manifest.artifact_type)
        || manifest.layers.iter().any(|layer| is_media_type(&layer.media_type))
}

fn is_media_type(text: &str) -> bool {
    let bare = text.split(';').next().unwrap_or(text).trim();
    MEDIA_TYPES.contains(&bare)
}

/// A bill that was found beside an image.
#[derive(Debug)]
pub struct AttachedBill {
    /// Of the artifact's manifest.
    pub artifact: Digest,
    pub read: Result<ReadDocument, DocumentError>,
}

/// Reads the bills among what is attached to `subject`, in the order of their digests. Nothing is proved by where a bill lies:
/// whoever may push to the repository put it there, and one that says it is of another image is told as that.
pub fn attached_bills(subject: &Digest, artifacts: &[Artifact]) -> Vec<AttachedBill> {
    let mut bills: Vec<AttachedBill> = Vec::new();
    for artifact in artifacts.iter().filter(|a| is_bill(a.attachment, &a.manifest)) {
        for blob in &artifact.blobs {
            let mut read = read_document(&blob.bytes);
            if let Ok(document) = &mut read
                && let Some(named) = document.digest.as_ref().filter(|named| *named != subject)
            {
                let reason = format!("it is attached to {subject} and says it is of {named}");
                let location = Location { layer: None, path: document.subject.clone().unwrap_or_default() };
                document.inventory.gaps.insert(0, Gap { location, reason });
            }
            bills.push(AttachedBill { artifact: artifact.digest.clone(), read });
        }
    }
    bills.sort_by(|a, b| a.artifact.cmp(&b.artifact));
    bills
}
