//! Decompression of hostile bytes, in pure Rust, with a ceiling on what comes out.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::BlockDecodingStrategy;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use crate::{Compression, Limits};

/// A reader went past its ceiling; carried inside an [`io::Error`] because it surfaces through [`Read`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LimitExceeded(pub(crate) String);

/// The most that may come out of `compressed_bytes` of input.
pub(crate) fn ceiling(compressed_bytes: u64, absolute_max: u64, limits: &Limits) -> u64 {
    compressed_bytes
        .saturating_mul(limits.compression_ratio_max)
        .max(limits.ratio_free_bytes)
        .min(absolute_max)
}

/// The compression told from the first bytes of `source`, which stay unread.
pub(crate) fn sniff(source: &mut impl BufRead) -> io::Result<Compression> {
    Ok(Compression::sniff(source.fill_buf()?))
}

/// The one decompressor that everything in this crate uses, so that no two readers see different contents in one blob:
/// all members of a gzip file and all frames of a zstd file count, and nothing else may follow them.
pub(crate) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<ZstdFrames<R>>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(source: R, compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Plain(source),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => Self::Zstd(Box::new(ZstdFrames::new(source))),
        }
    }
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn into_inner(self) -> R {
        match self {
            Self::Plain(r) => r,
            Self::Gzip(r) => r.into_inner(),
            Self::Zstd(r) => r.source,
        }
    }
}

/// The bytes of `source`, decompressed if they begin as gzip or zstd do. How many come out is for the caller to bound.
pub fn decompressed<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let compression = sniff(&mut source)?;
    Ok(Box::new(Decoder::new(source, compression)))
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(r) => r.read(buf),
            Self::Gzip(r) => r.read(buf),
            Self::Zstd(r) => r.read(buf),
        }
    }
}

/// Frame after frame of a zstd stream. The decoder itself refuses windows over 128 MiB.
pub(crate) struct ZstdFrames<R> {
    source: R,
    frame: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(source: R) -> Self {
        Self { source, frame: FrameDecoder::new(), in_frame: false }
    }

    /// Opens the next frame; `false` at the end of the stream.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped != u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        // The decoder reads the frame's checksum but leaves its comparison to us.
        match (self.frame.get_checksum_from_data(), self.frame.get_calculated_checksum()) {
            (Some(stated), Some(actual)) if stated != actual => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "zstd frame does not match its checksum"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            }
            let n = self.frame.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            self.end_frame()?;
        }
    }
}

/// Fails once more than `ceiling` bytes have been read.
pub(crate) struct Ceiling<R> {
    inner: R,
    ceiling: u64,
    bytes: u64,
}

impl<R: Read> Ceiling<R> {
    pub(crate) fn new(inner: R, ceiling: u64) -> Self {
        Self { inner, ceiling, bytes: 0 }
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Ceiling<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes += n as u64;
        if self.bytes > self.ceiling {
            return Err(io::Error::other(LimitExceeded(format!(
                "it unpacks to more than {} bytes, the most that its compressed size allows",
                self.ceiling
            ))));
        }
        Ok(n)
    }
}

/// The limit that an [`io::Error`] carries, if any.
pub(crate) fn limit_in(error: &io::Error) -> Option<&LimitExceeded> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<LimitExceeded>())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut source = bytes;
        let compression = sniff(&mut source)?;
        let mut out = Vec::new();
        Decoder::new(source, compression).read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn all_members_and_frames_count() {
        for compress in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
            let both = [compress(b"first "), compress(b"second")].concat();
            assert_eq!(decode(&both).unwrap(), b"first second");
        }
    }

    #[test]
    fn skippable_frames_are_skipped_and_must_be_whole() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
        assert_eq!(decode(&[skippable.clone(), zstd(b"data"), skippable.clone()].concat()).unwrap(), b"data");
        assert!(decode(&[zstd(b"data"), skippable[..10].to_vec()].concat()).is_err());
    }

    #[test]
    fn truncation_damage_and_garbage_behind_are_errors() {
        for compress in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
            let whole = compress(&vec![b'x'; 10_000]);
            assert!(decode(&whole[..whole.len() - 1]).is_err(), "truncated");
            assert!(decode(&[whole.clone(), b"garbage behind".to_vec()].concat()).is_err(), "garbage");
            let mut damaged = whole;
            let last = damaged.len() - 1;
            damaged[last] ^= 1;
            assert!(decode(&damaged).is_err(), "damaged");
        }
    }

    #[test]
    fn the_ceiling_follows_the_compressed_size() {
        let limits = Limits { compression_ratio_max: 10, ratio_free_bytes: 100, ..Limits::default() };
        assert_eq!(ceiling(5, 1_000, &limits), 100);
        assert_eq!(ceiling(50, 1_000, &limits), 500);
        assert_eq!(ceiling(5_000, 1_000, &limits), 1_000);
        let mut reader = Ceiling::new(io::repeat(0), 100);
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(limit_in(&error).is_some());
    }
}
