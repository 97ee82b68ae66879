//! What the audit journal holds beside the changes: who read what, and who was refused before anything was decided.
//!
//! An answer never waits for its note. Notes go into the journal with the next change, or a second later by themselves;
//! a crash in that second loses reads and how something ended, never a change. On a full disk they wait until there is room. How many become entries is bounded ([`tally`]). That a session begins, or a
//! change of what is no object, is no note: it is durable before it does.

mod tally;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::ApiError;
use watchbell_api::node::SessionAction;
use watchbell_core::access::Decision;
use watchbell_core::request::User;
use watchbell_core::service_account::Issue;
use watchbell_core::world::{AuditRecord, COMMAND_HASH, ISSUED};

use crate::request::{ObjectPath, Query, Route, Sub, Verb};
use crate::verbs::stream::Outcome;
use crate::verbs::{images, keys};

pub(crate) use tally::Tally;

/// The longest a note waits.
pub(crate) const DELAY: Duration = Duration::from_secs(1);
/// Requests that wait while the disk refuses; those beyond are lost, and their number is noted.
const WAITING_MAX: usize = 10_000;
/// As much of a request's line is noted.
const URI_CHARS_MAX: usize = 2048;

/// Something to note.
#[derive(Debug)]
pub(crate) enum Note {
    /// A request as it was answered or refused.
    Request(AuditRecord),
    /// What other bounds hold down: the end of a session or of a change, keys. It is always an entry.
    Event(AuditRecord),
    /// Somebody without an identity of ours: from where, and why he has none.
    Stranger(Option<IpAddr>, &'static str),
}

/// A note that is to become an entry.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) record: AuditRecord,
    /// It was a [`Note::Request`], or is a count of them: where too many wait, it is counted instead.
    pub(crate) may_be_lost: bool,
}

/// What waits for the journal.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    tally: Arc<Mutex<Tally>>,
    waiting: Vec<Noted>,
    /// Of them, those that may be lost.
    requests: usize,
    since: Option<Instant>,
    /// The disk had no room for them when they were tried last.
    were_refused: bool,
    is_end: bool,
}

