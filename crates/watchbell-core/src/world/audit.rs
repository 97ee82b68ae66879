//! The audit journal's entries: one a request, one for what a batch did to each run.
//!
//! Entries of requests are Kubernetes audit events (`audit.k8s.io/v1`) at level Metadata: bodies never stand in them,
//! so no secret does; a salted hash stands for the body. Entries of runs have the kind `RunEvent` of `watchbell.dev/v1alpha1`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::{ApiError, Resource, Uid};

use super::World;
use super::object::Stored;
use crate::access::Decision;
use crate::request::{DryRun, Outcome, Request, Subresource, Write, Written};

/// Names a token that was given out, as those name it who come with it.
pub const ISSUED: &str = "authentication.kubernetes.io/issued-credential-id";

/// Names the Job that was made of another object.
const MADE: &str = "watchbell.dev/job";

/// The annotation with the salted hash of the body.
pub const BODY_HASH: &str = "watchbell.dev/body-hash";

/// The annotation with the salted hash of a command, as a list in JSON: of a long one, not all stands in its entry.
pub const COMMAND_HASH: &str = "watchbell.dev/command-hash";

/// One entry, in the order of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    pub at: Timestamp,
    pub body: Value,
}

impl AuditRecord {
    /// The entry of a request whose change did not become durable: what it was answered, and nothing of what it would have made.
    pub fn refused(mut self, error: &ApiError) -> AuditRecord {
        self.body["responseStatus"] = failure(error);
        for (part, fields) in [("objectRef", ["uid", "resourceVersion"]), ("annotations", [ISSUED, MADE])] {
            if let Some(part) = self.body[part].as_object_mut() {
                fields.iter().for_each(|field| drop(part.remove(*field)));
            }
        }
        self
    }
}

fn failure(error: &ApiError) -> Value {
    json!({
        "metadata": {}, "code": error.reason.code(), "status": "Failure", "reason": error.reason.as_str(),
        "message": error.to_keep().chars().take(1024).collect::<String>(),
    })
}

impl World {
    pub(super) fn audit_request(
        &mut self,
        request: &Request,
        decision: &Decision,
        answer: &Result<Written, ApiError>,
        now: Timestamp,
    ) {
        let info = request.resource.info();
        let status = match answer {
            Ok(Written { outcome: Outcome::Created, .. }) => json!({"metadata": {}, "code": 201}),
            Ok(Written { outcome: Outcome::Done, .. }) => json!({"metadata": {}, "code": 200}),
            Err(error) => failure(error),
        };
        let name = match (answer, request.name.is_empty()) {
            (Ok(written), true) => written.object["metadata"]["name"].as_str().unwrap_or_default(),
            _ => request.name.as_str(),
        };
        let mut reference = json!({
            "resource": info.plural, "apiVersion": info.version, "name": name,
        });
        if !info.group.is_empty() {
            reference["apiGroup"] = info.group.into();
        }
        if !request.namespace.is_empty() {
            reference["namespace"] = request.namespace.clone().into();
        }
        if request.subresource != Subresource::None {
            reference["subresource"] = request.subresource.as_str().into();
        }
        let makes_another = matches!(request.write, Write::Trigger { .. } | Write::Rerun { .. });
        if let Ok(written) = answer
            && !makes_another
        {
            let metadata = &written.object["metadata"];
            for field in ["uid", "resourceVersion"] {
                if let Some(text) = metadata[field].as_str() {
                    reference[field] = text.into();
                }
            }
        }
        let received = request.received.unwrap_or(now);
        let mut body = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
            "auditID": request.audit_id, "stage": "ResponseComplete",
            "verb": request.write.verb(),
            "user": request.user.info(),
            "objectRef": reference,
            "responseStatus": status,
            "requestReceivedTimestamp": received.to_string(), "stageTimestamp": now.to_string(),
        });
        if let Some(impersonation) = &request.impersonation {
            body["user"] = impersonation.by.info();
            body["impersonatedUser"] = request.user.info();
        }
        let notes = std::mem::take(&mut self.admission_notes);
        let mut annotations: Map<String, Value> =
            notes.into_iter().map(|(key, note)| (key.into_owned(), note.into())).collect();
        decision.annotate(&mut annotations);
        if request.options.dry_run == DryRun::All {
            annotations.insert("watchbell.dev/dry-run".into(), "All".into());
        }
        if let (Write::IssueToken(issue), Ok(_), DryRun::No) =
            (&request.write, answer, request.options.dry_run)
        {
            annotations.insert(ISSUED.into(), format!("JTI={}", issue.id).into());
        }
        if let Some(hash) = &request.body_hash {
            annotations.insert(BODY_HASH.into(), (**hash).into());
        }
        if let Ok(written) = answer
            && makes_another
        {
            annotations.insert(MADE.into(), written.object["metadata"]["name"].clone());
        }
        body["annotations"] = Value::Object(annotations);
        self.stage.audit.push(AuditRecord { at: now, body });
    }

    /// What happened to a run (a CronJob's slot, a Job, its pods) that no request asked for.
    pub(super) fn audit_run(&mut self, about: &Stored, action: &str, details: Value, now: Timestamp) {
        let place = json!({"namespace": &*about.namespace, "name": &*about.name});
        self.audit_event(about.resource, place, action, details, now);
    }

    /// The same of an object that was removed meanwhile.
    pub(super) fn audit_of_gone(
        &mut self,
        resource: Resource,
        uid: Uid,
        action: &str,
        details: Value,
        now: Timestamp,
    ) {
        self.audit_event(resource, json!({"uid": uid.to_string()}), action, details, now);
    }

    /// `place` is what the reference says beside the kind.
    pub(super) fn audit_event(
        &mut self,
        resource: Resource,
        place: Value,
        action: &str,
        details: Value,
        now: Timestamp,
    ) {
        let info = resource.info();
        let mut reference = json!({"resource": info.plural, "apiVersion": info.version});
        if let (Some(reference), Value::Object(place)) = (reference.as_object_mut(), place) {
            reference.extend(place);
        }
        if !info.group.is_empty() {
            reference["apiGroup"] = info.group.into();
        }
        let body = json!({
            "kind": "RunEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": now.to_string(),
            "objectRef": reference, "action": action, "details": details,
        });
        self.stage.audit.push(AuditRecord { at: now, body });
    }
}
