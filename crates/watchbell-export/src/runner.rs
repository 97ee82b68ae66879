//! The thread of a target: carries out what its [`Shipper`] says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_audit::export::backoff::Jitter;
use watchbell_audit::export::cursor::{Epoch, Lives};
use watchbell_audit::export::shipper::{Shipper, Step, Wake};
use watchbell_audit::export::{Entry, Logs};
use watchbell_store::{AuditNews, AuditReader, AuditRow, Until};

use crate::metrics::Gauges;
use crate::target::Target;

/// Entries and bytes that one reading takes from the journal.
const READ_ENTRIES: usize = 4000;
const READ_BYTES: usize = 4 << 20;
/// After the journal, the file, the dead letters or the cursor could not be read or written.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// The server ends: so long a target may take for the rest.
const GRACE: Duration = Duration::from_secs(4);
/// From here on it is said that a target lags.
const LAG_SECONDS: i128 = 60;
/// How often that is said again.
const REMIND: Duration = Duration::from_secs(300);

/// A target with its place in the journal.
pub(crate) struct Runner {
    target: Target,
    reader: AuditReader,
    lives: Lives,
    logs: Logs,
    shipper: Shipper,
    gauges: Arc<Gauges>,
    began: Instant,
    /// Said last that it lags.
    told: Option<Instant>,
}

/// The lives of the journal's log. The sequence numbers of its rows begin at 1, the indexes of entries at 0.
pub(crate) fn lives(reader: &AuditReader) -> Result<Lives, watchbell_store::Error> {
    let epochs = reader.epochs()?.into_iter();
    let epochs = epochs.map(|e| Epoch { id: e.id, first: e.first_audit_sequence.saturating_sub(1) });
    Ok(Lives { epochs: epochs.collect(), length: reader.news().last_sequence })
}

/// The logs themselves. None begins or ends while a server runs.
pub(crate) fn logs(reader: &AuditReader) -> Result<Logs, watchbell_store::Error> {
    let logs = reader.log_heads()?.logs.into_iter();
    Ok(Logs::new(logs.map(|(origin, log)| (log.first_sequence.saturating_sub(1), origin))))
}

/// What the loop does after a step.
enum Next {
    Go,
    Pause(Duration),
    End,
}

impl Runner {
    pub(crate) fn new(target: Target, reader: AuditReader, lives: Lives, logs: Logs, next: u64) -> Runner {
        let gauges = Arc::new(Gauges::new(target.label()));
        gauges.acknowledged.store(next, Ordering::Relaxed);
        gauges.length.store(lives.length, Ordering::Relaxed);
        tracing::info!(target = target.name(), next, "exporting the audit trail");
        let shipper = Shipper::new(target.limits(), next);
        Runner { target, reader, lives, logs, shipper, gauges, began: Instant::now(), told: None }
    }

    pub(crate) fn gauges(&self) -> Arc<Gauges> {
        self.gauges.clone()
    }

