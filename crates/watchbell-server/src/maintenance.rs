//! Keeps the journal's WAL short, beside the commit path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use watchbell_store::Maintenance;

use crate::state::Input;

/// From here on the thread beside the writer moves the WAL into the database.
const ASIDE_BYTES: u64 = 4 << 20;
/// From here on the writer finishes the rest itself: under steady load the thread never catches up, and the reserve for a
/// full disk is as large as this.
const HERE_BYTES: u64 = 16 << 20;

/// The writer's view of the checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
    /// On a full disk the thread keeps still: it would take the space that the reserve gives to deletes.
    held: Arc<AtomicBool>,
    last_wal_bytes: u64,
}

/// Whether the writer itself must move the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    No,
    Here,
}

/// Starts the thread. It ends with the writer.
pub(crate) fn start(maintenance: Maintenance, inputs: Sender<Input>) -> std::io::Result<Checkpoints> {
    // One request waiting is as good as many.
    let (ask, asked) = sync_channel(1);
    let held = Arc::new(AtomicBool::new(false));
    let seen = held.clone();
    let thread = std::thread::Builder::new()
        .name("checkpoint".into())
        .spawn(move || run(maintenance, &asked, &seen, &inputs))?;
    Ok(Checkpoints { ask, thread, held, last_wal_bytes: 0 })
}

fn run(mut maintenance: Maintenance, asked: &Receiver<()>, held: &AtomicBool, inputs: &Sender<Input>) {
    while asked.recv().is_ok() {
        if held.load(Ordering::SeqCst) {
            continue;
        }
        match maintenance.checkpoint() {
            Ok(report) => tracing::debug!(moved = report.moved_bytes, left = report.left_bytes, "checkpoint"),
            Err(error) if error.is_fatal() => {
                // A writer that has ended already ends the process anyway.
                let _ = inputs.send(Input::Fatal(error.to_string()));
                return;
            }
            Err(error) => tracing::warn!("the journal's WAL stays for now: {error}"),
        }
    }
}

impl Checkpoints {
    /// Hears how long the WAL is after a commit.
    pub(crate) fn after_commit(&mut self, wal_bytes: u64) -> Due {
        self.last_wal_bytes = wal_bytes;
        if wal_bytes >= HERE_BYTES {
            return Due::Here;
        }
        if wal_bytes >= ASIDE_BYTES {
            self.ask();
        }
        Due::No
    }

    /// The disk is full: what is moved is the writer's business.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Nothing happens: what is left may as well be moved.
    pub(crate) fn idle(&mut self) {
        if self.last_wal_bytes > 0 {
            self.last_wal_bytes = 0;
            self.ask();
        }
    }

    /// Ends the thread: after this only the writer has the journal open.
    pub(crate) fn end(self) {
        drop(self.ask);
        // A panic of the thread was reported by the panic hook.
        let _ = self.thread.join();
    }

    fn ask(&self) {
        match self.ask.try_send(()) {
            // It works or will; its end is told by an input of its own.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}
