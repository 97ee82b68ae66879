//! A bounded number of places. A newcomer always gets one; where all are taken, one is cleared for it.

use std::collections::{BTreeSet, HashMap};

use super::Holder;

/// Names a place that is taken.
pub(crate) type Number = u64;

/// Who has which places.
///
/// Whoever holds most gives up the oldest of theirs, the newcomer rather than another who holds as many. So a holder loses no
/// place to others while they hold no more than an equal part, however many others there are and whatever they do.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: usize,
    next: Number,
    held: HashMap<Holder, BTreeSet<Number>>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Places {
        Places { most, taken: 0, next: 0, held: HashMap::new() }
    }

    /// Takes a place, and names the one that was cleared for it.
    pub(crate) fn take(&mut self, holder: &Holder) -> (Number, Option<Number>) {
        let cleared = if self.taken < self.most { None } else { self.clear(holder) };
        let number = self.next;
        self.next += 1;
        self.held.entry(holder.clone()).or_default().insert(number);
        self.taken += 1;
        (number, cleared)
    }

    /// Gives a place back; one that was cleared is no longer there.
    pub(crate) fn leave(&mut self, holder: &Holder, number: Number) {
        if let Some(own) = self.held.get_mut(holder)
            && own.remove(&number)
        {
            self.taken -= 1;
            if own.is_empty() {
                self.held.remove(holder);
            }
        }
    }

    /// Clears a place though not all are taken: something else is short.
    pub(crate) fn clear_one(&mut self) -> Option<Number> {
        let fullest = self.fullest()?.clone();
        self.clear_oldest_of(&fullest)
    }

    fn clear(&mut self, newcomer: &Holder) -> Option<Number> {
        let count = |holder: &Holder| self.held.get(holder).map_or(0, BTreeSet::len);
        let fullest = self.fullest()?;
        let whose = if count(newcomer) >= count(fullest) { newcomer } else { fullest }.clone();
        self.clear_oldest_of(&whose)
    }

    /// Who holds most; of several with as many, who has held the longest.
    fn fullest(&self) -> Option<&Holder> {
        let rank = |own: &BTreeSet<Number>| (own.len(), std::cmp::Reverse(own.first().copied()));
        self.held.iter().max_by_key(|(_, own)| rank(own)).map(|(holder, _)| holder)
    }

    fn clear_oldest_of(&mut self, holder: &Holder) -> Option<Number> {
        let oldest = self.held.get(holder)?.first().copied()?;
        self.leave(holder, oldest);
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(n: u8) -> Holder {
        Holder::User(format!("u{n}").into())
    }

    #[test]
    fn whoever_holds_most_makes_room() {
        let mut places = Places::new(4);
        let flood: Vec<Number> = (0..3).map(|_| places.take(&user(1)).0).collect();
        let (other, cleared) = places.take(&user(2));
        assert_eq!(cleared, None);
        // All are taken: the flood goes on at its own cost, oldest first.
        let (fourth, cleared) = places.take(&user(1));
        assert_eq!(cleared, Some(flood[0]));
        // A newcomer, and one who has few, take from it too.
        assert_eq!(places.take(&user(3)).1, Some(flood[1]));
        assert_eq!(places.take(&user(2)).1, Some(flood[2]));
        // Two hold most now; who wants another gives up an own one.
        assert_eq!(places.take(&user(2)).1, Some(other));
        // What was cleared or given back counts no longer.
        places.leave(&user(1), flood[0]);
        places.leave(&user(1), fourth);
        assert_eq!(places.take(&user(9)).1, None);
    }

    #[test]
    fn something_else_being_short_clears_one() {
        let mut places = Places::new(9);
        assert_eq!(places.clear_one(), None);
        let first = places.take(&user(1)).0;
        places.take(&user(2));
        assert_eq!(places.clear_one(), Some(first), "the longest held of those who hold as many");
        assert!(places.clear_one().is_some() && places.clear_one().is_none());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u8),
        Leave(usize),
    }

    proptest! {
        /// Nobody loses a place to others while they hold no more than an equal part.
        #[test]
        fn an_equal_part_is_safe(
            most in 1usize..20,
            steps in prop::collection::vec(
                prop_oneof![3 => (0u8..6).prop_map(Step::Take), 1 => any::<usize>().prop_map(Step::Leave)], 0..200),
        ) {
            let mut places = Places::new(most);
            let mut open: Vec<(Holder, Number)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(who) => {
                        let holder = user(who);
                        let count = |of: &Holder| open.iter().filter(|(whose, _)| whose == of).count();
                        let others: BTreeSet<&Holder> = open.iter().map(|(whose, _)| whose).chain([&holder]).collect();
                        let part = most / others.len();
                        let (number, cleared) = places.take(&holder);
                        if let Some(cleared) = cleared {
                            prop_assert_eq!(open.len(), most);
                            let at = open.iter().position(|(_, open)| *open == cleared).unwrap();
                            let whose = open[at].0.clone();
                            prop_assert!(whose == holder || count(&whose) > part, "{} of {}", count(&whose), part);
                            prop_assert!(open.iter().all(|(of, number)| *of != whose || *number >= cleared), "not its oldest");
                            open.remove(at);
                        }
                        open.push((holder, number));
                    }
                    Step::Leave(which) if !open.is_empty() => {
                        let (whose, number) = open.remove(which % open.len());
                        places.leave(&whose, number);
                    }
                    Step::Leave(_) => {}
                }
                prop_assert!(open.len() <= most);
                prop_assert_eq!(places.taken, open.len());
            }
        }
    }
}
