//! Debian's packages: `/var/lib/dpkg/status`, and `status.d` of distroless images, a file a package.
//! (deb-control(5), dpkg(1); lists of files stand in `info/NAME.list` and `info/NAME.md5sums`.)

use super::item::{ITEMS_MAX, Item, PathSet, WORD_BYTES_MAX, lines, push_licence};
use crate::vendor::{self, Stated};
use crate::{Evidence, PackageKind, SourcePackage};

/// Who owns the files of a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListOf {
    pub(crate) package: String,
    /// Stated where a package may be installed for several.
    pub(crate) architecture: Option<String>,
}

/// The installed packages. What was removed and only left its configuration is none.
pub(crate) fn status(bytes: &[u8]) -> Vec<Item> {
    stanzas(bytes).filter_map(item).take(ITEMS_MAX).collect()
}

/// The fields of a stanza that count here; all else is passed over while it is read.
#[derive(Default)]
struct Stanza {
    package: String,
    version: String,
    architecture: String,
    source: String,
    status: String,
    maintainer: String,
    vendor: String,
    origin: String,
}

fn stanzas(bytes: &[u8]) -> impl Iterator<Item = Stanza> {
    let mut lines = lines(bytes);
    std::iter::from_fn(move || {
        let mut stanza: Option<Stanza> = None;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if stanza.is_some() {
                    return stanza;
                }
                continue;
            }
            let stanza = stanza.get_or_insert_with(Stanza::default);
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let field = match key {
                "Package" => &mut stanza.package,
                "Version" => &mut stanza.version,
                "Architecture" => &mut stanza.architecture,
                "Source" => &mut stanza.source,
                "Status" => &mut stanza.status,
                "Maintainer" => &mut stanza.maintainer,
                "Vendor" => &mut stanza.vendor,
                "Origin" => &mut stanza.origin,
                _ => continue,
            };
            let value = value.trim();
            if value.len() <= WORD_BYTES_MAX {
                value.clone_into(field);
            }
        }
        stanza
    })
}

fn item(stanza: Stanza) -> Option<Item> {
    // `status.d` has no such field: what is there is installed.
    let is_gone = stanza
        .status
        .split_whitespace()
        .nth(2)
        .is_some_and(|state| state == "not-installed" || state == "config-files");
    if is_gone || stanza.version.is_empty() {
        return None;
    }
    let mut item = Item::new(PackageKind::Deb, &stanza.package, &stanza.version, Evidence::Installed)?;
    item.architecture = Some(stanza.architecture).filter(|a| !a.is_empty());
    item.vendor = vendor::of_deb(&Stated {
        version: &stanza.version,
        maintainer: &stanza.maintainer,
        vendor: &stanza.vendor,
        origin: &stanza.origin,
    });
    // `Source: glibc (2.36-9)`: the version stands there where it differs from the package's own.
    let (name, version) = match stanza.source.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
        None => (stanza.source.trim(), ""),
    };
    item.source = Some(SourcePackage {
        name: if name.is_empty() { item.name.clone() } else { name.to_owned() },
        version: if version.is_empty() { item.version.clone() } else { version.to_owned() },
    });
    Some(item)
}

/// Whose list of files has this name, `NAME.list` or `NAME:ARCHITECTURE.md5sums`.
pub(crate) fn list_of(file_name: &str) -> Option<ListOf> {
    let stem = file_name.strip_suffix(".list").or_else(|| file_name.strip_suffix(".md5sums"))?;
    let (package, architecture) = match stem.split_once(':') {
        Some((package, architecture)) => (package, Some(architecture.to_owned())),
        None => (stem, None),
    };
    Some(ListOf { package: package.to_owned(), architecture })
}

/// The paths of a list (`/usr/bin/x` a line) or of checksums (`<md5>  usr/bin/x`).
pub(crate) fn files(bytes: &[u8]) -> PathSet {
    let mut files = PathSet::default();
    for line in lines(bytes) {
        if files.is_full() {
            break;
        }
        let path = match line.as_bytes() {
            [b'/', ..] => &*line,
            _ => line.split_once("  ").map_or("", |(_, path)| path),
        };
        if !path.is_empty() {
            files.insert(path);
        }
    }
    files
}

/// The licences that a copyright file names in its machine-readable form (DEP-5); none where it is prose.
pub(crate) fn licences(bytes: &[u8]) -> Vec<String> {
    let mut licences = Vec::new();
    let mut is_machine_readable = false;
    for line in lines(bytes) {
        if line.starts_with("Format:") || line.starts_with("Format-Specification:") {
            is_machine_readable = true;
        }
        if is_machine_readable && let Some(licence) = line.strip_prefix("License:") {
            push_licence(&mut licences, licence);
        }
    }
    licences.sort();
    licences
}
