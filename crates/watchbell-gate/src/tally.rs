//! How much of what a pod does becomes a notice of its own. Each becomes an entry of the audit trail, which is never taken
//! away, so a task must not fill the disk by connecting: what is beyond a rate is counted, and the count is told.

use watchbell_sandbox::gate::Beyond;

const SECOND: i64 = 1_000_000_000;

/// So many at once, then one an interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    burst: i64,
    interval_ns: i64,
}

/// Decisions about one pod that are told.
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

/// Whether a decision is told; it takes a place of both or of none.
pub(crate) fn is_told(of_pod: &mut Used, of_all: &mut Used, now: i64) -> bool {
    let is_told = of_pod.has_place(OF_POD, now) && of_all.has_place(OF_ALL, now);
    if is_told {
        of_pod.take(OF_POD, now);
        of_all.take(OF_ALL, now);
    }
    is_told
}

/// Takes what was counted, if anything was.
pub(crate) fn take(beyond: &mut Beyond) -> Option<Beyond> {
    let nothing = Beyond { at: beyond.at, pod: beyond.pod, ..Beyond::default() };
    (*beyond != nothing).then(|| std::mem::replace(beyond, nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_its_rate_and_all_have_theirs() {
        let mut all = Used::default();
        let mut told = |pod: &mut Used, now| (0..10_000).filter(|_| is_told(pod, &mut all, now)).count();
        let (mut one, mut other) = (Used::default(), Used::default());
        assert_eq!(told(&mut one, 0), 200);
        assert_eq!(told(&mut other, 0), 200, "one does not silence another");
        assert_eq!(told(&mut one, SECOND), 5);
        let rest: usize = (0..20).map(|_| told(&mut Used::default(), SECOND)).sum();
        assert_eq!(rest, 2000 - 405 + 50, "the rate of all");
        assert_eq!(told(&mut one, 1000 * SECOND), 200);
    }

    #[test]
    fn counts_are_taken_once() {
        let mut beyond = Beyond { pod: 7, ..Beyond::default() };
        assert_eq!(take(&mut beyond), None);
        beyond.refused = 3;
        assert_eq!(take(&mut beyond).map(|taken| (taken.pod, taken.refused)), Some((7, 3)));
        assert_eq!((take(&mut beyond), beyond.pod), (None, 7));
    }
}
