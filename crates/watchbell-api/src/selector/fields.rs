//! `fieldSelector` of a request: which fields each kind offers, and their values as text. Grammar and messages are
//! those of `k8s.io/apimachinery/pkg/fields` and of each kind's conversion functions.

use serde_json::Value;

use super::LENGTH_MAX;
use crate::{ApiError, Resource};

/// A parsed `fieldSelector`. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    path: &'static str,
    is_equal: bool,
    value: String,
}

const META: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// The fields of a kind beside its name and namespace. A namespace or a node has no namespace to ask for.
fn own_fields(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        Resource::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Resource::Job => &["status.successful"],
        Resource::Namespace => &["status.phase"],
        Resource::Secret => &["type"],
        Resource::Node => &["spec.unschedulable"],
        Resource::Service => &["spec.clusterIP", "spec.type"],
        Resource::ReplicationController | Resource::ReplicaSet => &["status.replicas"],
        _ => &[],
    }
}

impl Fields {
    /// # Errors
    /// `BadRequest`: not a selector, or a field that this kind does not offer.
    pub fn parse(resource: Resource, text: &str) -> Result<Fields, ApiError> {
        if text.len() > LENGTH_MAX {
            return Err(ApiError::bad_request(format!(
                "the field selector has {} bytes; at most {LENGTH_MAX} are read",
                text.len()
            )));
        }
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (path, is_equal, value) = cut(part).ok_or_else(|| {
                ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            terms.push(Term { path: known(resource, path)?, is_equal, value: unescape(value)? });
        }
        Ok(Fields { terms })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| holds(term, object))
    }

    /// What [`Fields::matches`] would say, by what is known of some fields without looking at the object; `None`: look.
    pub fn decide<'v>(&self, known: impl Fn(&'static str) -> Option<&'v str>) -> Option<bool> {
        let mut is_open = false;
        for term in &self.terms {
            match known(term.path) {
                Some(value) if (value == term.value) != term.is_equal => return Some(false),
                Some(_) => {}
                None => is_open = true,
            }
        }
        (!is_open).then_some(true)
    }

    /// The name that every match must have, so that a list of one object needs no scan.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|t| t.is_equal && t.path == "metadata.name").map(|t| t.value.as_str())
    }
}

fn known(resource: Resource, path: &str) -> Result<&'static str, ApiError> {
    if resource == Resource::EventsEvent {
        return known_of_events(path);
    }
    let meta = if resource.is_namespaced() { &META[..] } else { &META[..1] };
    // An old name that clients of the first Kubernetes used.
    let path = if resource == Resource::Pod && path == "spec.host" { "spec.nodeName" } else { path };
    if let Some(known) = meta.iter().chain(own_fields(resource)).find(|known| **known == path) {
        return Ok(known);
    }
    Err(ApiError::bad_request(match resource {
        Resource::Job => format!("field label {path:?} not supported for Job"),
        _ if own_fields(resource).is_empty() => {
            format!("{path:?} is not a known field selector: only {:?}, {:?}", META[0], META[1])
        }
        _ => format!("field label not supported: {path}"),
    }))
}

/// The fields of `events.k8s.io/v1` by the names that stored events have.
fn known_of_events(path: &str) -> Result<&'static str, ApiError> {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let stored = match (head, rest) {
        ("metadata", _) | ("reason" | "type", "") => path.to_owned(),
        ("reportingController", "") => "reportingComponent".to_owned(),
        ("regarding", rest) => format!("involvedObject.{rest}"),
        _ => String::new(),
    };
    known(Resource::Event, &stored)
        .map_err(|_| ApiError::bad_request(format!("field label not supported: {path}")))
}

fn holds(term: &Term, object: &Value) -> bool {
    let text = |path: &str| {
        let found = path.split('.').try_fold(object, |value, key| value.get(key));
        found.and_then(Value::as_str).unwrap_or_default()
    };
    let flag = |path: &str| {
        let found = path.split('.').try_fold(object, |value, key| value.get(key));
        if found.and_then(Value::as_bool).unwrap_or(false) { "true" } else { "false" }
    };
    let is_same = match term.path {
        "status.successful" => object["status"]["succeeded"].as_i64().unwrap_or(0).to_string() == term.value,
        "spec.unschedulable" | "spec.hostNetwork" => flag(term.path) == term.value,
        // Kubernetes compares the first address for `podIP` and any of them for `podIPs`; a pod here has one.
        "status.podIPs" => text("status.podIP") == term.value,
        "source" => {
            let component = text("source.component");
            let source = if component.is_empty() { text("reportingComponent") } else { component };
            source == term.value
        }
        path => text(path) == term.value,
    };
    is_same == term.is_equal
}

/// The terms between unescaped commas.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |c| {
        let is_end = c == ',' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })
}

/// `path`, whether it must be equal, and the value, still escaped.
fn cut(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find("!=").into_iter().chain(term.find('=')).min()?;
    let (path, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        Some((path, false, value))
    } else {
        Some((path, true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?))
    }
}

fn unescape(value: &str) -> Result<String, ApiError> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => text.push(c),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(ApiError::bad_request(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                return Err(ApiError::bad_request(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            c => text.push(c),
        }
    }
    Ok(text)
}
