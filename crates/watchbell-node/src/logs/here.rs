//! Which pods are here, and where they log: of those no log is removed to make room.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use watchbell_api::Uid;

use crate::place::{LogOwner, LogPlace};

/// A place is entered before the first file of its pod is made, and no other pod ever has it again. So whoever finds a file and
/// then no pod at its place knows that the pod has ended.
#[derive(Debug, Default)]
pub(crate) struct Here(Mutex<Pods>);

#[derive(Debug, Default)]
struct Pods {
    places: HashMap<LogPlace, Uid>,
    owners: HashMap<LogOwner, u32>,
    /// Pods so far.
    begun: u64,
    /// All pods that run since before this server are known.
    is_complete: bool,
}

impl Here {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod is taken up.
    pub(crate) fn begin(&self, place: LogPlace, pod: Uid) {
        let mut pods = self.pods();
        if pods.places.insert(place, pod).is_none() {
            *pods.owners.entry(place.owner()).or_insert(0) += 1;
        }
        pods.begun += 1;
    }

    /// It is over, and writes no more.
    pub(crate) fn end(&self, place: LogPlace, pod: Uid) {
        let mut pods = self.pods();
        if pods.places.get(&place) != Some(&pod) {
            return;
        }
        pods.places.remove(&place);
        if let Some(count) = pods.owners.get_mut(&place.owner()) {
            *count -= 1;
            if *count == 0 {
                pods.owners.remove(&place.owner());
            }
        }
    }

    pub(crate) fn complete(&self) {
        self.pods().is_complete = true;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.pods().is_complete
    }

    /// Whose place it is now.
    pub(crate) fn pod_at(&self, place: &LogPlace) -> Option<Uid> {
        self.pods().places.get(place).copied()
    }

    /// Whether a pod is here whose logs lie with this owner.
    pub(super) fn has(&self, owner: LogOwner) -> bool {
        self.pods().owners.contains_key(&owner)
    }

    /// Pods that are here, and pods that ever were.
    pub(super) fn counts(&self) -> (usize, u64) {
        let pods = self.pods();
        (pods.places.len(), pods.begun)
    }
}
