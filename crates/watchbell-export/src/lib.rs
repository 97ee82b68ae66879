//! Ships the audit trail: a thread a target reads committed entries behind the writer and sends them on.
//!
//! ```text
//!  journal ── AuditReader ──▶ runner ── Step ──▶ Target ──┬─ file           lines of ECS, rotated
//!     ▲ bell                   │  ▲                       ├─ elasticsearch  _bulk, also of OpenSearch
//!     │                        ▼  └── Answer ─────────────┴─ otlp           /v1/logs
//!  Store::commit            Shipper (pure, watchbell-audit)
//!
//!  DIR/audit-export/TARGET.cursor         how far it came, written whole or not at all
//!  DIR/audit-export/TARGET.dead-letters   what a target will never take, with its reason
//! ```
//!
//! # What holds
//! - A commit never waits for an export: the writer rings a bell and goes on; each target has its own thread, connection and
//!   place, so that one that is down holds up no other.
//! - Nothing is skipped: an entry is passed over when the target has it or when its dead letter is durable.
//! - Secrets come from files, never from the command line, and stand in no log.

mod credentials;
mod elasticsearch;
mod file;
mod http;
mod metrics;
mod options;
mod otlp;
mod place;
mod runner;
mod target;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use watchbell_store::{AuditReader, Store};

pub use metrics::Metrics;
pub use options::{ElasticsearchOptions, Endpoint, FileOptions, OptionError, Options, OtlpOptions, Template};

use target::Target;

/// An export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("cannot read the journal for the audit export: {0}")]
    Store(#[from] watchbell_store::Error),
    #[error("cannot export the audit trail to {target}: {cause}")]
    Target { target: String, cause: String },
    #[error("cannot start a thread of the audit export: {0}")]
    Thread(#[from] std::io::Error),
}

/// The exports of one server.
#[derive(Debug)]
pub struct Exports {
    metrics: Arc<Metrics>,
    threads: usize,
    ended: Receiver<()>,
}

impl Exports {
    /// Looks at every target and starts its thread; it ends once the store is dropped and what it held is sent.
    ///
    /// # Errors
    /// An option that cannot work, a file of somebody else, a journal that went back: the server should not start, because
    /// it would leave the trail where nobody looks for it. A receiver that is down is no error.
    pub fn start(store: &Store, dir: &Path, options: &Options) -> Result<Exports, StartError> {
        let mut opened = Vec::new();
        for target in Target::open_all(dir, options)? {
            let reader = store.audit_reader()?;
            opened.push(prepare(target, reader)?);
        }
        let metrics = Arc::new(Metrics::new(opened.iter().map(runner::Runner::gauges)));
        let (end, ended) = channel();
        let threads = opened.len();
        for runner in opened {
            let end = end.clone();
            let name = format!("export-{}", runner.label());
            std::thread::Builder::new().name(name).spawn(move || {
                runner.run();
                // Whoever waits may have gone already.
                let _ = end.send(());
            })?;
        }
        Ok(Exports { metrics, threads, ended })
    }

    /// What the exports count.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// After the store was dropped: waits until everything is sent, at most for `grace`. What is not sent by then is sent
    /// after the next start.
    pub fn join(self, grace: Duration) {
        let due = Instant::now() + grace;
        for left in (1..=self.threads).rev() {
            match self.ended.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    tracing::info!(left, "audit exports go on after the next start");
                    return;
                }
                // Its panic was reported by the panic hook.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn prepare(mut target: Target, reader: AuditReader) -> Result<runner::Runner, StartError> {
    let (lives, logs) = (runner::lives(&reader)?, runner::logs(&reader)?);
    let name = target.name().to_owned();
    let next = target.resume(&lives).map_err(|cause| StartError::Target { target: name, cause })?;
    Ok(runner::Runner::new(target, reader, lives, logs, next))
}
