//! Alpine's packages: `/lib/apk/db/installed`, a stanza a package, a letter a field.
//! (apk-tools' documentation of its database: P name, V version, A architecture, o origin, L licence, F directory, R file.)

use super::item::{Item, lines, push_licence};
use crate::{Evidence, PackageKind, SourcePackage};

pub(crate) fn installed(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut current = Stanza::default();
    for line in lines(bytes) {
        if line.is_empty() {
            items.extend(std::mem::take(&mut current).item());
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        match key {
            "P" => value.clone_into(&mut current.name),
            "V" => value.clone_into(&mut current.version),
            "A" => value.clone_into(&mut current.architecture),
            "o" => value.clone_into(&mut current.origin),
            "L" => push_licence(&mut current.licences, value),
            "F" => value.clone_into(&mut current.directory),
            "R" => {
                let path = format!("{}/{value}", current.directory);
                current.files.insert(&path);
            }
            _ => {}
        }
    }
    items.extend(current.item());
    items
}

#[derive(Default)]
struct Stanza {
    name: String,
    version: String,
    architecture: String,
    origin: String,
    licences: Vec<String>,
    directory: String,
    files: super::item::PathSet,
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
