//! What the server counts, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::Resource;
use watchbell_api::types::pod_status::Phase;
use watchbell_core::world::{AuditRecord, Change, Head, Snapshot, Stored};

/// Written by the CronJob controller (and by Kubernetes') on a Job: its slot.
const SLOT: &[u8] = b"\"batch.kubernetes.io/cronjob-scheduled-timestamp\":\"";

/// Upper bounds of the buckets of lateness, in milliseconds.
const LATENESS_MS: [u64; 12] = [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];

/// What policies said of a container's image: the label's value, and what the audit trail calls it.
const VERDICTS: [(&str, &str); 4] = [
    ("refused", "image-refused"),
    ("warned", "image-warned"),
    ("noted", "image-noted"),
    ("unjudged", "image-unjudged"),
];

/// Families of somebody else, rendered when the page is asked for.
type Others = Box<dyn Fn() -> String + Send + Sync>;

/// The counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    /// By why it was, and how it was answered.
    strangers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    commits: AtomicU64,
    commits_refused: AtomicU64,
    commit_micros: AtomicU64,
    wal_bytes: AtomicU64,
    watchers: AtomicI64,
    watch_events: AtomicU64,
    watch_encodings: AtomicU64,
    connections: AtomicI64,
    pods_started: AtomicU64,
    pods_succeeded: AtomicU64,
    pods_failed: AtomicU64,
    lateness: [AtomicU64; LATENESS_MS.len()],
    lateness_count: AtomicU64,
    lateness_ms: AtomicU64,
    verdicts: [AtomicU64; VERDICTS.len()],
    task_connections: Allowed,
    task_traffic: Traffic,
    others: Mutex<Vec<Others>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Connections that tasks wanted.
#[derive(Default)]
struct Allowed {
    allowed: AtomicU64,
    refused: AtomicU64,
    /// Entries of them for which there was no room without a server.
    lost: AtomicU64,
}

