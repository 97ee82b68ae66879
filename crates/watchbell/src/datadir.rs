//! The data directory, and whether a server holds it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Where a server keeps its state unless told otherwise.
pub(crate) const DEFAULT: &str = "/var/lib/watchbell";

/// The kubeconfig that a server writes for its administrator.
pub(crate) const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

/// `--data-dir`
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DataDir {
    /// Directory that holds the state, the images and the logs
    #[arg(long, value_name = "DIR", default_value = DEFAULT)]
    pub(crate) data_dir: PathBuf,
}

/// Who holds a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    Server,
}

/// Whether a server runs on `dir`: it holds an exclusive lock on the file `lock` as long as it lives.
pub(crate) fn holder(dir: &Path) -> Result<Holder, Failure> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(e) => return Err(Failure::Refused(format!("cannot look at {}: {e}", path.display()))),
    };
    // Given back at once: a server that starts in this instant tries again.
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Server),
        Err(TryLockError::Error(e)) => {
            Err(Failure::Refused(format!("cannot look at {}: {e}", path.display())))
        }
    }
}
