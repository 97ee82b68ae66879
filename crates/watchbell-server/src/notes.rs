//! What the audit journal holds beside the changes: who read what, and who was refused before anything was decided.
//!
//! An answer never waits for its note. Notes go into the journal with the next change, or a second later by themselves;
//! a crash in that second loses reads, never a change. Who could not say who they are is counted by address, so that
//! strangers cannot fill the disk.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::{SessionAction, SessionRequest};
use watchbell_core::access::Decision;
use watchbell_core::request::User;
use watchbell_core::service_account::Issue;
use watchbell_core::world::{AuditRecord, ISSUED};

use crate::request::{ObjectPath, Query, Route, Sub, Verb};
use crate::verbs::keys;
use crate::verbs::stream::Outcome;

/// The longest a note waits.
pub(crate) const DELAY: Duration = Duration::from_secs(1);
/// Notes that wait while the disk refuses; the oldest go, and their number is noted.
const WAITING_MAX: usize = 10_000;
/// Addresses and reasons that are told apart in one second.
const STRANGERS_MAX: usize = 64;

/// Something to note.
#[derive(Debug)]
pub(crate) enum Note {
    Request(AuditRecord),
    /// Somebody without an identity of ours: from where, and why he has none.
    Stranger(Option<IpAddr>, &'static str),
}

/// What waits for the journal.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    records: Vec<AuditRecord>,
    strangers: BTreeMap<(Option<IpAddr>, &'static str), u64>,
    /// Of addresses beyond those that are told apart.
    others: u64,
    lost: u64,
    since: Option<Instant>,
}

impl Notes {
    pub(crate) fn add(&mut self, note: Note) {
        self.since.get_or_insert_with(Instant::now);
        match note {
            Note::Request(record) if self.records.len() < WAITING_MAX => self.records.push(record),
            Note::Request(_) => self.lost += 1,
            Note::Stranger(address, why) => {
                let has_room = self.strangers.len() < STRANGERS_MAX;
                match self.strangers.get_mut(&(address, why)) {
                    Some(count) => *count += 1,
                    None if has_room => drop(self.strangers.insert((address, why), 1)),
                    None => self.others += 1,
                }
            }
        }
    }

    /// When they must go by themselves; `None`: there are none.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.since.map(|since| DELAY.saturating_sub(since.elapsed()))
    }

    /// Lets them wait no longer: the server ends.
    pub(crate) fn hurry(&mut self) {
        if let Some(since) = &mut self.since {
            *since = since.checked_sub(DELAY).unwrap_or(*since);
        }
    }

    /// Takes them for a commit, as entries.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<AuditRecord> {
        let mut taken = std::mem::take(self);
        let mut count = |source: Option<(Option<IpAddr>, &str)>, count: u64, message: &str| {
            if count == 0 {
                return;
            }
            let mut body = event(now, "", "ResponseComplete");
            body["user"] = json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]});
            body["responseStatus"] =
                json!({"metadata": {}, "status": "Failure", "code": 401, "message": message});
            body["annotations"] = json!({"watchbell.dev/count": count.to_string()});
            if let Some((address, why)) = source {
                body["sourceIPs"] = addresses(address);
                body["annotations"]["watchbell.dev/reason"] = why.into();
            }
            taken.records.push(AuditRecord { at: now, body });
        };
        for (source, number) in &taken.strangers {
            count(Some(*source), *number, "requests without an identity");
        }
        count(None, taken.others, "requests without an identity from further addresses");
        count(None, taken.lost, "notes of requests that were lost while the disk refused them");
        taken.records
    }

    /// The commit was refused: they wait again.
    pub(crate) fn put_back(&mut self, records: Vec<AuditRecord>) {
        for record in records {
            self.add(Note::Request(record));
        }
    }
}

/// Who asked, as whom, and how it was decided: what the journal says of a request beside its line and its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail {
    pub(crate) user: User,
    /// Whom he acted as, where he may.
    pub(crate) impersonated: Option<User>,
    pub(crate) decision: Option<Decision>,
}

impl Trail {
    /// Writes it into an event; annotations that are there stay.
    fn write(&self, event: &mut Value) {
        event["user"] = self.user.info();
        if let Some(impersonated) = &self.impersonated {
            event["impersonatedUser"] = impersonated.info();
        }
        if let Some(decision) = &self.decision {
            let mut annotations = event["annotations"].as_object().cloned().unwrap_or_default();
            decision.annotate(&mut annotations);
            event["annotations"] = Value::Object(annotations);
        }
    }
}

/// A request as it was answered.
pub(crate) struct Answered<'a> {
    pub(crate) trail: &'a Trail,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// `None`: this machine's own socket.
    pub(crate) source: Option<IpAddr>,
    pub(crate) audit_id: &'a str,
    pub(crate) status: StatusCode,
}