impl Notes {
    pub(crate) fn new(tally: Arc<Mutex<Tally>>) -> Notes {
        Notes { tally, ..Notes::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests for which there is no room are counted.
    pub(crate) fn add(&mut self, noted: Noted) {
        self.wake();
        if noted.may_be_lost && self.requests >= WAITING_MAX {
            self.tally().lose(&noted.record.body);
            return;
        }
        self.requests += usize::from(noted.may_be_lost);
        self.waiting.push(noted);
    }

    /// How many requests wait, and how many of what may not be lost.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.requests, self.waiting.len() - self.requests)
    }

    /// Whether the disk had no room for them when they were tried last.
    pub(crate) fn were_refused(&self) -> bool {
        self.were_refused
    }

    /// Those that were taken are in the journal.
    pub(crate) fn went(&mut self) {
        self.were_refused = false;
    }

    /// A request that the writer judged and the disk refused: an entry like that of any refusal, within its user's rate.
    pub(crate) fn refused(&mut self, record: AuditRecord) {
        let mut tally = self.tally();
        let now = tally.now();
        let admitted = tally.request(record, now);
        drop(tally);
        self.wake();
        if let Some(record) = admitted {
            self.arrived(1);
            self.add(Noted { record, may_be_lost: true });
        }
    }

    /// Something waits to be taken.
    pub(crate) fn wake(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// So many came from the channel.
    pub(crate) fn arrived(&self, notes: usize) {
        if notes > 0 {
            self.tally().arrived(notes);
        }
    }

    /// When they must go by themselves; `None`: there are none.
    pub(crate) fn due(&self) -> Option<Duration> {
        let noted = self.since.map(|since| DELAY.saturating_sub(since.elapsed()));
        let tally = self.tally();
        [noted, tally.due(tally.now())].into_iter().flatten().min()
    }

    /// Lets them wait no longer.
    pub(crate) fn hurry(&mut self) {
        let now = Instant::now();
        self.since = Some(now.checked_sub(DELAY).unwrap_or(now));
    }

    /// For tests: they are not due by themselves, however slow the machine is.
    #[cfg(test)]
    pub(crate) fn never_due(&mut self) {
        self.since = Some(Instant::now() + Duration::from_secs(3600));
    }

    /// The server ends: what is counted goes too.
    pub(crate) fn end(&mut self) {
        self.is_end = true;
        self.hurry();
    }

    /// Takes them for a commit, as entries.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<Noted> {
        self.since = None;
        self.requests = 0;
        let mut taken = std::mem::take(&mut self.waiting);
        let mut tally = self.tally();
        let at = tally.now();
        let counts = tally.take(at, self.is_end);
        let has_more = tally.has_strangers();
        drop(tally);
        taken.extend(counts.into_iter().map(|count| {
            let mut body = event(now, now, "", "ResponseComplete");
            merge(&mut body, count);
            Noted { record: AuditRecord { at: now, body }, may_be_lost: true }
        }));
        if has_more {
            self.wake();
        }
        taken
    }

    /// The disk had no room for them: they wait again.
    pub(crate) fn put_back(&mut self, notes: Vec<Noted>) {
        self.were_refused |= !notes.is_empty();
        for noted in notes {
            self.add(noted);
        }
    }
}

fn merge(body: &mut Value, more: Value) {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
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
    /// When it came.
    pub(crate) received: Timestamp,
    pub(crate) status: StatusCode,
}

impl Answered<'_> {
    /// The entry, or `None` for what nobody asks about later: documents that are the same for all who may read them.
    pub(crate) fn record(&self, now: Timestamp) -> Option<AuditRecord> {
        let route = Route::parse(self.path).ok();
        let refused = !self.status.is_success();
        let mut body = event(self.received, now, self.audit_id, "ResponseComplete");
        let method = || self.method.as_str().to_ascii_lowercase();
        let mut query = self.query;
        match &route {
            Some(Route::Object(path)) => {
                let parsed = Query::parse(self.query).unwrap_or_default();
                let verb = Verb::of(self.method, path, &parsed).ok();
                if verb == Some(Verb::Watch) && !refused {
                    body["stage"] = "ResponseStarted".into();
                }
                body["verb"] = verb.map_or_else(method, |v| v.as_str().into()).into();
                body["objectRef"] = reference(path);
                // The command of a session that was refused is nobody's business.
                if matches!(path.sub, Sub::Exec | Sub::Attach) {
                    query = "";
                }
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
                body["verb"] = verb.map_or_else(method, str::to_owned).into();
                body["objectRef"] = of_ours(TOKEN_KEYS, "");
            }
            Some(Route::Images(path)) => {
                let parsed = Query::parse(self.query).unwrap_or_default();
                body["verb"] =
                    images::verb(self.method, path).map_or_else(|_| method(), str::to_owned).into();
                body["objectRef"] = of_ours(IMAGES, images::name(path, &parsed));
            }
            _ if refused => body["verb"] = method().into(),
            _ => return None,
        }
        let mark = if query.is_empty() { "" } else { "?" };
        body["requestURI"] = uri([self.path, mark, query]).into();
        self.trail.write(&mut body);
        body["sourceIPs"] = addresses(self.source);
        let outcome = if refused { "Failure" } else { "Success" };
        body["responseStatus"] = json!({"metadata": {}, "status": outcome, "code": self.status.as_u16()});
        Some(AuditRecord { at: now, body })
    }
}

/// The entry of a token that was given to the node for a pod's volume.
pub(crate) fn issued_for_pod(node: &User, issue: &Issue, now: Timestamp) -> AuditRecord {
    let mut body = event(now, now, &issue.id.to_string(), "ResponseComplete");
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
    received: Timestamp,
    body: Value,
}

/// As much of a command is noted; an entry must stay small.
const COMMAND_CHARS_MAX: usize = 4096;

/// Begin and end of a text that is longer than so many characters, and how many were left out: nothing can be hidden behind what
/// fills the bound.
fn ends_of(text: &str, chars_max: usize) -> Option<String> {
    let left_out = text.chars().count().checked_sub(chars_max).filter(|left_out| *left_out > 0)?;
    let half = chars_max / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(half + left_out).collect();
    Some(format!("{head} …{left_out} characters are left out… {tail}"))
}

impl SessionNote {
    pub(crate) fn new(
        trail: &Trail,
        verb: Verb,
        path: &ObjectPath,
        container: &str,
        source: Option<IpAddr>,
        (audit_id, received): (&str, Timestamp),
    ) -> SessionNote {
        let annotations = json!({"watchbell.dev/container": container});
        let mut body = json!({
            "auditID": audit_id, "verb": verb.as_str(), "objectRef": reference(path), "sourceIPs": addresses(source),
            "annotations": annotations,
        });
        trail.write(&mut body);
        SessionNote { received, body }
    }

