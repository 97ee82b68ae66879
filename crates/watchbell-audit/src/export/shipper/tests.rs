//! A sender against a target that fails in every way it can, with crashes in between: whatever the seed, each entry is at
//! the target once or in the dead letters, and the place never runs ahead.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const BAD_EVERY: u64 = 13;

/// A small generator of our own: a failing seed replays.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn jitter(&mut self) -> Jitter {
        Jitter::from_random(self.next() as u16)
    }
}

/// What outlives a crash.
#[derive(Default)]
struct World {
    journal: u64,
    /// Entry to how often it was taken anew (409 is not anew).
    target: BTreeMap<u64, u32>,
    graves: BTreeSet<u64>,
    place: u64,
    /// Documents that the target takes at once.
    takes: usize,
}

fn item(index: u64) -> Item {
    Item {
        index,
        id: format!("e-{index}"),
        document: vec![b'x'; 1 + (index % 50) as usize],
        at_unix_nanos: index as i64,
    }
}

fn is_bad(index: u64) -> bool {
    index % BAD_EVERY == 5
}

impl World {
    /// What the target does with a request, and what of its answer arrives.
    fn serve(&mut self, sent: &[Item], faults: u64, random: &mut Random) -> Answer {
        let again = |reason: &str| Answer::Retry { after: None, reason: reason.into() };
        if sent.len() > self.takes {
            return Answer::TooLarge;
        }
        let fault = if random.below(100) < faults { random.below(6) } else { 9 };
        match fault {
            0 => return again("no connection"),
            1 => {
                return Answer::Retry {
                    after: Some(Duration::from_secs(random.below(5))),
                    reason: "429".into(),
                };
            }
            2 => return Answer::Hold { reason: "401".into() },
            _ => {}
        }
        let outcomes: Vec<Outcome> = sent
            .iter()
            .map(|item| {
                if is_bad(item.index) {
                    return Outcome::Dead { reason: "400".into() };
                }
                if fault == 3 && random.below(3) == 0 {
                    return Outcome::Again { reason: "429".into() };
                }
                if fault == 4 && random.below(4) == 0 {
                    return Outcome::Doubt { reason: "500".into() };
                }
                *self.target.entry(item.index).or_insert(0) |= 1;
                Outcome::Done
            })
            .collect();
        match fault {
            // The target did it all, and the answer was lost.
            5 => again("cut off"),
            _ => Answer::Items(outcomes),
        }
    }
}

fn play(seed: u64, faults: u64, limits: &Limits) {
    let random = &mut Random(seed);
    let mut world = World { journal: 0, takes: 1 + random.below(40) as usize, ..World::default() };
    let total = 100 + random.below(400);
    let mut now = Duration::ZERO;
    let mut shipper = Shipper::new(limits.clone(), 0);
    let mut may_send_at = Duration::ZERO;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 200_000, "seed {seed}: it does not end");
        // The journal grows meanwhile.
        if world.journal < total && random.below(3) == 0 {
            world.journal = (world.journal + random.below(30)).min(total);
            shipper.news();
        }
        if random.below(200) < faults / 4 {
            // A crash: what was not persisted is not known any more.
            shipper = Shipper::new(limits.clone(), world.place);
            may_send_at = Duration::ZERO;
            continue;
        }
        if random.below(400) < faults / 4 {
            // The target loses what was not noted.
            let place = world.place;
            world.target.retain(|index, _| *index < place);
            shipper.set_back(place);
            continue;
        }
        for index in 0..world.place {
            let settled = world.target.contains_key(&index) || world.graves.contains(&index);
            assert!(settled, "seed {seed}: the place is {} and entry {index} is nowhere", world.place);
        }
        match shipper.next(now) {
            Step::Read { from } => {
                let to = world.journal.min(from + 1 + random.below(60));
                let items = (from..to).map(item).collect();
                assert_eq!(shipper.read(items), 0);
            }
            Step::Send(items) => {
                assert!(now >= may_send_at, "seed {seed}: sent before it was time");
                assert!(items.len() <= limits.batch_documents);
                let bytes: usize = items.iter().map(|i| i.document.len()).sum();
                assert!(
                    items.len() == 1 || bytes <= limits.batch_bytes,
                    "seed {seed}: {bytes} bytes in a batch"
                );
                assert!(items.is_sorted_by_key(|i| i.index) && !items.is_empty());
                let answer = world.serve(items, faults, random);
                if let Answer::Retry { after: Some(after), .. } = &answer {
                    may_send_at = now + *after;
                }
                shipper.answered(answer, now, random.jitter());
            }
            Step::Bury(dead) => {
                world.graves.extend(dead.iter().map(|d| d.item.index));
                shipper.buried();
            }
            Step::Persist { next } => {
                assert!(next >= world.place, "seed {seed}: the place went back");
                world.place = next;
                shipper.persisted(now);
            }
            Step::Wait { until: Some(until), .. } => {
                assert!(until > now, "seed {seed}: a wait for the past");
                now = until;
            }
            Step::Wait { until: None, wake } => {
                assert_eq!(wake, Wake::OnNews);
                if world.journal == total && world.place == total {
                    break;
                }
                world.journal = (world.journal + 1).min(total);
                shipper.news();
            }
        }
        now += Duration::from_millis(random.below(50));
    }
    for index in 0..total {
        let (taken, dead) = (world.target.contains_key(&index), world.graves.contains(&index));
        assert!(taken || dead, "seed {seed}: entry {index} is lost");
        assert!(!(is_bad(index) && taken), "seed {seed}: entry {index} cannot be there");
    }
    assert_eq!(shipper.acknowledged(), total);
    assert_eq!(shipper.oldest_unix_nanos(), None);
}

