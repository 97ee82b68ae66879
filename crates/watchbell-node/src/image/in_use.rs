//! Which images pods use, so that none is removed under them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use watchbell_image::Digest;

use super::Prepared;

/// Counts the pods of each image, and keeps preparations and removals apart.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    counts: Mutex<Counts>,
    /// Read while an image is made ready, written while images are removed.
    gate: RwLock<()>,
}

#[derive(Debug, Default)]
struct Counts {
    pods: HashMap<Digest, u32>,
    /// Removals so far. What was made ready before one of them is looked up again.
    generation: u64,
}

/// A pod uses the image as long as this lives.
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
        *counts.pods.entry(image.digest.clone()).or_insert(0) += 1;
        drop(counts);
        Some(Lease { in_use: self.clone(), digest: image.digest.clone() })
    }

    /// A lease for a container that runs already.
    pub(crate) fn hold(self: &Arc<Self>, digest: Digest) -> Lease {
        *self.counts().pods.entry(digest.clone()).or_insert(0) += 1;
        Lease { in_use: self.clone(), digest }
    }

    /// Held while an image is made ready; gives the generation it belongs to.
    pub(super) fn preparing(&self) -> (RwLockReadGuard<'_, ()>, u64) {
        let guard = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.counts().generation;
        (guard, generation)
    }

    /// Runs a removal; it learns which images pods use.
    pub(crate) fn removing<T>(&self, remove: impl FnOnce(&dyn Fn(&Digest) -> bool) -> T) -> T {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // From here on nothing made ready before gets a lease; what has one is spared.
        let used: Vec<Digest> = {
            let mut counts = self.counts();
            counts.generation += 1;
            counts.pods.keys().cloned().collect()
        };
        remove(&|digest| used.contains(digest))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.in_use.counts();
        if let Some(count) = counts.pods.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.pods.remove(&self.digest);
            }
        }
    }
}
