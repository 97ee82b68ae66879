//! Where logs and volumes lie below the data directory.
//!
//! ```text
//!   logs/jobs/<job uid>/<index or _>.<attempt>.<container>.<restart>.log   of pods that a Job made: they outlive the pods
//!   logs/pods/<pod uid>/<container>.<restart>.log                          of all others
//!   volumes/<pod uid>/<volume>                                             emptyDir on disk
//!   run-images/<as its logs>/images                                        what images a run has, for a server after this one
//!   run-images/<as its logs>/logs-removed                                  logs of it were removed to make room
//!   seccomp/<localhostProfile>                                             profiles that root put there
//!   claims/<persistent volume>                                             of claims; they outlive pods and servers
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchbell_api::node::{Assignment, LogQuery};
use watchbell_api::types::pod_status::JobLog;
use watchbell_api::{Resource, Uid};
use watchbell_core::world::Snapshot;

/// Under whose uid logs lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LogOwner {
    Job(Uid),
    Pod(Uid),
}

/// Makes an owner of one kind.
type OfUid = fn(Uid) -> LogOwner;

impl LogOwner {
    /// The directories that those of owners lie in, and what owns one of this name there.
    pub(crate) const KINDS: [(&str, OfUid); 2] = [("jobs", LogOwner::Job), ("pods", LogOwner::Pod)];

    /// What is removed at once, relative to the log directory.
    pub(crate) fn dir(self) -> PathBuf {
        match self {
            LogOwner::Job(job) => Path::new("jobs").join(job.to_string()),
            LogOwner::Pod(pod) => Path::new("pods").join(pod.to_string()),
        }
    }
}

/// Those of whom the server knows.
pub(crate) type Owners = HashMap<LogOwner, Owner>;

/// What the server knows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub namespace: Arc<str>,
    /// A pod whose logs lie there: events are told of pods, and those of an array speak with their Job's voice.
    pub pod: Option<Uid>,
}

/// All Jobs and pods with whom logs may lie.
pub(crate) fn owners(snapshot: &Snapshot) -> Owners {
    let mut owners = Owners::new();
    for pod in snapshot.list(Resource::Pod, None, None) {
        let owner = pod.job_log().map_or(LogOwner::Pod(pod.uid), |log| LogOwner::Job(log.job));
        owners.entry(owner).or_insert_with(|| Owner { namespace: pod.namespace.clone(), pod: Some(pod.uid) });
    }
    for job in snapshot.list(Resource::Job, None, None) {
        owners
            .entry(LogOwner::Job(job.uid))
            .or_insert_with(|| Owner { namespace: job.namespace.clone(), pod: None });
    }
    owners
}

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// Whose a file in the directory of an owner is, by its name. `None`: nothing that this node named.
    pub(crate) fn of_file(owner: LogOwner, name: &str) -> Option<LogPlace> {
        let job = match owner {
            LogOwner::Pod(pod) => return Some(LogPlace::Pod { pod }),
            LogOwner::Job(job) => job,
        };
        let mut parts = name.split('.');
        let (index, attempt) = (parts.next()?, parts.next()?.parse().ok()?);
        let index = if index == "_" { None } else { Some(index.parse().ok()?) };
        Some(LogPlace::Job { job, index, attempt })
    }

    pub(crate) fn owner(&self) -> LogOwner {
        match *self {
            LogPlace::Job { job, .. } => LogOwner::Job(job),
            LogPlace::Pod { pod } => LogOwner::Pod(pod),
        }
    }

    /// What is removed at once.
    pub(crate) fn dir(&self) -> PathBuf {
        self.owner().dir()
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

/// That logs of an owner were removed to make room, while the owner is still known.
pub(crate) fn removed_mark(data_dir: &Path, owner: LogOwner) -> PathBuf {
    runs_dir(data_dir).join(owner.dir()).join("logs-removed")
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agent::tests::judged::state_of;

    /// As the node is told where they log.
    #[test]
    fn whose_logs_there_may_be_is_known_by_the_servers_objects() {
        let pod = |labels: Value| {
            json!({"metadata": {"labels": labels}, "spec": {
                "restartPolicy": "Never", "containers": [{"name": "main", "image": "tool:1"}],
            }})
        };
        let job = |name: &str, parallelism: u32| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
                "parallelism": parallelism, "completions": 2, "completionMode": "Indexed", "template": pod(json!({})),
            }})
        };
        let mut single = pod(json!({}));
        single["metadata"] = json!({"name": "single"});
        (single["apiVersion"], single["kind"]) = ("v1".into(), "Pod".into());
        let snapshot = state_of(vec![
            (Resource::Job, job("busy", 2)),
            (Resource::Job, job("idle", 0)),
            (Resource::Pod, single),
        ]);
        let owners = owners(&snapshot);
        let uid = |resource, name| snapshot.get(resource, "ns", name).unwrap().uid;
        let single = uid(Resource::Pod, "single");
        let of = |owner| owners.get(&owner).map(|owner: &Owner| (&*owner.namespace, owner.pod));
        assert_eq!(of(LogOwner::Pod(single)), Some(("ns", Some(single))));
        assert_eq!(of(LogOwner::Job(uid(Resource::Job, "idle"))), Some(("ns", None)));
        let busy = LogOwner::Job(uid(Resource::Job, "busy"));
        assert!(matches!(of(busy), Some(("ns", Some(_)))), "{owners:?}");
        assert_eq!(owners.len(), 3);
        for pod in snapshot.list(Resource::Pod, None, None) {
            // None is bound here.
            if let Some(assignment) = snapshot.assignment(pod) {
                assert!(owners.contains_key(&LogPlace::of(&assignment).owner()), "{assignment:?}");
            }
        }
    }

    #[test]
    fn whose_a_file_is_stands_in_its_name() {
        let (job, pod) = (Uid(1), Uid(2));
        for place in [
            LogPlace::Job { job, index: Some(7), attempt: 3 },
            LogPlace::Job { job, index: None, attempt: u32::MAX },
            LogPlace::Pod { pod },
        ] {
            for end in ["", ".2", ".trace"] {
                let name = format!("{}{end}", place.file(1, 2).file_name().unwrap().to_str().unwrap());
                assert_eq!(LogPlace::of_file(place.owner(), &name), Some(place), "{name}");
            }
        }
        for name in ["", "images", "x.0.0.0.log", "1.x.0.0.log", "-1.0.0.0.log", "5000000000.0.0.0.log"] {
            assert_eq!(LogPlace::of_file(LogOwner::Job(job), name), None, "{name}");
        }
    }
}
