//! Blobs: received, verified, placed under their digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{Store, if_exists, sync_dir};
use crate::digest::Hasher;
use crate::{Algorithm, Digest, Error};

/// A file being received. Dropped without being placed, it leaves nothing behind.
pub(crate) struct Ingest {
    file: NamedTempFile,
}

impl Ingest {
    pub(crate) fn new(store: &Store) -> Result<Self, Error> {
        let dir = store.ingest_dir();
        let file = NamedTempFile::new_in(&dir).map_err(Error::io("create a file in", &dir))?;
        Ok(Self { file })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.file.path().to_owned();
        self.file.write_all(bytes).map_err(Error::io("write", path))
    }

    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes the content durable and gives it its final name.
    pub(crate) fn place(self, path: &Path) -> Result<(), Error> {
        self.file.as_file().sync_all().map_err(Error::io("sync", self.file.path()))?;
        let dir = path.parent().expect("every path of the store has a parent");
        self.file.persist(path).map_err(|e| Error::io("place", path)(e.error))?;
        sync_dir(dir)
    }
}

impl Store {
    /// Whether the blob is here, with this size.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        let metadata = if_exists(path.metadata()).map_err(Error::io("look at", &path))?;
        Ok(metadata.is_some_and(|m| m.is_file() && m.len() == size))
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        if_exists(File::open(&path))
            .map_err(Error::io("open", &path))?
            .ok_or_else(|| Error::MissingBlob { digest: digest.clone() })
    }

    /// Stores bytes made here and returns their digest.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        self.put_verified(&digest, bytes)?;
        Ok(digest)
    }

    /// Stores bytes whose digest the caller has verified.
    pub(crate) fn put_verified(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        if !self.has_blob(digest, bytes.len() as u64)? {
            let mut ingest = Ingest::new(self)?;
            ingest.write(bytes)?;
            ingest.place(&self.blob_path(digest))?;
        }
        Ok(())
    }

    /// Stores a stream under the digest that it turns out to have; returns that and the size. Fails above `bytes_max`.
    pub(crate) fn put_stream(
        &self,
        source: &mut impl Read,
        expected: Option<(&Digest, u64)>,
        origin: &str,
        object: &'static str,
    ) -> Result<(Digest, u64), Error> {
        let algorithm = expected.map_or(Algorithm::Sha256, |(d, _)| d.algorithm());
        let mut ingest = Ingest::new(self)?;
        let mut hasher = Hasher::new(algorithm);
        let mut size = 0u64;
        let mut buf = vec![0u8; 256 << 10];
        loop {
            let n = match source.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Import { origin: origin.to_owned(), reason: e.to_string() }),
            };
            size += n as u64;
            if let Some((digest, expected)) = expected
                && size > expected
            {
                return Err(Error::SizeMismatch {
                    origin: origin.to_owned(),
                    object,
                    digest: digest.clone(),
                    expected,
                    actual: size,
                });
            }
            hasher.update(&buf[..n]);
            ingest.write(&buf[..n])?;
        }
        let actual = hasher.finish();
        if let Some((digest, expected_size)) = expected {
            verify(origin, object, digest, expected_size, &actual, size)?;
        }
        if !self.has_blob(&actual, size)? {
            ingest.place(&self.blob_path(&actual))?;
        }
        Ok((actual, size))
    }

    /// Reads a manifest, index or configuration and verifies it once more: it decides what runs.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.read_blob(digest, self.limits.document_bytes_max)
    }

    /// Reads and verifies a blob of at most `bytes_max` bytes; what is cut off there does not match its digest.
    pub(crate) fn read_blob(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        let mut hasher = Hasher::new(digest.algorithm());
        self.open_blob(digest)?
            .take(bytes_max + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Error::CorruptBlob { digest: digest.clone(), actual });
        }
        Ok(bytes)
    }

    /// The digest that a blob's content has now.
    pub(crate) fn rehash_blob(&self, digest: &Digest) -> Result<Digest, Error> {
        let mut reader = crate::digest::HashingReader::new(self.open_blob(digest)?, digest.algorithm());
        io::copy(&mut reader, &mut io::sink()).map_err(Error::io("read", self.blob_path(digest)))?;
        Ok(reader.finish().0)
    }
}

/// Compares what came with what its descriptor promised.
pub(crate) fn verify(
    origin: &str,
    object: &'static str,
    expected: &Digest,
    expected_size: u64,
    actual: &Digest,
    size: u64,
) -> Result<(), Error> {
    if size != expected_size {
        return Err(Error::SizeMismatch {
            origin: origin.to_owned(),
            object,
            digest: expected.clone(),
            expected: expected_size,
            actual: size,
        });
    }
    if actual != expected {
        return Err(Error::DigestMismatch {
            origin: origin.to_owned(),
            object,
            expected: expected.clone(),
            actual: actual.clone(),
        });
    }
    Ok(())
}
