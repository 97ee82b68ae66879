//! All rules that one subject holds at one place, by what they say: for those who hold so many that reading them one by one would
//! take long. Each text of a rule's lists has the set of rules that it stands in; a rule that allows a deed is in a set of each list.
//!
//! It is made when it is first asked for, and holds until a role changes. Many words take much memory, so what all sieves together
//! may have is bounded: who is beyond is read one by one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::rule::ALL;
use super::{Deed, Role, RoleRef, Rule};

/// A text that a sieve has, counted in places of a set: what the map needs for it.
const TEXT_COST: usize = 16;
/// What one sieve may have. To make such a one takes some tens of milliseconds.
const COST_MAX: usize = 1 << 20;
/// What all of them may have together: about 64 MiB.
const TOTAL_MAX: usize = 16 << 20;
/// A set that has more than one rule of so many is kept as a bit for each.
const DENSE_FROM: usize = 32;
/// So many rules that come near are looked at more closely.
const NEAR_LOOKED_AT: usize = 64;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// Which state of all roles something was made from. No two are the same, also where a change was taken back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp(u64);

impl Stamp {
    pub(super) fn next() -> Stamp {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Stamp(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Stamp {
    fn default() -> Stamp {
        Stamp::next()
    }
}

/// It says nothing of what is in an index.
impl PartialEq for Stamp {
    fn eq(&self, _: &Stamp) -> bool {
        true
    }
}

/// The sieve of a subject, once it was made.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<(Stamp, Option<Arc<Sieve>>)>>);

impl Kept {
    /// `None`: there is too much for one.
    pub(super) fn get<'a>(
        &self,
        stamp: Stamp,
        roles: impl Iterator<Item = (&'a RoleRef, &'a Arc<Role>)>,
    ) -> Option<Arc<Sieve>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, sieve)) if of.0 == stamp.0 => sieve.clone(),
            _ => {
                // What is made anew makes room first.
                *kept = None;
                let sieve = Sieve::of(roles).map(Arc::new);
                *kept = Some((stamp, sieve.clone()));
                sieve
            }
        }
    }
}

