//! The data directory, and whether a server holds it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Where a server keeps its state unless told otherwise.
pub(crate) const DEFAULT: &str = "/var/lib/watchbell";

/// Names the data directory where `--data-dir` does not.
pub(crate) const VARIABLE: &str = "WATCHBELL_DATA_DIR";

/// The kubeconfig that a server writes for its administrator.
pub(crate) const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

/// The directory that the environment names.
pub(crate) fn of_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Where it is unless `--data-dir` says otherwise.
pub(crate) fn default() -> PathBuf {
    of_environment().unwrap_or_else(|| DEFAULT.into())
}

/// `--data-dir`
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DataDir {
    /// Directory that holds the state, the images and the logs; without it, $WATCHBELL_DATA_DIR
    #[arg(long, value_name = "DIR", default_value_os_t = default())]
    pub(crate) data_dir: PathBuf,
}

/// Refuses the directory that nobody named where it is not there: only `serve` makes that, so that nothing lands where no server
/// ever looks. One that was named is made.
pub(crate) fn require(dir: &Path) -> Result<(), Failure> {
    require_beside(dir, Path::new(DEFAULT))
}

fn require_beside(dir: &Path, unnamed: &Path) -> Result<(), Failure> {
    match dir == unnamed && !dir.is_dir() {
        true => Err(Failure::Refused(format!(
            "there is no data directory {}: name that of your server with --data-dir DIR or ${VARIABLE}",
            dir.display()
        ))),
        false => Ok(()),
    }
}

/// Who holds a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    Server,
}

/// Whether a server runs on `dir`: it holds an exclusive lock on the file `lock` as long as it lives.
pub(crate) fn holder(dir: &Path) -> Result<Holder, Failure> {
    Ok(if is_locked(&dir.join("lock"))? { Holder::Server } else { Holder::Nobody })
}

/// Whether tasks may run that an earlier server started: their spawner lives.
pub(crate) fn has_spawner(dir: &Path) -> Result<bool, Failure> {
    is_locked(&dir.join("run/spawner.lock"))
}

fn is_locked(path: &Path) -> Result<bool, Failure> {
    let failed = |e| Failure::Refused(format!("cannot look at {}: {e}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(e)),
    };
    // Given back at once: whoever starts in this instant tries again.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::require_beside;

    #[test]
    fn what_nobody_named_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let (there, missing) = (dir.path(), dir.path().join("missing"));
        assert!(require_beside(there, there).is_ok());
        assert!(require_beside(&missing, there).is_ok());
        let refused = require_beside(&missing, &missing).unwrap_err().to_string();
        assert!(refused.contains("--data-dir DIR or $WATCHBELL_DATA_DIR"), "{refused}");
    }
}
