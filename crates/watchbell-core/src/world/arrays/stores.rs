//! DataArrays and their stores: made, shown, rolled back and removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::array::{ARRAY_COMMIT_FAILED, ArrayFacts, DataArraySpec, HeadSignature, RolledBack};
use watchbell_api::node::Command;
use watchbell_api::{ApiError, Resource, Uid};

use super::judged::{has_begun, uses_of_pod};
use super::{AGAIN_SECONDS, STORE, cut, short};
use crate::admission::policies::Operation;
use crate::arrays::{Known, Uses};
use crate::controller::event::PlannedEvent;
use crate::controller::job::JobStatus;
use crate::request::{DryRun, Outcome, Request, Written};
use crate::world::World;
use crate::world::object::{Key, NsName, Status, Stored};
use crate::world::policies::Deeds;
use crate::world::shown::rfc3339;

/// The reasons of events.
const CHANGED: &str = "ArrayChanged";
const STORE_FAILED: &str = "ArrayStoreFailed";
const STORE_MISSING: &str = "ArrayStoreMissing";
const IN_USE: &str = "ArrayInUse";
const ROLLED_BACK: &str = "ArrayRolledBack";
const ROLLBACK_FAILED: &str = "ArrayRollbackFailed";
const OTHER_KEY: &str = "ArrayHeadOfOtherKey";

/// The types of a DataArray's conditions; the reason of the first when what was published is gone, and of the second when the
/// signature is somebody else's.
const READY: &str = "Ready";
const MISSING: &str = "StoreMissing";
const HEAD_SIGNED: &str = "HeadSigned";
const BY_OTHER: &str = "OtherKey";

const NODES_SHOWN_MAX: usize = 100;
const NODE_BYTES_MAX: usize = 512;
const TAGS_SHOWN_MAX: usize = 100;
/// Of the name of a snapshot: a digest is the longest.
const SNAPSHOT_BYTES_MAX: usize = 128;
const DIGEST_DIGITS: usize = 64;

/// How far the end of a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Removal {
    #[default]
    NotAsked,
    Asked,
    /// The node could not; it is asked again then, in Unix seconds.
    Again(i64),
}

/// What the node was told of one array.
#[derive(Debug, Default)]
pub(in crate::world) struct Told {
    spec: Option<Arc<DataArraySpec>>,
    /// The node could not keep it so; it is asked again then, in Unix seconds.
    keep_at: Option<i64>,
    removal: Removal,
    /// For whom the removal waits, as it was told last.
    waits_for: Option<String>,
    rollback: bool,
    /// Its drafts were looked through for those that nobody goes on with.
    drafts: bool,
}

impl World {
    pub(in crate::world) fn index_array(&mut self, object: &Stored, is_gone: bool) {
        if is_gone {
            self.clear_timer(&object.key());
            self.arrays_told.remove(&object.at());
        } else {
            self.mark(object.key());
        }
    }

    /// A Job began, ended or went: an array that waits for that to be removed is looked at again, and so is the Job that a
    /// gate is for.
    pub(in crate::world) fn mark_arrays_of(&mut self, job: &Stored) {
        let Some(arrays) = job.facts().job().and_then(|facts| facts.arrays.clone()) else {
            return self.mark_gated(job);
        };
        for one in &arrays.uses.list {
            let key = Key::new(Resource::DataArray, &job.namespace, &one.name);
            if self.get_at(Resource::DataArray, &key.at).is_some_and(|array| array.deletion.is_some()) {
                self.mark(key);
            }
        }
        self.mark_gated(job);
    }

    fn mark_gated(&mut self, gate: &Stored) {
        for owner in gate.owners() {
            if let Some(runtime) = self.jobs.get(&owner.uid) {
                let key = Key { resource: Resource::Job, at: runtime.at.clone() };
                self.mark(key);
            }
        }
    }