    /// With what is run, and its hash: of what is long, here or in all of the entry, not all stands there.
    pub(crate) fn with_command(
        mut self,
        action: &SessionAction,
        hash: impl FnOnce(&[u8]) -> Box<str>,
    ) -> SessionNote {
        let SessionAction::Exec { command } = action else { return self };
        let annotations = &mut self.body["annotations"];
        let words = json!(command).to_string();
        annotations[COMMAND_HASH] = Value::from(&*hash(words.as_bytes()));
        annotations["watchbell.dev/command"] = ends_of(&words, COMMAND_CHARS_MAX).unwrap_or(words).into();
        self
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
        let mut body = event(self.received, now, "", stage);
        merge(&mut body, self.body.clone());
        body["responseStatus"] = status;
        AuditRecord { at: now, body }
    }
}

/// A change of what is no object (images, the keys of tokens): that it began, and what it ended with.
pub(crate) struct ChangeNote {
    pub(crate) trail: Trail,
    pub(crate) resource: &'static str,
    pub(crate) verb: &'static str,
    /// As the request gave it; an archive names its images itself.
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) source: Option<IpAddr>,
    pub(crate) audit_id: String,
    pub(crate) received: Timestamp,
}

/// What is no object, but has verbs of its own.
pub(crate) const IMAGES: &str = "images";
pub(crate) const TOKEN_KEYS: &str = "tokenkeys";
/// As many images are named in an entry.
const IMAGES_MAX: usize = 32;

impl ChangeNote {
    fn event(&self, now: Timestamp, stage: &str) -> Value {
        let mut body = event(self.received, now, &self.audit_id, stage);
        body["verb"] = self.verb.into();
        body["objectRef"] = of_ours(self.resource, &self.name);
        body["requestURI"] = uri([&self.uri]).into();
        self.trail.write(&mut body);
        body["sourceIPs"] = addresses(self.source);
        body
    }

    /// It is asked for, and nothing was done yet.
    pub(crate) fn asked(&self, now: Timestamp) -> AuditRecord {
        AuditRecord { at: now, body: self.event(now, "RequestReceived") }
    }

    /// Its answer begins.
    pub(crate) fn begun(&self, now: Timestamp) -> AuditRecord {
        let mut body = self.event(now, "ResponseStarted");
        body["responseStatus"] = json!({"metadata": {}, "status": "Success", "code": 200});
        AuditRecord { at: now, body }
    }

    /// `result` is what the store answered: a described image, a list of them, or the digests of those that it removed.
    pub(crate) fn ended(&self, now: Timestamp, result: Result<&Value, &ApiError>) -> AuditRecord {
        let mut body = self.event(now, "ResponseComplete");
        match result {
            Ok(value) => {
                if self.resource == IMAGES {
                    name_images(&mut body["annotations"], value);
                }
                body["responseStatus"] = json!({"metadata": {}, "status": "Success", "code": 200});
            }
            Err(error) => {
                body["responseStatus"] = json!({
                    "metadata": {}, "status": "Failure", "code": error.reason.code(), "reason": error.reason.as_str(),
                    "message": error.to_keep().chars().take(1024).collect::<String>(),
                });
            }
        }
        AuditRecord { at: now, body }
    }
}

fn name_images(annotations: &mut Value, value: &Value) {
    let images = value["images"].as_array().or(value.as_array());
    let images = images.map_or(std::slice::from_ref(value), Vec::as_slice);
    // An archive need not name what is in it.
    let word = |image: &Value| match image {
        Value::String(digest) => digest.clone(),
        image => {
            let parts = ["name", "digest"].into_iter().filter_map(|key| image[key].as_str());
            parts.collect::<Vec<&str>>().join("@")
        }
    };
    let named: Vec<String> = images.iter().take(IMAGES_MAX).map(word).collect();
    annotations["watchbell.dev/images"] = named.join(" ").into();
    if images.len() > IMAGES_MAX {
        annotations["watchbell.dev/count"] = images.len().to_string().into();
    }
}

fn event(received: Timestamp, now: Timestamp, audit_id: &str, stage: &str) -> Value {
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": audit_id, "stage": stage,
        "requestReceivedTimestamp": received.to_string(), "stageTimestamp": now.to_string(),
    })
}

