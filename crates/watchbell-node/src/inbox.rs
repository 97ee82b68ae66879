//! One queue for all that the agent is told, taken in batches.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::agent::Input;

#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    inputs: Vec<Input>,
    is_closed: bool,
}

impl Inbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, inputs: impl IntoIterator<Item = Input>) {
        self.queue().inputs.extend(inputs);
        self.more.notify_one();
    }

    /// No more commands will come.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.more.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    /// Waits for inputs, at most so long. `None`: closed, and all was taken.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Vec<Input>> {
        let queue = self.queue();
        let (mut queue, _) = self
            .more
            .wait_timeout_while(queue, patience, |q| q.inputs.is_empty() && !q.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.inputs.is_empty() && queue.is_closed {
            return None;
        }
        Some(std::mem::take(&mut queue.inputs))
    }
}
