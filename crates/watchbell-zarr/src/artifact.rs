//! Names in a store of artifacts: whatever programs write, within bounds, below a directory for each index.

const MAX_BYTES: usize = 1024;
const MAX_PARTS: usize = 32;
/// `NAME_MAX` of Linux.
const MAX_PART_BYTES: usize = 255;

/// Why a name is not kept.
pub(crate) fn problem(name: &str) -> Option<&'static str> {
    if name.len() > MAX_BYTES {
        Some("its name has more than 1024 bytes")
    } else if name.split('/').count() > MAX_PARTS {
        Some("it lies more than 32 directories deep")
    } else if name.chars().any(char::is_control) {
        Some("its name has a control character")
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > MAX_PART_BYTES) {
        Some("its name has a part that is no file's")
    } else {
        None
    }
}

/// The index whose directory a name is, or lies in.
pub(crate) fn owner(name: &str, completions: u32) -> Option<u32> {
    let first = name.split('/').next()?;
    let index: u32 = first.parse().ok().filter(|index| *index < completions)?;
    // `01` and `+1` are no index's.
    (index.to_string() == first).then_some(index)
}
