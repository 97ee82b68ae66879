//! Which images pods use, so that none is removed under them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use watchbell_image::{Digest, Image};

use super::Prepared;

/// Images whose last use is remembered.
const ENDED_MAX: usize = 4096;

/// Counts who uses each image: pods, and who makes it ready for them.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    counts: Mutex<Counts>,
    /// Held while images are removed, and while one is looked up and counted: neither takes long, and nobody unpacks under it.
    removal: Mutex<()>,
}

#[derive(Debug, Default)]
struct Counts {
    users: HashMap<Digest, u32>,
    /// Removals so far. What was made ready before one of them is looked up again.
    generation: u64,
    /// When the last of its users let go of an image, counted in such ends.
    ended: HashMap<Digest, u64>,
    ends: u64,
    /// What still runs of a former server is not counted yet.
    is_incomplete: bool,
}

/// An image that stays while it is made ready.
pub(super) struct Held {
    pub(super) image: Image,
    pub(super) generation: u64,
    pub(super) _lease: Lease,
}

/// Why nothing can be removed: what runs is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incomplete;

/// The image is used as long as this lives.
#[derive(Debug)]
pub(crate) struct Lease {
    in_use: Arc<InUse>,
    digest: Digest,
}

impl InUse {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease on an image made ready; `None` when it may have been removed since.
    pub(crate) fn lease(self: &Arc<Self>, image: &Prepared) -> Option<Lease> {
        let mut counts = self.counts();
        if counts.generation != image.generation {
            return None;
        }
        *counts.users.entry(image.digest.clone()).or_insert(0) += 1;
        drop(counts);
        Some(Lease { in_use: self.clone(), digest: image.digest.clone() })
    }

    /// A lease for a container that runs already.
    pub(crate) fn hold(self: &Arc<Self>, digest: Digest) -> Lease {
        *self.counts().users.entry(digest.clone()).or_insert(0) += 1;
        Lease { in_use: self.clone(), digest }
    }

    /// The image that `find` gives, kept from removals from here on.
    pub(super) fn find<E>(
        self: &Arc<Self>,
        find: impl FnOnce() -> Result<Option<Image>, E>,
    ) -> Result<Option<Held>, E> {
        let _no_removal = self.removal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(image) = find()? else { return Ok(None) };
        let generation = self.counts().generation;
        let lease = self.hold(image.digest.clone());
        Ok(Some(Held { image, generation, _lease: lease }))
    }

    /// Grows with how lately an image was used, 0 for one that was not; `None` while it is.
    pub(super) fn last_used(&self, digest: &Digest) -> Option<u64> {
        let counts = self.counts();
        let is_used = counts.users.contains_key(digest);
        (!is_used).then(|| counts.ended.get(digest).copied().unwrap_or(0))
    }

    /// Until [`InUse::complete`] nothing is removed.
    pub(crate) fn incomplete() -> InUse {
        InUse { counts: Mutex::new(Counts { is_incomplete: true, ..Counts::default() }), ..InUse::default() }
    }

    /// All that runs is counted.
    pub(crate) fn complete(&self) {
        self.counts().is_incomplete = false;
    }

    /// Runs a removal; it learns which images are used.
    pub(crate) fn removing<T>(
        &self,
        remove: impl FnOnce(&dyn Fn(&Digest) -> bool) -> T,
    ) -> Result<T, Incomplete> {
        let _removal = self.removal.lock().unwrap_or_else(PoisonError::into_inner);
        // From here on nothing made ready before gets a lease; what has one is spared.
        let used: Vec<Digest> = {
            let mut counts = self.counts();
            if counts.is_incomplete {
                return Err(Incomplete);
            }
            counts.generation += 1;
            counts.users.keys().cloned().collect()
        };
        Ok(remove(&|digest| used.contains(digest)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.in_use.counts();
        if let Some(count) = counts.users.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(&self.digest);
                counts.ends += 1;
                let now = counts.ends;
                counts.ended.insert(self.digest.clone(), now);
                if counts.ended.len() > ENDED_MAX {
                    counts.ended.retain(|_, end| now - *end < ENDED_MAX as u64);
                }
            }
        }
    }
}
