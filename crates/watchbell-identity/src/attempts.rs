//! How often somebody may fail to say who he is.
//!
//! A bucket a source: so many failures at once, then one an interval. It is kept as one number, the moment at which it will
//! be full again (the generic cell rate algorithm). The table is bounded: where it is full the source that failed least is
//! forgotten, so that many addresses cannot free one that failed much.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Failures that are answered as such before a source has to wait.
const BURST: u32 = 30;
/// After that, one in this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// Sources that are told apart.
const SOURCES_MAX: usize = 4096;

/// Where somebody comes from: an IPv4 address, or the half of an IPv6 address that names a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    pub fn of(address: IpAddr) -> Source {
        Source(match address.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if self.0.is_ipv4() { 32 } else { 64 };
        write!(f, "{}/{bits}", self.0)
    }
}

/// The failures of all sources. Times are durations since any fixed moment.
#[derive(Debug, Default)]
pub struct Attempts {
    full_at: HashMap<Source, Duration>,
    in_order: BTreeSet<(Duration, Source)>,
}

impl Attempts {
    /// Notes a failure. `Err`: the source has failed too often, and may try again after so long.
    pub fn failed(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        self.forget_full(now);
        if let Some(wait) = self.wait(address, now) {
            return Err(wait);
        }
        let source = Source::of(address);
        let full_at = self.full_at.get(&source).copied().unwrap_or(now).max(now) + INTERVAL;
        match self.full_at.insert(source, full_at) {
            Some(before) => drop(self.in_order.remove(&(before, source))),
            None if self.full_at.len() > SOURCES_MAX => self.forget_least(),
            None => {}
        }
        self.in_order.insert((full_at, source));
        Ok(())
    }

    /// How long a source has to wait until it may fail again; `None`: it may now.
    pub fn wait(&self, address: IpAddr, now: Duration) -> Option<Duration> {
        let full_at = *self.full_at.get(&Source::of(address))?;
        let wait = full_at.saturating_sub(now).saturating_sub(INTERVAL * (BURST - 1));
        (wait > Duration::ZERO).then_some(wait)
    }

    fn forget_full(&mut self, now: Duration) {
        while let Some(&(full_at, source)) = self.in_order.first()
            && full_at <= now
        {
            self.in_order.pop_first();
            self.full_at.remove(&source);
        }
    }

    /// The newcomer is not in the order yet, so it is never the one.
    fn forget_least(&mut self) {
        if let Some((_, source)) = self.in_order.pop_first() {
            self.full_at.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn v4(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n).into()
    }

    fn fail(attempts: &mut Attempts, address: IpAddr, now: Duration, times: u32) -> u32 {
        (0..times).filter(|_| attempts.failed(address, now).is_ok()).count() as u32
    }

    #[test]
    fn a_burst_then_one_an_interval() {
        let mut attempts = Attempts::default();
        let now = SECOND * 1000;
        assert_eq!(fail(&mut attempts, v4(1), now, 100), BURST);
        assert_eq!(attempts.failed(v4(1), now), Err(SECOND));
        assert_eq!(attempts.wait(v4(1), now), Some(SECOND));
        assert_eq!(attempts.wait(v4(2), now), None, "others are not touched");
        assert_eq!(fail(&mut attempts, v4(1), now + SECOND, 100), 1);
        assert_eq!(fail(&mut attempts, v4(1), now + SECOND * 4, 100), 3);
        assert_eq!(fail(&mut attempts, v4(1), now + SECOND * 1000, 100), BURST, "all is forgiven in time");
    }

    #[test]
    fn a_network_is_one_source() {
        let mut attempts = Attempts::default();
        let in_network = |n: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, n));
        assert_eq!(
            (0..100).filter(|n| attempts.failed(in_network(*n), SECOND).is_ok()).count() as u32,
            BURST
        );
        let other = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 9, 9, 9, 9));
        assert_eq!(attempts.wait(other, SECOND), None);
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(fail(&mut attempts, mapped, SECOND, 100), BURST);
        assert!(attempts.wait("192.0.2.1".parse().unwrap(), SECOND).is_some());
    }

    #[test]
    fn many_addresses_neither_fill_memory_nor_free_who_failed_much() {
        let mut attempts = Attempts::default();
        assert_eq!(fail(&mut attempts, v4(0), SECOND, 100), BURST);
        for n in 1..20_000 {
            assert!(attempts.failed(v4(n), SECOND).is_ok());
        }
        assert_eq!((attempts.full_at.len(), attempts.in_order.len()), (SOURCES_MAX, SOURCES_MAX));
        assert!(attempts.wait(v4(0), SECOND).is_some());
        assert!(attempts.failed(v4(20_000), SECOND * 100).is_ok());
        assert_eq!(attempts.full_at.len(), 1, "who is forgiven is forgotten");
    }

    proptest! {
        /// In any stretch of time no source fails more often than its burst and the time allow.
        #[test]
        fn no_source_beats_the_rate(steps in prop::collection::vec((0u32..4, 0u64..3000), 1..200)) {
            let mut attempts = Attempts::default();
            let mut now = Duration::ZERO;
            let mut allowed: HashMap<u32, Vec<Duration>> = HashMap::new();
            for (source, millis) in steps {
                now += Duration::from_millis(millis);
                let expect = attempts.wait(v4(source), now);
                match attempts.failed(v4(source), now) {
                    Ok(()) => {
                        prop_assert_eq!(expect, None);
                        allowed.entry(source).or_default().push(now);
                    }
                    Err(wait) => {
                        prop_assert_eq!(expect, Some(wait));
                        // The wait is exact: then it may, an instant before it may not.
                        prop_assert_eq!(attempts.wait(v4(source), now + wait), None);
                        prop_assert!(attempts.wait(v4(source), now + wait - Duration::from_nanos(1)).is_some());
                    }
                }
                prop_assert_eq!(attempts.full_at.len(), attempts.in_order.len());
            }
            for times in allowed.values() {
                for (i, from) in times.iter().enumerate() {
                    for (j, to) in times.iter().enumerate().skip(i) {
                        let most = u128::from(BURST) + (*to - *from).as_millis() / INTERVAL.as_millis();
                        prop_assert!((j - i + 1) as u128 <= most);
                    }
                }
            }
        }
    }
}
