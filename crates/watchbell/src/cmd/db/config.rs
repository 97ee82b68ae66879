//! The file that says what `db update` fetches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use watchbell_advisory::Ecosystem;
use watchbell_api::decode;

use crate::exit::Failure;

/// In the index's directory, unless another is named.
pub(super) const FILE: &str = "sources.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sources: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    url: Option<String>,
    path: Option<PathBuf>,
    licence: Option<String>,
    #[serde(default)]
    ecosystems: Vec<String>,
}

/// A source to keep up to date.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Configured {
    pub(super) name: String,
    pub(super) from: From,
    pub(super) licence: Option<String>,
    /// Whose packages it speaks of; nothing: what it has most of.
    pub(super) ecosystems: BTreeSet<Ecosystem>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum From {
    Url(String),
    Path(PathBuf),
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Configured>, Failure> {
    let bytes = fs::read(path).map_err(|e| {
        Failure::Usage(format!(
            "cannot read {}: {e}; write there which sources to fetch, as docs/advisories.md shows, or name another file by --config",
            path.display()
        ))
    })?;
    parse(&bytes).map_err(|reason| Failure::Usage(format!("{}: {reason}", path.display())))
}

fn parse(bytes: &[u8]) -> Result<Vec<Configured>, String> {
    let mut documents = decode::yaml(bytes).map_err(|e| e.to_string())?;
    let document = documents.pop().ok_or("it is empty")?;
    if !documents.is_empty() {
        return Err("it has more than one document".to_owned());
    }
    let file: File = serde_json::from_value(document).map_err(|e| e.to_string())?;
    let mut sources: Vec<Configured> = Vec::new();
    for entry in file.sources {
        let name = source_name(&entry.name).map_err(|e| e.to_string())?;
        if sources.iter().any(|there| there.name == name) {
            return Err(format!("the source {name} stands there twice"));
        }
        let from = match (entry.url, entry.path) {
            (Some(url), None) if url.starts_with("https://") || url.starts_with("http://") => From::Url(url),
            (Some(url), None) => {
                return Err(format!(
                    "source {name}: the url {url:?} begins with neither https:// nor http://"
                ));
            }
            (None, Some(path)) => From::Path(path),
            _ => return Err(format!("source {name}: say either url or path")),
        };
        let ecosystems = entry.ecosystems.iter().map(|text| ecosystem(text)).collect::<Result<_, String>>();
        let ecosystems = ecosystems.map_err(|e| format!("source {name}: {e}"))?;
        sources.push(Configured { name, from, licence: entry.licence, ecosystems });
    }
    if sources.is_empty() {
        return Err("it names no source".to_owned());
    }
    Ok(sources)
}

/// An ecosystem as the OSV schema and `db status` name it.
pub(super) fn ecosystem(text: &str) -> Result<Ecosystem, String> {
    Ecosystem::from_osv(text).ok_or_else(|| {
        format!("{text:?} is no ecosystem that is read: one is PyPI, npm, Debian:12 or Alpine:v3.20")
    })
}

/// A name that tells sources apart in tables and messages.
pub(super) fn source_name(text: &str) -> Result<String, Failure> {
    let is_name = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(Failure::Usage(format!(
            "{text:?} is no name of a source: it has letters, digits, dots, dashes and underscores, at most 63"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_or_refused() {
        let text = "sources:\n- name: pypi\n  url: https://publisher.example/all.zip\n  licence: CC-BY 4.0\n- name: own\n  path: /srv/own\n";
        let sources = parse(text.as_bytes()).unwrap();
        assert_eq!(sources[0].from, From::Url("https://publisher.example/all.zip".to_owned()));
        let text = "sources:\n- name: a\n  path: /x\n  ecosystems: [PyPI, \"Debian:12\"]\n";
        let debian = Ecosystem::Debian { release: "12".to_owned() };
        assert_eq!(parse(text.as_bytes()).unwrap()[0].ecosystems, [Ecosystem::PyPI, debian].into());
        assert_eq!(sources[0].licence.as_deref(), Some("CC-BY 4.0"));
        assert_eq!(sources[1].from, From::Path("/srv/own".into()));
        let check = |text: &str, expect: &str| {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("", "empty");
        check("sources: []", "no source");
        check("sources:\n- name: a\n", "either url or path");
        check("sources:\n- name: a\n  url: https://x\n  path: /x\n", "either url or path");
        check("sources:\n- name: a\n  url: ftp://x\n", "neither https");
        check("sources:\n- name: a\n  path: /x\n- name: a\n  path: /y\n", "twice");
        check("sources:\n- name: a b\n  path: /x\n", "no name of a source");
        check("sources:\n- name: a\n  path: /x\n  ecosystems: [pypi]\n", "no ecosystem that is read");
        check("sources:\n- name: a\n  path: /x\n  etag: y\n", "etag");
    }
}
