//! The addresses that stand for names in one pod: each name has one, so that a connection says which name was meant, and what
//! the name's owner answers plays no part in that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::dns::Family;

/// Of RFC 2544, for benchmarks between networks: nobody routes to them.
const V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const V4_BITS: u32 = 15;
/// A network of ours alone (RFC 4193), within a pod.
const V6: u128 = u128::from_be_bytes([0xfd, 0x5b, 0xe1, 0x1a, 0x47, 0x9e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const V6_BITS: u32 = 64;
/// The first number that stands for a name: what is below is the stub's, and room.
const FIRST: u32 = 256;
/// Names of one pod.
pub(crate) const NAMES_MAX: usize = 16 << 10;
/// A name that nobody asked for, nor connected to, for so long gives its address to another when there are no more.
const UNUSED_NS: i64 = 3600 * 1_000_000_000;

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    used_at: i64,
    v4: Resolved,
    v6: Resolved,
}

/// What a resolver said last.
#[derive(Debug, Clone, Default)]
struct Resolved {
    addresses: Vec<IpAddr>,
    until: i64,
}

/// What an address that a task connects to stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Itself.
    Address,
    /// A name. Its addresses are of either family, in turn, the one that was asked for first; none where what is known of that one
    /// has grown old.
    Name { name: Arc<str>, family: Family, addresses: Vec<IpAddr> },
    /// It could stand for a name, and does for none.
    Nothing,
}

/// What a resolver says of a name.
#[derive(Debug)]
pub(crate) struct Learnt {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) until: i64,
    /// Whether there is room for one name more.
    pub(crate) may_grow: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
}

impl Names {
    /// The address for a name of which enough is known.
    pub(crate) fn known(&mut self, name: &str, family: Family, now: i64) -> Option<IpAddr> {
        let number = *self.numbers.get(name)?;
        let entry = &mut self.entries[number as usize];
        if !entry.resolved(family).is_fresh(now) {
            return None;
        }
        entry.used_at = now;
        Some(address(number, family))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keeps what a resolver said; None when the pod has too many names.
    pub(crate) fn learn(&mut self, name: &str, family: Family, learnt: Learnt, now: i64) -> Option<IpAddr> {
        let Learnt { addresses, until, may_grow } = learnt;
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => self.number_for(name.into(), may_grow, now)?,
        };
        let entry = &mut self.entries[number as usize];
        entry.used_at = now;
        *entry.resolved_mut(family) = Resolved { addresses, until };
        Some(address(number, family))
    }

    fn number_for(&mut self, name: Arc<str>, may_grow: bool, now: i64) -> Option<u32> {
        let entry =
            Entry { name: name.clone(), used_at: now, v4: Resolved::default(), v6: Resolved::default() };
        let number = if may_grow && self.entries.len() < NAMES_MAX {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let (number, oldest) = self.entries.iter_mut().enumerate().min_by_key(|(_, e)| e.used_at)?;
            if now.saturating_sub(oldest.used_at) < UNUSED_NS {
                return None;
            }
            self.numbers.remove(&oldest.name);
            *oldest = entry;
            number
        };
        self.numbers.insert(name, number as u32);
        Some(number as u32)
    }

    pub(crate) fn meant_by(&mut self, address: IpAddr, now: i64) -> Meant {
        let Some((number, family)) = number_of(address) else { return Meant::Address };
        let Some(entry) = number.and_then(|number| self.entries.get_mut(number as usize)) else {
            return Meant::Nothing;
        };
        entry.used_at = now;
        let [first, second] = match family {
            Family::V4 => [&entry.v4, &entry.v6],
            Family::V6 => [&entry.v6, &entry.v4],
        };
        let addresses = if first.is_fresh(now) { first.in_turn_with(second, now) } else { Vec::new() };
        Meant::Name { name: entry.name.clone(), family, addresses }
    }
}

