//! Ruby's packages: installed `specifications/*.gemspec`, and `Gemfile.lock`.

use super::item::{ITEMS_MAX, Item, lines, push_licence};
use crate::{Evidence, PackageKind};

/// A gemspec as `gem install` writes it: Ruby, in a form that is always the same. It is not run; what is not in that form is not
/// understood. `file_stem` is `NAME-VERSION` or `NAME-VERSION-PLATFORM`.
pub(crate) fn gemspec(bytes: &[u8], file_stem: &str) -> Option<Item> {
    let (mut name, mut version, mut licences) = (None, None, Vec::new());
    for line in lines(bytes) {
        let line = line.trim();
        let Some((field, value)) = line.split_once('=') else { continue };
        let Some((_, field)) = field.trim().rsplit_once('.') else { continue };
        match field {
            "name" if name.is_none() => name = quoted(value).next().map(str::to_owned),
            "version" if version.is_none() => version = quoted(value).next().map(str::to_owned),
            "licenses" | "license" => {
                quoted(value).for_each(|licence| push_licence(&mut licences, licence));
            }
            _ => {}
        }
    }
    let name = name?;
    // A version that is computed stands in the file's name.
    let by_name = || file_stem.strip_prefix(&name)?.strip_prefix('-').map(str::to_owned);
    let version = version.filter(|v| v.starts_with(|c: char| c.is_ascii_digit())).or_else(by_name)?;
    let mut item = Item::new(PackageKind::Gem, &name, &version, Evidence::Installed)?;
    item.licences = licences;
    Some(item)
}

/// The strings in a line of Ruby: `"x".freeze`, `'x'`.
fn quoted(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let start = rest.find(['"', '\''])?;
        let quote = rest[start..].chars().next()?;
        let inner = &rest[start + 1..];
        let end = inner.find(quote)?;
        rest = &inner[end + 1..];
        Some(&inner[..end])
    })
}

/// `Gemfile.lock`: below `specs:` a gem is indented by four blanks, what it needs by six.
pub(crate) fn lock(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut in_gems = false;
    for line in lines(bytes) {
        if !line.starts_with(' ') {
            // PATH is the project's own, GIT is of no release.
            in_gems = &*line == "GEM";
            continue;
        }
        let Some(gem) = line.strip_prefix("    ").filter(|l| in_gems && !l.starts_with(' ')) else {
            continue;
        };
        let Some((name, version)) = gem.split_once(" (") else { continue };
        // Behind a hyphen the platform stands.
        let version = version.trim_end_matches(')').split('-').next().unwrap_or_default();
        if version.starts_with(|c: char| c.is_ascii_digit()) && items.len() < ITEMS_MAX {
            items.extend(Item::new(PackageKind::Gem, name, version, Evidence::LockFile));
        }
    }
    items
}