    pub(in crate::world) fn reconcile_array(&mut self, at: &NsName, now: Timestamp) {
        let Some(object) = self.get_at(Resource::DataArray, at).cloned() else { return };
        let (namespace, name) = (at.namespace.clone(), at.name.clone());
        let told = self.arrays_told.entry(at.clone()).or_default();
        if object.deletion.is_some() {
            let is_due = match told.removal {
                Removal::NotAsked => true,
                Removal::Asked => false,
                Removal::Again(at) => at <= now.as_second(),
            };
            if is_due && object.finalizers().iter().any(|f| f == STORE) {
                self.remove_store(&object, now);
            }
            return;
        }
        let Some(spec) = object.facts().data_array() else { return };
        let is_due = told.keep_at.is_some_and(|at| at <= now.as_second());
        if is_due || told.spec.as_ref() != Some(spec) {
            told.keep_at = None;
            told.spec = Some(spec.clone());
            let (head_number, make) = (head_number(&object), !was_published(&object));
            self.command(Command::KeepArray { namespace, name, spec: spec.clone(), head_number, make });
        }
        let again = self.arrays_told.get(at).and_then(|told| told.keep_at);
        self.tell_rollback(&object);
        self.set_timer(&object.key(), again);
    }

    /// After a load or a rollback: the node knows of the objects that are committed, or is told by [`World::arrays_to_keep`].
    pub(in crate::world) fn remember_arrays(&mut self) {
        let kept =
            self.state.list(Resource::DataArray, None, None).filter(|object| object.deletion.is_none());
        let specs = kept.filter_map(|object| Some((object.at(), object.facts().data_array()?.clone())));
        let of = |(at, spec)| (at, Told { spec: Some(spec), ..Told::default() });
        self.arrays_told = specs.map(of).collect();
    }

    /// Stores that the node must keep, for one that was started.
    pub(in crate::world) fn arrays_to_keep(&self) -> Vec<Command> {
        let kept =
            self.state.list(Resource::DataArray, None, None).filter(|object| object.deletion.is_none());
        kept.filter_map(|object| {
            let (namespace, name) = (object.namespace.clone(), object.name.clone());
            let (spec, head_number) = (object.facts().data_array()?.clone(), head_number(object));
            Some(Command::KeepArray { namespace, name, spec, head_number, make: !was_published(object) })
        })
        .collect()
    }

    fn tell_rollback(&mut self, object: &Stored) {
        let Status::Json(status) = &object.status else { return };
        let (Some(to), Some(user)) = (status["rollback"]["to"].as_str(), status["rollback"]["user"].as_str())
        else {
            return;
        };
        let told = self.arrays_told.entry(object.at()).or_default();
        if !told.rollback {
            told.rollback = true;
            let (namespace, name) = (object.namespace.clone(), object.name.clone());
            let unsigned_ok = status["rollback"]["unsignedOk"] == true;
            let (to, user) = (to.into(), user.into());
            self.command(Command::RollbackArray { namespace, name, to, user, unsigned_ok });
        }
    }

    /// Asks the node to remove the store, unless somebody is at work with it.
    fn remove_store(&mut self, object: &Arc<Stored>, now: Timestamp) {
        let at = object.at();
        let (user, runs) = self.users_of_array(&at);
        let told = self.arrays_told.entry(at.clone()).or_default();
        let Some(user) = user else {
            told.removal = Removal::Asked;
            let runs = runs.into_iter().collect();
            self.command(Command::RemoveArray { namespace: at.namespace, name: at.name, runs });
            return;
        };
        if told.waits_for.as_ref() != Some(&user) {
            let message = format!("The store is removed when {user} has ended or is deleted");
            told.waits_for = Some(user);
            self.emit(object, &PlannedEvent::normal(IN_USE, message), now);
        }
        // A pod of its own does not say so when it has ended.
        self.set_timer(&object.key(), Some(now.as_second() + AGAIN_SECONDS));
    }

