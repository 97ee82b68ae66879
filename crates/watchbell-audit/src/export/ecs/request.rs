//! A request: who asked for what, whether he got it, and why.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;

use super::super::entry::{Body, ObjectRef};
use super::document::{
    Authorization, Document, Effective, Http, HttpRequest, HttpResponse, Orchestrator, Process, Resource,
    Rule, Source, Url, User, UserAgent,
};

/// Resources that say who may do what.
const IAM: [&str; 5] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings", "serviceaccounts"];

pub(super) fn fill<'a>(document: &mut Document<'a>, body: &'a Body<'a>) {
    let verb = body.verb.as_deref().unwrap_or_default();
    let code = body.response_status.as_ref().and_then(|status| status.code);
    let object = body.object_ref.as_ref();
    let sub = object.and_then(|o| o.subresource.as_deref());
    let resource = object.map_or("", |o| &*o.resource);

    who(document, body);
    times(document, body);
    document.watchbell.kind = Some(&body.kind);
    document.watchbell.level = body.level.as_deref();
    document.watchbell.stage = body.stage.as_deref();
    if let Some(object) = object {
        document.orchestrator = Some(orchestrator(object));
        document.watchbell.subresource = sub;
        document.watchbell.resource_version = object.resource_version.as_deref();
    }
    document.http = Some(Http {
        request: HttpRequest {
            id: body.audit_id.as_deref().filter(|id| !id.is_empty()),
            method: method(verb, sub),
        },
        response: code.map(|status_code| HttpResponse { status_code }),
    });
    document.url = body.request_uri.as_deref().map(|uri| {
        let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        Url { original: uri, path, query }
    });

    let event = &mut document.event;
    event.action = Some(Cow::Borrowed(verb)).filter(|verb| !verb.is_empty());
    event.outcome = code.map(|code| if code < 400 { "success" } else { "failure" });
    // Nobody knows yet how it ends.
    let is_under_way = is_asked(body.stage.as_deref()) || begins(verb, body.stage.as_deref());
    if is_under_way && event.outcome != Some("failure") {
        event.outcome = Some("unknown");
    }
    event.reason = body
        .response_status
        .as_ref()
        .and_then(|s| s.message.as_deref().or(s.reason.as_deref()))
        .map(Cow::Borrowed);
    let deed = deed(verb, resource, sub, body.stage.as_deref());
    event.category.push("api");
    if code == Some(401) {
        event.category.push("authentication");
        event.types.push("start");
        event.action.get_or_insert(Cow::Borrowed("authenticate"));
    } else {
        event.types.push(deed);
    }
    if is_session(sub) && matches!(deed, "start" | "end") {
        event.category.push("session");
    }
    if IAM.contains(&resource) && matches!(deed, "creation" | "change" | "deletion") {
        event.category.push("iam");
    }
    annotations(document, body, code);
    document.message = message(document, object, verb, code);
}

fn who<'a>(document: &mut Document<'a>, body: &'a Body<'a>) {
    if let Some(user) = &body.user {
        let effective = body.impersonated_user.as_ref().map(|other| Effective { name: &other.username });
        document.related.user.push(&user.username);
        if let Some(effective) = &effective {
            document.related.user.push(effective.name);
        }
        document.watchbell.groups = user.groups.iter().map(|group| &**group).collect();
        document.watchbell.user_extra = Some(&user.extra).filter(|map| !map.is_empty());
        document.user = Some(User { name: &user.username, id: user.uid.as_deref(), effective });
    }
    // The first is the client's own; the others are proxies that it came by.
    if let Some(first) = body.source_ips.first() {
        let ip = first.parse::<IpAddr>().ok().map(|ip| ip.to_string());
        document.source = Some(Source { address: Some(first), ip, bytes: None });
    }
    let addresses = body.source_ips.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    document.related.ip = addresses.map(|ip| ip.to_string()).collect();
    document.user_agent = body.user_agent.as_deref().map(|original| UserAgent { original });
}

fn times<'a>(document: &mut Document<'a>, body: &'a Body<'a>) {
    let read = |text: &'a Option<Cow<'a, str>>| {
        let text = text.as_deref()?;
        Some((text, text.parse::<Timestamp>().ok()?))
    };
    let (Some((start, began)), Some((end, ended))) =
        (read(&body.request_received_timestamp), read(&body.stage_timestamp))
    else {
        return;
    };
    let took = i64::try_from(ended.as_nanosecond() - began.as_nanosecond()).ok();
    // A clock that was set back between the two made no duration.
    document.event.duration = took.filter(|nanos| *nanos >= 0);
    document.event.start = Some(start);
    document.event.end = Some(end);
}

fn orchestrator<'a>(object: &'a ObjectRef<'a>) -> Orchestrator<'a> {
    let version = object.api_version.as_deref().unwrap_or_default();
    let api_version = match object.api_group.as_deref() {
        Some(group) if !group.is_empty() => Some(Cow::Owned(format!("{group}/{version}"))),
        _ => Some(Cow::Borrowed(version)).filter(|version| !version.is_empty()),
    };
    Orchestrator {
        kind: "kubernetes",
        api_version,
        namespace: object.namespace.as_deref(),
        resource: Resource {
            kind: &object.resource,
            name: object.name.as_deref().filter(|name| !name.is_empty()),
            id: object.uid.as_deref(),
        },
    }
}