impl Clone for Kept {
    fn clone(&self) -> Kept {
        Kept(Mutex::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

/// It follows from what it is kept beside.
impl PartialEq for Kept {
    fn eq(&self, _: &Kept) -> bool {
        true
    }
}

/// Rules by number.
#[derive(Debug)]
enum Set {
    /// In ascending order.
    Sparse(Vec<u32>),
    /// A bit each.
    Dense(Box<[u64]>),
}

type Texts = HashMap<Box<str>, Set>;

#[derive(Debug)]
pub(super) struct Sieve {
    /// Which role each is in, and which of its rules it is.
    rules: Vec<(RoleRef, u32)>,
    verbs: Texts,
    groups: Texts,
    resources: Texts,
    names: Texts,
    /// Those that are about whatever name.
    unnamed: Set,
    cost: usize,
}

impl Drop for Sieve {
    fn drop(&mut self) {
        TOTAL.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

/// What came through.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sifted {
    /// The first rule that allows it.
    pub allows: Option<usize>,
    /// Some of those that lack one part at most.
    pub near: Vec<usize>,
}

impl Sieve {
    fn of<'a>(roles: impl Iterator<Item = (&'a RoleRef, &'a Arc<Role>)>) -> Option<Sieve> {
        let mut sieve = Sieve {
            rules: Vec::new(),
            verbs: Texts::new(),
            groups: Texts::new(),
            resources: Texts::new(),
            names: Texts::new(),
            unnamed: Set::Sparse(Vec::new()),
            cost: 0,
        };
        for (at, role) in roles {
            for (place, rule) in role.rules.iter().enumerate() {
                let number = u32::try_from(sieve.rules.len()).ok()?;
                sieve.rules.push((at.clone(), u32::try_from(place).ok()?));
                sieve.add(number, rule)?;
            }
        }
        let count = sieve.rules.len();
        for texts in [&mut sieve.verbs, &mut sieve.groups, &mut sieve.resources, &mut sieve.names] {
            texts.values_mut().for_each(|set| set.pack(count));
        }
        sieve.unnamed.pack(count);
        Some(sieve)
    }

    fn add(&mut self, number: u32, rule: &Rule) -> Option<()> {
        let before = self.cost;
        // Its place in the list of rules.
        self.cost += TEXT_COST;
        let lists = [
            (&mut self.verbs, &rule.verbs),
            (&mut self.groups, &rule.api_groups),
            (&mut self.resources, &rule.resources),
            (&mut self.names, &rule.resource_names),
        ];
        for (texts, words) in lists {
            for word in words {
                self.cost += 1;
                match texts.get_mut(word.as_str()) {
                    Some(set) => set.push(number),
                    None => {
                        self.cost += TEXT_COST + word.len() / size_of::<u32>();
                        texts.insert(word.as_str().into(), Set::Sparse(vec![number]));
                    }
                }
            }
        }
        if rule.resource_names.is_empty() {
            self.cost += 1;
            self.unnamed.push(number);
        }
        let total = TOTAL.fetch_add(self.cost - before, Ordering::Relaxed) + (self.cost - before);
        (self.cost <= COST_MAX && total <= TOTAL_MAX).then_some(())
    }

    pub(super) fn role_and_rule(&self, number: usize) -> (&RoleRef, usize) {
        let (role, rule) = &self.rules[number];
        (role, *rule as usize)
    }

    /// The rules that allow a deed on a resource, and those that nearly do. Nothing, for a path.
    pub(super) fn sift(&self, deed: &Deed<'_>) -> Sifted {
        let mut sifted = Sifted::default();
        let Deed::Resource { verb, group, resource, subresource, name, .. } = deed else { return sifted };
        let own =
            if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
        let all_of_sub = if subresource.is_empty() { String::new() } else { format!("*/{subresource}") };
        let mut verbs = Union::of([self.verbs.get(*verb), self.verbs.get(ALL)]);
        let mut groups = Union::of([self.groups.get(*group), self.groups.get(ALL)]);
        let of_sub = self.resources.get(all_of_sub.as_str()).filter(|_| !subresource.is_empty());
        let resources = [self.resources.get(own.as_str()), self.resources.get(ALL), of_sub];
        let mut resources = Union::of(resources);
        let mut names = Union::of([Some(&self.unnamed), self.names.get(*name)]);
        for word in 0..self.rules.len().div_ceil(64) {
            let [v, g, r, n] =
                [&mut verbs, &mut groups, &mut resources, &mut names].map(|set| set.word(word));
            let allows = v & g & r & n;
            if allows != 0 {
                sifted.allows = Some(word * 64 + allows.trailing_zeros() as usize);
                return sifted;
            }
            let mut near = (v & g & (r | n)) | (r & n & (v | g));
            while near != 0 && sifted.near.len() < NEAR_LOOKED_AT {
                sifted.near.push(word * 64 + near.trailing_zeros() as usize);
                near &= near - 1;
            }
        }
        sifted
    }
}

impl Set {
    fn push(&mut self, number: u32) {
        if let Set::Sparse(list) = self
            && list.last() != Some(&number)
        {
            list.push(number);
        }
    }

    fn pack(&mut self, count: usize) {
        let Set::Sparse(list) = self else { return };
        if list.len() * DENSE_FROM <= count {
            list.shrink_to_fit();
            return;
        }
        let mut bits = vec![0u64; count.div_ceil(64)].into_boxed_slice();
        for number in list {
            bits[*number as usize / 64] |= 1 << (*number % 64);
        }
        *self = Set::Dense(bits);
    }
}

/// Sets together, read from the front, 64 rules at a time.
struct Union<'a> {
    dense: Vec<&'a [u64]>,
    sparse: Vec<&'a [u32]>,
}

impl<'a> Union<'a> {
    fn of(sets: impl IntoIterator<Item = Option<&'a Set>>) -> Union<'a> {
        let mut union = Union { dense: Vec::new(), sparse: Vec::new() };
        for set in sets.into_iter().flatten() {
            match set {
                Set::Sparse(list) => union.sparse.push(list),
                Set::Dense(bits) => union.dense.push(bits),
            }
        }
        union
    }

    /// Words are asked for in ascending order.
    fn word(&mut self, word: usize) -> u64 {
        let mut bits = self.dense.iter().fold(0, |bits, set| bits | set[word]);
        for list in &mut self.sparse {
            while let Some((first, rest)) = list.split_first()
                && *first as usize / 64 == word
            {
                bits |= 1 << (*first % 64);
                *list = rest;
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::tests::law;
    use super::*;

    fn roles(rules: &[Vec<Value>]) -> Vec<(RoleRef, Arc<Role>)> {
        let role = |(n, rules): (usize, &Vec<Value>)| {
            let rules = rules.iter().map(|rule| serde_json::from_value(rule.clone()).unwrap()).collect();
            (RoleRef::ClusterRole(n.to_string().into()), Arc::new(Role { rules, aggregation: None }))
        };
        rules.iter().enumerate().map(role).collect()
    }

    fn sieve(roles: &[(RoleRef, Arc<Role>)]) -> Option<Sieve> {
        Sieve::of(roles.iter().map(|(at, role)| (at, role)))
    }

    proptest! {
        /// What comes through is what would be found one by one, and first.
        #[test]
        fn it_finds_what_reading_finds(
            rules in prop::collection::vec(prop::collection::vec(law::rule(), 0..4), 0..90),
            asked in prop::collection::vec(law::deed(), 12),
        ) {
            let roles = roles(&rules);
            let sieve = sieve(&roles).unwrap();
            let all: Vec<&Rule> = roles.iter().flat_map(|(_, role)| &role.rules).collect();
            for (number, rule) in all.iter().enumerate() {
                let (at, place) = sieve.role_and_rule(number);
                let (_, role) = roles.iter().find(|(own, _)| own == at).unwrap();
                prop_assert_eq!(&role.rules[place], *rule);
            }
            for deed in asked.iter().filter(|deed| matches!(deed, Deed::Resource { .. })) {
                let sifted = sieve.sift(deed);
                prop_assert_eq!(sifted.allows, all.iter().position(|rule| rule.allows(deed)));
                for number in sifted.near {
                    let fit = all[number].fit(deed);
                    prop_assert_eq!([fit.verb, fit.group, fit.resource, fit.name].map(u8::from).iter().sum::<u8>(), 3);
                }
            }
        }
    }

    #[test]
    fn what_would_take_too_much_memory_is_not_made() {
        let words: Vec<String> = (0..COST_MAX / TEXT_COST / 100).map(|n| n.to_string()).collect();
        let rule = Rule { verbs: words, ..Rule::default() };
        let wide = |n: usize| {
            let verbs = rule.verbs.iter().map(|verb| format!("{verb}-{n}")).collect();
            (
                RoleRef::ClusterRole(n.to_string().into()),
                Arc::new(Role { rules: vec![Rule { verbs, ..Rule::default() }], aggregation: None }),
            )
        };
        let many: Vec<_> = (0..120).map(wide).collect();
        assert!(sieve(&many).is_none());
        assert!(sieve(&many[..10]).is_some());
    }
}