/// Bytes of those that ended.
#[derive(Default)]
struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Counts something for as long as it lives.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicI64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    fn counted(self: &Arc<Self>, gauge: fn(&Metrics) -> &AtomicI64) -> Counted {
        gauge(self).fetch_add(1, Ordering::Relaxed);
        Counted { metrics: self.clone(), gauge }
    }

    pub(crate) fn watcher(self: &Arc<Self>) -> Counted {
        self.counted(|m| &m.watchers)
    }

    /// An event went to one watcher.
    pub(crate) fn watch_event(&self) {
        self.watch_events.fetch_add(1, Ordering::Relaxed);
    }

    /// The object of an event was made into bytes, for all watchers that want that form.
    pub(crate) fn watch_encoding(&self) {
        self.watch_encodings.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(self: &Arc<Self>) -> Counted {
        self.counted(|m| &m.connections)
    }

    pub(crate) fn request(&self, method: &Method, code: StatusCode) {
        // Foreign method names are the client's to choose: they must not grow the map.
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method.into(), code.as_u16())).or_default() += 1;
    }

    /// Somebody could not say who he is.
    pub(crate) fn stranger(&self, why: &'static str, code: StatusCode) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        *strangers.entry((why, code.as_u16())).or_default() += 1;
    }

    pub(crate) fn committed(&self, took: Duration, wal_bytes: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.wal_bytes.store(wal_bytes, Ordering::Relaxed);
    }

    pub(crate) fn commit_refused(&self) {
        self.commits_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads what a committed change says of pods and slots.
    pub(crate) fn change(&self, change: &Change, now: Timestamp) {
        match change.object().resource {
            Resource::Pod => self.pod(change),
            Resource::Job if change.old.is_none() => {
                if let Some(slot) = change.new.as_deref().and_then(slot) {
                    self.slot(slot, now);
                }
            }
            _ => {}
        }
    }

    /// Reads what a committed entry of the audit trail says of images, and of connections.
    pub(crate) fn audited(&self, entry: &AuditRecord) {
        let action = entry.body["action"].as_str();
        if let Some(action) = action.filter(|action| action.starts_with("connection")) {
            self.connected(action, &entry.body["details"]);
        }
        let verdict = VERDICTS.iter().position(|(_, name)| action == Some(*name));
        if let Some(verdict) = verdict {
            self.verdicts[verdict].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn connected(&self, action: &str, details: &Value) {
        let add = |counter: &AtomicU64, count: u64| {
            counter.fetch_add(count, Ordering::Relaxed);
        };
        let number = |key: &str| details[key].as_u64().unwrap_or(0);
        let (allowed, refused, lost) = match action {
            "connection-allowed" => (1, 0, 0),
            "connection-refused" => (0, 1, 0),
            "connections-counted" => (number("allowed"), number("refused"), 0),
            "connections-lost" => (0, 0, number("count")),
            _ => (0, 0, 0),
        };
        add(&self.task_connections.allowed, allowed);
        add(&self.task_connections.refused, refused);
        add(&self.task_connections.lost, lost);
        add(&self.task_traffic.sent, number("sent"));
        add(&self.task_traffic.received, number("received"));
    }

    fn pod(&self, change: &Change) {
        let phase =
            |stored: &Option<Arc<Stored>>| stored.as_ref().and_then(|s| s.pod_status()).map(|s| s.phase);
        let started = |stored: &Option<Arc<Stored>>| {
            stored.as_ref().and_then(|s| s.pod_status()).is_some_and(|s| s.started_at.is_some())
        };
        if started(&change.new) && !started(&change.old) {
            self.pods_started.fetch_add(1, Ordering::Relaxed);
        }
        let (before, after) = (phase(&change.old), phase(&change.new));
        if before != after {
            match after {
                Some(Phase::Succeeded) => self.pods_succeeded.fetch_add(1, Ordering::Relaxed),
                Some(Phase::Failed) => self.pods_failed.fetch_add(1, Ordering::Relaxed),
                Some(Phase::Pending | Phase::Running) | None => 0,
            };
        }
    }

    fn slot(&self, slot: Timestamp, now: Timestamp) {
        let late = u64::try_from(now.duration_since(slot).as_millis()).unwrap_or(0);
        for (bound, bucket) in LATENESS_MS.iter().zip(&self.lateness) {
            if late <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.lateness_count.fetch_add(1, Ordering::Relaxed);
        self.lateness_ms.fetch_add(late, Ordering::Relaxed);
    }

    /// Shows what somebody else counts on the same page.
    pub(crate) fn show_also(&self, others: Others) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(others);
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        let mut page = Page::default();
        page.family("watchbell_requests_total", "counter", "Requests answered, by method and status code.");
        for ((method, code), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.labelled("watchbell_requests_total", &format!("method=\"{method}\",code=\"{code}\""), count);
        }
        let name = "watchbell_authentication_failures_total";
        page.family(name, "counter", "Requests of nobody who is known, by reason and status code.");
        for ((why, code), count) in self.strangers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.labelled(name, &format!("reason=\"{why}\",code=\"{code}\""), count);
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gauge = |gauge: &AtomicI64| gauge.load(Ordering::Relaxed).max(0);
        page.one("watchbell_connections", "gauge", "Open connections.", gauge(&self.connections));
        page.one("watchbell_watchers", "gauge", "Open watches.", gauge(&self.watchers));
        let name = "watchbell_watch_events_total";
        page.one(name, "counter", "Events sent, each counted once a watcher.", read(&self.watch_events));
        page.one(
            "watchbell_watch_encodings_total",
            "counter",
            "Objects of events made into bytes, once a form and shared by the watchers.",
            read(&self.watch_encodings),
        );
        page.one("watchbell_commits_total", "counter", "Batches made durable.", read(&self.commits));
        page.one(
            "watchbell_commits_refused_total",
            "counter",
            "Batches that the journal refused and that changed nothing.",
            read(&self.commits_refused),
        );
        page.one(
            "watchbell_commit_seconds_total",
            "counter",
            "Time spent making batches durable.",
            seconds(read(&self.commit_micros), 1_000_000.0),
        );
        page.one("watchbell_wal_bytes", "gauge", "Bytes in the journal's WAL.", read(&self.wal_bytes));
        page.one(
            "watchbell_resource_version",
            "gauge",
            "The newest resource version.",
            snapshot.resource_version(),
        );
        page.family("watchbell_objects", "gauge", "Objects, by resource.");
        // Another form of objects is not more of them.
        for resource in Resource::all().filter(|r| r.stored() == *r && !r.is_list_only()) {
            let name = resource.info().qualified();
            page.labelled("watchbell_objects", &format!("resource=\"{name}\""), &snapshot.count(resource));
        }
        page.family("watchbell_pods", "gauge", "Pods, by phase.");
        for (phase, count) in phases(snapshot) {
            page.labelled("watchbell_pods", &format!("phase=\"{phase}\""), &count);
        }
        page.one(
            "watchbell_pods_started_total",
            "counter",
            "Pods the node took up.",
            read(&self.pods_started),
        );
        page.family("watchbell_pods_ended_total", "counter", "Pods that ended, by phase.");
        page.labelled("watchbell_pods_ended_total", "phase=\"Succeeded\"", &read(&self.pods_succeeded));
        page.labelled("watchbell_pods_ended_total", "phase=\"Failed\"", &read(&self.pods_failed));
        let name = "watchbell_slot_lateness_seconds";
        page.family(name, "histogram", "From a CronJob's slot to its durable Job.");
        for (bound, bucket) in LATENESS_MS.iter().zip(&self.lateness) {
            let bound = seconds(*bound, 1000.0);
            page.labelled(&format!("{name}_bucket"), &format!("le=\"{bound}\""), &read(bucket));
        }
        page.labelled(&format!("{name}_bucket"), "le=\"+Inf\"", &read(&self.lateness_count));
        page.bare(&format!("{name}_sum"), seconds(read(&self.lateness_ms), 1000.0));
        page.bare(&format!("{name}_count"), read(&self.lateness_count));
        self.images(&mut page, snapshot);
        self.connections_of_tasks(&mut page);
        for others in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.text.push_str(&others());
        }
        page.text
    }

    fn connections_of_tasks(&self, page: &mut Page) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let name = "watchbell_task_connections_total";
        page.family(name, "counter", "Connections, and names, that tasks asked the gate for, by verdict.");
        page.labelled(name, "verdict=\"allowed\"", &read(&self.task_connections.allowed));
        page.labelled(name, "verdict=\"refused\"", &read(&self.task_connections.refused));
        page.one(
            "watchbell_task_connection_entries_lost_total",
            "counter",
            "Entries of connections that found no room while no server was there to make them durable.",
            read(&self.task_connections.lost),
        );
        let name = "watchbell_task_connection_bytes_total";
        page.family(
            name,
            "counter",
            "Bytes over connections of tasks that ended, by direction from the task.",
        );
        page.labelled(name, "direction=\"sent\"", &read(&self.task_traffic.sent));
        page.labelled(name, "direction=\"received\"", &read(&self.task_traffic.received));
    }

    fn images(&self, page: &mut Page, snapshot: &Snapshot) {
        let name = "watchbell_image_policy_verdicts_total";
        let help =
            "Containers by what policies of images said at their start, each once until the reasons change.";
        page.family(name, "counter", help);
        for ((verdict, _), count) in VERDICTS.iter().zip(&self.verdicts) {
            page.labelled(name, &format!("verdict=\"{verdict}\""), &count.load(Ordering::Relaxed));
        }
        let (findings, held) = snapshot.image_figures();
        let help = "CronJobs whose slots are skipped because a policy refuses an image.";
        page.one("watchbell_cronjobs_held", "gauge", help, held);
        let name = "watchbell_image_findings";
        page.family(name, "gauge", "Findings in VulnerabilityReports, by severity.");
        for (severity, count) in findings.by_severity() {
            page.labelled(name, &format!("severity=\"{severity}\""), &count);
        }
    }
}

