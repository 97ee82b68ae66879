//! Python's packages: what installers leave (`*.dist-info`, `*.egg-info`), and lock files.
//! (Python packaging specifications: core metadata, recording installed projects, dependency specifiers.)

use std::path::Path;

use saphyr_parser::{Event, Parser};
use serde_json::Value;
use toml::Table;

use super::item::{ITEMS_MAX, Item, PathSet, WORD_BYTES_MAX, json, lines, push_licence};
use crate::{Evidence, PackageKind};

/// `METADATA` or `PKG-INFO`.
pub(crate) fn metadata(bytes: &[u8]) -> Option<Item> {
    let (mut name, mut version, mut expression) = (String::new(), String::new(), None);
    let (mut licence, mut classifiers) = (String::new(), Vec::new());
    for line in lines(bytes) {
        // The description begins behind an empty line.
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" if name.is_empty() => value.clone_into(&mut name),
            "version" if version.is_empty() => value.clone_into(&mut version),
            "license-expression" => expression = Some(value.to_owned()),
            "license" => value.clone_into(&mut licence),
            "classifier" => {
                if let Some(classifier) = value.strip_prefix("License ::") {
                    let last = classifier.rsplit("::").next().unwrap_or_default();
                    push_licence(&mut classifiers, last);
                }
            }
            _ => {}
        }
    }
    let mut item = Item::new(PackageKind::Pypi, &name, &version, Evidence::Installed)?;
    match expression {
        Some(expression) => push_licence(&mut item.licences, &expression),
        None => push_licence(&mut item.licences, &licence),
    }
    if item.licences.is_empty() {
        item.licences = classifiers;
    }
    Some(item)
}

/// The files of `RECORD` (a CSV whose first column is a path from the directory that holds the `.dist-info`), of
/// `installed-files.txt` (from the `.egg-info` itself) or of `SOURCES.txt`. `directory` is where the paths begin.
pub(crate) fn record(bytes: &[u8], directory: &str) -> PathSet {
    let mut files = PathSet::default();
    for line in lines(bytes) {
        if files.is_full() {
            break;
        }
        let path = match line.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default(),
            None => line.split(',').next().unwrap_or_default(),
        };
        if path.is_empty() {
            continue;
        }
        if path.starts_with('/') {
            files.insert(path);
        } else if let Some(path) = joined(directory, path) {
            files.insert(&path);
        }
    }
    files
}

/// `None` for what leads out of the image.
fn joined(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `requirements.txt`, `requirements-prod.txt`, `dev_requirements.txt`, `requirements/base.txt`.
pub(crate) fn is_requirements(directory: &str, name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".txt") else { return false };
    let is_apart = |rest: &str, at: fn(&str, [char; 3]) -> bool| rest.is_empty() || at(rest, ['-', '_', '.']);
    stem.strip_prefix("requirements").is_some_and(|rest| is_apart(rest, str::starts_with))
        || stem.strip_suffix("requirements").is_some_and(|rest| is_apart(rest, str::ends_with))
        || directory.rsplit('/').next() == Some("requirements")
}

