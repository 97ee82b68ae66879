//! rpm's own data base (`lib/backend/ndb/rpmpkg.c`): pages of slots, each of which says where a blob lies.

const PAGE_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16;
/// Slots begin behind the header, which takes the place of two.
const HEADER_BYTES: usize = 2 * SLOT_BYTES;
const BLOCK_BYTES: usize = 16;
const BLOB_HEADER_BYTES: usize = 16;

pub(super) fn blobs(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
    if !bytes.starts_with(b"RpmP") {
        return Err("it is no ndb data base".to_owned());
    }
    let pages = number(bytes, 12).ok_or("it is shorter than a header")? as usize;
    let end = pages.saturating_mul(PAGE_BYTES);
    let slots = bytes.get(HEADER_BYTES..end).ok_or("its pages of slots are longer than it is")?;
    let mut lost = 0u64;
    for slot in slots.chunks_exact(SLOT_BYTES) {
        if !slot.starts_with(b"Slot") {
            return Err("one of its slots has no mark".to_owned());
        }
        let (index, block) = (number(slot, 4), number(slot, 8).unwrap_or(0) as usize);
        if block == 0 {
            continue;
        }
        let blob = block.checked_mul(BLOCK_BYTES).and_then(|at| {
            let header = bytes.get(at..at + BLOB_HEADER_BYTES)?;
            if !header.starts_with(b"BlbS") || number(header, 4) != index {
                return None;
            }
            bytes[at + BLOB_HEADER_BYTES..].get(..number(header, 12)? as usize)
        });
        match blob {
            Some(blob) => {
                if !each(blob) {
                    return Ok(());
                }
            }
            None => lost += 1,
        }
    }
    if lost > 0 {
        return Err(format!("{lost} of its packages do not lie where it says"));
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
