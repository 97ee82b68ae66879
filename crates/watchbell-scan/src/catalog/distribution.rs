//! `/etc/os-release` (os-release(5)): shell assignments, without expansion.

use super::item::lines;
use crate::Distribution;

const VALUE_BYTES_MAX: usize = 256;

pub(crate) fn read(bytes: &[u8]) -> Option<Distribution> {
    let mut found = Distribution::default();
    for line in lines(bytes) {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let value = unquoted(value);
        if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            continue;
        }
        match key {
            "ID" => found.id = value.to_lowercase(),
            "ID_LIKE" => found.id_like = value.split_whitespace().map(str::to_lowercase).collect(),
            "VERSION_ID" => found.version_id = Some(value),
            "VERSION_CODENAME" => found.codename = Some(value),
            "PRETTY_NAME" => found.pretty_name = Some(value),
            _ => {}
        }
    }
    (!found.id.is_empty()).then_some(found)
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
    let Some(inner) = inner else { return value.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        text.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    text
}
