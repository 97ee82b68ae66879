//! Packages of npm: `package.json` where they are installed, and the locks of npm, yarn and pnpm.

use saphyr_parser::{Event, Parser};
use serde_json::Value;

use super::item::{ITEMS_MAX, Item, json, lines, push_licence};
use crate::{Evidence, PackageKind};

/// Whether a `package.json` is a package's own: it lies right below `node_modules` (or `node_modules/@scope`), or is of
/// no `node_modules` at all. Those deeper in a package are tests and marks of module types.
pub(crate) fn is_package(path: &str) -> bool {
    match path.rsplit_once("node_modules/") {
        None => true,
        Some((_, inside)) => {
            let parts = inside.split('/').count();
            parts == if inside.starts_with('@') { 3 } else { 2 }
        }
    }
}

pub(crate) fn package(bytes: &[u8]) -> Result<Option<Item>, String> {
    let package = json(bytes)?;
    // Without a version it is a project that nobody published.
    let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) else {
        return Ok(None);
    };
    let Some(mut item) = Item::new(PackageKind::Npm, name, version, Evidence::Installed) else {
        return Ok(None);
    };
    let licences =
        [&package["license"]].into_iter().chain(package["licenses"].as_array().into_iter().flatten());
    for licence in licences {
        push_licence(&mut item.licences, licence.as_str().or(licence["type"].as_str()).unwrap_or_default());
    }
    Ok(Some(item))
}

fn locked(name: &str, version: &str) -> Option<Item> {
    if version.is_empty() { None } else { Item::new(PackageKind::Npm, name, version, Evidence::LockFile) }
}

/// `package-lock.json` and `npm-shrinkwrap.json`: `packages` since version 2, `dependencies` before.
pub(crate) fn package_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let lock = json(bytes)?;
    let mut items = Vec::new();
    if let Some(packages) = lock["packages"].as_object() {
        for (path, package) in packages {
            if items.len() >= ITEMS_MAX {
                break;
            }
            let Some((_, by_path)) = path.rsplit_once("node_modules/") else { continue };
            if package["link"].as_bool() == Some(true) {
                continue;
            }
            // An alias is installed under another name than its own.
            let name = package["name"].as_str().unwrap_or(by_path);
            let item = locked(name, package["version"].as_str().unwrap_or_default());
            items.extend(item.map(|i| i.licensed(package["license"].as_str().unwrap_or_default())));
        }
        return Ok(items);
    }
    let mut left: Vec<&Value> = vec![&lock["dependencies"]];
    while let Some(dependencies) = left.pop() {
        for (name, package) in dependencies.as_object().into_iter().flatten() {
            if items.len() >= ITEMS_MAX {
                return Ok(items);
            }
            let version = package["version"].as_str().unwrap_or_default();
            // An alias: `npm:name@1.0.0`.
            let aliased = version.strip_prefix("npm:").and_then(|target| target.rsplit_once('@'));
            let (name, version) = aliased.filter(|(name, _)| !name.is_empty()).unwrap_or((name, version));
            items.extend(locked(name, version));
            left.push(&package["dependencies"]);
        }
    }
    Ok(items)
}

/// `yarn.lock` of version 1 and of berry: both have a line of names and an indented `version`.
pub(crate) fn yarn_lock(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut name = String::new();
    for line in lines(bytes) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            // `"@scope/name@^1", "@scope/name@^2":`, `name@npm:^1:`
            let first =
                line.trim_end_matches(':').split(',').next().unwrap_or_default().trim().trim_matches('"');
            let at = first.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
            name = match at {
                // The project's own packages.
                Some(at) if first[at..].starts_with("@workspace:") => String::new(),
                Some(at) => match first[at + 1..].strip_prefix("npm:") {
                    // `alias@npm:name@range`
                    Some(target) if target.char_indices().skip(1).any(|(_, c)| c == '@') => {
                        target[..target.rfind('@').unwrap_or(target.len())].to_owned()
                    }
                    _ => first[..at].to_owned(),
                },
                None => String::new(),
            };
            continue;
        }
        let field = line.trim();
        let version = field.strip_prefix("version ").or_else(|| field.strip_prefix("version: "));
        if let Some(version) = version
            && line.starts_with("  ")
            && !line.starts_with("   ")
            && items.len() < ITEMS_MAX
        {
            items.extend(locked(&name, version.trim_matches('"')));
        }
    }
    items
}