/// `pylock.toml` and `pylock.NAME.toml` (PEP 751).
pub(crate) fn is_pylock(name: &str) -> bool {
    let rest = name.strip_prefix("pylock.").and_then(|rest| rest.strip_suffix("toml"));
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `conda-lock.yml`, and `NAME.conda-lock.yml`.
pub(crate) fn is_conda_lock(name: &str) -> bool {
    ["conda-lock.yml", "conda-lock.yaml"]
        .iter()
        .any(|known| name.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// The unified lock file of conda-lock: a list `package` of mappings, for several platforms; those of Linux count.
pub(crate) fn conda_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut items = Vec::new();
    // Whether the next scalar of a mapping is a key, by depth; what is deeper than an entry's fields is passed over.
    let (mut depth, mut is_key, mut in_packages) = (0usize, [true; 4], false);
    let (mut key, mut entry) = (String::new(), Locked::default());
    for event in Parser::new_from_str(text) {
        match event.map_err(|e| e.to_string())?.0 {
            Event::Scalar(value, ..) => match depth {
                1 if is_key[1] => {
                    in_packages = value == "package";
                    is_key[1] = false;
                }
                3 if is_key[3] => {
                    key = value.into_owned();
                    is_key[3] = false;
                }
                3 => {
                    entry.set(&key, &value);
                    is_key[3] = true;
                }
                1 => is_key[1] = true,
                _ => {}
            },
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                if let Some(is_key) = is_key.get_mut(depth) {
                    *is_key = true;
                }
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if depth == 3 && in_packages && items.len() < ITEMS_MAX {
                    items.extend(entry.item());
                }
                if depth == 3 {
                    entry = Locked::default();
                }
                depth = depth.saturating_sub(1);
                // A collection was a value.
                if let Some(is_key) = is_key.get_mut(depth) {
                    *is_key = true;
                }
            }
            Event::Alias(_) if depth == 3 || depth == 1 => is_key[depth] = !is_key[depth],
            _ => {}
        }
    }
    Ok(items)
}

/// An entry of such a lock file.
#[derive(Default)]
struct Locked {
    name: String,
    version: String,
    manager: String,
    platform: String,
}

impl Locked {
    fn set(&mut self, key: &str, value: &str) {
        let field = match key {
            "name" => &mut self.name,
            "version" => &mut self.version,
            "manager" => &mut self.manager,
            "platform" => &mut self.platform,
            _ => return,
        };
        value.clone_into(field);
    }

    fn item(&self) -> Option<Item> {
        if !self.platform.is_empty() && !self.platform.starts_with("linux") {
            return None;
        }
        let kind = if self.manager == "pip" { PackageKind::Pypi } else { PackageKind::Conda };
        let mut item = Item::new(kind, &self.name, &self.version, Evidence::LockFile)?;
        if kind == PackageKind::Conda && self.platform.len() <= WORD_BYTES_MAX {
            item.architecture = Some(self.platform.clone()).filter(|platform| !platform.is_empty());
        }
        Some(item)
    }
}

/// `requirements.txt`: only what is pinned to one version says what would be installed.
pub(crate) fn requirements(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    for line in lines(bytes) {
        if items.len() >= ITEMS_MAX {
            break;
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.starts_with(['#', '-']) {
            continue;
        }
        let line = line.split(';').next().unwrap_or_default();
        let Some((name, version)) = line.split_once("==") else { continue };
        let name = name.split('[').next().unwrap_or_default().trim();
        let version = version.trim_start_matches('=').split([' ', '\\', ',']).find(|v| !v.is_empty());
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if let Some(version) = version
            && is_name
            && !version.contains('*')
        {
            items.extend(Item::new(PackageKind::Pypi, name, version, Evidence::LockFile));
        }
    }
    items
}

/// `poetry.lock`, `uv.lock` and `pdm.lock`: tables `[[package]]` with a name and a version; `pylock.toml`: `[[packages]]`.
pub(crate) fn toml_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let packages = table
        .get("package")
        .or_else(|| table.get("packages"))
        .and_then(|p| p.as_array())
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut items = Vec::new();
    for package in packages {
        if items.len() >= ITEMS_MAX {
            break;
        }
        let text = |key: &str| package.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        // uv lists the project itself as one that is edited in place.
        let is_itself =
            package.get("source").is_some_and(|s| s.get("virtual").is_some() || s.get("editable").is_some());
        if !is_itself {
            items.extend(Item::new(PackageKind::Pypi, text("name"), text("version"), Evidence::LockFile));
        }
    }
    Ok(items)
}

/// `Pipfile.lock`.
pub(crate) fn pipfile_lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let lock = json(bytes)?;
    let groups = ["default", "develop"].iter().filter_map(|group| lock[*group].as_object());
    let mut items = Vec::new();
    for (name, entry) in groups.flatten() {
        if items.len() >= ITEMS_MAX {
            break;
        }
        if let Some(version) = entry["version"].as_str().and_then(|v| v.strip_prefix("==")) {
            items.extend(Item::new(PackageKind::Pypi, name, version, Evidence::LockFile));
        }
    }
    Ok(items)
}

/// `conda-meta/NAME-VERSION-BUILD.json`, with the files that it brought. `prefix` is the environment's directory.
pub(crate) fn conda(bytes: &[u8], prefix: &str) -> Result<Option<Item>, String> {
    let meta = json(bytes)?;
    let text = |key: &str| meta[key].as_str().unwrap_or_default();
    let Some(mut item) = Item::new(PackageKind::Conda, text("name"), text("version"), Evidence::Installed)
    else {
        return Ok(None);
    };
    item = item.licensed(text("license"));
    item.architecture = meta["subdir"].as_str().map(str::to_owned);
    for file in meta["files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if item.files.is_full() {
            break;
        }
        if let Some(path) = joined(prefix, file) {
            item.files.insert(&path);
        }
    }
    Ok(Some(item))
}

/// A library that a wheel carries in `NAME.libs/`: its name without the hash that auditwheel puts in, and its version where
/// the name has one.
///
/// `libgfortran-040039e1-0352e75f.so.5.0.0` is libgfortran 5.0.0, `libopenblas64_p-r0-0cf96a72.3.23.so` is libopenblas64_p
/// 0.3.23.
pub(crate) fn vendored(file_name: &str) -> Option<Item> {
    let at = file_name.find(".so")?;
    let (stem, after) = (&file_name[..at], &file_name[at + ".so".len()..]);
    if !(after.is_empty() || after.starts_with('.')) {
        return None;
    }
    let is_hash =
        |part: &str| part.len() == 8 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut name = String::new();
    for (index, part) in stem.split('-').enumerate() {
        // Behind the last hash the rest of a version may stand.
        let (hash, rest) = part.split_once('.').map_or((part, None), |(hash, rest)| (hash, Some(rest)));
        if index > 0 && is_hash(hash) {
            if let Some(rest) = rest {
                name.push('.');
                name.push_str(rest);
            }
            continue;
        }
        if index > 0 {
            name.push('-');
        }
        name.push_str(part);
    }
    let mut version = after.trim_start_matches('.').to_owned();
    if version.is_empty()
        && let Some((base, tail)) = name.rsplit_once('-')
    {
        let number = tail.strip_prefix('r').unwrap_or(tail);
        if number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.') {
            version = number.to_owned();
            name = base.to_owned();
        }
    }
    Item::new(PackageKind::Generic, &name, &version, Evidence::FileName)
}

/// Whether a path is that of a library in a wheel's `NAME.libs/`.
pub(crate) fn is_vendored(path: &str) -> bool {
    let parent = Path::new(path).parent().and_then(Path::file_name).and_then(|n| n.to_str());
    parent.is_some_and(|p| p.ends_with(".libs") && p.len() > ".libs".len())
}
