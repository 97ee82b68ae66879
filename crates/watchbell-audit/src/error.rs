//! What can go wrong with a log's files.

use std::path::{Path, PathBuf};

use crate::note::NoteError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {step} {}: {source}", path.display())]
    Io { step: &'static str, path: PathBuf, source: std::io::Error },

    /// A file is not what it must be. Nothing is healed: whoever reads this decides what becomes of the evidence.
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },

    #[error("cannot read {}: {source}", path.display())]
    Note { path: PathBuf, source: NoteError },

    #[error("there is no audit log in {}: its server has not published one yet, or the directory is another", path.display())]
    NoLog { path: PathBuf },

    #[error("entry {index} is not in the published log, which has {size} entries")]
    NoEntry { index: u64, size: u64 },

    #[error("cannot prove it: {0}")]
    Unprovable(String),
}

impl Error {
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { step, path: path.to_path_buf(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_path_buf(), what: what.into() }
    }

    pub(crate) fn note(path: &Path) -> impl FnOnce(NoteError) -> Error {
        move |source| Error::Note { path: path.to_path_buf(), source }
    }

    /// No room on the disk: the files stay behind until there is some.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
