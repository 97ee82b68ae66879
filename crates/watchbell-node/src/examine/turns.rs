//! Whose task is next: namespaces take turns, so that one with many or slow images holds back none but itself.
//!
//! ```text
//!   a: 3 2 1 ─┐
//!   b:     1 ─┼─▶ a1 b1 c1 a2 c2 a3   of one namespace some at a time, of one key (an image, a registry) one
//!   c:   2 1 ─┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Of one namespace that wait because somebody waits for them.
const WAITING_MAX: usize = 256;

/// Whether somebody waits for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A start does. No more than a bound of them wait.
    Now,
    /// Nobody does: when no start waits. They are as many as whoever gives them says.
    Later,
}

/// What a task takes while it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub whose: Arc<str>,
    /// Of what one task is done at a time, whoever wants it.
    pub key: Arc<str>,
}

pub(super) struct Turns<T> {
    now: Lines<T>,
    later: Lines<T>,
    busy: Vec<Hold>,
    /// So many tasks of one namespace are done at a time.
    each: usize,
}

impl<T> Turns<T> {
    pub(super) fn of(each: usize) -> Turns<T> {
        Turns { now: Lines::default(), later: Lines::default(), busy: Vec::new(), each }
    }

    /// Takes a task in, or gives it back where too many of its namespace wait.
    pub(super) fn push(&mut self, urgency: Urgency, hold: Hold, task: T) -> Result<(), T> {
        match urgency {
            Urgency::Now if self.now.count(&hold.whose) >= WAITING_MAX => return Err(task),
            Urgency::Now => self.now.push(hold, task),
            Urgency::Later => self.later.push(hold, task),
        }
        Ok(())
    }

    /// The next task that may begin, with what it holds until [`Turns::done`].
    pub(super) fn next(&mut self) -> Option<(Hold, T)> {
        let next = self.now.next(&self.busy, self.each).or_else(|| self.later.next(&self.busy, self.each));
        if let Some((hold, _)) = &next {
            self.busy.push(hold.clone());
        }
        next
    }

    pub(super) fn done(&mut self, hold: &Hold) {
        let at = self.busy.iter().position(|other| other == hold);
        at.map(|at| self.busy.swap_remove(at));
    }

    /// Forgets all that nobody waits for.
    pub(super) fn forget_later(&mut self) {
        self.later = Lines::default();
    }
}

/// A line of tasks for each namespace.
struct Lines<T> {
    /// Whose line is not empty; whose turn is next comes first.
    order: VecDeque<Arc<str>>,
    waiting: HashMap<Arc<str>, VecDeque<(Hold, T)>>,
}

impl<T> Default for Lines<T> {
    fn default() -> Lines<T> {
        Lines { order: VecDeque::new(), waiting: HashMap::new() }
    }
}

impl<T> Lines<T> {
    fn count(&self, whose: &str) -> usize {
        self.waiting.get(whose).map_or(0, VecDeque::len)
    }

    fn push(&mut self, hold: Hold, task: T) {
        let line = self.waiting.entry(hold.whose.clone()).or_default();
        if line.is_empty() {
            self.order.push_back(hold.whose.clone());
        }
        line.push_back((hold, task));
    }

