//! Files whose path says that they hold logins, and everything else by its content.

use std::ops::Range;

use serde_json::Value;

use super::form;
use super::name::password_in;
use super::rules::{Rule, named};
use super::{Certainty, Hit, is_test_data, scan_bytes};

/// Logins that one file may show.
const LOGINS_MAX: usize = 100;

/// Looks through a file of an image. `path` is from the root; the content is looked at as it is, text or not.
pub fn scan_file(path: &str, content: &[u8]) -> Vec<Hit> {
    let mut hits = scan_bytes(content);
    if let Some((rule, find)) = by_path(path) {
        let is_known = |range: &Range<usize>| {
            hits.iter().any(|hit: &Hit| hit.range.start < range.end && range.start < hit.range.end)
        };
        let text = String::from_utf8_lossy(content);
        // Replaced bytes would move places; such a file is no configuration.
        let ranges = if text.len() == content.len() { find(&text) } else { Vec::new() };
        let new: Vec<Range<usize>> =
            ranges.into_iter().filter(|range| !is_known(range)).take(LOGINS_MAX).collect();
        hits.extend(new.into_iter().map(|range| Hit {
            rule,
            line: line_of(content, range.start),
            range,
            certainty: Certainty::Plain,
            start: String::new(),
        }));
    }
    if is_test_data(path) {
        hits.iter_mut().for_each(|hit| hit.certainty = Certainty::TestData);
    }
    hits
}

type Finder = fn(&str) -> Vec<Range<usize>>;

fn by_path(path: &str) -> Option<(&'static Rule, Finder)> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let found: (&str, Finder) = match name {
        ".dockerconfigjson" | ".dockercfg" => ("docker-login", docker),
        "config.json" | "auth.json"
            if [".docker/", "containers/", ".config/containers/", "kaniko/.docker/"].iter().any(
                |directory| path.strip_suffix(name).is_some_and(|before| before.ends_with(directory)),
            ) =>
        {
            ("docker-login", docker)
        }
        ".netrc" | "_netrc" => ("netrc-login", netrc),
        ".pypirc" => ("pypirc-login", pypirc),
        ".git-credentials" => ("git-credentials", git_credentials),
        _ => return None,
    };
    Some((named(found.0), found.1))
}

fn line_of(content: &[u8], at: usize) -> u32 {
    let before = content[..at].iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// `{"auths": {"registry": {"auth": "…", "identitytoken": "…"}}}`, and the older form without `auths`.
fn docker(text: &str) -> Vec<Range<usize>> {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let logins = document.get("auths").unwrap_or(&document).as_object();
    let mut found = Vec::new();
    for login in logins.into_iter().flat_map(|map| map.values()).take(LOGINS_MAX) {
        for name in ["auth", "identitytoken", "registrytoken", "password"] {
            let value = login.get(name).and_then(Value::as_str).unwrap_or_default();
            let is_login = if name == "auth" { form::is_login(value) } else { !value.is_empty() };
            if is_login && let Some(at) = text.find(value) {
                found.push(at..at + value.len());
            }
        }
    }
    found
}

/// Words of a text with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_ascii_whitespace().map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// `machine HOST login NAME password WORD`, over lines as one likes.
fn netrc(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut words = words(text);
    let mut has_machine = false;
    while let Some((_, word)) = words.next() {
        match word {
            "machine" | "default" => has_machine = true,
            "password" if has_machine => {
                if let Some((at, password)) = words.next() {
                    found.push(at..at + password.len());
                }
            }
            _ => {}
        }
    }
    found
}

/// `password = WORD` or `password: WORD` in any section.
fn pypirc(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim() == "password"
            && !value.trim().is_empty()
            && !value.trim().starts_with(['$', '%'])
        {
            let at = start + name.len() + 1 + (value.len() - value.trim_start().len());
            found.push(at..at + value.trim().len());
        }
        start += line.len();
    }
    found
}

/// `https://user:password@host` a line.
fn git_credentials(text: &str) -> Vec<Range<usize>> {
    words(text)
        .filter_map(|(at, word)| password_in(word).map(|range| at + range.start..at + range.end))
        .collect()
}
