//! The streaming reader: next header, then its content.

use std::io::{self, Read};

use super::header::Header;
use super::pax::PaxRecords;
use super::{BLOCK, Entry, Error, Kind, Segment, header, sparse};

/// Reads an archive front to back, once.
pub struct Archive<R> {
    source: R,
    /// Bytes consumed from `source`.
    offset: u64,
    /// Stored content of the current entry that was not read yet.
    content_left: u64,
    /// Zeros behind that content, up to the next block.
    padding_left: u64,
    header_bytes_max: u64,
    finished: bool,
}

impl<R: Read> Archive<R> {
    /// `header_bytes_max` bounds the extended headers of one entry.
    pub fn new(source: R, header_bytes_max: u64) -> Self {
        Self { source, offset: 0, content_left: 0, padding_left: 0, header_bytes_max, finished: false }
    }

    /// The next entry, or `None` behind the last. What was not read of the previous entry's content is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut pax: Option<PaxRecords> = None;
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        let mut extended_bytes = 0u64;
        loop {
            self.skip_content()?;
            if self.finished {
                return Ok(None);
            }
            let at = self.offset;
            let malformed = |reason: String| Error::Malformed { offset: at, reason };
            let Some(block) = self.header_block()? else {
                if pax.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(malformed("it ends behind an extended header".to_owned()));
                }
                return Ok(None);
            };
            let header = Header::parse(&block).map_err(malformed)?;
            let size = header.size().map_err(malformed)?;
            let type_flag = header.type_flag();
            if matches!(type_flag, b'x' | b'g' | b'L' | b'K') {
                extended_bytes = extended_bytes.saturating_add(size);
                if extended_bytes > self.header_bytes_max {
                    return Err(Error::Limit(format!(
                        "the extended headers of one entry have more than {} bytes",
                        self.header_bytes_max
                    )));
                }
                self.set_content(size)?;
                let mut content = Vec::new();
                self.read_to_end(&mut content)?;
                match type_flag {
                    b'x' => pax = Some(PaxRecords::parse(&content).map_err(malformed)?),
                    b'L' => long_name = Some(up_to_nul(content)),
                    b'K' => long_link = Some(up_to_nul(content)),
                    // A global header: Go's reader, and so Docker and containerd, apply nothing of it.
                    _ => {}
                }
                continue;
            }
            let mut pax = pax.unwrap_or_default();
            let mut entry = Entry {
                path: long_name.or_else(|| pax.path.take()).unwrap_or_else(|| header.name()),
                kind: Kind::File,
                mode: (header.mode().map_err(malformed)? & 0o7777) as u32,
                uid: pax.uid.map_or_else(|| header.uid(), Ok).map_err(malformed)?,
                gid: pax.gid.map_or_else(|| header.gid(), Ok).map_err(malformed)?,
                mtime: pax.mtime.map_or_else(|| header.mtime(), Ok).map_err(malformed)?,
                size: pax.size.unwrap_or(size),
                data_offset: 0,
                sparse: None,
                xattrs: std::mem::take(&mut pax.xattrs),
            };
            let link =
                || long_link.clone().or_else(|| pax.link_path.clone()).unwrap_or_else(|| header.link_name());
            entry.kind = match type_flag {
                // The old format marks a directory by its name alone.
                0 if entry.path.ends_with(b"/") => Kind::Directory,
                0 | b'0' | b'7' | b'S' => Kind::File,
                b'1' => Kind::HardLink { target: link() },
                b'2' => Kind::Symlink { target: link() },
                b'3' => header
                    .device()
                    .map(|(major, minor)| Kind::CharDevice { major, minor })
                    .map_err(malformed)?,
                b'4' => header
                    .device()
                    .map(|(major, minor)| Kind::BlockDevice { major, minor })
                    .map_err(malformed)?,
                b'5' => Kind::Directory,
                b'6' => Kind::Fifo,
                other => Kind::Other { type_flag: other },
            };
            if !matches!(entry.kind, Kind::File | Kind::Other { .. }) {
                // These have no content, whatever size they state.
                entry.size = 0;
            }
            if i64::try_from(entry.size).is_err() {
                return Err(malformed("its size is larger than any file".to_owned()));
            }
            let gnu = if type_flag == b'S' {
                Some(
                    header
                        .gnu_sparse()
                        .ok_or_else(|| malformed("a GNU sparse file in another format".to_owned()))?,
                )
            } else {
                None
            };
            if let Some((pairs, more, real_size)) = gnu {
                let mut segments = Vec::new();
                sparse::push_gnu_pairs(pairs, &mut segments).map_err(malformed)?;
                let real_size = header::number(real_size, "real size").map_err(malformed)?;
                let mut more = more;
                while more {
                    let block =
                        self.block()?.ok_or_else(|| malformed("it ends inside a sparse map".to_owned()))?;
                    more = sparse::push_gnu_extension(&block, &mut segments).map_err(malformed)?;
                }
                self.set_content(entry.size)?;
                self.set_sparse(&mut entry, segments, real_size).map_err(malformed)?;
            } else {
                self.set_content(entry.size)?;
                if entry.kind == Kind::File && pax.sparse.is_present() {
                    self.apply_pax_sparse(&mut entry, pax).map_err(malformed)?;
                }
            }
            entry.data_offset = self.offset;
            return Ok(Some(entry));
        }
    }

    fn apply_pax_sparse(&mut self, entry: &mut Entry, pax: PaxRecords) -> Result<(), String> {
        let records = pax.sparse;
        let real_size = records.real_size.ok_or("a sparse file states no real size")?;
        if let Some(name) = records.name {
            entry.path = name;
        }
        let segments = match (records.major, records.minor) {
            (Some(1), Some(0)) => {
                let stored = self.content_left;
                sparse::read_1_0(self, stored)?.0
            }
            (None | Some(0), None | Some(0 | 1)) => records.segments,
            (major, minor) => {
                return Err(format!(
                    "the sparse format {}.{} is unknown",
                    major.unwrap_or_default(),
                    minor.unwrap_or_default()
                ));
            }
        };
        self.set_sparse(entry, segments, real_size)
    }

    fn set_sparse(
        &mut self,
        entry: &mut Entry,
        segments: Vec<Segment>,
        real_size: u64,
    ) -> Result<(), String> {
        sparse::check(&segments, self.content_left, real_size)?;
        if i64::try_from(real_size).is_err() {
            return Err("its real size is larger than any file".to_owned());
        }
        entry.size = real_size;
        entry.sparse = Some(segments);
        Ok(())
    }

    /// Reads the rest of the stream, behind the end of the archive too: a digest is over all of it.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(())
    }

    pub(crate) fn into_inner(self) -> R {
        self.source
    }

    /// The next header block; `None` at the end of the archive, which is two zero blocks or the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let is_zero = |b: &[u8; BLOCK]| b.iter().all(|b| *b == 0);
        let at = self.offset;
        match self.block()? {
            Some(block) if !is_zero(&block) => Ok(Some(block)),
            None => {
                self.finished = true;
                Ok(None)
            }
            Some(_) => match self.block()? {
                Some(second) if !is_zero(&second) => Err(Error::Malformed {
                    offset: at,
                    reason: "a lone zero block stands between entries".to_owned(),
                }),
                _ => {
                    self.finished = true;
                    Ok(None)
                }
            },
        }
    }

    /// One whole block, or `None` when the stream ends exactly here.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Io(e)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    fn set_content(&mut self, size: u64) -> Result<(), Error> {
        self.content_left = size;
        self.padding_left = size.wrapping_neg() % BLOCK as u64;
        match size.checked_add(self.padding_left).and_then(|n| n.checked_add(self.offset)) {
            Some(_) => Ok(()),
            None => Err(Error::Malformed { offset: self.offset, reason: "its size overflows".to_owned() }),
        }
    }

    fn skip_content(&mut self) -> Result<(), Error> {
        let left = self.content_left + self.padding_left;
        let skipped = io::copy(&mut (&mut self.source).take(left), &mut io::sink())?;
        self.offset += skipped;
        if skipped != left {
            return Err(self.truncated());
        }
        (self.content_left, self.padding_left) = (0, 0);
        Ok(())
    }

    fn truncated(&self) -> Error {
        Error::Malformed { offset: self.offset, reason: "it ends in the middle of an entry".to_owned() }
    }
}

/// The stored content of the current entry.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.content_left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.source.read(&mut buf[..want])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the archive ends at byte {} in the middle of an entry", self.offset),
            ));
        }
        self.content_left -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }
}

fn up_to_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}