impl Answered<'_> {
    /// The entry, or `None` for what nobody asks about later: documents that are the same for all who may read them.
    pub(crate) fn record(&self, now: Timestamp) -> Option<AuditRecord> {
        let route = Route::parse(self.path).ok();
        let refused = !self.status.is_success();
        let mut body = event(now, self.audit_id, "ResponseComplete");
        match &route {
            Some(Route::Object(path)) => {
                let query = Query::parse(self.query).unwrap_or_default();
                let verb = Verb::of(self.method, path, &query).ok();
                if verb == Some(Verb::Watch) && !refused {
                    body["stage"] = "ResponseStarted".into();
                }
                body["verb"] = verb
                    .map_or_else(|| self.method.as_str().to_ascii_lowercase(), |v| v.as_str().into())
                    .into();
                body["objectRef"] = reference(path);
            }
            Some(Route::Review(path)) => {
                body["verb"] = "create".into();
                let asked = path.asked;
                body["objectRef"] =
                    json!({"resource": asked.plural, "apiGroup": asked.group, "apiVersion": asked.version});
                if let Some(namespace) = &path.namespace {
                    body["objectRef"]["namespace"] = namespace.clone().into();
                }
            }
            Some(Route::SigningKeys(path)) => {
                let verb = keys::verb(self.method, *path).ok();
                body["verb"] =
                    verb.map_or_else(|| self.method.as_str().to_ascii_lowercase(), str::to_owned).into();
                body["objectRef"] =
                    json!({"resource": "tokenkeys", "apiGroup": "watchbell.dev", "apiVersion": "v1alpha1"});
            }
            Some(Route::Images(_)) => body["verb"] = self.method.as_str().to_ascii_lowercase().into(),
            _ if refused => body["verb"] = self.method.as_str().to_ascii_lowercase().into(),
            _ => return None,
        }
        body["requestURI"] = self.path.chars().take(1024).collect::<String>().into();
        self.trail.write(&mut body);
        body["sourceIPs"] = addresses(self.source);
        let outcome = if refused { "Failure" } else { "Success" };
        body["responseStatus"] = json!({"metadata": {}, "status": outcome, "code": self.status.as_u16()});
        Some(AuditRecord { at: now, body })
    }
}

/// The entry of a token that was given to the node for a pod's volume.
pub(crate) fn issued_for_pod(node: &User, issue: &Issue, now: Timestamp) -> AuditRecord {
    let mut body = event(now, &issue.id.to_string(), "ResponseComplete");
    let binding = &issue.binding;
    body["verb"] = "create".into();
    body["user"] = node.info();
    body["objectRef"] = json!({
        "resource": "serviceaccounts", "apiVersion": "v1", "namespace": binding.namespace,
        "name": binding.account.name, "subresource": "token",
    });
    body["annotations"] = json!({ISSUED: format!("JTI={}", issue.id)});
    if let Some((_, pod)) = &binding.object {
        body["annotations"]["authentication.kubernetes.io/pod-name"] = pod.name.clone().into();
        body["annotations"]["authentication.kubernetes.io/pod-uid"] = pod.uid.to_string().into();
    }
    body["responseStatus"] = json!({"metadata": {}, "status": "Success", "code": 201});
    AuditRecord { at: now, body }
}

/// The entry of the keys that count from now on: with each start, and with each change while the server runs.
pub(crate) fn keys_in_use(keys: Value, now: Timestamp) -> AuditRecord {
    let body = json!({
        "kind": "ServerEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": now.to_string(),
        "action": "keys-in-use", "details": keys,
    });
    AuditRecord { at: now, body }
}

/// What is noted of a session in a container: who, where and which command; never what was said.
pub(crate) struct SessionNote {
    body: Value,
}

/// As much of a command is noted; an entry must stay small.
const COMMAND_CHARS_MAX: usize = 4096;

impl SessionNote {
    pub(crate) fn new(
        trail: &Trail,
        verb: Verb,
        path: &ObjectPath,
        container: &str,
        request: &SessionRequest,
        source: Option<IpAddr>,
        audit_id: &str,
    ) -> SessionNote {
        let mut annotations = json!({"watchbell.dev/container": container});
        if let SessionAction::Exec { command } = &request.action {
            let words = json!(command).to_string();
            annotations["watchbell.dev/command"] =
                words.chars().take(COMMAND_CHARS_MAX).collect::<String>().into();
        }
        let mut body = json!({
            "auditID": audit_id, "verb": verb.as_str(), "objectRef": reference(path), "sourceIPs": addresses(source),
            "annotations": annotations,
        });
        trail.write(&mut body);
        SessionNote { body }
    }

    /// With what policies have to say of it. What the server says itself they do not say otherwise.
    pub(crate) fn with_annotations(mut self, annotations: Vec<(String, String)>) -> SessionNote {
        if let Some(known) = self.body["annotations"].as_object_mut() {
            for (key, value) in annotations {
                known.entry(key).or_insert_with(|| value.into());
            }
        }
        self
    }

