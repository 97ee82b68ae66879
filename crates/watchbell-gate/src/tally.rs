//! How much of what a pod does becomes a notice of its own. Each becomes an entry of the audit trail, which is never taken
//! away, so a task must not fill the disk by connecting: what is beyond a rate is counted, and the count is told.
//!
//! What is refused uses up nothing of what is there for the connections that are allowed: else a task would hide where it
//! connects to behind refusals.

use watchbell_sandbox::gate::{Beyond, Counted, REACHED_MAX, Reached, Target, Verdict};

const SECOND: i64 = 1_000_000_000;

/// So many at once, then one an interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    burst: i64,
    interval_ns: i64,
}

/// Decisions of one kind about one pod that are told.
pub(crate) const OF_POD: Rate = Rate { burst: 200, interval_ns: SECOND / 5 };
/// About all pods together.
pub(crate) const OF_ALL: Rate = Rate { burst: 2000, interval_ns: SECOND / 50 };

/// How much of a rate is used up, by when all of it is there again (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    full_at: i64,
}

impl Used {
    fn has_place(self, rate: Rate, now: i64) -> bool {
        self.full_at.max(now) + rate.interval_ns - now <= rate.burst * rate.interval_ns
    }

    fn take(&mut self, rate: Rate, now: i64) {
        self.full_at = self.full_at.max(now) + rate.interval_ns;
    }
}

/// What is used up of the rate of either kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    allowed: Used,
    refused: Used,
}

impl Told {
    fn of(&mut self, verdict: &Verdict) -> &mut Used {
        match verdict {
            Verdict::Allowed { .. } => &mut self.allowed,
            Verdict::Refused { .. } => &mut self.refused,
        }
    }
}

/// Whether a decision is told; it takes a place of both or of none.
pub(crate) fn is_told(verdict: &Verdict, of_pod: &mut Told, of_all: &mut Told, now: i64) -> bool {
    let (of_pod, of_all) = (of_pod.of(verdict), of_all.of(verdict));
    let is_told = of_pod.has_place(OF_POD, now) && of_all.has_place(OF_ALL, now);
    if is_told {
        of_pod.take(OF_POD, now);
        of_all.take(OF_ALL, now);
    }
    is_told
}

/// Counts a decision that is not told. Of a connection that was allowed it is kept where it went, as long as there is room.
pub(crate) fn count(counted: &mut Counted, target: Target, verdict: &Verdict) {
    if let Verdict::Refused { .. } = verdict {
        counted.beyond.refused += 1;
        return;
    }
    counted.beyond.allowed += 1;
    let is_same = |there: &Target| {
        there.port == target.port
            && there.name == target.name
            && (target.name.is_some() || there.address == target.address)
    };
    let has_room = counted.reached.len() < REACHED_MAX;
    match counted.reached.iter_mut().find(|reached| is_same(&reached.target)) {
        Some(reached) => reached.count += 1,
        None if has_room => counted.reached.push(Reached { target, count: 1 }),
        None => counted.others += 1,
    }
}

/// Takes what was counted, if anything was.
pub(crate) fn take(counted: &mut Counted) -> Option<Counted> {
    let Beyond { at, pod, .. } = counted.beyond;
    let nothing = Counted { beyond: Beyond { at, pod, ..Beyond::default() }, ..Counted::default() };
    (*counted != nothing).then(|| std::mem::replace(counted, nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Verdict {
        Verdict::Allowed { policy: "lab/p".to_owned() }
    }

    fn refused() -> Verdict {
        Verdict::Refused { reason: "NoRule".to_owned(), why: String::new() }
    }

    #[test]
    fn a_pod_has_its_rate_and_all_have_theirs() {
        let mut all = Told::default();
        let mut told =
            |pod: &mut Told, now| (0..10_000).filter(|_| is_told(&allowed(), pod, &mut all, now)).count();
        let (mut one, mut other) = (Told::default(), Told::default());
        assert_eq!(told(&mut one, 0), 200);
        assert_eq!(told(&mut other, 0), 200, "one does not silence another");
        assert_eq!(told(&mut one, SECOND), 5);
        let rest: usize = (0..20).map(|_| told(&mut Told::default(), SECOND)).sum();
        assert_eq!(rest, 2000 - 405 + 50, "the rate of all");
        assert_eq!(told(&mut one, 1000 * SECOND), 200);
    }

    #[test]
    fn refusals_silence_no_connection() {
        let mut all = Told::default();
        for mut pod in [Told::default(); 20] {
            for _ in 0..1000 {
                is_told(&refused(), &mut pod, &mut all, 0);
            }
            assert!(!is_told(&refused(), &mut pod, &mut all, 0));
            assert!(is_told(&allowed(), &mut pod, &mut all, 0));
        }
        assert!(is_told(&allowed(), &mut Told::default(), &mut all, 0), "nor one of another pod");
    }

    #[test]
    fn counts_are_taken_once() {
        let mut counted = Counted { beyond: Beyond { pod: 7, ..Beyond::default() }, ..Counted::default() };
        assert_eq!(take(&mut counted), None);
        counted.beyond.refused = 3;
        assert_eq!(take(&mut counted).map(|taken| (taken.beyond.pod, taken.beyond.refused)), Some((7, 3)));
        assert_eq!((take(&mut counted), counted.beyond.pod), (None, 7));
    }

    #[test]
    fn where_counted_connections_went_is_kept() {
        let by_name = |name: &str, last: u8, port| Target {
            name: Some(name.to_owned()),
            address: Some([203, 0, 113, last].into()),
            port: Some(port),
        };
        let bare =
            |last: u8| Target { name: None, address: Some([203, 0, 113, last].into()), port: Some(443) };
        let mut counted = Counted::default();
        // A name is one place whatever its address was.
        for target in
            [by_name("a.org", 1, 443), by_name("a.org", 2, 443), by_name("a.org", 1, 80), bare(1), bare(2)]
        {
            count(&mut counted, target, &allowed());
        }
        count(&mut counted, bare(9), &refused());
        let counts: Vec<u64> = counted.reached.iter().map(|reached| reached.count).collect();
        assert_eq!((counts, counted.others), (vec![2, 1, 1, 1], 0));
        for last in 0..=u8::MAX {
            count(&mut counted, bare(last), &allowed());
        }
        assert_eq!(counted.reached.len(), REACHED_MAX);
        let kept: u64 = counted.reached.iter().map(|reached| reached.count).sum();
        assert_eq!((kept + counted.others, counted.beyond.refused), (counted.beyond.allowed, 1));
        take(&mut counted);
        assert_eq!(counted, Counted::default());
    }
}