    /// Who is at work with an array, and the runs that may still keep something of it. A Job that has not begun does not
    /// count: it gets no pods any more.
    fn users_of_array(&self, at: &NsName) -> (Option<String>, BTreeSet<Uid>) {
        let is_it = |uses: &Uses| uses.list.iter().any(|one| *one.name == *at.name);
        let (mut user, mut runs) = (None, BTreeSet::new());
        for job in self.state.list(Resource::Job, Some(&at.namespace), None) {
            let Some(arrays) = job.facts().job().and_then(|facts| facts.arrays.as_ref()) else { continue };
            if !is_it(&arrays.uses) || !has_begun(job) {
                continue;
            }
            runs.insert(arrays.run.unwrap_or(job.uid));
            if user.is_none() && job.job_status().and_then(JobStatus::is_finished).is_none() {
                user = Some(format!("job {}", job.name));
            }
        }
        for pod in self.state.list(Resource::Pod, Some(&at.namespace), None) {
            if !uses_of_pod(pod).is_some_and(|uses| is_it(&uses)) {
                continue;
            }
            runs.insert(pod.uid);
            let is_at_it =
                pod.pod_status().is_some_and(|s| s.scheduled_at.is_some() && !s.phase.is_terminal());
            if user.is_none() && is_at_it {
                user = Some(format!("pod {}", pod.name));
            }
        }
        // Those of Jobs that are gone.
        runs.extend(self.state.arrays.get(at).iter().flat_map(|known| &known.facts.drafts));
        (user, runs)
    }

    /// The node tells what is in a store.
    pub(in crate::world) fn report_array(
        &mut self,
        at: &NsName,
        facts: Option<Arc<ArrayFacts>>,
        error: Option<String>,
        now: Timestamp,
    ) {
        let is_given = facts.is_some();
        let facts = facts.filter(|facts| self.is_authenticated(at, facts));
        if is_given && facts.is_none() && error.is_none() {
            return;
        }
        let before = self.state.arrays.get(at).map(|known| &known.facts);
        match (&facts, &error) {
            (Some(facts), _) if before != Some(facts) => {
                self.state.arrays.insert(at.clone(), Arc::new(Known::new(facts.clone())));
            }
            (None, None) => drop(self.state.arrays.remove(at)),
            _ => {}
        }
        // Whoever waits for it looks again.
        self.freed.insert(at.namespace.clone());
        if let Some(facts) = &facts {
            self.abandon_orphans(at, facts);
        }
        let Some(object) = self.array_object(at, facts.as_deref(), now) else { return };
        if let (None, None) = (&facts, &error) {
            if object.deletion.is_some() {
                self.drop_finalizer(&object, STORE);
                return;
            }
            // Somebody took the store away: the object asks for one, if there was nothing in it.
            if !was_published(&object) {
                self.arrays_told.remove(at);
                self.mark(object.key());
            }
        }
        let again = now.as_second() + AGAIN_SECONDS;
        let is_missing = facts.is_none() && error.is_none() && was_published(&object);
        let told = self.arrays_told.entry(at.clone()).or_default();
        told.keep_at = (error.is_some() || is_missing).then_some(again).filter(|_| object.deletion.is_none());
        if told.keep_at.is_some() {
            self.set_timer(&object.key(), Some(again));
        }
        if let (Some(why), true) = (&error, object.deletion.is_some()) {
            self.arrays_told.entry(at.clone()).or_default().removal = Removal::Again(again);
            self.set_timer(&object.key(), Some(again));
            self.emit(&object, &PlannedEvent::warning(STORE_FAILED, cut(why).to_owned()), now);
        }
        self.put_array_status(&object, facts.as_deref(), error.as_deref(), now);
        if let Some(facts) = facts {
            self.note_head(&object, &facts, now);
        }
    }

    /// Whether a store was opened by the key that its object names, if it names one. What the node reads before it hears of that key
    /// anybody may have put there; it tells of the store once more when it has the key. Else the number of an older head would take
    /// the place of the newest that was seen.
    fn is_authenticated(&self, at: &NsName, facts: &ArrayFacts) -> bool {
        let object = self.get_at(Resource::DataArray, at);
        let spec = object.and_then(|object| object.facts().data_array().cloned());
        spec.is_none_or(|spec| spec.key.is_none())
            || facts.encryption.as_ref().is_some_and(|encryption| !encryption.is_locked)
    }

