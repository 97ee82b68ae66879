use serde::{Deserialize, Serialize};
use watchbell_image::Digest;

/// Whose package it is; the names are the types of package URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PackageKind {
    Deb,
    Rpm,
    Apk,
    Pypi,
    Conda,
    Npm,
    Cargo,
    Golang,
    Maven,
    Gem,
    Composer,
    /// A library without a package manager, known by its file's name: what Python wheels carry along.
    Generic,
}

/// Where something was seen: in a layer, or in a plain directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Of the layer as it lies in the store; nothing for a directory or a document.
    pub layer: Option<Digest>,
    /// From the root, without a leading slash.
    pub path: String,
}

/// What a package was read from; the more certain comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Evidence {
    /// The data base of a package manager, or the metadata that an installer leaves beside what it installed.
    Installed,
    /// What a compiler wrote into a program.
    Binary,
    /// The name of a file alone.
    FileName,
    /// A lock file: what was meant to be installed.
    LockFile,
    /// A bill of materials that somebody else wrote.
    Document,
}

/// The source that a distribution built a package from: its advisories speak of that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourcePackage {
    pub name: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    pub kind: PackageKind,
    /// As its ecosystem writes it: `group:artifact` for Maven, `@scope/name` for npm.
    pub name: String,
    /// In full: with epoch and revision where the ecosystem has them.
    pub version: String,
    pub architecture: Option<String>,
    pub source: Option<SourcePackage>,
    /// Who made a package of a distribution's format, as it says itself: of rpm always, empty where it says nothing; of dpkg only
    /// where that is certainly neither Debian nor Ubuntu.
    pub vendor: Option<String>,
    /// Expressions of SPDX where the package states one, else its own words.
    pub licences: Vec<String>,
    pub evidence: Evidence,
    /// Sorted; at least one unless the package came from a document.
    pub locations: Vec<Location>,
    /// The package of the distribution whose files this one is made of, by its place in [`Inventory::packages`]; the
    /// distribution's advisories speak for it then.
    pub owned_by: Option<usize>,
}

/// Of `/etc/os-release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    pub id: String,
    pub id_like: Vec<String>,
    pub version_id: Option<String>,
    pub codename: Option<String>,
    pub pretty_name: Option<String>,
}

/// Something that could not be read or is not known, so that the packages are not all: said, never passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    pub location: Location,
    pub reason: String,
}

impl Gap {
    /// Of the image as a whole.
    pub(crate) fn of_all(reason: String) -> Gap {
        Gap { location: Location { layer: None, path: String::new() }, reason }
    }
}

/// Everything that was found, in one order whatever the order of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    pub distribution: Option<Distribution>,
    pub packages: Vec<Package>,
    pub gaps: Vec<Gap>,
}
