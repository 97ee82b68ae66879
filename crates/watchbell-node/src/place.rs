//! Where logs and volumes lie below the data directory.
//!
//! ```text
//!   logs/jobs/<job uid>/<index or _>.<attempt>.<container>.<restart>.log   of pods that a Job made: they outlive the pods
//!   logs/pods/<pod uid>/<container>.<restart>.log                          of all others
//!   volumes/<pod uid>/<volume>                                             emptyDir on disk
//!   run-images/<as its logs>/images                                        what images a run has, for a server after this one
//!   seccomp/<localhostProfile>                                             profiles that root put there
//!   claims/<persistent volume>                                             of claims; they outlive pods and servers
//! ```

use std::path::{Path, PathBuf};

use watchbell_api::Uid;
use watchbell_api::node::{Assignment, LogQuery};
use watchbell_api::types::pod_status::JobLog;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogPlace {
    Job { job: Uid, index: Option<u32>, attempt: u32 },
    Pod { pod: Uid },
}

impl LogPlace {
    pub(crate) fn of(assignment: &Assignment) -> LogPlace {
        LogPlace::at(assignment.uid, assignment.log)
    }

    pub(crate) fn asked(query: &LogQuery) -> LogPlace {
        LogPlace::at(query.pod_uid, query.log)
    }

    fn at(pod: Uid, log: Option<JobLog>) -> LogPlace {
        match log {
            Some(JobLog { job, index, attempt }) => LogPlace::Job { job, index, attempt },
            None => LogPlace::Pod { pod },
        }
    }

    /// The log of one run, relative to the log directory.
    pub(crate) fn file(&self, container: u16, restart: u32) -> PathBuf {
        let dir = self.dir();
        match self {
            LogPlace::Job { index: Some(index), attempt, .. } => {
                dir.join(format!("{index}.{attempt}.{container}.{restart}.log"))
            }
            LogPlace::Job { index: None, attempt, .. } => {
                dir.join(format!("_.{attempt}.{container}.{restart}.log"))
            }
            LogPlace::Pod { .. } => dir.join(format!("{container}.{restart}.log")),
        }
    }

    /// What is removed at once.
    pub(crate) fn dir(&self) -> PathBuf {
        match self {
            LogPlace::Job { job, .. } => Path::new("jobs").join(job.to_string()),
            LogPlace::Pod { pod } => Path::new("pods").join(pod.to_string()),
        }
    }
}

/// What is kept of runs beside their logs, below the data directory; it goes with these.
pub(crate) fn runs_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("run-images")
}

/// Where the images of a run stand.
pub(crate) fn images_file(data_dir: &Path, place: &LogPlace) -> PathBuf {
    runs_dir(data_dir).join(place.dir()).join("images")
}

/// The directory of a pod's volumes, below the data directory.
pub(crate) fn volumes_dir(data_dir: &Path, pod: Uid) -> PathBuf {
    data_dir.join("volumes").join(pod.to_string())
}

/// The folder of a persistent volume, below the data directory. Nothing sweeps its parent: a folder goes only by the name
/// that the server says.
pub(crate) fn folder(data_dir: &Path, volume: &str) -> PathBuf {
    data_dir.join("claims").join(volume)
}
