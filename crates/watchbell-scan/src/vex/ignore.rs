//! Ignore files: one entry a line, in the grammar of Trivy's `.trivyignore`, but for what is optional there.
//!
//! ```text
//!  # a comment
//!  CVE-2024-1234                exp:2026-12-31  # the vulnerable function is compiled out
//!  CVE-2024-5678  pkg:pypi/foo  exp:2026-09-01  # fixed in our fork, see CHANGES
//!  private-key    path:srv/test/*.pem  exp:2027-01-01  # a key of our own test authority
//! ```
//!
//! An entry says until when and why, or it is refused: an exception that nobody has to renew is one that nobody remembers.

use super::purl::PurlPattern;

/// A file of more is no list that people keep.
const BYTES_MAX: usize = 1 << 20;

/// What an entry narrows itself to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreTarget {
    Package(PurlPattern),
    /// Of a path in the image; `*` is any run of characters but `/`, `**` any at all.
    Path(String),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignore {
    /// A vulnerability by any of its names, or a rule.
    pub id: String,
    pub targets: Vec<IgnoreTarget>,
    /// The last day on which it counts, `2026-12-31`.
    pub expires: String,
    pub reason: String,
    /// From 1.
    pub line: u32,
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    /// As on the command line.
    pub file: String,
    pub entries: Vec<Ignore>,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot take the ignore file {file}, line {line}: {reason}")]
pub struct IgnoreError {
    pub file: String,
    pub line: u32,
    pub reason: String,
}

impl IgnoreFile {
    /// Reads a file; `file` is what messages call it.
    pub fn parse(file: &str, text: &str) -> Result<IgnoreFile, IgnoreError> {
        let refuse = |line: u32, reason: String| IgnoreError { file: file.to_owned(), line, reason };
        if text.len() > BYTES_MAX {
            return Err(refuse(1, format!("it has more than {} MiB", BYTES_MAX >> 20)));
        }
        let mut entries = Vec::new();
        for (number, line) in (1u32..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            entries.push(entry(line, number).map_err(|reason| refuse(number, reason))?);
        }
        Ok(IgnoreFile { file: file.to_owned(), entries })
    }
}

fn entry(line: &str, number: u32) -> Result<Ignore, String> {
    let (fields, reason) = line.split_once(" #").unwrap_or((line, ""));
    let reason = reason.trim();
    let mut words = fields.split_whitespace();
    let id = words.next().unwrap_or_default().to_owned();
    let mut expires = None;
    let mut targets = Vec::new();
    for word in words {
        if let Some(date) = word.strip_prefix("exp:") {
            if !is_date(date) {
                return Err(format!("{date:?} is no date: write exp:YYYY-MM-DD"));
            }
            expires = Some(date.to_owned());
        } else if let Some(path) = word.strip_prefix("path:") {
            targets.push(IgnoreTarget::Path(path.trim_start_matches('/').to_owned()));
        } else if word.starts_with("pkg:") {
            let purl = PurlPattern::parse(word).ok_or_else(|| format!("{word:?} is no package URL"))?;
            targets.push(IgnoreTarget::Package(purl));
        } else {
            return Err(format!(
                "{word:?} is neither exp:DATE nor pkg:… nor path:…; a reason stands behind \" # \""
            ));
        }
    }
    match (expires, reason) {
        (None, _) => Err(format!("{id} says not until when: add exp:YYYY-MM-DD")),
        (_, "") => Err(format!("{id} says not why: add \" # \" and the reason")),
        (Some(expires), reason) => {
            Ok(Ignore { id, targets, expires, reason: reason.to_owned(), line: number })
        }
    }
}

/// A day of the calendar as it is written; leap days are the writer's business.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u8>().ok());
    shape
        && number(5..7).is_some_and(|m| (1..=12).contains(&m))
        && number(8..10).is_some_and(|d| (1..=31).contains(&d))
}

impl Ignore {
    /// Whether it still counts. `today` is written as `2026-11-26`, so that the order of texts is that of days.
    pub(crate) fn counts(&self, today: &str) -> bool {
        today <= self.expires.as_str()
    }

    /// Whether it is about something with these names, package URLs and paths. Of several targets of one kind one is enough,
    /// but each package and each path of the finding must be meant.
    pub(crate) fn covers(&self, names: &[&str], packages: &[String], paths: &[&str]) -> bool {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&self.id)) {
            return false;
        }
        let patterns = || {
            self.targets.iter().filter_map(|target| match target {
                IgnoreTarget::Package(pattern) => Some(pattern),
                IgnoreTarget::Path(_) => None,
            })
        };
        let globs = || {
            self.targets.iter().filter_map(|target| match target {
                IgnoreTarget::Path(glob) => Some(glob),
                IgnoreTarget::Package(_) => None,
            })
        };
        let packages_fit = patterns().next().is_none()
            || (!packages.is_empty()
                && packages.iter().all(|purl| {
                    PurlPattern::parse(purl)
                        .is_some_and(|purl| patterns().any(|pattern| pattern.matches(&purl)))
                }));
        let paths_fit = globs().next().is_none()
            || (!paths.is_empty() && paths.iter().all(|path| globs().any(|glob| is_match(glob, path))));
        packages_fit && paths_fit
    }
}

/// Whether a path is of a pattern. Each star is tried once more only where the last one stood, so the work is their product.
fn is_match(glob: &str, path: &str) -> bool {
    let (glob, path) = (glob.as_bytes(), path.as_bytes());
    let (mut g, mut p) = (0, 0);
    // Where the last star stood, whether it crosses slashes, and what it took.
    let mut star: Option<(usize, bool, usize)> = None;
    loop {
        if g < glob.len() && glob[g] == b'*' {
            let crosses = glob.get(g + 1) == Some(&b'*');
            g += if crosses { 2 } else { 1 };
            star = Some((g, crosses, p));
        } else if p == path.len() && g == glob.len() {
            return true;
        } else if g < glob.len() && p < path.len() && glob[g] == path[p] {
            (g, p) = (g + 1, p + 1);
        } else if let Some((after, crosses, taken)) = star
            && taken < path.len()
            && (crosses || path[taken] != b'/')
        {
            (g, p) = (after, taken + 1);
            star = Some((after, crosses, taken + 1));
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests;
