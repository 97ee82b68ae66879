//! `index.json`: which names the store knows and which manifest each stands for.
//!
//! One descriptor a name. A name is kept as the canonical reference in the annotation that the OCI layout has for names.
//! When a tag moves or is taken away, its manifest stays known as `repository@digest` until it is pruned, so that what
//! runs by digest still finds it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{Shown, Store};
use crate::media_type::OCI_INDEX;
use crate::{Descriptor, Digest, Error, Reference};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The index through which a manifest was chosen, kept as a blob beside it.
const CHOSEN_FROM: &str = "dev.watchbell.image.index";
/// A file larger than this was not written here.
const INDEX_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile {
    schema_version: u32,
    #[serde(default = "oci_index")]
    media_type: String,
    manifests: Vec<Descriptor>,
}

fn oci_index() -> String {
    OCI_INDEX.to_owned()
}

/// One line of the index.
#[derive(Clone, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) descriptor: Descriptor,
    /// `None` for an image imported without a name.
    pub(crate) reference: Option<Reference>,
    /// The digest of the index through which it was chosen.
    pub(crate) chosen_from: Option<Digest>,
}

impl IndexEntry {
    /// Whether it is of this manifest, under a name of the repository.
    pub(super) fn is_of(&self, repository: &str, manifest: &Digest) -> bool {
        self.descriptor.digest == *manifest
            && self.reference.as_ref().is_some_and(|name| name.repository() == repository)
    }

    fn is_for(&self, wanted: &Reference) -> bool {
        let Some(reference) = &self.reference else { return false };
        match wanted.digest() {
            None => reference == wanted,
            Some(digest) => {
                reference.repository() == wanted.repository()
                    && (self.descriptor.digest == *digest || self.chosen_from.as_ref() == Some(digest))
            }
        }
    }

    /// Takes the tag away but remembers the repository.
    fn untagged(mut self) -> Self {
        self.reference = self.reference.map(|r| r.with_digest(self.descriptor.digest.clone()));
        self
    }
}

impl Store {
    /// Every line of the index.
    pub(crate) fn entries(&self) -> Result<Vec<IndexEntry>, Error> {
        let path = self.index_path();
        let corrupt = |reason: String| Error::CorruptIndex { path: path.clone(), reason };
        let size = path.metadata().map_err(Error::io("look at", &path))?.len();
        if size > INDEX_BYTES_MAX {
            return Err(corrupt(format!("it has {size} bytes")));
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let file: IndexFile = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
        file.manifests
            .into_iter()
            .map(|mut descriptor| {
                let reference = descriptor
                    .annotations
                    .remove(REF_NAME)
                    .map(|name| Reference::parse(&name))
                    .transpose()
                    .map_err(|e| corrupt(e.to_string()))?;
                let chosen_from = descriptor
                    .annotations
                    .remove(CHOSEN_FROM)
                    .map(|digest| Digest::parse(&digest))
                    .transpose()
                    .map_err(|e| corrupt(e.to_string()))?;
                Ok(IndexEntry { descriptor, reference, chosen_from })
            })
            .collect()
    }

    /// The line that `reference` names.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Option<IndexEntry>, Error> {
        Ok(self.entries()?.into_iter().find(|e| e.is_for(reference)))
    }

