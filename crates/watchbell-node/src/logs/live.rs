//! Which runs still write, for readers that follow.

use std::collections::HashMap;
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

    pub(crate) fn begin(&self, id: ContainerId) {
        self.runs().entry(id).or_default();
    }

    /// Its log is complete.
    pub(crate) fn end(&self, id: ContainerId) {
        let watches = self.runs().remove(&id);
        for watch in watches.into_iter().flatten() {
            // A full counter would be readable as well.
            let _ = rustix::io::write(&*watch, &1u64.to_ne_bytes());
        }
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