    /// The object of a store; one that has none gets it, where there is its namespace.
    fn array_object(
        &mut self,
        at: &NsName,
        facts: Option<&ArrayFacts>,
        now: Timestamp,
    ) -> Option<Arc<Stored>> {
        if let Some(object) = self.get_at(Resource::DataArray, at) {
            return Some(object.clone());
        }
        let facts = facts?;
        let namespace = self.get(Resource::Namespace, "", &at.namespace)?;
        if namespace.deletion.is_some() {
            return None;
        }
        let mut object = json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray",
            "metadata": {"name": &*at.name, "namespace": &*at.namespace}, "spec": {},
        });
        if let Some(quota) = facts.quota_bytes {
            object["spec"]["quota"] = quota.to_string().into();
        }
        if let Some(key) = facts.encryption.as_ref().and_then(|of| of.key.as_ref()) {
            object["spec"]["encryption"] = json!({"key": &**key});
        }
        if &*facts.format == "artifacts" {
            object["spec"]["format"] = "artifacts".into();
        }
        match self.create_own(Resource::DataArray, &at.namespace, object, now) {
            Ok(made) => {
                self.audit_run(&made, "array-found", json!({"uid": made.uid.to_string()}), now);
                Some(made)
            }
            // A name that no object can have: the store is there for the command line alone.
            Err(_) => None,
        }
    }

    /// The first time that the node tells of a store: drafts of runs that no Job goes on with, and what runs that are over still
    /// keep, are what a crash left before the node was told.
    fn abandon_orphans(&mut self, at: &NsName, facts: &ArrayFacts) {
        let told = self.arrays_told.entry(at.clone()).or_default();
        if std::mem::replace(&mut told.drafts, true) || facts.drafts.is_empty() {
            return;
        }
        let kept = self.runs_to_keep(&at.namespace);
        for run in facts.drafts.iter().filter(|run| !kept.contains(run)) {
            self.command(Command::AbandonDrafts { namespace: at.namespace.clone(), run: *run });
        }
    }

    /// A namespace is there: stores in it that were told of before get their objects.
    pub(in crate::world) fn adopt_stores(&mut self, namespace: &str, now: Timestamp) {
        let known: Vec<(NsName, Arc<ArrayFacts>)> = self
            .state
            .arrays
            .iter()
            .filter(|(at, _)| *at.namespace == *namespace)
            .filter(|(at, _)| self.get_at(Resource::DataArray, at).is_none())
            .map(|(at, known)| (at.clone(), known.facts.clone()))
            .collect();
        for (at, facts) in known {
            self.report_array(&at, Some(facts), None, now);
        }
    }

    fn put_array_status(
        &mut self,
        object: &Stored,
        facts: Option<&ArrayFacts>,
        error: Option<&str>,
        now: Timestamp,
    ) {
        let Some(current) = self.get_at(Resource::DataArray, &object.at()).cloned() else { return };
        let before = match &current.status {
            Status::Json(status) => (**status).clone(),
            _ => json!({}),
        };
        let is_missing = facts.is_none() && error.is_none() && was_published(&current);
        let mut next = match facts {
            Some(facts) => status_of(facts),
            None if error.is_none() && !is_missing => json!({}),
            None => before.clone(),
        };
        if let Some(rollback) = before.get("rollback") {
            next["rollback"] = rollback.clone();
        }
        let missing = format!(
            "DIR/arrays/{}/{} is not there, and snapshot {} was its head: put the store back, or delete the DataArray and create it \
             again, which begins with an empty one",
            object.namespace,
            object.name,
            short(before["head"].as_str().unwrap_or_default())
        );
        if is_missing && found(&before, READY)["reason"] != MISSING {
            self.emit(object, &PlannedEvent::warning(STORE_MISSING, missing.clone()), now);
        }
        let (status, reason, message) = match (facts, error) {
            (_, Some(why)) => ("False", "StoreFailed", cut(why)),
            (None, None) if is_missing => ("False", MISSING, &*missing),
            (Some(_), None) => ("True", "StoreReady", ""),
            (None, None) => ("False", "NoStore", "there is no store"),
        };
        let mut conditions = vec![condition(&before, READY, (status, reason, message), now)];
        let signed = match facts {
            Some(facts) => signed(facts),
            None => None,
        };
        match signed {
            Some((status, reason, message)) => {
                conditions.push(condition(&before, HEAD_SIGNED, (status, reason, &message), now));
                if reason == BY_OTHER && found(&before, HEAD_SIGNED)["reason"] != BY_OTHER {
                    self.emit(object, &PlannedEvent::warning(OTHER_KEY, message), now);
                }
            }
            // What is not known now is not forgotten.
            None if facts.is_none() && (error.is_some() || is_missing) => {
                conditions.extend(Some(found(&before, HEAD_SIGNED).clone()).filter(Value::is_object));
            }
            None => {}
        }
        next["conditions"] = conditions.into();
        if next != before {
            self.put(Stored { status: Status::Json(Arc::new(next)), ..(*current).clone() });
        }
    }

    /// The head moved, by whatever hand. What the object says of it is kept together with this word: so it is told once, also when
    /// the disk took neither at first, or the head moved while no server ran.
    fn note_head(&mut self, object: &Stored, facts: &ArrayFacts, now: Timestamp) {
        let Status::Json(status) = &object.status else { return };
        let before = status["head"].as_str();
        // One that was told of no store has no head to compare.
        if status.get("snapshots").is_none() || before == facts.head.as_deref() {
            return;
        }
        let by = facts.published_by.as_ref().map(|(name, uid)| json!({"job": &**name, "uid": uid}));
        let details = json!({
            "uid": object.uid.to_string(), "before": before, "after": facts.head.as_deref(), "by": by,
        });
        self.audit_run(object, "array-changed", details, now);
        let message = match &facts.head {
            Some(head) => format!("The head is snapshot {}", short(head)),
            None => "There is no snapshot any more".to_owned(),
        };
        self.emit(object, &PlannedEvent::normal(CHANGED, message), now);
    }

    // --- rollback ---------------------------------------------------------------------------------------------------

    /// Notes that the head shall be what an older snapshot was. The node does it once that is durable.
    pub(in crate::world) fn rollback_array(
        &mut self,
        request: &Request,
        to: &str,
        unsigned_ok: bool,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let object = self.find(request)?;
        if object.deletion.is_some() {
            return Err(ApiError::conflict(request.resource, &object.name, "it is being deleted"));
        }
        let is_fine = (1..=SNAPSHOT_BYTES_MAX).contains(&to.len())
            && to.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !is_fine {
            return Err(ApiError::bad_request(
                "to of the Rollback must be a tag, a snapshot's digest or at least four digits of one",
            ));
        }
        if unsigned_ok && !(to.len() == DIGEST_DIGITS && to.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(ApiError::bad_request(
                "to of the Rollback must be the whole digest of the snapshot when it says unsignedOk",
            ));
        }
        let mut status = match &object.status {
            Status::Json(status) => (**status).clone(),
            _ => json!({}),
        };
        if status.get("rollback").is_some() {
            let why = "another rollback is under way; look at status.rollback and try again";
            return Err(ApiError::conflict(request.resource, &object.name, why));
        }
        status["rollback"] =
            json!({"to": to, "user": request.user.name, "requestedAt": rfc3339(now.as_second())});
        if unsigned_ok {
            status["rollback"]["unsignedOk"] = true.into();
        }
        let next = Stored { status: Status::Json(Arc::new(status)), ..(*object).clone() };
        let (before, after) = (object.render(), next.render());
        let mut warnings = Vec::new();
        let deeds = Deeds::named(Operation::Update, &request.name, Some(&after), Some(&before));
        self.judge_request(request, deeds, &mut warnings)?;
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: after, outcome: Outcome::Done, warnings });
        }
        let stored = self.put(next);
        Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings })
    }

    pub(in crate::world) fn report_rolled_back(
        &mut self,
        at: &NsName,
        to: &str,
        result: Result<RolledBack, String>,
        now: Timestamp,
    ) {
        if let Some(told) = self.arrays_told.get_mut(at) {
            told.rollback = false;
        }
        let Some(object) = self.get_at(Resource::DataArray, at).cloned() else { return };
        let Status::Json(status) = &object.status else { return };
        if status["rollback"]["to"] != *to {
            return;
        }
        let user = status["rollback"]["user"].clone();
        let unsigned_ok = status["rollback"]["unsignedOk"] == true;
        let mut next = (**status).clone();
        if let Some(fields) = next.as_object_mut() {
            fields.shift_remove("rollback");
        }
        let object = self.put(Stored { status: Status::Json(Arc::new(next)), ..(*object).clone() });
        match result {
            Ok(RolledBack { before, after }) => {
                let details = json!({
                    "uid": object.uid.to_string(), "to": to, "before": &*before, "after": &*after, "user": user,
                    "unsignedOk": unsigned_ok,
                });
                self.audit_run(&object, "array-rolled-back", details, now);
                let message = format!("The head is what {to} was, as {}", short(&after));
                self.emit(&object, &PlannedEvent::normal(ROLLED_BACK, message), now);
            }
            Err(why) => {
                let why = cut(&why);
                let details = json!({
                    "uid": object.uid.to_string(), "at": "rollback", "to": to, "message": why, "user": user,
                    "reason": ARRAY_COMMIT_FAILED,
                });
                self.audit_run(&object, "array-refused", details, now);
                let message = format!("Rollback to {to}: {why}");
                self.emit(&object, &PlannedEvent::warning(ROLLBACK_FAILED, message), now);
            }
        }
    }
}

