//! Tables from a key's hash to a place: a directory of buckets, and buckets of some entries each.

use super::format::{u32_at, u64_at};

/// Of a bucket: small enough for one read.
const ENTRIES_AIMED_AT: usize = 16;
pub(super) const ENTRY_BYTES: usize = 24;
/// Number of the bucket and of its entries; its checksum stands behind the entries.
const BUCKET_HEAD: usize = 8;
/// No bucket of honest make is near it.
pub(super) const BUCKET_BYTES_MAX: usize = 1 << 20;

/// Where a block lies, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hash: u64,
    /// Into the section of blocks; for the table of ids the number of the vulnerability.
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// Directory and buckets as they lie in the file.
pub(super) fn encode(mut entries: Vec<Entry>) -> (Vec<u8>, Vec<u8>) {
    entries.sort_unstable_by_key(|e| (e.hash, e.offset));
    entries.dedup();
    let count = entries.len().div_ceil(ENTRIES_AIMED_AT).max(1);
    let (mut directory, mut buckets) = (Vec::with_capacity((count + 1) * 4), Vec::new());
    let mut rest = entries.as_slice();
    for number in 0..count {
        directory.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
        let end = rest.partition_point(|entry| bucket_of(entry.hash, count) <= number);
        let (own, behind) = rest.split_at(end);
        rest = behind;
        let start = buckets.len();
        buckets.extend_from_slice(&(number as u32).to_le_bytes());
        buckets.extend_from_slice(&(own.len() as u32).to_le_bytes());
        for entry in own {
            buckets.extend_from_slice(&entry.hash.to_le_bytes());
            buckets.extend_from_slice(&entry.offset.to_le_bytes());
            buckets.extend_from_slice(&entry.length.to_le_bytes());
            buckets.extend_from_slice(&entry.crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&buckets[start..]);
        buckets.extend_from_slice(&crc.to_le_bytes());
    }
    directory.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
    (directory, buckets)
}

/// The bucket of `hash` among `count`: hashes are spread evenly.
pub(super) fn bucket_of(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

/// The entries of the bucket `number`; the error says what is wrong with it.
pub(super) fn decode(bytes: &[u8], number: usize) -> Result<impl Iterator<Item = Entry>, &'static str> {
    let Some(body_end) = bytes.len().checked_sub(4).filter(|end| *end >= BUCKET_HEAD) else {
        return Err("a bucket of a table is too short");
    };
    if crc32fast::hash(&bytes[..body_end]) != u32_at(bytes, body_end) {
        return Err("a bucket of a table does not match its checksum");
    }
    let count = u32_at(bytes, 4) as usize;
    if u32_at(bytes, 0) as usize != number || count.checked_mul(ENTRY_BYTES) != Some(body_end - BUCKET_HEAD) {
        return Err("a bucket of a table is not the one that was looked for");
    }
    Ok((0..count).map(move |at| {
        let start = BUCKET_HEAD + at * ENTRY_BYTES;
        Entry {
            hash: u64_at(bytes, start),
            offset: u64_at(bytes, start + 8),
            length: u32_at(bytes, start + 16),
            crc: u32_at(bytes, start + 20),
        }
    }))
}
