//! Findings that a policy takes upon itself, found by their name: an image has thousands of findings, a policy a thousand of these.

use watchbell_api::image::Finding;

/// A finding that counts for nothing until a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// In small letters: names of advisories are compared without regard to case.
    id: Box<str>,
    pub package: Option<Box<str>>,
    pub reason: Box<str>,
    /// Unix seconds.
    pub expires: i64,
}

impl Exception {
    pub fn new(id: &str, package: Option<&str>, reason: &str, expires: i64) -> Exception {
        let id = id.to_ascii_lowercase().into();
        Exception { id, package: package.map(Into::into), reason: reason.into(), expires }
    }
}

/// In the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exceptions(pub(super) Vec<Exception>);

impl FromIterator<Exception> for Exceptions {
    fn from_iter<I: IntoIterator<Item = Exception>>(list: I) -> Exceptions {
        let mut list: Vec<Exception> = list.into_iter().collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        Exceptions(list)
    }
}

impl Exceptions {
    /// Of those that cover a finding, the one that ends last.
    pub fn last_of(&self, finding: &Finding) -> Option<&Exception> {
        if self.0.is_empty() {
            return None;
        }
        let names = std::iter::once(&finding.id).chain(&finding.aliases);
        let covering = names.flat_map(|name| self.named(name));
        let of_package = |exception: &&Exception| {
            exception.package.as_ref().is_none_or(|package| *package == finding.package)
        };
        covering.filter(of_package).max_by_key(|exception| exception.expires)
    }

    fn named(&self, name: &str) -> &[Exception] {
        let name = name.to_ascii_lowercase();
        let from = self.0.partition_point(|exception| *exception.id < *name);
        let same = self.0[from..].partition_point(|exception| *exception.id == *name);
        &self.0[from..from + same]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_found_by_any_name_and_for_its_package() {
        let exceptions: Exceptions = [
            Exception::new("CVE-2026-9", None, "z", 1),
            Exception::new("cve-2026-1", Some("zlib"), "a", 5),
            Exception::new("CVE-2026-1", None, "b", 3),
            Exception::new("GHSA-x", None, "c", 9),
        ]
        .into_iter()
        .collect();
        let check = |id: &str, aliases: &[&str], package: &str, expect: Option<&str>| {
            let aliases = aliases.iter().map(|alias| (*alias).into()).collect();
            let finding = Finding { id: id.into(), package: package.into(), aliases, ..Finding::default() };
            let found = exceptions.last_of(&finding).map(|exception| &*exception.reason);
            assert_eq!(found, expect, "{id} {package}");
        };
        check("CVE-2026-1", &[], "zlib", Some("a"));
        check("CVE-2026-1", &[], "other", Some("b"));
        check("CVE-2026-1", &["ghsa-X"], "zlib", Some("c"));
        check("CVE-2026-10", &[], "zlib", None);
        check("CVE-2026", &[], "zlib", None);
    }
}
