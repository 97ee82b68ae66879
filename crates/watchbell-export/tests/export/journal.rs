//! A journal with entries, and waiting for what an export counts.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchbell_export::{Exports, Options};
use watchbell_store::{AuditEntry, Batch, Store};

/// Longer than anything takes; what is waited for ends the wait.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir).unwrap().0
}

/// Entry number `n`, as the server writes one.
pub(crate) fn body(n: u64) -> Value {
    if n.is_multiple_of(3) {
        return json!({
            "kind": "RunEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": "2026-11-26T06:51:55Z",
            "objectRef": {"resource": "jobs", "apiGroup": "batch", "apiVersion": "v1", "namespace": "ml", "name": format!("run-{n}")},
            "action": "pods-ended", "details": {"uid": "u", "ended": [[n, 1, "Succeeded", 0]]},
        });
    }
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": format!("id-{n}"),
        "stage": "ResponseComplete", "verb": "create", "user": {"username": "ada \"the\" first\n", "groups": ["ml"]},
        "sourceIPs": ["192.0.2.1"],
        "objectRef": {"resource": "jobs", "apiGroup": "batch", "apiVersion": "v1", "namespace": "ml", "name": format!("job-{n}")},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": "2026-11-26T06:51:55Z", "stageTimestamp": "2026-11-26T06:51:55Z",
    })
}

/// Appends as many entries as asked for, in one commit.
pub(crate) fn append(store: &mut Store, count: u64) {
    let first = store.last_audit_sequence();
    let audit = (first..first + count)
        .map(|n| AuditEntry { at_unix_nanos: now_nanos(), body: body(n).to_string().into_bytes() })
        .collect();
    let batch = Batch { resource_version: store.last_resource_version() + 1, audit, ..Batch::default() };
    store.commit(&batch).unwrap();
}

fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

pub(crate) fn options() -> Options {
    Options { hostname: "testhost".into(), version: "1.2.3".into(), ..Options::default() }
}

pub(crate) fn start(store: &Store, dir: &Path, options: &Options) -> Exports {
    Exports::start(store, dir, options).unwrap()
}

/// The value of a metric of the one target.
pub(crate) fn metric(exports: &Exports, name: &str) -> f64 {
    let text = exports.metrics().render(jiff::Timestamp::now());
    let line = text.lines().find(|line| line.starts_with(&format!("watchbell_audit_export_{name}{{")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until it is so.
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < due, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until everything in the journal is at the one target, or in its dead letters.
pub(crate) fn wait_for_all(exports: &Exports) {
    wait("the export has caught up", || metric(exports, "lag_entries") == 0.0);
}

/// Fails where two long lists differ first.
pub(crate) fn check_indexes(got: &[u64], expect: Vec<u64>) {
    let same = got.iter().zip(&expect).take_while(|(a, b)| a == b).count();
    assert!(
        got.len() == expect.len() && same == expect.len(),
        "{} of {} are there; they differ at {same}: {:?} for {:?}",
        got.len(),
        expect.len(),
        got.get(same),
        expect.get(same)
    );
}

/// Ends as a server does: the store first, then the exports.
pub(crate) fn end(store: Store, exports: Exports) {
    drop(store);
    exports.join(PATIENCE);
}
