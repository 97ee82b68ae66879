//! PyPI: PEP 440, by the library that `uv` uses.

use std::str::FromStr as _;

pub(super) fn parse(text: &str) -> Option<pep440_rs::Version> {
    pep440_rs::Version::from_str(text.trim()).ok()
}