/// A condition that a status has; null without one.
fn found<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array();
    all.into_iter().flatten().find(|of| of["type"] == *kind).unwrap_or(&Value::Null)
}

fn condition(
    before: &Value,
    kind: &str,
    (status, reason, message): (&str, &str, &str),
    now: Timestamp,
) -> Value {
    let old = found(before, kind);
    let since = match old["status"] == status {
        true => old["lastTransitionTime"].clone(),
        false => rfc3339(now.as_second()).into(),
    };
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}

/// Whether the server's key signed the head, with the reason; nothing without a head or a key.
fn signed(facts: &ArrayFacts) -> Option<(&'static str, &'static str, String)> {
    facts.head.as_ref().and(facts.signing_key.as_ref())?;
    Some(match &facts.signature {
        HeadSignature::Server => ("True", "SignedByServer", String::new()),
        HeadSignature::Unsigned => {
            ("False", "Unsigned", "whoever moved the head last did not sign it".to_owned())
        }
        HeadSignature::Other(problem) => {
            let why = cut(problem);
            let message = format!(
                "the head is not signed by the server's key ({why}): it was signed by hand, or DIR/arrays.key was lost and made anew"
            );
            ("False", BY_OTHER, message)
        }
    })
}

/// Whether an object told of more than the empty head that a store may begin with. An empty store in its place would hide that all of it
/// is lost, or that it was not copied with the journal.
fn was_published(object: &Stored) -> bool {
    let Status::Json(status) = &object.status else { return false };
    status["head"].is_string() && status["headTime"] != rfc3339(0)
}