impl Entry {
    fn resolved(&self, family: Family) -> &Resolved {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn resolved_mut(&mut self, family: Family) -> &mut Resolved {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl Resolved {
    fn is_fresh(&self, now: i64) -> bool {
        !self.addresses.is_empty() && now < self.until
    }

    /// A way that one family does not have is perhaps there by the other.
    fn in_turn_with(&self, other: &Resolved, now: i64) -> Vec<IpAddr> {
        let others: &[IpAddr] = if other.is_fresh(now) { &other.addresses } else { &[] };
        let longest = self.addresses.len().max(others.len());
        (0..longest).flat_map(|at| [self.addresses.get(at), others.get(at)]).flatten().copied().collect()
    }
}

fn address(number: u32, family: Family) -> IpAddr {
    let number = FIRST + number;
    match family {
        Family::V4 => Ipv4Addr::from(V4 + number).into(),
        Family::V6 => Ipv6Addr::from(V6 + u128::from(number)).into(),
    }
}

/// None: it is an address of the world. The number is none where the address is ours and no name's.
fn number_of(address: IpAddr) -> Option<(Option<u32>, Family)> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let offset = u32::from(address).wrapping_sub(V4);
            (offset >> (32 - V4_BITS) == 0).then(|| (offset.checked_sub(FIRST), Family::V4))
        }
        IpAddr::V6(address) => {
            let offset = u128::from(address).wrapping_sub(V6);
            let number = u32::try_from(offset).ok().and_then(|offset| offset.checked_sub(FIRST));
            (offset >> (128 - V6_BITS) == 0).then_some((number, Family::V6))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    fn learnt(addresses: Vec<IpAddr>, until: i64) -> Learnt {
        Learnt { addresses, until, may_grow: true }
    }

    fn name_of(meant: &Meant) -> Option<(&str, usize)> {
        match meant {
            Meant::Name { name, addresses, .. } => Some((name, addresses.len())),
            Meant::Address | Meant::Nothing => None,
        }
    }

    #[test]
    fn an_address_means_its_name_for_as_long_as_the_pod_lives() {
        let mut names = Names::default();
        assert_eq!(names.known("a.org", Family::V4, 0), None);
        let a = names.learn("a.org", Family::V4, learnt(vec![REAL], 100), 0).unwrap();
        let b = names.learn("b.org", Family::V4, learnt(vec![REAL], 100), 0).unwrap();
        assert_eq!((a, b), ("198.18.1.0".parse().unwrap(), "198.18.1.1".parse().unwrap()));
        assert_eq!(names.known("a.org", Family::V4, 99), Some(a));
        // Of the other family nothing is known yet.
        assert_eq!(names.known("a.org", Family::V6, 99), None);
        let six = names.learn("a.org", Family::V6, learnt(vec![REAL], 100), 0).unwrap();
        // Both families are tried, the one that was asked for first.
        let more = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
        names.learn(
            "a.org",
            Family::V6,
            learnt(vec![Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()], 90),
            0,
        );
        names.learn("a.org", Family::V4, learnt(vec![REAL, more], 100), 0);
        let Meant::Name { addresses, .. } = names.meant_by(six, 0) else { panic!("no name") };
        assert_eq!(addresses, [Ipv6Addr::LOCALHOST.into(), REAL, Ipv6Addr::UNSPECIFIED.into(), more]);
        assert_eq!(name_of(&names.meant_by(six, 90)), Some(("a.org", 0)));
        assert_eq!(name_of(&names.meant_by(a, 90)), Some(("a.org", 2)));
        // What has grown old is resolved again, to the same address.
        assert_eq!(names.known("a.org", Family::V4, 100), None);
        assert_eq!(name_of(&names.meant_by(a, 100)), Some(("a.org", 0)));
        assert_eq!(names.learn("a.org", Family::V4, learnt(vec![REAL], 200), 100), Some(a));
        assert_eq!(name_of(&names.meant_by(b, 0)), Some(("b.org", 1)));
    }

    #[test]
    fn what_stands_for_no_name_is_told_from_what_is_itself() {
        let mut names = Names::default();
        names.learn("a.org", Family::V4, learnt(vec![REAL], 100), 0).unwrap();
        for address in [
            "198.18.0.0",
            "198.18.0.1",
            "198.18.1.1",
            "198.19.255.255",
            "::ffff:198.18.1.1",
            "fd5b:e11a:479e::",
            "fd5b:e11a:479e:0:ffff:ffff:ffff:ffff",
            "fd5b:e11a:479e::101",
        ] {
            assert_eq!(names.meant_by(address.parse().unwrap(), 0), Meant::Nothing, "{address}");
        }
        for address in [
            "198.17.255.255",
            "198.20.0.0",
            "127.0.0.1",
            "fd5b:e11a:479e:1::",
            "fd5b:e11a:479d:ffff::",
            "::1",
        ] {
            assert_eq!(names.meant_by(address.parse().unwrap(), 0), Meant::Address, "{address}");
        }
        let mapped = "::ffff:198.18.1.0".parse().unwrap();
        assert_eq!(name_of(&names.meant_by(mapped, 0)), Some(("a.org", 1)));
    }

    #[test]
    fn a_pod_with_too_many_names_gets_no_more_until_one_is_unused() {
        let mut names = Names::default();
        for number in 0..NAMES_MAX {
            assert!(
                names
                    .learn(&format!("n{number}"), Family::V4, learnt(vec![REAL], i64::MAX), number as i64)
                    .is_some()
            );
        }
        let now = NAMES_MAX as i64;
        assert_eq!(names.learn("more", Family::V4, learnt(vec![REAL], i64::MAX), now), None);
        // Those that are there still get theirs.
        assert!(names.known("n0", Family::V4, now).is_some());
        // The one that was used last before all others gives its address away.
        let freed = names.learn("more", Family::V4, learnt(vec![REAL], i64::MAX), 1 + UNUSED_NS).unwrap();
        assert_eq!(name_of(&names.meant_by(freed, now)), Some(("more", 1)));
        assert_eq!(names.known("n1", Family::V4, now), None);
        assert!(names.known("n0", Family::V4, now).is_some());
        assert_eq!(names.entries.len(), NAMES_MAX);
    }

    #[test]
    fn where_there_is_no_room_a_name_takes_the_place_of_one_that_is_unused() {
        let none = |until| Learnt { may_grow: false, ..learnt(vec![REAL], until) };
        let mut names = Names::default();
        assert_eq!(names.learn("a.org", Family::V4, none(100), 0), None);
        let a = names.learn("a.org", Family::V4, learnt(vec![REAL], 100), 0);
        assert_eq!(names.learn("b.org", Family::V4, none(100), 0), None);
        assert_eq!(names.learn("a.org", Family::V4, none(200), 0), a, "what it has it keeps");
        assert_eq!(names.learn("b.org", Family::V4, none(i64::MAX), UNUSED_NS), a);
        assert_eq!(names.len(), 1);
    }
}
