//! What the exports count, in Prometheus' text form.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use watchbell_audit::export::shipper::Counts;

/// The counters of one target, written by its thread.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) target: &'static str,
    pub(crate) sent: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    /// Entries in the journal.
    pub(crate) length: AtomicU64,
    /// When the oldest entry was written that is not acknowledged; negative: there is none.
    pub(crate) oldest_unix_nanos: AtomicI64,
}

impl Gauges {
    pub(crate) fn new(target: &'static str) -> Gauges {
        Gauges {
            target,
            sent: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            length: AtomicU64::new(0),
            oldest_unix_nanos: AtomicI64::new(-1),
        }
    }

    pub(crate) fn counts(&self, counts: Counts) {
        self.sent.store(counts.sent, Ordering::Relaxed);
        self.retried.store(counts.retried, Ordering::Relaxed);
        self.dead.store(counts.dead, Ordering::Relaxed);
    }

    fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn lag_entries(&self) -> u64 {
        Self::read(&self.length).saturating_sub(Self::read(&self.acknowledged))
    }

    fn lag_seconds(&self, now: Timestamp) -> f64 {
        let oldest = self.oldest_unix_nanos.load(Ordering::Relaxed);
        if oldest < 0 {
            return 0.0;
        }
        let nanos = now.as_nanosecond() - i128::from(oldest);
        nanos.max(0) as f64 / 1e9
    }
}

/// The counters of all targets.
#[derive(Debug)]
pub struct Metrics {
    targets: Vec<Arc<Gauges>>,
}

impl Metrics {
    pub(crate) fn new(targets: impl Iterator<Item = Arc<Gauges>>) -> Metrics {
        Metrics { targets: targets.collect() }
    }

    /// The families, with a label a target; nothing when there is no target.
    pub fn render(&self, now: Timestamp) -> String {
        let mut text = String::new();
        if self.targets.is_empty() {
            return text;
        }
        type Read = fn(&Gauges) -> u64;
        let families: [(&str, &str, &str, Read); 7] = [
            ("entries_total", "counter", "Entries that the target has.", |g| Gauges::read(&g.sent)),
            ("retries_total", "counter", "Entries that were sent again.", |g| Gauges::read(&g.retried)),
            (
                "dead_letters_total",
                "counter",
                "Entries that the target will never take; they are in its dead letters.",
                |g| Gauges::read(&g.dead),
            ),
            (
                "lost_total",
                "counter",
                "Entries that the journal did not have any more when it was their turn.",
                |g| Gauges::read(&g.lost),
            ),
            ("requests_total", "counter", "Batches that were sent or written.", |g| {
                Gauges::read(&g.requests)
            }),
            ("bytes_total", "counter", "Bytes of documents that were sent or written.", |g| {
                Gauges::read(&g.bytes)
            }),
            (
                "lag_entries",
                "gauge",
                "Entries in the journal that the target does not have yet.",
                Gauges::lag_entries,
            ),
        ];
        // Writing to a string does not fail.
        for (name, kind, help, read) in families {
            let name = format!("watchbell_audit_export_{name}");
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for gauges in &self.targets {
                let _ = writeln!(text, "{name}{{target=\"{}\"}} {}", gauges.target, read(gauges));
            }
        }
        let name = "watchbell_audit_export_lag_seconds";
        let _ = write!(
            text,
            "# HELP {name} Age of the oldest entry that the target does not have yet.\n# TYPE {name} gauge\n"
        );
        for gauges in &self.targets {
            let _ = writeln!(text, "{name}{{target=\"{}\"}} {}", gauges.target, gauges.lag_seconds(now));
        }
        text
    }
}
