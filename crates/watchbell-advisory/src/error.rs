//! What can go wrong, said with the file and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why something about advisories did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {step} {}: {cause}", path.display())]
    Io { step: &'static str, path: PathBuf, cause: io::Error },
    /// The index is not what this program wrote.
    #[error(
        "the advisory index {} is damaged: {reason}; `watchbell db import` and `watchbell db update` make it anew",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "the advisory index {} has format {found}, and this program reads {expected}; `watchbell db import` and `watchbell db update` make it anew",
        path.display()
    )]
    Format { path: PathBuf, found: u32, expected: u32 },
    /// There is no index yet.
    #[error("there is no advisory index in {}; make one with `watchbell db import PATH`", path.display())]
    Absent { path: PathBuf },
    #[error("the advisory index in {} is being replaced by another program; try again when it is done", path.display())]
    Busy { path: PathBuf },
}

impl Error {
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |cause| Error::Io { step, path: path.to_owned(), cause }
    }
}
