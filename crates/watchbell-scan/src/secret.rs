//! Secrets and private keys that lie in files, variables and the history of an image.
//!
//! ```text
//!  bytes ──one pass over all anchors──▶ candidates ──the rule's own check──▶ hits
//!          (`ghp_`, `AKIA`, `-----BEGIN …`)           (alphabet, length, checksum, structure)
//! ```
//!
//! A rule speaks only where the form itself shows what it is: a fixed prefix with its alphabet and length, a checksum where the
//! format has one, a structure that decodes. A word that merely looks random is not spoken of. No value leaves this module:
//! of a hit there are its place, its length and its first characters.

mod file;
mod form;
mod name;
mod rules;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

pub use file::scan_file;
pub use name::{has_password, is_secret_name, may_be_secret_value};
pub use rules::{RULES, Rule};

/// Characters of a secret that are shown.
const SHOWN: usize = 4;
/// Hits of one text; a file of ten thousand keys is one finding's worth of news.
const HITS_MAX: usize = 100;

/// How much of an alarm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It lies where packages keep what their tests and their documentation need, and is public.
    TestData,
    /// Useless without a passphrase.
    Encrypted,
    Plain,
}

/// A secret that was found. It does not hold the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub rule: &'static Rule,
    /// In the bytes that were looked at.
    pub range: Range<usize>,
    /// From 1.
    pub line: u32,
    pub certainty: Certainty,
    /// At most the first four characters; empty where those say nothing.
    pub start: String,
}

impl Hit {
    /// What may be printed: `ghp_… (40 characters)`.
    pub fn shown(&self) -> String {
        let length = self.range.len();
        match self.start.as_str() {
            "" => format!("{length} characters"),
            start => format!("{start}… ({length} characters)"),
        }
    }
}

/// Looks through a text, wherever it comes from.
pub fn scan_text(text: &str) -> Vec<Hit> {
    scan_bytes(text.as_bytes())
}

/// Looks through bytes by the anchors of all rules at once. Linear in their number.
pub(crate) fn scan_bytes(bytes: &[u8]) -> Vec<Hit> {
    static ANCHORS: OnceLock<(AhoCorasick, Vec<usize>)> = OnceLock::new();
    let (finder, rule_of) = ANCHORS.get_or_init(|| {
        let all = RULES.iter().enumerate();
        let pairs: Vec<(usize, &str)> =
            all.flat_map(|(at, rule)| rule.anchors.iter().map(move |anchor| (at, *anchor))).collect();
        let finder = AhoCorasick::new(pairs.iter().map(|(_, anchor)| anchor))
            .expect("a few dozen short words make an automaton");
        (finder, pairs.iter().map(|(at, _)| *at).collect())
    });
    let mut hits: Vec<Hit> = Vec::new();
    let (mut line, mut counted) = (1u32, 0usize);
    for found in finder.find_iter(bytes) {
        if hits.len() >= HITS_MAX {
            break;
        }
        // What lies inside a hit belongs to it.
        if hits.last().is_some_and(|last| found.start() < last.range.end) {
            continue;
        }
        let rule = &RULES[rule_of[found.pattern().as_usize()]];
        let Some(verdict) = (rule.check)(bytes, found.range()) else { continue };
        let start = verdict.range.start.max(counted);
        line += u32::try_from(bytes[counted..start].iter().filter(|byte| **byte == b'\n').count())
            .unwrap_or(u32::MAX);
        counted = start;
        hits.push(Hit {
            rule,
            start: if rule.is_start_shown { start_of(&bytes[verdict.range.clone()]) } else { String::new() },
            range: verdict.range,
            line,
            certainty: verdict.certainty,
        });
    }
    hits
}

fn start_of(secret: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(&secret[..secret.len().min(SHOWN)]);
    text.chars().filter(char::is_ascii_graphic).collect()
}

/// Directories of packages whose keys are there to be tested and read about: their names, between slashes.
const TEST_DIRECTORIES: [&str; 14] = [
    "test",
    "tests",
    "testing",
    "testdata",
    "test-data",
    "test_data",
    "fixtures",
    "spec",
    "examples",
    "example",
    "demo",
    "doc",
    "docs",
    "mocks",
];
/// Where installed packages lie, so that such a directory below is theirs.
const PACKAGE_DIRECTORIES: [&str; 9] = [
    "site-packages/",
    "dist-packages/",
    "node_modules/",
    "usr/share/",
    "usr/lib/",
    "gems/",
    "go/pkg/mod/",
    "lib/python",
    "vendor/",
];

/// Whether a file is test or sample data of an installed package.
pub(crate) fn is_test_data(path: &str) -> bool {
    // A directory's whole name: `myvendor/` is nobody's package.
    let begins = |known: &&str| {
        path.match_indices(*known).map(|(at, _)| at).find(|at| *at == 0 || path.as_bytes()[at - 1] == b'/')
    };
    let Some(after) = PACKAGE_DIRECTORIES.iter().filter_map(begins).min() else { return false };
    path[after..].split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        TEST_DIRECTORIES.contains(&part.as_str()) || part.starts_with("test_") || part.contains("_test.")
    })
}

#[cfg(test)]
mod tests;