/// `bun.lock`: JSON in which a comma may stand behind the last value, and comments; `packages` has lists whose first value is
/// `name@version`.
pub(crate) fn bun_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let lock = json(&strict(bytes))?;
    let mut items = Vec::new();
    for package in lock["packages"].as_object().into_iter().flatten().map(|(_, package)| package) {
        let Some((name, version)) = package[0].as_str().and_then(|text| text.rsplit_once('@')) else {
            continue;
        };
        // Those of the workspace, of a repository or a file have no version.
        if version.starts_with(|c: char| c.is_ascii_digit()) && items.len() < ITEMS_MAX {
            items.extend(locked(name, version));
        }
    }
    Ok(items)
}

/// The same without comments and without commas behind a last value.
fn strict(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = bytes.get(at).copied() {
        let next = bytes.get(at + 1).copied();
        match (byte, next) {
            (b'\\', Some(next)) if in_string => {
                out.extend([byte, next]);
                at += 2;
                continue;
            }
            (b'"', _) => in_string = !in_string,
            (b'/', Some(b'/')) if !in_string => {
                at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |end| at + end);
                continue;
            }
            (b'/', Some(b'*')) if !in_string => {
                let end = bytes[at + 2..].windows(2).position(|pair| pair == b"*/");
                at = end.map_or(bytes.len(), |end| at + 2 + end + 2);
                continue;
            }
            (b']' | b'}', _) if !in_string => {
                let last = out.iter().rposition(|b| !b.is_ascii_whitespace());
                if let Some(last) = last.filter(|last| out[*last] == b',') {
                    out.truncate(last);
                }
            }
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
    out
}

/// `pnpm-lock.yaml`: the keys of `packages`, which are `/name/1.0.0` (version 5), `/name@1.0.0` (6) or `name@1.0.0` (9), with
/// what they were resolved beside in brackets or behind an underscore.
pub(crate) fn pnpm_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut items = Vec::new();
    let mut depth = 0usize;
    // At depth 1 and 2, whether the next scalar is a key, and whether we are in `packages`.
    let (mut is_key, mut in_packages) = ([true; 3], false);
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| e.to_string())?;
        match event {
            Event::Scalar(value, ..) => {
                if depth == 1 && is_key[1] {
                    in_packages = value == "packages";
                }
                if depth == 2 && in_packages && is_key[2] && items.len() < ITEMS_MAX {
                    items.extend(pnpm_key(&value));
                }
                if let Some(key) = is_key.get_mut(depth) {
                    *key = !*key;
                }
            }
            Event::Alias(_) => {
                if let Some(key) = is_key.get_mut(depth) {
                    *key = !*key;
                }
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                if let Some(key) = is_key.get_mut(depth) {
                    *key = true;
                }
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth = depth.saturating_sub(1);
                // A collection was a value; a key of a collection is in no lock.
                if let Some(key) = is_key.get_mut(depth) {
                    *key = true;
                }
            }
            _ => {}
        }
    }
    Ok(items)
}

fn pnpm_key(key: &str) -> Option<Item> {
    let key = key.split('(').next()?.trim_start_matches('/');
    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let by_slash = key.match_indices('/').map(|(at, _)| at).find(|at| starts_with_digit(&key[at + 1..]));
    let by_at = || key.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
    let at = by_slash.or_else(by_at)?;
    let (name, version) = (&key[..at], key[at + 1..].split('_').next()?);
    starts_with_digit(version).then(|| locked(name, version)).flatten()
}
