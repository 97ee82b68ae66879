//! Which log an entry of the journal is of. Each life of the log has a tree of its own, so an entry's place in the journal is
//! its place in a tree only before the first restore or change of keys.

use std::sync::Arc;

/// Where an entry stands in its log: what a proof of it is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    /// Names the log.
    pub origin: Arc<str>,
    /// In its tree, from 0.
    pub index: u64,
}

/// The logs of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// Which of the journal's entries, from 0, is the first of which log; in their order.
    firsts: Vec<(u64, Arc<str>)>,
}

impl Logs {
    /// Of the index that each log begins at, and its origin.
    pub fn new(firsts: impl IntoIterator<Item = (u64, String)>) -> Logs {
        let mut firsts: Vec<_> = firsts.into_iter().map(|(first, origin)| (first, origin.into())).collect();
        firsts.sort();
        Logs { firsts }
    }

    /// Where the journal's entry `index` stands; `None`: it was written before there were logs, and no log has it.
    pub fn place(&self, index: u64) -> Option<LogPlace> {
        let (first, origin) = self.firsts.iter().rev().find(|(first, _)| *first <= index)?;
        Some(LogPlace { origin: origin.clone(), index: index - first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_counted_from_the_first_one_of_its_log() {
        let logs = Logs::new([(10, "b".to_owned()), (4, "a".to_owned())]);
        let check = |index: u64, expect: Option<(&str, u64)>| {
            let place = logs.place(index);
            assert_eq!(place.as_ref().map(|place| (&*place.origin, place.index)), expect, "{index}");
        };
        check(0, None);
        check(3, None);
        check(4, Some(("a", 0)));
        check(9, Some(("a", 5)));
        check(10, Some(("b", 0)));
        check(u64::MAX, Some(("b", u64::MAX - 10)));
        assert_eq!(Logs::default().place(0), None);
    }
}
