//! Alpine's packages: `/lib/apk/db/installed`, a stanza a package, a letter a field.
//! (apk-tools' documentation of its database: P name, V version, A architecture, o origin, L licence, F directory, R file.)

use super::item::{ITEMS_MAX, Item, PATHS_BYTES_MAX, PathSet, WORD_BYTES_MAX, lines, push_licence};
use crate::{Evidence, PackageKind, SourcePackage};

/// The packages, and what of the data base was passed over.
pub(crate) fn installed(bytes: &[u8]) -> (Vec<Item>, Option<String>) {
    let mut items = Vec::new();
    let mut current = Stanza::default();
    // A directory is said once and hashed with each of its files, so what is hashed is bounded for all packages together.
    let mut path_bytes_left = PATHS_BYTES_MAX;
    let mut problem = None;
    for line in lines(bytes) {
        if line.is_empty() {
            items.extend(std::mem::take(&mut current).item());
            if items.len() >= ITEMS_MAX {
                break;
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        match key {
            "P" => value.clone_into(&mut current.name),
            "V" => value.clone_into(&mut current.version),
            "A" if value.len() <= WORD_BYTES_MAX => value.clone_into(&mut current.architecture),
            "o" if value.len() <= WORD_BYTES_MAX => value.clone_into(&mut current.origin),
            "L" => push_licence(&mut current.licences, value),
            "F" => value.clone_into(&mut current.directory),
            "R" => match path_bytes_left.checked_sub(current.directory.len() + 1 + value.len()) {
                Some(left) => {
                    path_bytes_left = left;
                    let path = format!("{}/{value}", current.directory);
                    current.files.insert(&path);
                }
                None => {
                    problem = Some(format!("the paths of its files have more than {PATHS_BYTES_MAX} bytes"));
                }
            },
            _ => {}
        }
    }
    items.extend(current.item());
    (items, problem)
}

#[derive(Default)]
struct Stanza {
    name: String,
    version: String,
    architecture: String,
    origin: String,
    licences: Vec<String>,
    directory: String,
    files: PathSet,
}

impl Stanza {
    fn item(self) -> Option<Item> {
        if self.version.is_empty() {
            return None;
        }
        let mut item = Item::new(PackageKind::Apk, &self.name, &self.version, Evidence::Installed)?;
        let origin = if self.origin.is_empty() { &self.name } else { &self.origin };
        item.source = Some(SourcePackage { name: origin.clone(), version: self.version.clone() });
        item.architecture = Some(self.architecture).filter(|a| !a.is_empty());
        item.licences = self.licences;
        item.files = self.files;
        Some(item)
    }
}