/// What a [`super::run`] entry's object is, in the same fields.
pub(super) fn about<'a>(document: &mut Document<'a>, object: &'a ObjectRef<'a>) {
    document.orchestrator = Some(orchestrator(object));
}

fn is_session(sub: Option<&str>) -> bool {
    matches!(sub, Some("exec" | "attach" | "portforward"))
}

/// Of an image, which comes from a registry or in an archive: the answer begins before the end is known.
fn begins(verb: &str, stage: Option<&str>) -> bool {
    matches!(verb, "pull" | "import") && stage == Some("ResponseStarted")
}

/// Nothing was done yet.
fn is_asked(stage: Option<&str>) -> bool {
    stage == Some("RequestReceived")
}

/// What was done, in the words of `event.type`.
fn deed(verb: &str, resource: &str, sub: Option<&str>, stage: Option<&str>) -> &'static str {
    if is_session(sub) {
        return match stage {
            Some("ResponseStarted") => "start",
            Some("ResponseComplete") => "end",
            _ => "access",
        };
    }
    // A review asks whether something may be; it makes nothing.
    if resource.ends_with("reviews") {
        return "info";
    }
    match (verb, sub) {
        _ if is_asked(stage) || begins(verb, stage) => "start",
        ("create", Some("eviction")) => "deletion",
        ("get" | "list" | "watch" | "head", _) => "access",
        ("create" | "post" | "pull" | "import", _) => "creation",
        ("update" | "patch" | "put" | "rotate" | "revoke", _) => "change",
        ("delete" | "deletecollection" | "prune", _) => "deletion",
        _ => "info",
    }
}

/// The HTTP method, which Kubernetes' verb tells, but for sessions, which are asked for in several ways.
fn method<'a>(verb: &'a str, sub: Option<&str>) -> Option<Cow<'a, str>> {
    if is_session(sub) {
        return None;
    }
    let method = match verb {
        "get" | "list" | "watch" => "GET",
        "head" => "HEAD",
        "create" | "post" | "pull" | "import" | "prune" | "rotate" | "revoke" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        "options" => "OPTIONS",
        _ => return None,
    };
    Some(Cow::Borrowed(method))
}

fn annotations<'a>(document: &mut Document<'a>, body: &'a Body<'a>, code: Option<u16>) {
    let get = |key: &str| body.annotations.get(key).and_then(|value| value.as_str());
    let decision = get("authorization.k8s.io/decision");
    let reason = get("authorization.k8s.io/reason");
    if decision.is_some() || reason.is_some() {
        document.watchbell.authorization = Some(Authorization { decision, reason });
    }
    let types = &mut document.event.types;
    if decision == Some("forbid") || matches!(code, Some(401 | 403)) {
        types.push("denied");
    } else if decision == Some("allow") {
        types.push("allowed");
    }
    let policy = get("pod-security.kubernetes.io/enforce-policy");
    let violations = get("pod-security.kubernetes.io/audit-violations");
    if policy.is_some() || violations.is_some() {
        document.rule = Some(Rule { ruleset: "pod-security", name: policy, description: violations });
    }
    document.watchbell.count = get("watchbell.dev/count").and_then(|text| text.parse().ok());
    if let Some(container) = get("watchbell.dev/container") {
        document.container = Some(super::document::Container { name: Some(container), ..Default::default() });
    }
    // A command that was cut short is no list any more; it stands in the annotations as it is.
    let args: Vec<String> =
        get("watchbell.dev/command").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let exit_code = get("watchbell.dev/exit-code").and_then(|text| text.parse().ok());
    if !args.is_empty() || exit_code.is_some() {
        let args_count = Some(args.len()).filter(|n| *n > 0);
        document.process = Some(Process { args, args_count, exit_code });
    }
    document.watchbell.annotations = Some(&body.annotations).filter(|map| !map.is_empty());
}

fn message(document: &Document<'_>, object: Option<&ObjectRef<'_>>, verb: &str, code: Option<u16>) -> String {
    let mut text = String::with_capacity(128);
    text.push_str(document.user.as_ref().map_or("somebody", |user| user.name));
    if !verb.is_empty() {
        text.push(' ');
        text.push_str(verb);
    }
    match object {
        Some(object) => {
            text.push(' ');
            push_object(&mut text, object);
        }
        None => {
            if let Some(url) = &document.url {
                text.push(' ');
                text.push_str(url.path);
            }
        }
    }
    if let Some(code) = code {
        text.push_str(": ");
        text.push_str(&code.to_string());
    }
    if let Some(reason) = &document.event.reason {
        text.push(' ');
        text.push_str(reason);
    }
    text
}

/// `jobs/status ml/train`
pub(super) fn push_object(text: &mut String, object: &ObjectRef<'_>) {
    text.push_str(&object.resource);
    if let Some(sub) = &object.subresource {
        text.push('/');
        text.push_str(sub);
    }
    let mut parts =
        [object.namespace.as_deref(), object.name.as_deref()].into_iter().flatten().filter(|p| !p.is_empty());
    if let Some(first) = parts.next() {
        text.push(' ');
        text.push_str(first);
    }
    if let Some(second) = parts.next() {
        text.push('/');
        text.push_str(second);
    }
}