    pub(crate) fn label(&self) -> &'static str {
        self.target.label()
    }

    pub(crate) fn run(mut self) {
        let mut known = self.reader.news();
        let mut due: Option<Instant> = None;
        loop {
            let news = self.reader.news();
            if news != known {
                known = news;
                self.shipper.news();
            }
            if known.is_over {
                self.shipper.hurry();
                let due = *due.get_or_insert_with(|| Instant::now() + GRACE);
                if Instant::now() >= due {
                    break;
                }
            }
            self.gauges.length.store(known.last_sequence, Ordering::Relaxed);
            match self.step(known) {
                Next::Go => {}
                // There is no time for another attempt.
                Next::Pause(_) if known.is_over => break,
                Next::Pause(pause) => drop(self.reader.wait(Until::Over, Some(pause))),
                Next::End => break,
            }
            self.note();
        }
        self.finish();
        tracing::debug!(
            target = self.target.name(),
            next = self.shipper.acknowledged(),
            "the audit export ends"
        );
    }

    fn finish(&mut self) {
        // What was acknowledged last: after the next start it would be sent twice.
        if let Some(next) = self.shipper.unnoted() {
            self.persist(next);
        }
        // The next start goes on behind the last line that it finds, so it finds none that may be lost.
        if self.target.is_in_doubt() {
            self.cut_back();
        }
    }

    fn step(&mut self, known: AuditNews) -> Next {
        if self.target.is_in_doubt() {
            return self.cut_back();
        }
        let now = self.began.elapsed();
        match self.shipper.next(now) {
            Step::Read { from } => match self.reader.read(from + 1, READ_ENTRIES, READ_BYTES) {
                Ok(rows) => {
                    let items = rows
                        .into_iter()
                        .map(|row| self.target.item(&entry(&self.lives, &self.logs, row)))
                        .collect();
                    let missing = self.shipper.read(items);
                    if missing > 0 {
                        self.gauges.lost.fetch_add(missing, Ordering::Relaxed);
                        tracing::error!(
                            target = self.target.name(),
                            from,
                            missing,
                            "entries are not in the journal any more and cannot be exported"
                        );
                    }
                    Next::Go
                }
                Err(error) => {
                    tracing::warn!(
                        target = self.target.name(),
                        "cannot read the journal for the audit export: {error}"
                    );
                    Next::Pause(DISK_RETRY)
                }
            },
            Step::Send(items) => {
                self.gauges.requests.fetch_add(1, Ordering::Relaxed);
                let bytes: usize = items.iter().map(|item| item.document.len()).sum();
                self.gauges.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                let answer = self.target.send(items);
                let before = self.shipper.trouble().is_some();
                self.shipper.answered(answer, self.began.elapsed(), jitter());
                match (before, self.shipper.trouble()) {
                    (false, Some(cause)) => {
                        tracing::warn!(target = self.target.name(), "the audit export waits: {cause}");
                    }
                    (true, None) => tracing::info!(target = self.target.name(), "the audit export goes on"),
                    _ => {}
                }
                Next::Go
            }
            Step::Bury(dead) => match self.target.bury(dead) {
                Ok(()) => {
                    if let Some(first) = dead.first() {
                        tracing::error!(
                            target = self.target.name(), count = dead.len(), first = first.item.index,
                            file = %self.target.dead_letters().display(),
                            "the target will not take some entries; they are in its dead letters: {}", first.reason
                        );
                    }
                    self.shipper.buried();
                    Next::Go
                }
                Err(error) => {
                    tracing::error!(file = %self.target.dead_letters().display(), "cannot write dead letters: {error}");
                    Next::Pause(DISK_RETRY)
                }
            },
            Step::Persist { next } => {
                self.persist(next);
                self.shipper.persisted(self.began.elapsed());
                Next::Go
            }
            // Nothing is left, or not to be had before the server is gone.
            Step::Wait { .. } if known.is_over => Next::End,
            Step::Wait { until, wake } => {
                let patience = until.map(|until| until.saturating_sub(now));
                let until = match wake {
                    Wake::OnNews => Until::News(known),
                    Wake::OnlyTime => Until::Over,
                };
                // Lag is looked at now and then even when nothing happens.
                let patience = patience.unwrap_or(REMIND).min(REMIND);
                self.note();
                self.reader.wait(until, Some(patience));
                Next::Go
            }
        }
    }

    /// What the target took and may have lost is sent again.
    fn cut_back(&mut self) -> Next {
        // The journal has grown since the start, and at least as far as what was sent of it.
        self.lives.length = self.reader.news().last_sequence.max(self.shipper.acknowledged());
        match self.target.cut_back(&self.lives) {
            Ok(next) => {
                tracing::warn!(
                    target = self.target.name(),
                    next,
                    "what was exported last may not be on the disk, and is exported again"
                );
                self.shipper.set_back(next);
                // A disk that refuses every sync is not asked without end.
                Next::Pause(DISK_RETRY)
            }
            Err(cause) => {
                tracing::warn!(target = self.target.name(), "the audit export waits: {cause}");
                Next::Pause(DISK_RETRY)
            }
        }
    }

    fn persist(&mut self, next: u64) {
        if let Err(error) = self.target.persist(&self.lives, next) {
            tracing::warn!(target = self.target.name(), "cannot note how far the audit export came: {error}");
        }
    }

    /// Tells the metrics, and the log when the target lags.
    fn note(&mut self) {
        let relaxed = Ordering::Relaxed;
        self.gauges.counts(self.shipper.counts());
        self.gauges.acknowledged.store(self.shipper.acknowledged(), relaxed);
        let oldest = self.shipper.oldest_unix_nanos();
        self.gauges.oldest_unix_nanos.store(oldest.unwrap_or(-1), relaxed);
        let age = oldest
            .map_or(0, |oldest| (Timestamp::now().as_nanosecond() - i128::from(oldest)) / 1_000_000_000);
        let lag = self.gauges.length.load(relaxed).saturating_sub(self.shipper.acknowledged());
        // A backlog that is being worked off has old entries too: it is said only of a target that makes trouble.
        match (self.shipper.trouble(), self.told) {
            (Some(cause), told) if age >= LAG_SECONDS && told.is_none_or(|told| told.elapsed() >= REMIND) => {
                tracing::warn!(
                    target = self.target.name(), entries = lag, seconds = %age,
                    "the audit export lags; nothing is lost, entries stay in the journal until they are taken: {cause}"
                );
                self.told = Some(Instant::now());
            }
            (None, Some(_)) if age < LAG_SECONDS => {
                tracing::info!(target = self.target.name(), "the audit export has caught up");
                self.told = None;
            }
            _ => {}
        }
    }
}

fn entry(lives: &Lives, logs: &Logs, row: AuditRow) -> Entry {
    let index = row.sequence.saturating_sub(1);
    Entry {
        epoch: lives.epoch_at(index),
        index,
        log: logs.place(index),
        at_unix_nanos: row.at_unix_nanos,
        body: row.body,
    }
}

fn jitter() -> Jitter {
    let mut random = [0u8; 2];
    // Without randomness the waits of several senders are alike, which is no harm.
    let _ = getrandom::fill(&mut random);
    Jitter::from_random(u16::from_ne_bytes(random))
}

#[cfg(test)]
mod tests;
