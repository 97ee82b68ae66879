//! A map of bounded size. When it is full, what was used longest ago goes.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    /// With when each was used last.
    entries: HashMap<K, (V, u64)>,
    max: usize,
    uses: u64,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    pub(crate) fn of(max: usize) -> Recent<K, V> {
        Recent { entries: HashMap::new(), max, uses: 0 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    pub(crate) fn get_or_insert_with(&mut self, key: &K, value: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            self.make_room();
        }
        self.uses += 1;
        let (value, used) = self.entries.entry(key.clone()).or_insert_with(|| (value(), 0));
        *used = self.uses;
        value
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let mut new = Some(value);
        let known = self.get_or_insert_with(&key, || new.take().expect("it is taken once"));
        if let Some(value) = new {
            *known = value;
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }

    /// An eighth at a time, so that a full map is not looked through for each new entry.
    fn make_room(&mut self) {
        if self.entries.len() < self.max {
            return;
        }
        let mut used: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
        let last = used.len() / 8;
        let (_, until, _) = used.select_nth_unstable(last);
        let until = *until;
        self.entries.retain(|_, (_, used)| *used > until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut recent = Recent::of(16);
        for n in 0..16 {
            recent.insert(n, n);
        }
        assert_eq!(recent.get(&0), Some(&mut 0));
        recent.insert(16, 16);
        let mut left: Vec<i32> = recent.iter().map(|(key, _)| *key).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        recent.insert(16, 17);
        assert_eq!(recent.get(&16), Some(&mut 17));
        recent.retain(|key| *key == 16);
        assert_eq!(recent.iter().count(), 1);
    }
}
