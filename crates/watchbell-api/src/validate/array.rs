//! Data arrays.

use super::at::At;
use super::findings::Findings;
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
    let retention = spec.field("retention");
    for field in ["keepLast", "keepDaily", "keepWeekly"] {
        f.in_range(&retention.field(field), 0, KEPT_MAX);
    }
}