fn small() -> Limits {
    Limits { batch_documents: 16, batch_bytes: 300, doubts: 3, ..Limits::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_is_lost_whatever_fails_and_wherever_it_crashes(seed: u64, faults in 0u64..90) {
        play(seed, faults, &small());
    }
}

/// A sender with these entries read, at the step before the first request.
fn loaded(limits: Limits, count: u64) -> Shipper {
    let mut shipper = Shipper::new(limits, 0);
    assert_eq!(shipper.next(Duration::ZERO), Step::Read { from: 0 });
    shipper.read((0..count).map(item).collect());
    shipper
}

fn sent(shipper: &mut Shipper, now: Duration) -> Vec<u64> {
    match shipper.next(now) {
        Step::Send(items) => items.iter().map(|item| item.index).collect(),
        other => panic!("{other:?}"),
    }
}

const T: Duration = Duration::from_secs(1000);

fn half() -> Jitter {
    Jitter::from_random(1 << 15)
}

#[test]
fn only_what_was_refused_for_now_is_sent_again() {
    let mut shipper = loaded(small(), 4);
    assert_eq!(sent(&mut shipper, T), [0, 1, 2, 3]);
    let again = || Outcome::Again { reason: "429".into() };
    shipper.answered(Answer::Items(vec![Outcome::Done, again(), Outcome::Done, again()]), T, half());
    assert_eq!(shipper.acknowledged(), 1);
    assert_eq!(shipper.trouble(), Some("429"));
    assert_eq!(shipper.next(T), Step::Persist { next: 1 });
    shipper.persisted(T);
    assert!(matches!(shipper.next(T), Step::Wait { until: Some(_), wake: Wake::OnlyTime }));
    let later = T + backoff::LONGEST;
    assert_eq!(sent(&mut shipper, later), [1, 3]);
    shipper.answered(Answer::Items(vec![Outcome::Done, Outcome::Done]), later, half());
    assert_eq!((shipper.acknowledged(), shipper.trouble()), (4, None));
    assert_eq!(shipper.counts(), Counts { sent: 4, retried: 2, dead: 0 });
}

#[test]
fn a_document_that_is_refused_for_ever_does_not_stop_the_others_and_is_not_passed_over_before_its_letter_is_written()
 {
    let mut shipper = loaded(small(), 3);
    sent(&mut shipper, T);
    let dead = Outcome::Dead { reason: "400 mapping".into() };
    shipper.answered(Answer::Items(vec![dead, Outcome::Done, Outcome::Done]), T, half());
    assert_eq!(shipper.acknowledged(), 0);
    match shipper.next(T) {
        Step::Bury([dead]) => assert_eq!((dead.item.index, &*dead.reason), (0, "400 mapping")),
        other => panic!("{other:?}"),
    }
    shipper.buried();
    assert_eq!(shipper.next(T), Step::Persist { next: 3 });
    assert_eq!(shipper.counts(), Counts { sent: 2, retried: 0, dead: 1 });
}

#[test]
fn what_is_too_much_is_halved_and_alone_it_is_dead() {
    let mut shipper = loaded(Limits { batch_bytes: 10_000, ..small() }, 5);
    assert_eq!(sent(&mut shipper, T).len(), 5);
    shipper.answered(Answer::TooLarge, T, half());
    assert_eq!(sent(&mut shipper, T), [0, 1]);
    shipper.answered(Answer::TooLarge, T, half());
    assert_eq!(sent(&mut shipper, T), [0]);
    shipper.answered(Answer::TooLarge, T, half());
    assert!(matches!(shipper.next(T), Step::Bury([_])));
    shipper.buried();
    assert_eq!(shipper.next(T), Step::Persist { next: 1 });
    shipper.persisted(T);
    assert_eq!(sent(&mut shipper, T), [1, 2]);
}

#[test]
fn an_item_in_doubt_is_dead_after_some_attempts() {
    let mut shipper = loaded(small(), 1);
    let mut now = T;
    for _ in 0..2 {
        sent(&mut shipper, now);
        shipper.answered(Answer::Items(vec![Outcome::Doubt { reason: "500".into() }]), now, half());
        now += backoff::LONGEST;
    }
    sent(&mut shipper, now);
    shipper.answered(Answer::Items(vec![Outcome::Doubt { reason: "500".into() }]), now, half());
    assert!(matches!(shipper.next(now), Step::Bury([_])));
}

#[test]
fn a_trickle_is_paced_and_a_backlog_is_not() {
    let limits = Limits {
        batch_documents: 2,
        pace: Duration::from_secs(5),
        persist_interval: Duration::from_secs(60),
        ..small()
    };
    let mut shipper = loaded(limits, 3);
    let done = |n: usize| Answer::Items(vec![Outcome::Done; n]);
    sent(&mut shipper, T);
    shipper.answered(done(2), T, half());
    assert_eq!(shipper.next(T), Step::Persist { next: 2 });
    shipper.persisted(T);
    // The rest of a backlog follows at once.
    assert_eq!(sent(&mut shipper, T), [2]);
    shipper.answered(done(1), T, half());
    // And what came meanwhile, though the last batch of the reading was small: there may be another backlog.
    shipper.news();
    assert_eq!(shipper.next(T), Step::Read { from: 3 });
    shipper.read(vec![item(3)]);
    assert_eq!(sent(&mut shipper, T), [3]);
    shipper.answered(done(1), T, half());
    shipper.news();
    assert_eq!(shipper.next(T), Step::Wait { until: Some(T + Duration::from_secs(5)), wake: Wake::OnlyTime });
    // The end waits for nothing.
    shipper.hurry();
    assert_eq!(shipper.next(T), Step::Persist { next: 4 });
    assert_eq!(shipper.unnoted(), Some(4));
    shipper.persisted(T);
    assert_eq!(shipper.unnoted(), None);
    assert_eq!(shipper.next(T), Step::Read { from: 4 });
}

#[test]
fn entries_that_the_journal_does_not_have_any_more_are_counted_and_passed_over() {
    let mut shipper = Shipper::new(small(), 3);
    assert_eq!(shipper.next(T), Step::Read { from: 3 });
    assert_eq!(shipper.read(vec![item(10)]), 7);
    assert_eq!(sent(&mut shipper, T), [10]);
    shipper.answered(Answer::Items(vec![Outcome::Done]), T, half());
    assert_eq!(shipper.next(T), Step::Persist { next: 11 });
}

#[test]
fn a_long_answer_of_the_wrong_length_settles_nothing() {
    let mut shipper = loaded(small(), 2);
    sent(&mut shipper, T);
    shipper.answered(Answer::Items(vec![Outcome::Done; 3]), T, half());
    assert_eq!(shipper.acknowledged(), 0);
    assert_eq!(sent(&mut shipper, T + backoff::LONGEST), [0, 1]);
}
