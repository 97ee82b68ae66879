//! Why a node cannot start.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {step} {}: {cause}", path.display())]
    Io { step: &'static str, path: PathBuf, cause: io::Error },

    #[error("cannot learn what this machine offers to pods: {step}: {cause}")]
    Capacity { step: &'static str, cause: io::Error },

    #[error("cannot learn what this machine offers to pods: {0}")]
    Measured(String),

    #[error("cannot start a thread of the node: {cause}")]
    Thread { cause: io::Error },

    #[error(transparent)]
    Image(#[from] watchbell_image::Error),

    #[error(transparent)]
    Sandbox(#[from] watchbell_sandbox::Error),
}

impl Error {
    pub(crate) fn io(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { step, path, cause }
    }

    pub(crate) fn measured(reason: String) -> Self {
        Self::Measured(reason)
    }

    pub(crate) fn thread(cause: io::Error) -> Self {
        Self::Thread { cause }
    }
}
