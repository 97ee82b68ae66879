//! Which runs still write, for readers that follow.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use watchbell_sandbox::ContainerId;

/// The runs that are under way.
#[derive(Debug, Default)]
pub(crate) struct Live {
    runs: Mutex<HashMap<ContainerId, Vec<Arc<OwnedFd>>>>,
}

/// Becomes readable when the run has ended.
pub(super) struct Watch {
    pub(super) ended: Arc<OwnedFd>,
}

impl Live {
    fn runs(&self) -> MutexGuard<'_, HashMap<ContainerId, Vec<Arc<OwnedFd>>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is about to be started.
    pub(crate) fn begin(&self, id: ContainerId) {
        self.runs().entry(id).or_default();
    }

    /// Its log is complete.
    pub(crate) fn end(&self, id: ContainerId) {
        let watches = self.runs().remove(&id);
        wake(watches.into_iter().flatten());
    }

    /// These alone are still under way.
    pub(crate) fn only(&self, alive: &HashSet<ContainerId>) {
        let mut runs = self.runs();
        let ended: Vec<ContainerId> = runs.keys().filter(|id| !alive.contains(id)).copied().collect();
        for id in ended {
            wake(runs.remove(&id).into_iter().flatten());
        }
        for id in alive {
            runs.entry(*id).or_default();
        }
    }

    /// The newest run of a container that is under way.
    pub(crate) fn newest(&self, pod_uid: u128, container: u16) -> Option<ContainerId> {
        let runs = self.runs();
        runs.keys().filter(|id| (id.pod_uid, id.container) == (pod_uid, container)).max().copied()
    }

    /// `None`: it does not run.
    pub(super) fn watch(&self, id: ContainerId) -> io::Result<Option<Watch>> {
        let mut runs = self.runs();
        let Some(watches) = runs.get_mut(&id) else { return Ok(None) };
        // Readers that went away leave the list with the next one that comes.
        watches.retain(|w| Arc::strong_count(w) > 1);
        let ended = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        watches.push(ended.clone());
        Ok(Some(Watch { ended }))
    }
}

fn wake(watches: impl Iterator<Item = Arc<OwnedFd>>) {
    for watch in watches {
        // A full counter would be readable as well.
        let _ = rustix::io::write(&*watch, &1u64.to_ne_bytes());
    }
}
