//! Who makes room for a pod of a higher priority.
//!
//! The lowest priority goes first and, within one, the youngest, until there is room; then those that need not go after all
//! are let off, the highest priority first. A pod that cannot have room even so takes nobody with it.

use watchbell_api::Uid;

use super::demand::Amounts;

/// A pod that runs at a lower priority than the one that wants its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub uid: Uid,
    pub priority: i32,
    pub seq: u64,
    pub amounts: Amounts,
}

/// The pods to end so that `asked` fits; `None`: not even all of them are enough.
pub(super) fn victims(asked: &Amounts, room: Amounts, mut candidates: Vec<Candidate>) -> Option<Vec<Uid>> {
    candidates.sort_unstable_by_key(|c| (c.priority, std::cmp::Reverse(c.seq), c.uid));
    let mut free = room;
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if asked.fits_in(&free) {
            break;
        }
        free = free.plus(candidate.amounts);
        chosen.push(candidate);
    }
    if !asked.fits_in(&free) {
        return None;
    }
    // From the one that it would be a pity to lose most.
    let mut kept = Vec::new();
    for candidate in chosen.iter().rev() {
        let without = free.minus(candidate.amounts);
        if asked.fits_in(&without) {
            free = without;
            kept.push(candidate.uid);
        }
    }
    Some(chosen.into_iter().map(|c| c.uid).filter(|uid| !kept.contains(uid)).collect())
}

#[cfg(test)]
mod tests {
    use super::{Amounts, Candidate, victims};
    use watchbell_api::Uid;

    fn cpu(cpu_millis: u64) -> Amounts {
        Amounts { cpu_millis, ..Amounts::default() }
    }

    #[test]
    fn the_lowest_and_youngest_go_and_no_more_than_needed() {
        let check = |asked: u64, room: u64, running: &[(u128, i32, u64)], expect: Option<&[u128]>| {
            let candidates = running.iter().map(|&(uid, priority, millis)| Candidate {
                uid: Uid(uid),
                priority,
                seq: uid as u64,
                amounts: cpu(millis),
            });
            let found = victims(&cpu(asked), cpu(room), candidates.collect());
            let found = found.map(|uids| uids.into_iter().map(|uid| uid.0).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expect, "{asked} in {room} of {running:?}");
        };
        check(4, 4, &[(1, 0, 4)], Some(&[]));
        check(4, 0, &[(1, 0, 4), (2, 0, 4), (3, 5, 4)], Some(&[2]));
        check(4, 1, &[(1, -1, 3), (2, 0, 9)], Some(&[1]));
        check(8, 0, &[(1, 0, 4), (2, 0, 4)], Some(&[2, 1]));
        check(9, 0, &[(1, 0, 4), (2, 0, 4)], None);
        // The small one was taken first, and the large one is enough alone.
        check(8, 0, &[(1, 1, 8), (2, 0, 1)], Some(&[1]));
        check(1, 0, &[], None);
    }
}