    /// Changes the index under its lock. `change` returns what the caller wants to know.
    pub(crate) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Vec<IndexEntry>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _lock = self.lock_index()?;
        let mut entries = self.entries()?;
        let result = change(&mut entries)?;
        let manifests = entries
            .into_iter()
            .map(|IndexEntry { mut descriptor, reference, chosen_from }| {
                if let Some(reference) = reference {
                    descriptor.annotations.insert(REF_NAME.to_owned(), reference.to_string());
                }
                if let Some(digest) = chosen_from {
                    descriptor.annotations.insert(CHOSEN_FROM.to_owned(), digest.to_string());
                }
                descriptor
            })
            .collect();
        let file = IndexFile { schema_version: 2, media_type: oci_index(), manifests };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("strings and numbers always serialize");
        bytes.push(b'\n');
        self.replace_file(&self.index_path(), &bytes)?;
        Ok(result)
    }

    /// Makes the added line's reference stand for its manifest, whose blobs are all in the store. What it stood for before
    /// stays known by digest. The image is for all.
    pub(crate) fn record(&self, added: IndexEntry) -> Result<(), Error> {
        self.change_index(|entries| {
            let digest = &added.descriptor.digest;
            match &added.reference {
                Some(reference) => self.forget_pulled(reference, digest)?,
                // Its own line may say no more than those that are here, and go.
                None => {
                    let same = entries.iter().filter(|entry| entry.descriptor.digest == *digest);
                    for reference in same.filter_map(|entry| entry.reference.as_ref()) {
                        self.forget_pulled(reference, digest)?;
                    }
                }
            }
            replace(entries, added);
            Ok(())
        })
    }

    /// The same for an image that a pod has pulled under this name.
    pub(crate) fn record_pulled(&self, added: IndexEntry, shown: Shown) -> Result<(), Error> {
        self.change_index(|entries| {
            if let Some(reference) = &added.reference {
                self.note_pulled(entries, reference, &added.descriptor.digest, shown)?;
            }
            replace(entries, added);
            Ok(())
        })
    }

    /// Gives the image that `reference` names the further name `name`.
    pub fn tag(&self, reference: &Reference, name: &Reference) -> Result<(), Error> {
        if name.digest().is_some() {
            return Err(Error::Reference {
                input: name.to_string(),
                reason: "a new name is a tag; the digest is the image's own",
            });
        }
        self.change_index(|entries| {
            let found =
                entries.iter().find(|e| e.is_for(reference)).ok_or_else(|| no_such_image(reference))?;
            let added = IndexEntry { reference: Some(name.clone()), ..found.clone() };
            replace(entries, added);
            Ok(())
        })
    }

    /// Takes a name away. The image itself stays until it is pruned.
    pub fn untag(&self, reference: &Reference) -> Result<(), Error> {
        self.change_index(|entries| {
            let position =
                entries.iter().position(|e| e.is_for(reference)).ok_or_else(|| no_such_image(reference))?;
            let entry = entries.remove(position);
            entries.push(entry.untagged());
            drop_redundant(entries);
            Ok(())
        })
    }
}

fn replace(entries: &mut Vec<IndexEntry>, added: IndexEntry) {
    let mut kept: Vec<IndexEntry> = Vec::with_capacity(entries.len() + 1);
    for entry in entries.drain(..) {
        let replaced = entry.reference.is_some() && entry.reference == added.reference;
        if !replaced {
            kept.push(entry);
        } else if entry.descriptor.digest != added.descriptor.digest {
            kept.push(entry.untagged());
        }
    }
    kept.push(added);
    drop_redundant(&mut kept);
    *entries = kept;
}

pub(super) fn no_such_image(reference: &Reference) -> Error {
    Error::NoSuchImage { reference: reference.familiar() }
}

/// Drops a line without a name, or with a digest alone, where another line says as much: the same manifest, repository
/// and index. Lines by tag all stay.
fn drop_redundant(entries: &mut Vec<IndexEntry>) {
    let mut kept: Vec<IndexEntry> = Vec::with_capacity(entries.len());
    // Lines with a tag first, then by digest, then nameless: what comes later may be redundant.
    entries.sort_by_key(|e| match &e.reference {
        Some(r) if r.tag().is_some() => 0,
        Some(_) => 1,
        None => 2,
    });
    for entry in entries.drain(..) {
        let redundant = kept.iter().any(|k| {
            let same_repository = match (&entry.reference, &k.reference) {
                (Some(e), Some(k)) => e.tag().is_none() && e.repository() == k.repository(),
                (None, _) => true,
                (Some(_), None) => false,
            };
            same_repository
                && k.descriptor.digest == entry.descriptor.digest
                && (entry.chosen_from.is_none() || entry.chosen_from == k.chosen_from)
        });
        if !redundant {
            kept.push(entry);
        }
    }
    *entries = kept;
}
