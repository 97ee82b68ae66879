//! What the pods of each namespace have together.

use std::collections::HashMap;
use std::sync::Arc;

use crate::share::{Places, Taken};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) connections: usize,
    pub(super) lookups: usize,
    pub(super) names: usize,
}

#[derive(Debug, Default)]
pub(super) struct Namespaces {
    all: Held,
    /// Those with a pod, and how many it has.
    each: HashMap<Arc<str>, (usize, Held)>,
}

impl Namespaces {
    /// A pod more; the name as it is held here.
    pub(super) fn enter(&mut self, namespace: &str) -> Arc<str> {
        let name = match self.each.get_key_value(namespace) {
            Some((name, _)) => Arc::clone(name),
            None => namespace.into(),
        };
        self.each.entry(Arc::clone(&name)).or_default().0 += 1;
        name
    }

    /// A pod less, which has nothing any more.
    pub(super) fn leave(&mut self, namespace: &str) {
        if let Some((pods, _)) = self.each.get_mut(namespace) {
            *pods -= 1;
            if *pods == 0 {
                self.each.remove(namespace);
            }
        }
    }

    pub(super) fn change(&mut self, namespace: &str, change: impl Fn(&mut Held)) {
        change(&mut self.all);
        if let Some((_, held)) = self.each.get_mut(namespace) {
            change(held);
        }
    }

    /// Whether a pod that has so many gets one more.
    pub(super) fn has_one(
        &self,
        places: Places,
        namespace: &str,
        by_pod: usize,
        which: impl Fn(&Held) -> usize,
    ) -> bool {
        let by_namespace = self.each.get(namespace).map_or(0, |(_, held)| which(held));
        places.has_one(Taken { by_all: which(&self.all), by_namespace, by_pod })
    }

    /// How many connections its pods have.
    pub(super) fn connections_of(&self, namespace: &str) -> usize {
        self.each.get(namespace).map_or(0, |(_, held)| held.connections)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all == Held::default() && self.each.is_empty()
    }
}