/// As much of a request's line as is noted.
fn uri<const N: usize>(parts: [&str; N]) -> String {
    parts.into_iter().flat_map(str::chars).take(URI_CHARS_MAX).collect()
}

fn of_ours(resource: &str, name: &str) -> Value {
    let mut reference = json!({"resource": resource, "apiGroup": "watchbell.dev", "apiVersion": "v1alpha1"});
    if !name.is_empty() {
        reference["name"] = name.into();
    }
    reference
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
            received: Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_millis(250),
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
    fn an_entry_says_when_it_came_and_what_was_asked() {
        let list = record(Method::GET, "/api/v1/pods", "limit=5&labelSelector=a%3Db", 200).unwrap();
        assert_eq!(list["requestURI"], "/api/v1/pods?limit=5&labelSelector=a%3Db");
        assert_eq!(list["requestReceivedTimestamp"], "1969-12-31T23:59:59.75Z");
        assert_eq!(list["stageTimestamp"], "1970-01-01T00:00:00Z");
        let long = record(Method::GET, "/api/v1/pods", &"x".repeat(100_000), 200).unwrap();
        assert_eq!(long["requestURI"].as_str().unwrap().len(), URI_CHARS_MAX);
        let exec = record(Method::GET, "/api/v1/namespaces/ml/pods/p/exec", "command=-pSECRET", 403).unwrap();
        assert_eq!(exec["requestURI"], "/api/v1/namespaces/ml/pods/p/exec");
    }

    #[test]
    fn nothing_hides_in_a_long_command() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(ends_of(text, 8).as_deref(), expect);
        check("", None);
        check("12345678", None);
        check("1234é678", None);
        check("123456789", Some("1234 …1 characters are left out… 6789"));
        check("sh       evil", Some("sh   …5 characters are left out… evil"));
    }

    #[test]
    fn what_is_asked_of_images_names_them() {
        let images = "/apis/watchbell.dev/v1alpha1/images";
        let of = |name: &str| {
            let mut object =
                json!({"resource": "images", "apiGroup": "watchbell.dev", "apiVersion": "v1alpha1"});
            if !name.is_empty() {
                object["name"] = name.into();
            }
            object
        };
        for (method, path, query, status, verb, name) in [
            (Method::GET, "", "", 200, "list", ""),
            (Method::GET, "/a/b:1", "", 200, "get", "a/b:1"),
            (Method::DELETE, "/a/b:1", "", 404, "delete", "a/b:1"),
            (Method::POST, ":pull", "name=a%2Fb:1", 403, "pull", "a/b:1"),
            (Method::POST, ":import", "", 429, "import", ""),
            (Method::POST, ":prune", "", 200, "prune", ""),
        ] {
            let entry = record(method, &format!("{images}{path}"), query, status).unwrap();
            assert_eq!(entry["verb"], verb, "{path}");
            assert_eq!(entry["objectRef"], of(name), "{path}");
        }
    }

    #[test]
    fn what_the_disk_refuses_waits_up_to_a_bound() {
        let mut notes = Notes::default();
        let record = AuditRecord { at: Timestamp::UNIX_EPOCH, body: Value::Null };
        let request = Noted { record: record.clone(), may_be_lost: true };
        let event = Noted { record, may_be_lost: false };
        notes.put_back(vec![request; WAITING_MAX + 5]);
        notes.put_back(vec![event; 7]);
        let count = |noted: &Noted| noted.record.body["annotations"]["watchbell.dev/count"].clone();
        // However often they are put back, the end of a session is never lost, and none is lost without being counted.
        for lost in ["5", "6", "7"] {
            assert_eq!((notes.waiting(), notes.were_refused()), ((WAITING_MAX, 7), true));
            let taken = notes.take(Timestamp::UNIX_EPOCH);
            assert_eq!(taken.iter().filter(|noted| !noted.may_be_lost).count(), 7);
            assert_eq!(taken.len(), WAITING_MAX + 7 + 1);
            assert_eq!(count(taken.last().unwrap()), lost);
            notes.put_back(taken);
            notes.add(Noted {
                record: AuditRecord { at: Timestamp::UNIX_EPOCH, body: Value::Null },
                may_be_lost: true,
            });
        }
        notes.take(Timestamp::UNIX_EPOCH);
        notes.went();
        assert_eq!((notes.waiting(), notes.were_refused()), ((0, 0), false));
    }
}
