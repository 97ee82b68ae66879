//! What can go wrong between the server and its spawner.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {step} {}: {cause}", path.display())]
    State { step: &'static str, path: PathBuf, cause: io::Error },

    #[error("the spawner did not start: {reason}; its log is {}", log.display())]
    DidNotStart { reason: String, log: PathBuf },

    #[error(
        "the spawner serves another server (pid {pid}); stop that one first, or use another data directory"
    )]
    Busy { pid: u32 },

    #[error(
        "the spawner speaks protocol {theirs} and this program {ours}; let its tasks end with the version that started it"
    )]
    Version { ours: u32, theirs: u32 },

    #[error("the spawner refused this program: {reason}")]
    Refused { reason: String },

    #[error("the connection to the spawner broke: {cause}; connect again, running tasks are not affected")]
    Connection { cause: io::Error },

    #[error("the spawner sent what this program cannot read; it is of another version or damaged")]
    Protocol,

    #[error("the spawner does not give away what a pod wrote: {reason}")]
    Upper { reason: String },

    #[error("the spawner makes no directory in memory: {reason}")]
    Memory { reason: String },

    #[error(transparent)]
    Spec(#[from] crate::InvalidSpec),

    /// The spawner might allow it still, with the settings of a server before this one.
    #[error("cannot start container {container} of pod {pod}: {why}")]
    AboveCeiling { container: String, pod: String, why: String },

    #[error("this host lacks what the sandbox promises: {missing}")]
    Host { missing: String },
}
