//! Devices of the machine, and which pod holds which: each with one pod at most.
//!
//! A device is leased when its pod gets room and free again when the pod has ended. Which ones a pod holds is part of its
//! status, so that it outlives the server. One that vanishes while it is held is lost to others too; its pod is not ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use watchbell_api::Uid;

/// Kinds with a place in amounts. A machine has one or two; MIG profiles may each be one.
pub const KINDS_MAX: usize = 8;

/// The devices there are, by their full names (`vendor.com/class=name`), under their kinds. They are leased in this order.
pub type Pools = BTreeMap<Arc<str>, Vec<Arc<str>>>;

#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Each by its place in amounts.
    kinds: Vec<Arc<str>>,
    there: Vec<Vec<Arc<str>>>,
    held: HashMap<Arc<str>, Uid>,
    by_pod: HashMap<Uid, Vec<Arc<str>>>,
}

pub(super) type Counts = [u32; KINDS_MAX];

impl Devices {
    /// What there is from now on; kinds beyond [`KINDS_MAX`] are as if there were none. Who holds what stays. Amounts that were
    /// made before mean nothing any more.
    pub(super) fn set(&mut self, pools: &Pools) {
        (self.kinds, self.there) =
            pools.iter().take(KINDS_MAX).map(|(kind, names)| (kind.clone(), names.clone())).unzip();
    }

    /// Of each kind.
    pub(super) fn count(&self) -> Counts {
        self.each(<[Arc<str>]>::len)
    }

    pub(super) fn free(&self) -> Counts {
        self.each(|there| there.iter().filter(|name| !self.held.contains_key(*name)).count())
    }

    fn each(&self, count: impl Fn(&[Arc<str>]) -> usize) -> Counts {
        let mut counts = Counts::default();
        for (there, place) in self.there.iter().zip(&mut counts) {
            *place = u32::try_from(count(there)).unwrap_or(u32::MAX);
        }
        counts
    }

    /// What is asked for, by place; kinds that nobody ever described have none.
    pub(super) fn asked(&self, asked: &BTreeMap<Arc<str>, u64>) -> Counts {
        let mut counts = Counts::default();
        for (kind, count) in asked {
            if let Some(place) = self.kinds.iter().position(|known| known == kind) {
                counts[place] = u32::try_from(*count).unwrap_or(u32::MAX);
            }
        }
        counts
    }

    /// How many of a kind there are, and how many of them are free.
    pub(super) fn of_kind(&self, kind: &str) -> (u64, u64) {
        match self.kinds.iter().position(|known| **known == *kind) {
            Some(place) => (u64::from(self.count()[place]), u64::from(self.free()[place])),
            None => (0, 0),
        }
    }

    /// Free devices for what is asked; fewer when there are not so many.
    pub(super) fn choose(&self, asked: &BTreeMap<Arc<str>, u64>) -> Vec<Arc<str>> {
        let mut chosen = Vec::new();
        for (kind, count) in asked {
            let Some(place) = self.kinds.iter().position(|known| known == kind) else { continue };
            let free = self.there[place].iter().filter(|name| !self.held.contains_key(*name));
            chosen.extend(free.take(usize::try_from(*count).unwrap_or(usize::MAX)).cloned());
        }
        chosen
    }

    /// Whoever held them before holds them no more: what is durable of the newest pod is right.
    pub(super) fn hold(&mut self, uid: Uid, names: &[Arc<str>]) {
        if names.is_empty() {
            return;
        }
        for name in names {
            self.held.insert(name.clone(), uid);
        }
        self.by_pod.insert(uid, names.to_vec());
    }

    pub(super) fn release(&mut self, uid: Uid) {
        for name in self.by_pod.remove(&uid).into_iter().flatten() {
            if self.held.get(&name) == Some(&uid) {
                self.held.remove(&name);
            }
        }
    }

    pub(super) fn held_by(&self, uid: Uid) -> &[Arc<str>] {
        self.by_pod.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// What would be free if the pod ended: not what has vanished meanwhile.
    pub(super) fn freed_by(&self, uid: Uid) -> Counts {
        let held: BTreeSet<&Arc<str>> = self.held_by(uid).iter().collect();
        self.each(|there| there.iter().filter(|name| held.contains(name)).count())
    }
}
