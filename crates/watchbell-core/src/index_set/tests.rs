use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{IndexSet, ParseIndexSetError};

#[derive(Debug, Clone)]
enum Op {
    Insert(u32),
    Remove(u32),
    Truncate(u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let index = prop_oneof![8 => 0u32..64, 1 => u32::MAX - 3..=u32::MAX];
    let op = prop_oneof![
        6 => index.clone().prop_map(Op::Insert),
        3 => index.clone().prop_map(Op::Remove),
        1 => index.prop_map(Op::Truncate),
    ];
    proptest::collection::vec(op, 0..120)
}

proptest! {
    #[test]
    fn behaves_as_a_set(ops in ops()) {
        let mut set = IndexSet::new();
        let mut model = BTreeSet::new();
        for op in ops {
            match op {
                Op::Insert(i) => prop_assert_eq!(set.insert(i), model.insert(i)),
                Op::Remove(i) => prop_assert_eq!(set.remove(i), model.remove(&i)),
                Op::Truncate(n) => {
                    set.truncate(n);
                    model.retain(|&i| i < n);
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
        }
        let mut end: Option<u64> = None;
        for (first, last) in set.ranges() {
            prop_assert!(first <= last && end.is_none_or(|end| u64::from(first) > end + 1), "{:?}", set);
            end = Some(u64::from(last));
        }
        for i in 0..70 {
            prop_assert_eq!(set.contains(i), model.contains(&i));
            prop_assert_eq!(set.first_missing(i), (i..=u32::MAX).find(|j| !model.contains(j)));
        }
        for limit in [0, 1, 40, 70] {
            prop_assert_eq!(set.complement(limit), (0..limit).filter(|i| !model.contains(i)).collect());
        }
    }

    #[test]
    fn text_and_journal_read_back(members in proptest::collection::btree_set(0u32..300, 0..80)) {
        let set: IndexSet = members.iter().copied().collect();
        prop_assert_eq!(IndexSet::parse(&set.to_string(), 300), Ok(set.clone()));
        let bytes = postcard::to_allocvec(&set).expect("encodes");
        prop_assert_eq!(postcard::from_bytes::<IndexSet>(&bytes).expect("decodes"), set);
    }

    #[test]
    fn counts_what_two_sets_share(
        a in proptest::collection::btree_set(0u32..100, 0..60),
        b in proptest::collection::btree_set(0u32..100, 0..60),
    ) {
        let (left, right): (IndexSet, IndexSet) = (a.iter().copied().collect(), b.iter().copied().collect());
        prop_assert_eq!(left.intersection_len(&right), a.intersection(&b).count() as u64);
        let both: IndexSet = a.intersection(&b).copied().collect();
        prop_assert_eq!(left.intersection(&right), both);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in ".{0,24}") {
        if let Ok(set) = postcard::from_bytes::<IndexSet>(&bytes) {
            prop_assert_eq!(set.len(), set.ranges().map(|(a, b)| u64::from(b - a) + 1).sum::<u64>());
        }
        let _ = IndexSet::parse(&text, 100);
    }
}

#[test]
fn a_long_run_is_one_range() {
    let mut set: IndexSet = (0..100_000).collect();
    assert_eq!(set.to_string(), "0-99999");
    assert_eq!(postcard::to_allocvec(&set).expect("encodes").len(), 5);
    assert!(set.remove(40_000));
    assert_eq!(set.to_string(), "0-39999,40001-99999");
    assert_eq!(set.first_missing(7), Some(40_000));
}

#[test]
fn what_is_missing_costs_the_ranges() {
    let check = |members: &str, limit: u32, expect: &str| {
        let set = IndexSet::parse(members, u32::MAX).expect("a set");
        assert_eq!(set.complement(limit).to_string(), expect, "{members} below {limit}");
    };
    check("0", i32::MAX as u32, "1-2147483646");
    check("", u32::MAX, "0-4294967294");
    check("3-5,9", 10, "0-2,6-8");
    check("3-5,9", 4, "0-2");
    check("0-9", 10, "");
    let last: IndexSet = [u32::MAX].into_iter().collect();
    assert_eq!(last.complement(u32::MAX).len(), u64::from(u32::MAX));
}

#[test]
fn text_is_read_strictly() {
    let check = |text: &str, expect: &str| match IndexSet::parse(text, 10) {
        Ok(set) => assert_eq!(set.to_string(), expect, "{text}"),
        Err(e) => assert_eq!(e.to_string(), expect, "{text}"),
    };
    check("", "");
    check("0,2-5", "0,2-5");
    check("3-4", "3,4");
    check("0-1,2,3", "0-3");
    check("5-3", "range 5-3 ends before it begins");
    check(
        "1,1",
        "\"1\" does not come after the range before it; write indexes in increasing order, each once",
    );
    check("7-10", "index 10 is not below 10, the number of completions");
    for text in [",", "1,", "-1", "1-", "+1", " 1", "1-2-3", "99999999999", "a"] {
        assert!(matches!(IndexSet::parse(text, 10), Err(ParseIndexSetError::NotARange { .. })), "{text}");
    }
}
