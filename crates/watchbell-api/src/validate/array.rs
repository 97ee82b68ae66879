//! Data arrays.

use super::at::At;
use super::findings::Findings;
use crate::array::is_key_name;
use crate::quantity::Quantity;

/// A name is that of a directory, and part of the names of files beside it.
const NAME_BYTES_MAX: usize = 128;
/// As many snapshots as anybody lists.
const KEPT_MAX: i64 = 100_000;

pub(super) fn check(f: &mut Findings, array: &At<'_, '_>) {
    let metadata = array.field("metadata");
    let name = metadata.field("name");
    if name.text().len() > NAME_BYTES_MAX {
        f.too_long(&name, NAME_BYTES_MAX);
    }
    let spec = array.field("spec");
    let quota = spec.field("quota");
    if quota.is_set() {
        match Quantity::from_value(quota.value) {
            Ok(bytes) if bytes.is_negative() || bytes.is_zero() || !bytes.is_whole() => {
                f.invalid(&quota, "must be a whole number of bytes, and more than none");
            }
            // That it is a quantity is said by its type.
            Ok(_) | Err(_) => {}
        }
    }
    f.one_of_if_set(&spec.field("format"), &["zarr", "artifacts"]);
    let encryption = spec.field("encryption");
    if encryption.is_set() {
        let key = encryption.field("key");
        if f.present(&key) && !is_key_name(key.text()) {
            f.invalid(
                &key,
                "must be 1 to 63 lower case letters, digits, `-`, `_` or `.`, a letter or digit first",
            );
        }
    }
    let retention = spec.field("retention");
    for field in ["keepLast", "keepDaily", "keepWeekly"] {
        f.in_range(&retention.field(field), 0, KEPT_MAX);
    }
}

/// What the store is made as stays; but a store that is encrypted may be told another name of its key.
pub(super) fn update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let (status, before, after) = (old.field("status"), old.field("spec"), new.field("spec"));
    if !status.field("snapshots").is_set() {
        // There is no store yet.
        return;
    }
    let format = |spec: &At<'_, '_>| match spec.field("format").text() {
        "" => "zarr".to_owned(),
        format => format.to_owned(),
    };
    if format(&before) != format(&after) {
        f.invalid(
            &after.field("format"),
            "cannot be changed: the store is made; make another array, and import into it",
        );
    }
    let encryption = after.field("encryption");
    let is_encrypted = status.field("encryption").is_set();
    if !is_encrypted && encryption.is_set() && !before.field("encryption").is_set() {
        f.invalid(&encryption, "the store is in the clear; make another array with this, and import into it what `array export` gives");
    } else if before.field("encryption").is_set() && !encryption.is_set() {
        f.forbidden(
            &encryption,
            "cannot be taken away: a store that took the place of the encrypted one would be believed",
        );
    } else if !is_encrypted {
        f.immutable(&encryption.field("key"), &before.field("encryption").field("key"));
    }
}
