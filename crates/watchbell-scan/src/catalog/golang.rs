//! Go's modules, by what the linker wrote into a program: lines of `path`, `mod`, `dep`, `=>` and `build`.
//! (The Go project's `runtime/debug.ParseBuildInfo`.)

use super::item::{ITEMS_MAX, Item};
use crate::elf::GoBuild;
use crate::{Evidence, PackageKind};

/// What the version of a module is that was built from a checkout.
const UNRELEASED: &str = "(devel)";

/// The version of the language's own library, which has advisories: `go1.22.3 X:experiment` is 1.22.3. Empty for a compiler that was
/// built from a checkout (`devel go1.24-9e6b2bc Tue …`, `go1.26-devel_9e6b2bc Tue …`): it is between releases.
fn language(compiler: &str) -> &str {
    let release = compiler.strip_prefix("go").filter(|rest| !rest.contains("-devel"));
    release.and_then(|rest| rest.split([' ', '-']).next()).unwrap_or_default()
}

pub(crate) fn modules(build: &GoBuild) -> Vec<Item> {
    let item = |name: &str, version: &str| {
        let version = if version == UNRELEASED { "" } else { version };
        Item::new(PackageKind::Golang, name, version, Evidence::Binary)
    };
    let mut items: Vec<Item> = Vec::new();
    items.extend(item("stdlib", language(&build.version)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_a_compiler_from_a_checkout_has_no_version() {
        let check = |compiler: &str, expect: &str| assert_eq!(language(compiler), expect, "{compiler}");
        check("go1.22.3", "1.22.3");
        check("go1.22.3 X:boringcrypto", "1.22.3");
        check("go1.22.3-fips", "1.22.3");
        check("go1.21rc2", "1.21rc2");
        check("devel go1.24-9e6b2bc Tue Oct 1 00:00:00 2024 +0000", "");
        check("devel +9e6b2bc Tue Oct 1 00:00:00 2019 +0000", "");
        check("go1.26-devel_9e6b2bc Tue Oct 7 00:00:00 2025 +0000", "");
        let build = GoBuild { version: "devel go1.24-9e6b2bc".to_owned(), modules: String::new() };
        let items = modules(&build);
        assert_eq!(items.iter().map(|i| (&*i.name, &*i.version)).collect::<Vec<_>>(), [("stdlib", "")]);
    }
}
