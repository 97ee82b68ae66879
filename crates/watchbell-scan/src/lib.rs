//! What is in an image: its packages, read straight from the layers; the bill of materials made of them; and what is known
//! to be wrong with any of it.
//!
//! ```text
//!  layers ──one pass each, in parallel──▶ Inventory ──▶ CycloneDX · SPDX · table
//!                                            │
//!                     advisories (index) ────┴─▶ findings ──▶ table · JSON · SARIF · CycloneDX with VEX
//! ```

mod catalog;
pub mod configuration;
pub mod dockerfile;
mod elf;
pub mod examine;
pub mod finding;
mod inventory;
pub mod layers;
pub mod minimality;
pub mod report;
mod room;
mod sbom;
pub mod secret;
pub mod surface;
#[cfg(test)]
mod testing;
mod vendor;
pub mod vex;

pub use catalog::{Collector, catalog, catalog_directory, catalog_file};
pub use inventory::{Distribution, Evidence, Gap, Inventory, Location, Package, PackageKind, SourcePackage};
pub use sbom::{
    AttachedBill, BillForm, DocumentError, PurlError, ReadDocument, Subject, attached_bills, cyclonedx,
    is_bill, read_document, references, spdx,
};
