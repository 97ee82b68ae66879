//! A package as one file tells of it, before the files of an image are seen together.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::room::bytes_of;
use crate::{Evidence, PackageKind, SourcePackage};

/// Packages that one file may tell of; the largest lock files have some tens of thousands.
pub(crate) const ITEMS_MAX: usize = 200_000;
/// Files of one list; the kernel's has some ten thousand.
pub(crate) const PATHS_MAX: usize = 1_000_000;
/// Their paths together: many times what those of the largest packages have.
pub(crate) const PATHS_BYTES_MAX: usize = 64 << 20;
/// A name or a version; longer ones are of nobody's making.
pub(crate) const WORD_BYTES_MAX: usize = 1024;
/// Licences noted for one package, and bytes of each.
const LICENCES_MAX: usize = 64;
const LICENCE_BYTES_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: PackageKind,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: Option<String>,
    pub(crate) source: Option<SourcePackage>,
    pub(crate) vendor: Option<String>,
    pub(crate) licences: Vec<String>,
    pub(crate) evidence: Evidence,
    /// The files that belong to it, where the same file says so.
    pub(crate) files: PathSet,
}

impl Item {
    /// `None` when there is no name, or a name or a version that no package has.
    pub(crate) fn new(kind: PackageKind, name: &str, version: &str, evidence: Evidence) -> Option<Self> {
        let is_word = |word: &str| word.len() <= WORD_BYTES_MAX && !word.chars().any(char::is_control);
        let (name, version) = (name.trim(), version.trim());
        // Names of several parts have none that is empty.
        let is_name = name.split('/').all(|part| !part.is_empty());
        (is_name && is_word(name) && is_word(version)).then(|| Self {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            source: None,
            vendor: None,
            licences: Vec::new(),
            evidence,
            files: PathSet::default(),
        })
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let source = self.source.as_ref().map_or(0, |source| source.name.len() + source.version.len());
        size_of::<Self>()
            + self.name.len()
            + self.version.len()
            + self.architecture.as_ref().map_or(0, String::len)
            + source
            + self.vendor.as_ref().map_or(0, String::len)
            + bytes_of(&self.licences)
            + self.files.bytes()
    }

    pub(crate) fn licensed(mut self, licence: &str) -> Self {
        push_licence(&mut self.licences, licence);
        self
    }
}

/// Notes what a package says of its licence, once.
pub(crate) fn push_licence(licences: &mut Vec<String>, licence: &str) {
    let licence = licence.trim();
    // A whole text instead of a name says nothing that can be shown.
    let is_name = !licence.is_empty()
        && licence.len() <= LICENCE_BYTES_MAX
        && !licence.eq_ignore_ascii_case("unknown")
        && !licence.chars().any(char::is_control);
    if is_name && licences.len() < LICENCES_MAX && !licences.iter().any(|l| l == licence) {
        licences.push(licence.to_owned());
    }
}

/// Paths by their hashes: of a hundred thousand files nothing but "is it one of these" is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathSet {
    pub(crate) hashes: Vec<u64>,
    /// Of the paths that were hashed: a directory of 4 KB is said once, and hashed with each of its files.
    pub(crate) path_bytes: usize,
}

impl PathSet {
    /// Adds a path from the root, with or without a leading slash.
    pub(crate) fn insert(&mut self, path: &str) {
        if !self.is_full() {
            self.hashes.push(hash(path));
            self.path_bytes += path.len();
        }
    }

    /// It has as many as are looked at of one list: more are not taken.
    pub(crate) fn is_full(&self) -> bool {
        self.hashes.len() >= PATHS_MAX || self.path_bytes >= PATHS_BYTES_MAX
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.hashes.len() * size_of::<u64>()
    }
}

/// The same in every process, so that nothing that is shown depends on chance.
pub(crate) fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.trim_start_matches('/').hash(&mut hasher);
    hasher.finish()
}

/// Values of one JSON document: two bytes of it can become 32 in memory.
const VALUES_MAX: usize = 4_000_000;

/// A JSON document of foreign making.
pub(crate) fn json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    // Commas within strings count too: what is real has a tenth of the bound.
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > VALUES_MAX {
        return Err(format!("it has more than {VALUES_MAX} values"));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// The lines of a text of foreign making.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
    bytes.split(|b| *b == b'\n').map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)))
}
