//! The order of versions, by the rules of whoever gave them.
//!
//! Every order here is total: a text that is no version by its ecosystem's rules comes before all that are, and such texts
//! among each other are ordered by their bytes. Two texts may be equal without being the same (`1.0` and `1.0.0` of PyPI).

mod apk;
mod composer;
mod digits;
mod dpkg;
mod gem;
mod maven;
mod pep440;
mod rpm;
mod semver;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::Ecosystem;

/// Whose order it is. Several ecosystems share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Dpkg,
    Rpm,
    Apk,
    Pep440,
    Semver,
    Go,
    Maven,
    Gem,
    Composer,
}

/// How `a` and `b` are ordered by the rules of `ecosystem`.
pub fn compare(ecosystem: &Ecosystem, a: &str, b: &str) -> Ordering {
    ecosystem.rules().compare(a, b)
}

/// Whether `version` is one by the rules of `ecosystem`, so that an answer about it means something.
pub fn is_version(ecosystem: &Ecosystem, version: &str) -> bool {
    ecosystem.rules().is_version(version)
}

impl Rules {
    pub(crate) fn compare(self, a: &str, b: &str) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        match self {
            Rules::Dpkg => dpkg::compare(a, b),
            Rules::Rpm => rpm::compare(a, b),
            Rules::Apk => valid_first(a, b, apk::is_version, apk::compare),
            Rules::Pep440 => parsed(a, b, pep440::parse),
            Rules::Semver => parsed(a, b, semver::parse),
            Rules::Go => parsed(a, b, semver::parse_go),
            Rules::Maven => maven::compare(a, b),
            Rules::Gem => parsed(a, b, gem::parse),
            Rules::Composer => parsed(a, b, composer::parse),
        }
    }

    /// How `version` is ordered by one that a statement includes: a listed one, or the last that is affected.
    pub(crate) fn compare_to_stated(self, version: &str, stated: &str) -> Ordering {
        match self {
            Rules::Pep440 => pep440::compare_to_stated(version, stated),
            _ => None,
        }
        .unwrap_or_else(|| self.compare(version, stated))
    }

    pub(crate) fn is_version(self, text: &str) -> bool {
        match self {
            Rules::Dpkg => dpkg::is_version(text),
            Rules::Rpm => rpm::is_version(text),
            Rules::Apk => apk::is_version(text),
            Rules::Pep440 => pep440::parse(text).is_some(),
            Rules::Semver => semver::parse(text).is_some(),
            Rules::Go => semver::parse_go(text).is_some(),
            Rules::Maven => !text.is_empty(),
            Rules::Gem => gem::parse(text).is_some(),
            Rules::Composer => composer::parse(text).is_some(),
        }
    }
}

/// Orders two texts of which either may be no version.
fn parsed<'a, V: Ord>(a: &'a str, b: &'a str, parse: impl Fn(&'a str) -> Option<V>) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (None, None) => a.cmp(b),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

fn valid_first(
    a: &str,
    b: &str,
    is_version: impl Fn(&str) -> bool,
    compare: impl Fn(&str, &str) -> Ordering,
) -> Ordering {
    match (is_version(a), is_version(b)) {
        (true, true) => compare(a, b),
        (false, false) => a.cmp(b),
        (left, right) => left.cmp(&right),
    }
}
