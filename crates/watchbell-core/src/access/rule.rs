//! A rule of a role, and what it allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Deed;

/// Everything, in a list of verbs, groups, resources or paths.
pub(super) const ALL: &str = "*";

/// `rbac.v1.PolicyRule`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Empty: of whatever name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; one that ends with `*` is a prefix.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    pub verbs: Vec<String>,
}

/// Which parts of a deed a rule covers. A path has neither group nor name: those parts are covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    pub verb: bool,
    pub group: bool,
    pub resource: bool,
    pub name: bool,
}

impl Fit {
    pub(super) fn allows(self) -> bool {
        self.verb && self.group && self.resource && self.name
    }
}

impl Rule {
    /// Everything: what `system:masters` may, as two rules.
    pub fn everything() -> [Rule; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Rule { api_groups: all(), resources: all(), verbs: all(), ..Rule::default() },
            Rule { non_resource_urls: all(), verbs: all(), ..Rule::default() },
        ]
    }

    /// About as long as it is in JSON.
    pub(super) fn told_bytes(&self) -> usize {
        let lists =
            [&self.api_groups, &self.resources, &self.resource_names, &self.non_resource_urls, &self.verbs];
        64 + lists.into_iter().flatten().map(|word| word.len() + 3).sum::<usize>()
    }

    pub fn allows(&self, deed: &Deed<'_>) -> bool {
        self.fit(deed).allows()
    }

    pub(super) fn fit(&self, deed: &Deed<'_>) -> Fit {
        let verb = has_or_all(&self.verbs, deed.verb());
        match deed {
            Deed::Resource { group, resource, subresource, name, .. } => Fit {
                verb,
                group: has_or_all(&self.api_groups, group),
                resource: self.has_resource(resource, subresource),
                name: self.resource_names.is_empty() || has(&self.resource_names, name),
            },
            Deed::Path { path, .. } => Fit { verb, group: true, resource: self.has_path(path), name: true },
        }
    }

    /// `pods`, `pods/log`, `*/log`, `*`. As in Kubernetes, `pods` does not cover `pods/log`, and `*` covers both.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            own == ALL
                || match subresource {
                    "" => own == resource,
                    _ => own
                        .strip_suffix(subresource)
                        .and_then(|rest| rest.strip_suffix('/'))
                        .is_some_and(|rest| rest == resource || rest == ALL),
                }
        })
    }

    fn has_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|own| path_covers(own, path))
    }
}

/// Whether one path of a rule is, or is a prefix of, another.
pub(super) fn path_covers(own: &str, path: &str) -> bool {
    own == path || own.ends_with('*') && path.starts_with(own.trim_end_matches('*'))
}

pub(super) fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == text)
}

pub(super) fn has_or_all(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == text || own == ALL)
}

/// As Kubernetes writes a rule in a message: `{APIGroups:["batch"], Resources:["jobs"], Verbs:["get" "list"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        f.write_str("{")?;
        let set = parts.iter().filter(|(_, list)| !list.is_empty());
        for (i, (name, list)) in set.enumerate() {
            write!(f, "{}{name}:{}", if i == 0 { "" } else { ", " }, Quoted(list))?;
        }
        f.write_str("}")
    }
}

/// So many texts of a list are written into a message,
const QUOTED_MAX: usize = 16;
/// and of each so many characters: a rule may have as many as an object has bytes.
const QUOTED_CHARS_MAX: usize = 64;

/// A list of texts as Go's `%q` writes it, `["get" "list"]`; of a long one its beginning and how many more there are.
pub(super) struct Quoted<'a>(pub &'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, text) in self.0.iter().take(QUOTED_MAX).enumerate() {
            f.write_str(if i == 0 { "" } else { " " })?;
            match text.char_indices().nth(QUOTED_CHARS_MAX) {
                None => write!(f, "{text:?}")?,
                Some((end, _)) => write!(f, "{:?}…", &text[..end])?,
            }
        }
        match self.0.len().saturating_sub(QUOTED_MAX) {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        f.write_str("]")
    }
}
