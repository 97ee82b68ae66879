//! Rust's packages: `Cargo.lock`, and what `cargo auditable` puts into programs.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde_json::Value;
use toml::Table;

use super::item::{ITEMS_MAX, Item};
use crate::{Evidence, PackageKind};

/// Of the list in a program, unpacked; that of a large program takes 100 KB.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// `Cargo.lock`. A package without a source is the project's own.
pub(crate) fn lock(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let packages = table.get("package").and_then(|p| p.as_array()).map(Vec::as_slice).unwrap_or_default();
    let item = |package: &toml::Value| {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        Item::new(PackageKind::Cargo, text("name")?, text("version")?, Evidence::LockFile)
    };
    Ok(packages.iter().filter_map(item).take(ITEMS_MAX).collect())
}

/// Section `.dep-v0`: JSON in zlib's format (the `cargo auditable` project's PARSING.md). What only built the program is not in
/// it.
pub(crate) fn auditable(section: &[u8]) -> Result<Vec<Item>, String> {
    let mut json = Vec::new();
    ZlibDecoder::new(section)
        .take(LIST_BYTES_MAX + 1)
        .read_to_end(&mut json)
        .map_err(|e| format!("its list of crates does not unpack: {e}"))?;
    if json.len() as u64 > LIST_BYTES_MAX {
        return Err(format!("its list of crates unpacks to more than {LIST_BYTES_MAX} bytes"));
    }
    let list = super::item::json(&json).map_err(|e| format!("its list of crates is not valid: {e}"))?;
    let packages = list["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let item = |package: &Value| {
        if package["kind"].as_str() == Some("build") {
            return None;
        }
        let text = |key: &str| package[key].as_str();
        Item::new(PackageKind::Cargo, text("name")?, text("version")?, Evidence::Binary)
    };
    Ok(packages.iter().filter_map(item).take(ITEMS_MAX).collect())
}
