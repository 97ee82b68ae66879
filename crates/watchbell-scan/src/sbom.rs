//! Bills of materials: CycloneDX 1.6 and SPDX 2.3, written and read.
//!
//! What is written depends on the inventory, the subject and the time that is given, and on nothing else: the same image gives
//! the same document, byte for byte.

mod attached;
mod cyclonedx;
mod licence;
mod purl;
mod read;
mod spdx;

pub use attached::{AttachedBill, BillForm, attached_bills, is_bill};
pub use purl::PurlError;
pub use read::{DocumentError, ReadDocument, read_document};

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_image::{Digest, Image};

use crate::{Distribution, Inventory, Package};

/// What the bill is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As its user calls it: `registry.example/app:1`, a path.
    pub name: String,
    /// Of the image's manifest; nothing for a directory.
    pub digest: Option<Digest>,
    /// RFC 3339 in whole seconds and UTC: when the bill is said to be made. An image's own time makes bills that can be made
    /// again.
    pub time: String,
}

impl Subject {
    /// The image by its name, at the time that it states itself, so that the bill can be made again.
    pub fn of_image(name: &str, image: &Image) -> Self {
        let created = image.config.created.as_deref().and_then(|c| c.parse::<Timestamp>().ok());
        Self {
            name: name.to_owned(),
            digest: Some(image.digest.clone()),
            time: time(created.unwrap_or(Timestamp::UNIX_EPOCH)),
        }
    }
}

/// As the forms want it.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The bill in CycloneDX's form (1.6, JSON).
pub fn cyclonedx(inventory: &Inventory, subject: &Subject) -> Value {
    cyclonedx::write(inventory, subject)
}

/// The bill in SPDX's form (2.3, JSON).
pub fn spdx(inventory: &Inventory, subject: &Subject) -> Value {
    spdx::write(inventory, subject)
}

impl Package {
    /// The package URL, with the qualifiers of its type; those of distributions name the release (package-url/purl-spec).
    pub fn purl(&self, distribution: Option<&Distribution>) -> String {
        purl::write(self, distribution)
    }
}

/// What a document calls each package, in the order of the inventory: its package URL, and where that is there twice (a package
/// that a distribution owns and the same one beside it) a number behind it.
pub fn references(inventory: &Inventory) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    inventory
        .packages
        .iter()
        .map(|package| {
            let purl = package.purl(inventory.distribution.as_ref());
            let count = seen.entry(purl.clone()).or_default();
            *count += 1;
            if *count == 1 { purl } else { format!("{purl}#{count}") }
        })
        .collect()
}

/// Who made it, in every document.
const TOOL: &str = "watchbell";
const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests;
