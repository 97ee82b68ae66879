//! One layer's bytes, and the entries in them.

use std::io::{self, BufReader, Read};

use super::ImageContent;
use crate::codec::{self, Ceiling, Decoder};
use crate::digest::{Hasher, HashingReader};
use crate::error::LayerError;
use crate::store::verify;
use crate::tar::{self, Archive, Entry, Kind};
use crate::{Compression, Digest, Error, LayerDescriptor, Limits};

const BUFFER_BYTES: usize = 256 << 10;

type Blob<'a> = HashingReader<Box<dyn Read + Send + 'a>>;

/// The uncompressed bytes of a layer. At their end the digest is compared: a mismatch is an error of the last read.
pub struct LayerBytes<'a> {
    decoder: Option<Ceiling<Decoder<BufReader<Blob<'a>>>>>,
    digest: Digest,
    size: u64,
    /// What the uncompressed bytes must have, where that is to be compared.
    content: Option<(Hasher, Digest)>,
}

impl<'a> LayerBytes<'a> {
    pub(super) fn new(
        blob: Box<dyn Read + Send + 'a>,
        layer: &LayerDescriptor,
        content: Option<&Digest>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let failed = |cause| Error::Layer { layer: layer.digest.clone(), cause };
        let hashing = HashingReader::new(blob, layer.digest.algorithm());
        let mut source = BufReader::with_capacity(BUFFER_BYTES, hashing);
        let found = codec::sniff(&mut source).map_err(|cause| failed(LayerError::Decompress { cause }))?;
        if found != layer.compression {
            return Err(failed(LayerError::Mislabelled {
                claimed: layer.compression.as_str(),
                found: found.as_str(),
            }));
        }
        // Headers and padding come on top of the files' own bytes.
        let absolute_max =
            limits.image_unpacked_bytes_max.saturating_add(limits.layer_entries_max.saturating_mul(2048));
        let ceiling = match found {
            Compression::None => absolute_max,
            Compression::Gzip | Compression::Zstd => codec::ceiling(layer.size, absolute_max, limits),
        };
        Ok(Self {
            decoder: Some(Ceiling::new(Decoder::new(source, found), ceiling)),
            digest: layer.digest.clone(),
            size: layer.size,
            content: content.map(|digest| (Hasher::new(digest.algorithm()), digest.clone())),
        })
    }

    /// Once everything was read.
    fn verified(&mut self) -> Result<(), Error> {
        let Some(decoder) = self.decoder.take() else { return Ok(()) };
        let (actual, size) = decoder.into_inner().into_inner().into_inner().finish();
        let origin = "the image";
        verify(origin, "a layer", &self.digest, self.size, &actual, size)?;
        if let Some((hasher, expected)) = self.content.take() {
            let actual = hasher.finish();
            if actual != expected {
                return Err(Error::Layer {
                    layer: self.digest.clone(),
                    cause: LayerError::DiffId { expected, actual },
                });
            }
        }
        Ok(())
    }
}

impl Read for LayerBytes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return Ok(0) };
        if buf.is_empty() {
            return Ok(0);
        }
        let n = decoder.read(buf)?;
        if n == 0 {
            self.verified().map_err(io::Error::other)?;
        } else if let Some((hasher, _)) = &mut self.content {
            hasher.update(&buf[..n]);
        }
        Ok(n)
    }
}

/// The entries of a layer, one after another. Their count, their paths and the bytes of all layers together are bounded as
/// where layers are unpacked; a path that would be refused there is an error here.
pub struct LayerReader<'a, R> {
    archive: Archive<BufReader<R>>,
    of: &'a ImageContent,
    digest: &'a Digest,
    entries: u64,
    /// Of the current entry: the runs of content that are still to come, the last first, and how far it was read.
    runs: Vec<tar::Segment>,
    position: u64,
    size: u64,
}

impl<'a, R: Read> LayerReader<'a, R> {
    pub(super) fn new(bytes: R, of: &'a ImageContent, digest: &'a Digest) -> Self {
        let source = BufReader::with_capacity(BUFFER_BYTES, bytes);
        Self {
            archive: Archive::new(source, of.limits.entry_header_bytes_max),
            of,
            digest,
            entries: 0,
            runs: Vec::new(),
            position: 0,
            size: 0,
        }
    }

