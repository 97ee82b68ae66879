//! Go's modules, by what the linker wrote into a program: lines of `path`, `mod`, `dep`, `=>` and `build`.
//! (The Go project's `runtime/debug.ParseBuildInfo`.)

use super::item::{ITEMS_MAX, Item};
use crate::elf::GoBuild;
use crate::{Evidence, PackageKind};

/// What the version of a module is that was built from a checkout.
const UNRELEASED: &str = "(devel)";

pub(crate) fn modules(build: &GoBuild) -> Vec<Item> {
    let item = |name: &str, version: &str| {
        let version = if version == UNRELEASED { "" } else { version };
        Item::new(PackageKind::Golang, name, version, Evidence::Binary)
    };
    let mut items: Vec<Item> = Vec::new();
    // The library that is part of the language has advisories of its own: `go1.22.3 X:experiment` is version 1.22.3.
    if let Some(version) = build.version.strip_prefix("go") {
        items.extend(item("stdlib", version.split([' ', '-']).next().unwrap_or_default()));
    }
    // Whether the last line named a module, which a replacement then takes the place of.
    let mut is_replaceable = false;
    for line in build.modules.lines() {
        if items.len() >= ITEMS_MAX {
            break;
        }
        let mut fields = line.split('\t');
        let (what, path, version) =
            (fields.next(), fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match what {
            Some("mod" | "dep") => {
                let found = item(path, version);
                is_replaceable = found.is_some();
                items.extend(found);
            }
            Some("=>") if is_replaceable => {
                is_replaceable = false;
                // A replacement by a directory has no version and is of nobody's publishing.
                if !version.is_empty()
                    && let Some(found) = item(path, version)
                {
                    items.pop();
                    items.push(found);
                }
            }
            _ => is_replaceable = false,
        }
    }
    items
}