/// Which head of an encrypted store was told of last.
fn head_number(object: &Stored) -> u64 {
    let Status::Json(status) = &object.status else { return 0 };
    status["encryption"]["headNumber"].as_u64().unwrap_or(0)
}

fn status_of(facts: &ArrayFacts) -> Value {
    let mut status = Map::new();
    let mut put = |field: &str, value: Value| status.insert(field.to_owned(), value);
    put("snapshots", facts.snapshots.into());
    put("draftRuns", facts.draft_runs.into());
    if let Some(key) = &facts.signing_key {
        put("signingKey", (**key).into());
    }
    if let Some(encryption) = &facts.encryption {
        let mut told = json!({"headNumber": encryption.head_number});
        if let Some(key) = &encryption.key {
            told["key"] = (**key).into();
        }
        put("encryption", told);
    }
    if let Some(head) = &facts.head {
        put("format", (*facts.format).into());
        put("head", (**head).into());
        put("bytes", facts.bytes.into());
        put("keys", facts.keys.into());
        if let Some(at) = facts.head_at {
            put("headTime", rfc3339(at).into());
        }
        let nodes = facts.nodes.iter().take(NODES_SHOWN_MAX);
        put("nodes", nodes.map(|line| &line[..line.floor_char_boundary(NODE_BYTES_MAX)]).collect());
        if let Some((job, uid)) = &facts.published_by {
            let mut by = json!({"job": &**job});
            if let Some(uid) = uid {
                by["uid"] = uid.to_string().into();
            }
            put("publishedBy", by);
        }
    }
    if !facts.tags.is_empty() {
        let tags = facts.tags.iter().take(TAGS_SHOWN_MAX);
        put("tags", tags.map(|(tag, digest)| (tag.to_string(), Value::from(&**digest))).collect());
    }
    Value::Object(status)
}
