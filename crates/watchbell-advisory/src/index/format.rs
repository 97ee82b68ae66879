//! The header, and how places in the file are written.

use sha2::{Digest as _, Sha256};

/// Of 1 the sources did not say whose packages they speak of, of 2 not what was stated of them.
pub(crate) const FORMAT: u32 = 3;
const MAGIC: [u8; 8] = *b"WBADVIS\n";
pub(super) const HEADER_BYTES: usize = 512;

/// In the order in which they lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Sources,
    Licences,
    PackageDirectory,
    PackageBuckets,
    PackageBlocks,
    IdDirectory,
    IdBuckets,
    AdvisoryTable,
    AdvisoryBlocks,
    VulnerabilityTable,
    VulnerabilityBlocks,
    Marks,
}

pub(crate) const SECTIONS: [Section; 12] = [
    Section::Sources,
    Section::Licences,
    Section::PackageDirectory,
    Section::PackageBuckets,
    Section::PackageBlocks,
    Section::IdDirectory,
    Section::IdBuckets,
    Section::AdvisoryTable,
    Section::AdvisoryBlocks,
    Section::VulnerabilityTable,
    Section::VulnerabilityBlocks,
    Section::Marks,
];

/// A section's place; the checksum counts for those that are read as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) crc: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the whole file.
    pub(crate) length: u64,
    /// Of everything behind the header.
    pub(crate) sha256: [u8; 32],
    /// Of what answers come from, whose packages they are of included: everything but when it was imported and under which terms.
    pub(crate) generation: u64,
    pub(crate) places: [Place; SECTIONS.len()],
}

/// Why a header is none.
pub(super) enum HeaderError {
    Format(u32),
    Damaged(String),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(SECTIONS.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.sha256);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        for place in &self.places {
            bytes.extend_from_slice(&place.offset.to_le_bytes());
            bytes.extend_from_slice(&place.length.to_le_bytes());
            bytes.extend_from_slice(&place.crc.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.try_into().expect("it was filled up to its length")
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES], file_length: u64) -> Result<Header, HeaderError> {
        let damaged = |reason: &str| Err(HeaderError::Damaged(reason.to_owned()));
        if bytes[..8] != MAGIC {
            return damaged("it does not begin as an index does");
        }
        // A newer header may have its checksum elsewhere.
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        if crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return damaged("its header does not match its checksum");
        }
        let length = u64_at(bytes, 16);
        if length != file_length {
            return Err(HeaderError::Damaged(format!(
                "it has {file_length} bytes, and should have {length}"
            )));
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&bytes[24..56]);
        let mut places = [Place::default(); SECTIONS.len()];
        for (at, place) in places.iter_mut().enumerate() {
            let start = 64 + at * 20;
            *place = Place {
                offset: u64_at(bytes, start),
                length: u64_at(bytes, start + 8),
                crc: u32_at(bytes, start + 16),
            };
            let end = place.offset.checked_add(place.length);
            if place.offset < HEADER_BYTES as u64 || end.is_none_or(|end| end > length) {
                return damaged("a section lies outside the file");
            }
        }
        Ok(Header { length, sha256, generation: u64_at(bytes, 56), places })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Of a key of a table. Nobody can choose keys that fall into one bucket.
pub(super) fn hash(key: &[u8]) -> u64 {
    let digest = Sha256::digest(key);
    u64_at(&digest, 0)
}
