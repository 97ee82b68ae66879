//! Reads the file by position, trusting nothing in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::FORMAT;
use super::format::{HEADER_BYTES, Header, HeaderError, Place, Section, hash, u32_at, u64_at};
use super::table::{self, BUCKET_BYTES_MAX};
use super::write::ROW_BYTES;
use crate::Error;

/// Of one block: the kernel's source package of a distribution has some thousand statements and stays below a megabyte.
const BLOCK_BYTES_MAX: u64 = 64 << 20;
/// Of a section that is read as a whole.
const SECTION_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: File,
    pub(crate) header: Header,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Reader, Error> {
        let file = File::open(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Error::Absent { path: path.to_owned() },
            _ => Error::Io { step: "open", path: path.to_owned(), cause },
        })?;
        let length = file.metadata().map_err(Error::io("look at", path))?.len();
        let mut bytes = [0; HEADER_BYTES];
        let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        file.read_exact_at(&mut bytes, 0).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is shorter than a header".to_owned()),
            _ => Error::Io { step: "read", path: path.to_owned(), cause },
        })?;
        let header = Header::decode(&bytes, length).map_err(|e| match e {
            HeaderError::Damaged(reason) => damaged(reason),
            HeaderError::Format(found) => Error::Format { path: path.to_owned(), found, expected: FORMAT },
        })?;
        Ok(Reader { path: path.to_owned(), file, header })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn damaged(&self, reason: &str) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// A small section, checked and decoded.
    pub(crate) fn section<T: DeserializeOwned>(&self, section: Section) -> Result<T, Error> {
        let place = self.place(section);
        if place.length > SECTION_BYTES_MAX {
            return Err(self.damaged("a section is too large"));
        }
        let bytes = self.read(section, 0, place.length)?;
        if crc32fast::hash(&bytes) != place.crc {
            return Err(self.damaged("a section does not match its checksum"));
        }
        postcard::from_bytes(&bytes).map_err(|_| self.damaged("a section cannot be read"))
    }

    /// The blocks of a package: more than one only when hashes are equal.
    pub(crate) fn package_blocks(&self, key: &str) -> Result<Vec<Vec<u8>>, Error> {
        let found = self.look_up(Section::PackageDirectory, Section::PackageBuckets, key)?;
        found
            .into_iter()
            .map(|entry| self.block(Section::PackageBlocks, entry.offset, entry.length, entry.crc))
            .collect()
    }

    /// Vulnerabilities that may have this name.
    pub(crate) fn vulnerabilities_named(&self, name: &str) -> Result<Vec<u32>, Error> {
        let found = self.look_up(Section::IdDirectory, Section::IdBuckets, name)?;
        Ok(found.into_iter().filter_map(|entry| u32::try_from(entry.offset).ok()).collect())
    }

    pub(crate) fn advisory(&self, number: u32) -> Result<Vec<u8>, Error> {
        self.row(Section::AdvisoryTable, Section::AdvisoryBlocks, number)
    }

    pub(crate) fn vulnerability(&self, number: u32) -> Result<Vec<u8>, Error> {
        self.row(Section::VulnerabilityTable, Section::VulnerabilityBlocks, number)
    }

    pub(crate) fn advisory_count(&self) -> u32 {
        (self.place(Section::AdvisoryTable).length / ROW_BYTES as u64) as u32
    }

    /// The keys' entries in the order of their hashes, bucket by bucket, for a reader of everything.
    pub(crate) fn every_package_block(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut blocks = Vec::new();
        for number in 0..self.bucket_count(Section::PackageDirectory)? {
            let bytes = self.bucket(Section::PackageDirectory, Section::PackageBuckets, number)?;
            for entry in table::decode(&bytes, number).map_err(|reason| self.damaged(reason))? {
                blocks.push(self.block(Section::PackageBlocks, entry.offset, entry.length, entry.crc)?);
            }
        }
        Ok(blocks)
    }

    /// Whether the whole file is what was written, to the last byte.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut at = HEADER_BYTES as u64;
        while at < self.header.length {
            let n = (self.header.length - at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..n], at).map_err(Error::io("read", &self.path))?;
            hasher.update(&buffer[..n]);
            at += n as u64;
        }
        if <[u8; 32]>::from(hasher.finalize()) == self.header.sha256 {
            Ok(())
        } else {
            Err(self.damaged("its contents do not match its checksum"))
        }
    }

    fn place(&self, section: Section) -> Place {
        self.header.places[section as usize]
    }

    fn read(&self, section: Section, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let place = self.place(section);
        if offset.checked_add(length).is_none_or(|end| end > place.length) {
            return Err(self.damaged("a reference leads out of its section"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, place.offset + offset).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn block(&self, section: Section, offset: u64, length: u32, crc: u32) -> Result<Vec<u8>, Error> {
        if u64::from(length) > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block is too large"));
        }
        let bytes = self.read(section, offset, u64::from(length))?;
        if crc32fast::hash(&bytes) != crc {
            return Err(self.damaged("a block does not match its checksum"));
        }
        Ok(bytes)
    }

    fn row(&self, table: Section, blocks: Section, number: u32) -> Result<Vec<u8>, Error> {
        let entry = self.read(table, u64::from(number) * ROW_BYTES as u64, ROW_BYTES as u64)?;
        self.block(blocks, u64_at(&entry, 0), u32_at(&entry, 8), u32_at(&entry, 12))
    }

    fn bucket_count(&self, directory: Section) -> Result<usize, Error> {
        let entries = self.place(directory).length / 4;
        match entries.checked_sub(1) {
            Some(count) if count > 0 => Ok(count as usize),
            _ => Err(self.damaged("a table has no directory")),
        }
    }

    fn bucket(&self, directory: Section, buckets: Section, number: usize) -> Result<Vec<u8>, Error> {
        let ends = self.read(directory, number as u64 * 4, 8)?;
        let (start, end) = (u64::from(u32_at(&ends, 0)), u64::from(u32_at(&ends, 4)));
        match end.checked_sub(start) {
            Some(length) if length <= BUCKET_BYTES_MAX as u64 => self.read(buckets, start, length),
            _ => Err(self.damaged("a directory of a table is out of order")),
        }
    }

    fn look_up(&self, directory: Section, buckets: Section, key: &str) -> Result<Vec<table::Entry>, Error> {
        let hash = hash(key.as_bytes());
        let number = table::bucket_of(hash, self.bucket_count(directory)?);
        let bytes = self.bucket(directory, buckets, number)?;
        let entries = table::decode(&bytes, number).map_err(|reason| self.damaged(reason))?;
        Ok(entries.filter(|entry| entry.hash == hash).collect())
    }
}
