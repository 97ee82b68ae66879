//! A hash table of Berkeley DB (`dbinc/db_page.h`): pages of keys and values in turn; a value that is longer than a page lies
//! in a chain of overflow pages. All pages are walked once in their order, so that no link between hash pages can lead in a
//! circle; a chain ends with the length that its value states.

const META_BYTES: usize = 512;
const HASH_MAGIC: u32 = 0x0006_1561;
const PAGE_HEADER_BYTES: usize = 26;

const UNSORTED_HASH_PAGE: u8 = 2;
const OVERFLOW_PAGE: u8 = 7;
const HASH_META_PAGE: u8 = 8;
const HASH_PAGE: u8 = 13;

const KEY_DATA: u8 = 1;
const OFF_PAGE: u8 = 3;

/// A header blob; the largest real ones have some megabytes.
const VALUE_BYTES_MAX: usize = 64 << 20;

pub(super) fn blobs(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
    let table = Table::open(bytes)?;
    // A page lies in one chain only: what all chains together read is not more than the file.
    let mut chained_left = bytes.len();
    let mut lost = 0u64;
    for page in bytes.chunks_exact(table.page_bytes).skip(1) {
        if ![UNSORTED_HASH_PAGE, HASH_PAGE].contains(&page[25]) {
            continue;
        }
        let entries = usize::from(table.short(page, 20));
        let Some(offsets) = page[PAGE_HEADER_BYTES..].get(..entries * 2) else {
            lost += 1;
            continue;
        };
        let offsets: Vec<usize> = offsets.chunks_exact(2).map(|o| usize::from(table.short(o, 0))).collect();
        // Keys stand at even places, values behind them. Items grow from the end of the page towards its start.
        for index in (1..offsets.len()).step_by(2) {
            let value = page.get(offsets[index]..offsets[index - 1]).unwrap_or_default();
            let is_in = match value.first() {
                // The count of packages and other small things are no header.
                Some(&KEY_DATA) if value.len() <= 16 => true,
                Some(&KEY_DATA) => each(&value[1..]),
                Some(&OFF_PAGE) if value.len() >= 12 => {
                    let (first, length) = (table.long(value, 4), table.long(value, 8) as usize);
                    match table.chain(first, length, &mut chained_left) {
                        Some(value) => each(&value),
                        None => {
                            lost += 1;
                            true
                        }
                    }
                }
                _ => {
                    lost += 1;
                    true
                }
            };
            if !is_in {
                return Ok(());
            }
        }
    }
    if lost > 0 {
        return Err(format!("{lost} of its values do not lie where it says"));
    }
    Ok(())
}

struct Table<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    is_little: bool,
}

impl<'a> Table<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let refuse = |reason: &str| Err(format!("it is no hash table of Berkeley DB: {reason}"));
        if bytes.len() < META_BYTES {
            return refuse("it is shorter than a page");
        }
        let mut table = Self { bytes, page_bytes: 0, is_little: true };
        if table.long(bytes, 12) != HASH_MAGIC {
            table.is_little = false;
        }
        if table.long(bytes, 12) != HASH_MAGIC || bytes[25] != HASH_META_PAGE {
            return refuse("its first page is of another kind");
        }
        // Byte 24 names a cipher.
        if bytes[24] != 0 {
            return refuse("it is encrypted");
        }
        table.page_bytes = table.long(bytes, 20) as usize;
        if !table.page_bytes.is_power_of_two() || !(512..=65536).contains(&table.page_bytes) {
            return refuse("its pages are of a size that there is not");
        }
        Ok(table)
    }

    fn short(&self, bytes: &[u8], at: usize) -> u16 {
        let pair = [bytes[at], bytes[at + 1]];
        if self.is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    }

    fn long(&self, bytes: &[u8], at: usize) -> u32 {
        let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    }

    /// A value that begins on page `first`. Every page gives at least a byte, so that a circle ends too.
    fn chain(&self, first: u32, length: usize, left: &mut usize) -> Option<Vec<u8>> {
        if length > VALUE_BYTES_MAX || length > *left {
            return None;
        }
        *left -= length;
        let mut value = Vec::with_capacity(length);
        let mut next = first;
        while value.len() < length {
            let start = (next as usize).checked_mul(self.page_bytes)?;
            let page = self.bytes.get(start..start.checked_add(self.page_bytes)?)?;
            let here = usize::from(self.short(page, 22));
            if page[25] != OVERFLOW_PAGE || here == 0 {
                return None;
            }
            value.extend_from_slice(page[PAGE_HEADER_BYTES..].get(..here)?);
            next = self.long(page, 16);
        }
        (value.len() == length).then_some(value)
    }
}