    /// The next entry; its path is normalised: no leading slash, no `.`, no `..`, empty for the root. `None` once the layer
    /// was read to its end and verified.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        match self.step() {
            Ok(Some(entry)) => Ok(Some(entry)),
            Ok(None) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn step(&mut self) -> Result<Option<Entry>, Fault> {
        let Some(mut entry) = self.archive.next_entry().map_err(Fault::of_archive)? else {
            self.archive.drain().map_err(Fault::of_archive)?;
            return Ok(None);
        };
        let limits = &self.of.limits;
        self.entries += 1;
        if self.entries > limits.layer_entries_max {
            return Err(Fault::limit(format!("it has more than {} entries", limits.layer_entries_max)));
        }
        entry.path = checked_path(&entry.path, limits)?;
        if let Kind::HardLink { target } = &mut entry.kind {
            *target = checked_path(target, limits)?;
        }
        if !self.of.take_unpacked(entry.size) {
            return Err(Fault::limit(format!(
                "the image's layers unpack to more than {} bytes together",
                limits.image_unpacked_bytes_max
            )));
        }
        self.position = 0;
        self.size = if entry.kind == Kind::File { entry.size } else { 0 };
        self.runs = match &entry.sparse {
            None => vec![tar::Segment { offset: 0, length: self.size }],
            Some(segments) => segments.iter().rev().copied().collect(),
        };
        Ok(Some(entry))
    }

    /// What reading an entry's content failed with, as an error that names the layer.
    pub fn content_error(&self, error: io::Error) -> Error {
        self.failed(Fault::of_archive(tar::Error::Io(error)))
    }

    fn failed(&self, fault: Fault) -> Error {
        match fault {
            Fault::Layer(cause) => Error::Layer { layer: self.digest.clone(), cause },
            Fault::Whole(error) => error,
        }
    }
}

/// The logical content of the current entry: holes of a sparse file read as zeros.
impl<R: Read> Read for LayerReader<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(run) = self.runs.last_mut() {
            if run.length == 0 {
                self.runs.pop();
                continue;
            }
            if self.position < run.offset {
                let hole = run.offset - self.position;
                return Ok(self.zeros(buf, hole));
            }
            let want = buf.len().min(usize::try_from(run.length).unwrap_or(usize::MAX));
            let n = self.archive.read(&mut buf[..want])?;
            run.offset += n as u64;
            run.length -= n as u64;
            self.position += n as u64;
            return Ok(n);
        }
        let hole = self.size - self.position;
        Ok(self.zeros(buf, hole))
    }
}

impl<R> LayerReader<'_, R> {
    fn zeros(&mut self, buf: &mut [u8], at_most: u64) -> usize {
        let n = buf.len().min(usize::try_from(at_most).unwrap_or(usize::MAX));
        buf[..n].fill(0);
        self.position += n as u64;
        n
    }
}

enum Fault {
    Layer(LayerError),
    /// Named in full already.
    Whole(Error),
}

impl From<LayerError> for Fault {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl Fault {
    fn limit(reason: String) -> Self {
        Self::Layer(LayerError::Limit { reason })
    }

    fn of_archive(error: tar::Error) -> Self {
        match error {
            tar::Error::Malformed { offset, reason } => Self::Layer(LayerError::Archive { offset, reason }),
            tar::Error::Limit(reason) => Self::limit(reason),
            tar::Error::Io(cause) => match codec::limit_in(&cause) {
                Some(limit) => Self::limit(limit.to_string()),
                None => match cause.downcast::<Error>() {
                    Ok(whole) => Self::Whole(whole),
                    Err(cause) => Self::Layer(LayerError::Decompress { cause }),
                },
            },
        }
    }
}

/// The components of a path of an archive, joined by single slashes.
fn checked_path(path: &[u8], limits: &Limits) -> Result<Vec<u8>, LayerError> {
    if path.len() > limits.path_bytes_max {
        return Err(LayerError::entry(
            path,
            format!("its path has {} bytes, at most {} are allowed", path.len(), limits.path_bytes_max),
        ));
    }
    if path.contains(&0) {
        return Err(LayerError::entry(path, "its path contains a NUL"));
    }
    let mut checked = Vec::with_capacity(path.len());
    let mut depth = 0;
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(LayerError::entry(path, "its path goes up (..), out of the layer")),
            _ => {}
        }
        depth += 1;
        if depth > limits.path_depth_max {
            return Err(LayerError::entry(
                path,
                format!("it lies more than {} directories deep", limits.path_depth_max),
            ));
        }
        if !checked.is_empty() {
            checked.push(b'/');
        }
        checked.extend_from_slice(component);
    }
    Ok(checked)
}
