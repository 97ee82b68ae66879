use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// The array that an error is about: `namespace/name`, or a path.
pub type Name = String;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {step} {}: {source}", path.display())]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no array's directory of this format: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
    #[error("there is no array at {}; make it with `watchbell array create`", .0.display())]
    NoArray(PathBuf),
    #[error("there is an array at {} already", .0.display())]
    Exists(PathBuf),
    #[error(
        "something lies at {} that is no whole array of this kind: move it away, or remove it when nothing of it is needed",
        .0.display()
    )]
    Leftover(PathBuf),
    #[error("the array has no snapshot yet: import a hierarchy with `watchbell array import`")]
    NoSnapshot,
    #[error("there is no snapshot, tag or beginning of a digest {0:?}; `watchbell array log` lists them")]
    UnknownSnapshot(String),
    #[error("{0:?} is the beginning of more than one snapshot's digest")]
    AmbiguousSnapshot(String),
    #[error("{what} {digest} is damaged: {problem}; `watchbell array verify` says what else is")]
    Damaged { what: &'static str, digest: Digest, problem: String },
    #[error("{what}: {problem}")]
    Foreign { what: String, problem: String },
    #[error("{file} is a file, and {below} lies in a directory of that name: one of them must go")]
    Clash { file: String, below: String },
    #[error("{dir} has more than {max} entries")]
    TooMany { dir: String, max: u64 },
    #[error("index {index}: {violation}")]
    Violation { index: u32, violation: watchbell_zarr::Violation },
    #[error(
        "index {index} was told to write {owned} chunks and {missing} of them are not there, the first is {first}"
    )]
    Incomplete { index: u32, owned: u64, missing: u64, first: String },
    #[error("index {index} wrote {bytes} bytes, and its quota is {max}: raise quota in the annotation")]
    TooMuch { index: u32, bytes: u64, max: u64 },
    #[error(
        "index {index} wrote files of {bytes} bytes of which {held} are there; the rest are holes: write what a chunk holds"
    )]
    Holes { index: u32, bytes: u64, held: u64 },
    #[error(
        "the record of what was written would be {bytes} bytes, and at most {max} are read: write fewer keys"
    )]
    TooLong { bytes: u64, max: u64 },
    #[error(
        "the arrays' disk has {free} bytes free, and {reserve} are kept for the machine: remove something, or keep fewer snapshots"
    )]
    Full { free: u64, reserve: u64 },
    #[error(
        "{keys} chunks and files are more than the {max} that an array may have: write larger ones, or shards; \
         `serve --array-chunks-max` raises it"
    )]
    TooManyKeys { keys: u64, max: u64 },
    #[error("run {uid} was published already, as snapshot {}: start a Job of its own in place of a rerun", snapshot.short())]
    Published { uid: String, snapshot: Digest },
    #[error("what is published together is of one namespace, and each array of it once: {}", .0.display())]
    Apart(PathBuf),
    #[error("indices {} are not committed", .0)]
    Unfinished(String),
    #[error(transparent)]
    Conflict(#[from] crate::publish::Conflict),
    #[error(
        "{bytes} bytes would be kept, and the array's quota is {quota}; raise it, or keep fewer snapshots"
    )]
    Quota { bytes: u64, quota: u64 },
    #[error("a name has 1 to 128 letters, digits, `-`, `_` or `.`, and begins with a letter or digit: {0:?}")]
    BadName(String),
    #[error(transparent)]
    Hierarchy(#[from] watchbell_zarr::HierarchyError),
    #[error(transparent)]
    Grow(#[from] watchbell_zarr::GrowError),
    #[error("the array is encrypted, and its key was not given")]
    Locked,
    #[error("the key is not the array's")]
    WrongKey,
    #[error("it was encrypted under another key than the one that the server knows as {0:?}")]
    WrongNamedKey(String),
    #[error(
        "it is in the clear, and was to be encrypted{}: who can write its directory may have put it there",
        .0.as_ref().map(|key| format!(" under the key {key:?}")).unwrap_or_default()
    )]
    InTheClear(Option<String>),
    #[error(
        "it is the encrypted array {is}, and lies where {at} belongs: put it back, or export it and import it here"
    )]
    Elsewhere { is: String, at: String },
    #[error(
        "{what} was not written by who has the array's key, or is damaged: `watchbell array verify` says what else is"
    )]
    Forged { what: String },
    #[error(
        "its head is number {count}, and number {seen} was seen: somebody put an older one back; when that was you, \
         `watchbell array rollback NAME head --number {seen}` makes it the newest"
    )]
    Older { count: u64, seen: u64 },
    #[error("there is no key to be had: {0}")]
    Key(String),
    #[error(
        "the array is encrypted: nothing is linked out of it; its content is decrypted into a directory in memory"
    )]
    Encrypted,
    #[error("{} is no private directory in memory: it must be on a tmpfs, and for its owner alone", .0.display())]
    NotPrivate(PathBuf),
    #[error("the new head cannot be signed: {0}")]
    Unsigned(String),
    #[error("{0} still needs the array; wait for its end, or end it")]
    InUse(String),
    #[error("another program holds the draft {0}; wait for its end, or end it")]
    Held(String),
    #[error("somebody else has the array at {} locked: it is written, published or swept", .0.display())]
    Busy(PathBuf),
    #[error("the array at {} was deleted, or made anew, while this program used it", .0.display())]
    Replaced(PathBuf),
    /// By who watches the disk.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Whether a file was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Whether a disk had no room.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Whether the same may go well later, when nothing of the array or the run is other than now.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Io { .. }
                | Self::Quota { .. }
                | Self::Full { .. }
                | Self::Unsigned(_)
                // Whoever runs the server gives it the number, and the key.
                | Self::TooManyKeys { .. }
                | Self::Key(_)
                | Self::Locked
                | Self::WrongKey
                | Self::WrongNamedKey(_)
                | Self::Held(_)
                | Self::Busy(_)
                | Self::Stopped
        )
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, path: path.to_owned(), source }
    }

    /// The same for rustix's numbers.
    pub(crate) fn errno(step: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Io { step, path: path.to_owned(), source: source.into() }
    }
}
