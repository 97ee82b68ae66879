//! PyPI: PEP 440, by the library that `uv` uses.

use std::cmp::Ordering;
use std::str::FromStr as _;

pub(super) fn parse(text: &str) -> Option<pep440_rs::Version> {
    pep440_rs::Version::from_str(text.trim()).ok()
}

/// PEP 440, "Version matching": a stated version without a local label speaks of all local builds of it. `2.6.0+cu124` is what
/// an index of its own offers as `2.6.0`, and advisories name that one. `None`: either is no version.
pub(super) fn compare_to_stated(version: &str, stated: &str) -> Option<Ordering> {
    let (version, stated) = (parse(version)?, parse(stated)?);
    let version = if stated.is_local() { version } else { version.without_local() };
    Some(version.cmp(&stated))
}