    /// The session is let in.
    pub(crate) fn begun(&self, now: Timestamp) -> AuditRecord {
        self.record(now, "ResponseStarted", json!({"metadata": {}, "code": 101}))
    }

    pub(crate) fn ended(self, now: Timestamp, outcome: &Outcome) -> AuditRecord {
        let status = json!({"metadata": {}, "code": 101, "message": outcome.words()});
        let mut record = self.record(now, "ResponseComplete", status);
        if let Some(code) = outcome.exit_code() {
            record.body["annotations"]["watchbell.dev/exit-code"] = code.to_string().into();
        }
        record
    }

    fn record(&self, now: Timestamp, stage: &str, status: Value) -> AuditRecord {
        let mut body = event(now, "", stage);
        if let (Some(body), Some(fields)) = (body.as_object_mut(), self.body.as_object()) {
            body.extend(fields.clone());
        }
        body["responseStatus"] = status;
        AuditRecord { at: now, body }
    }
}

fn event(now: Timestamp, audit_id: &str, stage: &str) -> Value {
    let at = now.to_string();
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": audit_id, "stage": stage,
        "requestReceivedTimestamp": at, "stageTimestamp": at,
    })
}

/// `sourceIPs`: none for who came over the local socket.
fn addresses(source: Option<IpAddr>) -> Value {
    source.map_or_else(|| json!([]), |address| json!([address.to_string()]))
}

fn reference(path: &ObjectPath) -> Value {
    let info = path.resource.info();
    let mut reference = json!({"resource": info.plural, "apiVersion": info.version});
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            reference[key] = value.into();
        }
    };
    add("apiGroup", info.group);
    add("namespace", path.namespace.as_deref().unwrap_or_default());
    add("name", path.name.as_deref().unwrap_or_default());
    if path.sub != Sub::None {
        add("subresource", path.sub.as_str());
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(method: Method, path: &str, query: &str, status: u16) -> Option<Value> {
        let user = User { name: "ada".into(), groups: vec!["ml".into()], ..User::default() };
        let trail = Trail { user, ..Trail::default() };
        let answered = Answered {
            trail: &trail,
            method: &method,
            path,
            query,
            source: Some("192.0.2.1".parse().unwrap()),
            audit_id: "id",
            status: StatusCode::from_u16(status).unwrap(),
        };
        answered.record(Timestamp::UNIX_EPOCH).map(|r| r.body)
    }

    #[test]
    fn reads_and_refusals_are_noted_and_documents_are_not() {
        let read = record(Method::GET, "/api/v1/namespaces/ml/secrets/key", "", 200).unwrap();
        assert_eq!((&read["verb"], &read["objectRef"]["name"]), (&"get".into(), &"key".into()));
        assert_eq!(read["user"]["username"], "ada");
        let watch = record(Method::GET, "/apis/batch/v1/jobs", "watch=1", 200).unwrap();
        assert_eq!((&watch["verb"], &watch["stage"]), (&"watch".into(), &"ResponseStarted".into()));
        let log = record(Method::GET, "/api/v1/namespaces/ml/pods/p/log", "", 200).unwrap();
        assert_eq!(log["objectRef"]["subresource"], "log");
        let refused = record(Method::DELETE, "/apis/batch/v1/namespaces/ml/jobs/j", "", 403).unwrap();
        assert_eq!((&refused["verb"], &refused["responseStatus"]["code"]), (&"delete".into(), &403.into()));
        assert!(record(Method::GET, "/version", "", 200).is_none());
        assert!(record(Method::GET, "/metrics", "", 403).is_some());
    }

    #[test]
    fn strangers_are_counted_by_address_and_bounded() {
        let mut notes = Notes::default();
        assert!(notes.due().is_none());
        for n in 0..100u8 {
            for _ in 0..=n {
                notes.add(Note::Stranger(Some(IpAddr::from([192, 0, 2, n])), "unknown-token"));
            }
        }
        assert!(notes.due().is_some());
        let taken = notes.take(Timestamp::UNIX_EPOCH);
        assert_eq!(taken.len(), STRANGERS_MAX + 1);
        assert_eq!(taken[0].body["annotations"]["watchbell.dev/reason"], "unknown-token");
        let total: u64 = taken
            .iter()
            .map(|r| r.body["annotations"]["watchbell.dev/count"].as_str().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(total, (1..=100).sum::<u64>());
        assert!(notes.due().is_none() && notes.take(Timestamp::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn what_the_disk_refuses_waits_up_to_a_bound() {
        let mut notes = Notes::default();
        let one = AuditRecord { at: Timestamp::UNIX_EPOCH, body: Value::Null };
        notes.put_back(vec![one; WAITING_MAX + 5]);
        let taken = notes.take(Timestamp::UNIX_EPOCH);
        assert_eq!(taken.len(), WAITING_MAX + 1);
        assert_eq!(taken[WAITING_MAX].body["annotations"]["watchbell.dev/count"], "5");
    }
}
