//! Why files could not be read.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error(transparent)]
    Image(#[from] watchbell_image::Error),

    #[error("cannot {step} {}: {cause}; check that it is there and that you may read it", path.display())]
    Io { step: &'static str, path: PathBuf, cause: io::Error },

    #[error(
        "{object} exceeds a limit: {reason}; what was read so far is not shown, because it would not be all"
    )]
    Limit { object: &'static str, reason: String },

    #[error("a thread that reads layers ended early: {reason}")]
    Thread { reason: String },
}
