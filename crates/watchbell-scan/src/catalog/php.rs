//! Packages of PHP's Composer: `vendor/composer/installed.json` and `composer.lock`.

use serde_json::Value;

use super::item::{ITEMS_MAX, Item, json, push_licence};
use crate::{Evidence, PackageKind};

/// Version 1 is a list, version 2 has it under `packages`.
pub(crate) fn installed(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let installed = json(bytes)?;
    let list = installed.as_array().or_else(|| installed["packages"].as_array());
    Ok(packages(list.map(Vec::as_slice).unwrap_or_default(), Evidence::Installed))
}

pub(crate) fn lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let lock = json(bytes)?;
    let list = |key: &str| lock[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut items = packages(list("packages"), Evidence::LockFile);
    items.extend(packages(list("packages-dev"), Evidence::LockFile));
    Ok(items)
}

fn packages(list: &[Value], evidence: Evidence) -> Vec<Item> {
    let item = |package: &Value| {
        let version = package["version"].as_str()?;
        let mut item = Item::new(PackageKind::Composer, package["name"].as_str()?, version, evidence)?;
        for licence in package["license"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            push_licence(&mut item.licences, licence);
        }
        Some(item)
    };
    list.iter().filter_map(item).take(ITEMS_MAX).collect()
}
