//! Makes the file's bytes: the same ones of the same contents.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::format::{HEADER_BYTES, Header, Place, SECTIONS, Section, hash, u64_at};
use super::rows::{AdvisoryRow, Marks, PackageBlock, VulnerabilityRow};
use super::table;
use crate::source::Source;

/// Collects sections.
#[derive(Default)]
pub(crate) struct Writer {
    packages: Vec<table::Entry>,
    package_blocks: Vec<u8>,
    ids: Vec<table::Entry>,
    advisories: Rows,
    vulnerabilities: Rows,
}

/// Blocks one behind the other, and a table of where each lies.
#[derive(Default)]
struct Rows {
    table: Vec<u8>,
    blocks: Vec<u8>,
}

/// Bytes of an entry of such a table.
pub(super) const ROW_BYTES: usize = 16;

impl Rows {
    fn push(&mut self, row: &impl Serialize) {
        let bytes = encoded(row);
        self.table.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        self.table.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.table.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        self.blocks.extend_from_slice(&bytes);
    }
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("rows are made of what postcard writes")
}

impl Writer {
    pub(crate) fn package(&mut self, block: &PackageBlock<'_>) {
        let bytes = encoded(block);
        self.packages.push(table::Entry {
            hash: hash(block.key.as_bytes()),
            offset: self.package_blocks.len() as u64,
            length: bytes.len() as u32,
            crc: crc32fast::hash(&bytes),
        });
        self.package_blocks.extend_from_slice(&bytes);
    }

    /// In the order of their numbers.
    pub(crate) fn advisory(&mut self, row: &AdvisoryRow<'_>) {
        self.advisories.push(row);
    }

    /// In the order of their numbers; every name leads to it.
    pub(crate) fn vulnerability(&mut self, number: u32, row: &VulnerabilityRow<'_>) {
        for name in std::iter::once(&row.id).chain(&row.aliases) {
            let entry =
                table::Entry { hash: hash(name.as_bytes()), offset: u64::from(number), length: 0, crc: 0 };
            self.ids.push(entry);
        }
        self.vulnerabilities.push(row);
    }

    /// The file; `licences` and `marks` are by source.
    pub(crate) fn finish(self, sources: &[Source], licences: &[&str], marks: &[Marks]) -> Vec<u8> {
        let (package_directory, package_buckets) = table::encode(self.packages);
        let (id_directory, id_buckets) = table::encode(self.ids);
        let sections: [(Section, Vec<u8>); SECTIONS.len()] = [
            (Section::Sources, encoded(&sources)),
            (Section::Licences, encoded(&licences)),
            (Section::PackageDirectory, package_directory),
            (Section::PackageBuckets, package_buckets),
            (Section::PackageBlocks, self.package_blocks),
            (Section::IdDirectory, id_directory),
            (Section::IdBuckets, id_buckets),
            (Section::AdvisoryTable, self.advisories.table),
            (Section::AdvisoryBlocks, self.advisories.blocks),
            (Section::VulnerabilityTable, self.vulnerabilities.table),
            (Section::VulnerabilityBlocks, self.vulnerabilities.blocks),
            (Section::Marks, encoded(&marks)),
        ];
        let mut generation = Sha256::new();
        for source in sources {
            generation.update(hash(source.name.as_bytes()).to_le_bytes());
            // Whether nothing found says anything depends on it.
            generation.update(encoded(&source.coverage));
        }
        for (section, bytes) in &sections {
            if !matches!(section, Section::Sources | Section::Licences) {
                generation.update((bytes.len() as u64).to_le_bytes());
                generation.update(bytes);
            }
        }
        let generation = u64_at(&generation.finalize(), 0);
        let length: usize = sections.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut file = Vec::with_capacity(HEADER_BYTES + length);
        file.resize(HEADER_BYTES, 0);
        let mut places = [Place::default(); SECTIONS.len()];
        for (section, bytes) in sections {
            places[section as usize] =
                Place { offset: file.len() as u64, length: bytes.len() as u64, crc: crc32fast::hash(&bytes) };
            file.extend_from_slice(&bytes);
        }
        let sha256 = Sha256::digest(&file[HEADER_BYTES..]).into();
        let header = Header { length: file.len() as u64, sha256, generation, places };
        file[..HEADER_BYTES].copy_from_slice(&header.encode());
        file
    }
}
