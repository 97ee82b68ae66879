//! Who waits at one priority: a line for each namespace, and in it a group for each amount asked for. The pods of an
//! array ask for the same, so thousands of them are one group, and one look says whether any of them fits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use watchbell_api::Uid;

use super::demand::Amounts;

/// The pods of one priority.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Namespaces with pods that wait, by dominant share.
    order: BTreeSet<(u64, Arc<str>)>,
    lines: HashMap<Arc<str>, Line>,
    /// The heads of all groups of all namespaces, oldest first.
    ages: BTreeMap<(u64, Uid), Amounts>,
    /// No pod here asks for less than this in any resource. A lower bound: it follows pods that come at once, pods
    /// that go when a search has seen every group.
    floor: Option<Amounts>,
}

/// The pods of one priority and namespace.
#[derive(Debug, Default)]
struct Line {
    share: u64,
    groups: HashMap<Amounts, BTreeSet<(u64, Uid)>>,
    /// The oldest pod of each group.
    heads: BTreeMap<(u64, Uid), Amounts>,
}

/// A pod at the head of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub uid: Uid,
    pub asks: Amounts,
}

/// What a search of a level found.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The first pod in order that fits.
    pub fits: Option<Candidate>,
    pub groups_seen: usize,
}

impl Level {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn insert(&mut self, namespace: &Arc<str>, share: u64, seq: u64, uid: Uid, asks: Amounts) {
        self.floor = Some(self.floor.map_or(asks, |floor| floor.min(asks)));
        let line = self.lines.entry(namespace.clone()).or_insert_with(|| {
            self.order.insert((share, namespace.clone()));
            Line { share, ..Line::default() }
        });
        let group = line.groups.entry(asks).or_default();
        let head = group.first().copied();
        group.insert((seq, uid));
        if head.is_none_or(|head| (seq, uid) < head) {
            if let Some(head) = head {
                line.heads.remove(&head);
                self.ages.remove(&head);
            }
            line.heads.insert((seq, uid), asks);
            self.ages.insert((seq, uid), asks);
        }
    }

    pub(super) fn remove(&mut self, namespace: &Arc<str>, seq: u64, uid: Uid, asks: Amounts) {
        let Some(line) = self.lines.get_mut(namespace) else { return };
        let Some(group) = line.groups.get_mut(&asks) else { return };
        group.remove(&(seq, uid));
        let next = group.first().copied();
        if next.is_none() {
            line.groups.remove(&asks);
        }
        if line.heads.remove(&(seq, uid)).is_some() {
            self.ages.remove(&(seq, uid));
            if let Some(next) = next {
                line.heads.insert(next, asks);
                self.ages.insert(next, asks);
            }
        }
        if line.groups.is_empty() {
            self.order.remove(&(line.share, namespace.clone()));
            self.lines.remove(namespace);
        }
    }

    /// The namespace's share changed.
    pub(super) fn reorder(&mut self, namespace: &Arc<str>, share: u64) {
        let Some(line) = self.lines.get_mut(namespace) else { return };
        if line.share != share {
            self.order.remove(&(line.share, namespace.clone()));
            self.order.insert((share, namespace.clone()));
            line.share = share;
        }
    }

    /// Looks for the first pod that fits into `room`, at no more than `groups_max` groups.
    pub(super) fn search(&mut self, room: &Amounts, groups_max: usize) -> Search {
        let mut search = Search::default();
        if self.floor.is_some_and(|floor| !floor.fits_in(room)) {
            return search;
        }
        let mut floor: Option<Amounts> = None;
        for candidate in self.heads() {
            if search.groups_seen == groups_max {
                return search;
            }
            search.groups_seen += 1;
            if candidate.asks.fits_in(room) {
                search.fits = Some(candidate);
                return search;
            }
            floor = Some(floor.map_or(candidate.asks, |floor| floor.min(candidate.asks)));
        }
        self.floor = floor;
        search
    }

    /// The pod that waits longest, unless it would fit and only waits for its turn.
    pub(super) fn blocked(&self, room: &Amounts) -> Option<Uid> {
        let (&(_, uid), asks) = self.ages.first_key_value()?;
        (!asks.fits_in(room)).then_some(uid)
    }

    /// The head of every group, the one that waits longest first.
    pub(super) fn by_age(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.ages.iter().map(|(&(_, uid), &asks)| Candidate { uid, asks })
    }

    /// The head of every group, in order.
    fn heads(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.order
            .iter()
            .flat_map(|(_, namespace)| self.lines.get(namespace))
            .flat_map(|line| line.heads.iter().map(|(&(_, uid), &asks)| Candidate { uid, asks }))
    }
}