    /// Whoever cannot begin now keeps the turn.
    fn next(&mut self, busy: &[Hold], each: usize) -> Option<(Hold, T)> {
        let is_free = |hold: &Hold| busy.iter().all(|other| other.key != hold.key);
        let (turn, at) = self.order.iter().enumerate().find_map(|(turn, whose)| {
            if busy.iter().filter(|other| other.whose == *whose).count() >= each {
                return None;
            }
            let at = self.waiting.get(whose)?.iter().position(|(hold, _)| is_free(hold))?;
            Some((turn, at))
        })?;
        let whose = self.order.remove(turn)?;
        let line = self.waiting.get_mut(&whose)?;
        let next = line.remove(at);
        if line.is_empty() {
            self.waiting.remove(&whose);
        } else {
            self.order.push_back(whose);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(turns: &mut Turns<String>, urgency: Urgency, whose: &str, key: &str) -> bool {
        let hold = Hold { whose: whose.into(), key: key.into() };
        turns.push(urgency, hold, format!("{whose} {key}")).is_ok()
    }

    /// What is done where each is done before the next begins.
    fn one_by_one(turns: &mut Turns<String>) -> Vec<String> {
        std::iter::from_fn(|| {
            let (hold, task) = turns.next()?;
            turns.done(&hold);
            Some(task)
        })
        .collect()
    }

    #[test]
    fn namespaces_take_turns_whoever_came_first() {
        let mut turns = Turns::of(1);
        for (whose, key) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5"), ("c", "6")] {
            assert!(push(&mut turns, Urgency::Now, whose, key));
        }
        assert_eq!(one_by_one(&mut turns), ["a 1", "b 4", "c 5", "a 2", "c 6", "a 3"]);
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn one_that_is_slow_holds_back_itself_alone() {
        let mut turns = Turns::of(1);
        for key in ["slow", "2", "3"] {
            push(&mut turns, Urgency::Now, "a", key);
        }
        let (slow, _) = turns.next().unwrap();
        assert_eq!(turns.next(), None, "its others wait, though nobody else has work");
        push(&mut turns, Urgency::Now, "b", "slow");
        assert_eq!(turns.next(), None, "one image is read once");
        push(&mut turns, Urgency::Now, "b", "4");
        push(&mut turns, Urgency::Later, "c", "5");
        assert_eq!(one_by_one(&mut turns), ["b 4", "c 5"]);
        turns.done(&slow);
        assert_eq!(one_by_one(&mut turns), ["a 2", "b slow", "a 3"], "who had to wait kept the turn");
    }

    #[test]
    fn who_waits_for_a_start_comes_first() {
        let mut turns = Turns::of(1);
        push(&mut turns, Urgency::Later, "a", "1");
        push(&mut turns, Urgency::Later, "a", "2");
        push(&mut turns, Urgency::Later, "b", "3");
        push(&mut turns, Urgency::Now, "a", "4");
        assert_eq!(turns.next().unwrap().1, "a 4");
        // Both are tasks of one namespace.
        let (hold, task) = turns.next().unwrap();
        assert_eq!((&*task, turns.next()), ("b 3", None));
        turns.done(&hold);
        turns.done(&Hold { whose: "a".into(), key: "4".into() });
        turns.forget_later();
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn no_more_wait_than_a_namespace_may_have() {
        let mut turns = Turns::of(1);
        let keys: Vec<String> = (0..=WAITING_MAX).map(|n| n.to_string()).collect();
        let taken = keys.iter().filter(|key| push(&mut turns, Urgency::Now, "a", key)).count();
        assert_eq!(taken, WAITING_MAX);
        assert!(push(&mut turns, Urgency::Now, "b", "1"), "another has room of its own");
        one_by_one(&mut turns);
        assert!(push(&mut turns, Urgency::Now, "a", "1"));
    }

    proptest! {
        /// Between two tasks of one namespace no other that waited has none, and everything is done once.
        #[test]
        fn nobody_is_passed_over(tasks in prop::collection::vec((0..4usize, 0..6usize), 1..60)) {
            let mut turns = Turns::of(1);
            for (n, (whose, key)) in tasks.iter().enumerate() {
                let hold = Hold { whose: whose.to_string().into(), key: key.to_string().into() };
                prop_assert!(turns.push(Urgency::Now, hold, (n, *whose)).is_ok());
            }
            let mut left = tasks.iter().map(|(whose, _)| *whose).collect::<Vec<_>>();
            let mut since: HashMap<usize, Vec<usize>> = HashMap::new();
            let mut done = Vec::new();
            while let Some((hold, (n, whose))) = turns.next() {
                turns.done(&hold);
                done.push(n);
                left.remove(left.iter().position(|other| *other == whose).unwrap());
                if let Some(others) = since.insert(whose, Vec::new()) {
                    prop_assert!(left.iter().all(|other| *other == whose || others.contains(other)));
                }
                since.iter_mut().filter(|(other, _)| **other != whose).for_each(|(_, seen)| seen.push(whose));
            }
            done.sort_unstable();
            prop_assert_eq!(done, (0..tasks.len()).collect::<Vec<_>>());
        }
    }
}
