//! Tar archives of hostile origin, and plain ones of our own.
//!
//! The reader understands ustar, PAX, GNU and old V7 headers with the precedence of Go's `archive/tar`, because Docker
//! and containerd read with that: another precedence would let a layer show one content to a scanner and another to
//! them. It allocates nothing that a header asks for without a bound, and it never touches the file system.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::io;

pub use reader::Archive;
pub(crate) use writer::Writer;

/// Headers and data are laid out in blocks of this size.
pub(crate) const BLOCK: usize = 512;

/// One file, directory or link of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the archive has it, not checked in any way.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky; nothing above 0o7777.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970; fractions are dropped.
    pub mtime: i64,
    /// Logical bytes of content: for a sparse file its holes count.
    pub size: u64,
    /// Where the content stands in the archive.
    pub data_offset: u64,
    /// Set when the stored content has holes.
    pub sparse: Option<Vec<Segment>>,
    /// `SCHILY.xattr.` records, without that prefix.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
    CharDevice { major: u64, minor: u64 },
    BlockDevice { major: u64, minor: u64 },
    Fifo,
    Other { type_flag: u8 },
}

/// A run of stored bytes of a sparse file and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("malformed archive at byte {offset}: {reason}")]
    Malformed { offset: u64, reason: String },
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
