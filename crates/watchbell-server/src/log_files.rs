//! Writes the audit log's files behind the commits: nobody's answer waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watchbell_store::{Error, Publisher};

/// How long a commit waits for others before the files follow: they are never a second behind.
const GATHER: Duration = Duration::from_millis(300);
/// How often files that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The writer's view of the files.
#[derive(Debug)]
pub(crate) struct LogFiles {
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
    /// On a full disk the thread keeps still: it would take the space that the reserve gives to deletes.
    held: Arc<AtomicBool>,
}

/// Starts the thread. It ends with the writer.
pub(crate) fn start(mut publisher: Publisher) -> std::io::Result<LogFiles> {
    // What a crash left behind; so whoever is answered finds the log beside the server.
    let is_behind = publish(&mut publisher, false) == Published::Not;
    // One request waiting is as good as many.
    let (ask, asked) = sync_channel(1);
    let held = Arc::new(AtomicBool::new(false));
    let seen = held.clone();
    let thread = std::thread::Builder::new()
        .name("audit-log".into())
        .spawn(move || run(publisher, &asked, &seen, is_behind))?;
    Ok(LogFiles { ask, thread, held })
}

fn run(mut publisher: Publisher, asked: &Receiver<()>, held: &AtomicBool, mut is_behind: bool) {
    loop {
        let wait = if is_behind {
            asked.recv_timeout(RETRY)
        } else {
            asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let ends = match wait {
            Ok(()) => gather(asked) == Next::End,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        is_behind = if held.load(Ordering::SeqCst) {
            true
        } else {
            publish(&mut publisher, is_behind) == Published::Not
        };
        if ends {
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

/// Waits for more commits, no longer than [`GATHER`].
fn gather(asked: &Receiver<()>) -> Next {
    let due = Instant::now() + GATHER;
    loop {
        match asked.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Next::Go,
            Err(RecvTimeoutError::Disconnected) => return Next::End,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    All,
    Not,
}

/// A failure is told once: the journal holds what the files lack.
fn publish(publisher: &mut Publisher, was_behind: bool) -> Published {
    match publisher.publish() {
        Ok(size) => {
            tracing::debug!(size, "the audit log is published");
            Published::All
        }
        Err(error) => {
            if !was_behind {
                match &error {
                    Error::Log(log) if log.is_disk_full() => {
                        tracing::warn!("{error}; it follows when there is room");
                    }
                    _ => tracing::error!(
                        "{error}; the journal holds all entries. `watchbell audit verify` says what is wrong; moving the \
                         directory audit away keeps it as evidence, and the next start writes it anew from the journal"
                    ),
                }
            }
            Published::Not
        }
    }
}

impl LogFiles {
    /// Something was committed.
    pub(crate) fn after_commit(&self) {
        match self.ask.try_send(()) {
            // It works or will.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// The disk is full.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Ends the thread and goes on without one.
    #[cfg(test)]
    pub(crate) fn stop(&mut self) {
        self.ask = sync_channel(1).0;
        let ended = std::mem::replace(&mut self.thread, std::thread::spawn(|| {}));
        ended.join().unwrap();
    }

    /// Publishes the last entries and ends the thread.
    pub(crate) fn end(self) {
        drop(self.ask);
        // A panic of the thread was reported by the panic hook.
        let _ = self.thread.join();
    }
}