fn seconds(amount: u64, a_second: f64) -> f64 {
    amount as f64 / a_second
}

fn phases(snapshot: &Snapshot) -> BTreeMap<&'static str, usize> {
    let all = [Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed];
    let mut counts: BTreeMap<&str, usize> = all.iter().map(|phase| (phase.as_str(), 0)).collect();
    for pod in snapshot.list(Resource::Pod, None, None) {
        if let Some(status) = pod.pod_status() {
            *counts.entry(status.phase.as_str()).or_default() += 1;
        }
    }
    counts
}

/// The slot in a Job's annotations, found without reading the Job: heads are compact JSON of our own writing.
fn slot(job: &Stored) -> Option<Timestamp> {
    let Head::Json(head) = &job.head else { return None };
    let start = head.json.windows(SLOT.len()).position(|window| window == SLOT)? + SLOT.len();
    let rest = &head.json[start..];
    let end = rest.iter().take(64).position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn labelled(&mut self, name: &str, labels: &str, value: &impl std::fmt::Display) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }

    fn bare(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.bare(name, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn connections_of_tasks_are_counted_as_the_trail_says_them() {
        let metrics = Metrics::default();
        let audit = |action: &str, details: Value| {
            let body = json!({"kind": "RunEvent", "action": action, "details": details});
            metrics.audited(&AuditRecord { at: Timestamp::UNIX_EPOCH, body });
        };
        audit("connection-allowed", json!({"port": 443}));
        audit("connection-refused", json!({"why": "no policy allows it"}));
        audit("connection-ended", json!({"sent": 10, "received": 20}));
        audit(
            "connections-counted",
            json!({"allowed": 3, "refused": 5, "ended": 2, "sent": 1, "received": 2}),
        );
        audit("connections-lost", json!({"count": 7}));
        audit("pods-ended", json!({"sent": 1000}));
        let page = metrics.render(&Snapshot::default());
        for line in [
            "watchbell_task_connections_total{verdict=\"allowed\"} 4",
            "watchbell_task_connections_total{verdict=\"refused\"} 6",
            "watchbell_task_connection_entries_lost_total 7",
            "watchbell_task_connection_bytes_total{direction=\"sent\"} 11",
            "watchbell_task_connection_bytes_total{direction=\"received\"} 22",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
