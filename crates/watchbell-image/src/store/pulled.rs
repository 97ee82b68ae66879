//! Who has pulled an image: `DIR/images/pulled/sha256/<hex>-<repository>`, beside its line of the index. An image that is here
//! is no more everybody's than it is at its registry: it is used without asking there by those who have pulled it with the same
//! credentials, and by all where none were needed. (What kubelet does since `KubeletEnsureSecretPulledImages`, KEP-2535.)
//!
//! What was imported, built or pulled by this machine's administrator has no such file, and is for all.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{IndexEntry, Store, if_exists};
use crate::{CredentialSource, Digest, Error, Reference};

/// Credentials that are remembered of one image; the oldest are forgotten, and have to ask again.
const CREDENTIALS_MAX: usize = 256;

/// For whom an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PulledFor {
    /// Everybody on this machine, on the word of its administrator.
    #[default]
    All,
    /// A pod, and all who show what it has shown to the registry.
    Pod,
}

/// What the registry was shown.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    Credentials(Digest),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pulled {
    /// No credentials were needed, or they were the machine's.
    anyone: bool,
    /// Hashes, the newest last.
    credentials: Vec<Digest>,
}

impl Store {
    pub(super) fn pulled_dir(&self) -> PathBuf {
        self.images.join("pulled")
    }

    fn pulled_path(&self, repository: &str, manifest: &Digest) -> PathBuf {
        let name = super::attached::name_in(repository, manifest);
        self.pulled_dir().join(manifest.algorithm().as_str()).join(name)
    }

    /// Whether the image that is here under `reference` may be used by who has these credentials, without asking its registry.
    pub fn may_use(
        &self,
        reference: &Reference,
        manifest: &Digest,
        credentials: &CredentialSource,
    ) -> Result<bool, Error> {
        let Some(pulled) = self.pulled(&reference.repository(), manifest)? else { return Ok(true) };
        // Credentials that cannot be read open nothing.
        let shown = credentials.proof(reference).ok().flatten();
        Ok(pulled.anyone || shown.is_some_and(|shown| pulled.credentials.contains(&shown)))
    }

    /// The images that only pods' pulls brought, so that another can bring them again, each with one of its names.
    pub fn pulled_for_pods(&self) -> Result<Vec<(Digest, Reference)>, Error> {
        let entries = self.entries()?;
        let mut found: Vec<(Digest, Reference)> = Vec::new();
        for entry in &entries {
            let Some(name) = &entry.reference else { continue };
            let image = &entry.descriptor.digest;
            if found.iter().all(|(known, _)| known != image) && self.is_of_pods(&entries, image)? {
                found.push((image.clone(), name.clone()));
            }
        }
        Ok(found)
    }

    /// Whether it has names, and each is one by which a pod pulled it.
    pub(super) fn is_of_pods(&self, entries: &[IndexEntry], manifest: &Digest) -> Result<bool, Error> {
        let mut is_here = false;
        for entry in entries.iter().filter(|entry| entry.descriptor.digest == *manifest) {
            let Some(reference) = &entry.reference else { return Ok(false) };
            if self.pulled(&reference.repository(), manifest)?.is_none() {
                return Ok(false);
            }
            is_here = true;
        }
        Ok(is_here)
    }

    fn pulled(&self, repository: &str, manifest: &Digest) -> Result<Option<Pulled>, Error> {
        let path = self.pulled_path(repository, manifest);
        let bytes = if_exists(fs::read(&path)).map_err(Error::io("read", &path))?;
        // What cannot be read lets nobody in; each asks the registry, and it is written anew.
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Notes what a pod's pull has shown, before the image has its line. One that is here for all stays for all.
    pub(super) fn note_pulled(
        &self,
        entries: &[IndexEntry],
        reference: &Reference,
        manifest: &Digest,
        shown: Shown,
    ) -> Result<(), Error> {
        // Imported without a name: it is here for all under any.
        if entries.iter().any(|entry| entry.descriptor.digest == *manifest && entry.reference.is_none()) {
            return self.forget_pulled(reference, manifest);
        }
        let repository = reference.repository();
        let before = self.pulled(&repository, manifest)?;
        let is_here = entries.iter().any(|entry| entry.is_of(&repository, manifest));
        if is_here && before.is_none() {
            return Ok(());
        }
        // What was noted of an image that has gone since counts no more.
        let mut pulled = before.filter(|_| is_here).unwrap_or_default();
        match shown {
            Shown::Nothing => pulled.anyone = true,
            Shown::Credentials(shown) => {
                pulled.credentials.retain(|known| *known != shown);
                pulled.credentials.push(shown);
                let too_many = pulled.credentials.len().saturating_sub(CREDENTIALS_MAX);
                pulled.credentials.drain(..too_many);
            }
        }
        let json = serde_json::to_vec(&pulled).expect("strings always serialize");
        self.replace_file(&self.pulled_path(&repository, manifest), &json)
    }

    /// The same for one that need not be pulled again, as long as it is here.
    pub(crate) fn keep_for_all(&self, reference: &Reference, manifest: &Digest) -> Result<bool, Error> {
        let _lock = self.lock_index()?;
        let repository = reference.repository();
        let is_here = self.entries()?.iter().any(|entry| entry.is_of(&repository, manifest));
        if is_here {
            self.forget_pulled(reference, manifest)?;
        }
        Ok(is_here)
    }

    /// From here on the image is for all.
    pub(super) fn forget_pulled(&self, reference: &Reference, manifest: &Digest) -> Result<(), Error> {
        let path = self.pulled_path(&reference.repository(), manifest);
        if_exists(fs::remove_file(&path)).map_err(Error::io("remove", &path))?;
        Ok(())
    }

    /// Removes what was noted of images that are gone.
    pub(super) fn sweep_pulled(&self, entries: &[IndexEntry]) -> Result<(), Error> {
        let kept: HashSet<PathBuf> = entries
            .iter()
            .filter_map(|entry| {
                Some(self.pulled_path(&entry.reference.as_ref()?.repository(), &entry.descriptor.digest))
            })
            .collect();
        for algorithm in ["sha256", "sha512"] {
            for path in super::sweep::children(&self.pulled_dir().join(algorithm))? {
                if !kept.contains(&path) {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }
}
