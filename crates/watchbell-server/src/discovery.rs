//! Discovery: which groups, versions and resources there are, in the old and in the aggregated form.

use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use watchbell_api::{ApiError, Resource, ResourceInfo};

use crate::app::{App, Call, not_modified};
use crate::body::Body;
use crate::request::accept::{Answer, Encoding, Shape};
use crate::request::{method_not_allowed, no_such_path};
use crate::respond;
use crate::verbs::asked::{Asked, EVICTION, REVIEWS, TOKEN_REQUEST};
use crate::verbs::run;

const AGGREGATED: [Shape; 2] = [Shape::Discovery, Shape::DiscoveryBeta];
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Of what there is none and none can be made.
const LIST_VERBS: [&str; 3] = ["get", "list", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The groups and versions of the resource table, the core group first.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for resource in Resource::all() {
        let info = resource.info();
        if !out.contains(&(info.group, info.version)) {
            out.push((info.group, info.version));
        }
    }
    for asked in &REVIEWS {
        if !out.contains(&(asked.group, asked.version)) {
            out.push((asked.group, asked.version));
        }
    }
    out.sort_unstable();
    out
}

fn reviews(group: &str, version: &str) -> impl Iterator<Item = &'static Asked> {
    REVIEWS.iter().filter(move |asked| asked.group == group && asked.version == version)
}

fn infos(group: &str, version: &str) -> Vec<&'static ResourceInfo> {
    Resource::all()
        .map(Resource::info)
        .filter(|info| info.group == group && info.version == version)
        .collect()
}

/// `/api`
pub(crate) fn core(call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &AGGREGATED)?;
    if let Some(api_version) = aggregated_version(answer.shape) {
        return aggregated(call, answer, api_version, &[("", "v1")]);
    }
    let mut document = json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    });
    if answer.encoding == Encoding::Protobuf {
        // Kubernetes leaves it out of the JSON.
        document["apiVersion"] = "v1".into();
    }
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

/// `/apis`
pub(crate) fn groups(call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &AGGREGATED)?;
    let named: Vec<(&str, &str)> =
        group_versions().into_iter().filter(|(group, _)| !group.is_empty()).collect();
    if let Some(api_version) = aggregated_version(answer.shape) {
        return aggregated(call, answer, api_version, &named);
    }
    let groups: Vec<Value> = named.iter().map(|(group, version)| api_group(group, version)).collect();
    let document = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

/// `/apis/batch`
pub(crate) fn group(call: &Call, group: &str) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[])?;
    let (_, version) =
        group_versions().into_iter().find(|(g, _)| *g == group && !g.is_empty()).ok_or_else(no_such_path)?;
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(map), Value::Object(fields)) = (document.as_object_mut(), api_group(group, version)) {
        map.extend(fields);
    }
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

/// `/api/v1`, `/apis/batch/v1`
pub(crate) fn resources(call: &Call, group: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[])?;
    let infos = infos(group, version);
    if !group_versions().contains(&(group, version)) {
        return Err(no_such_path());
    }
    let mut resources = Vec::new();
    for asked in reviews(group, version) {
        resources.push(json!({
            "name": asked.plural, "singularName": asked.singular, "namespaced": asked.is_namespaced,
            "kind": asked.kind, "verbs": ["create"],
        }));
    }
    for info in infos {
        let mut entry = json!({
            "name": info.plural, "singularName": info.singular, "namespaced": info.resource.is_namespaced(),
            "kind": info.kind, "verbs": verbs_of(info),
        });
        if !info.short_names.is_empty() {
            entry["shortNames"] = json!(info.short_names);
        }
        if !info.categories.is_empty() {
            entry["categories"] = json!(info.categories);
        }
        resources.push(entry);
        for Subresource { name, verbs, kind } in subresources(info) {
            let mut entry = json!({
                "name": format!("{}/{name}", info.plural), "singularName": "",
                "namespaced": info.resource.is_namespaced(), "kind": kind.2, "verbs": verbs,
            });
            if (kind.0, kind.1) != (info.group, info.version) {
                entry["group"] = kind.0.into();
                entry["version"] = kind.1.into();
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let document = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    });
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

/// The kinds that users define: there are none, and none can be made.
pub(crate) fn definitions(app: &App, call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::text(&call.accept)?;
    if call.query.flag("watch") {
        return Err(method_not_allowed());
    }
    let document = json!({
        "kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"resourceVersion": app.state.snapshot().resource_version().to_string()}, "items": [],
    });
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

fn verbs_of(info: &ResourceInfo) -> &'static [&'static str] {
    if info.resource.is_list_only() { &LIST_VERBS } else { &VERBS }
}

/// What is done with an object beside itself.
struct Subresource {
    name: &'static str,
    verbs: &'static [&'static str],
    /// Group, version and kind of what is sent or answered.
    kind: (&'static str, &'static str, &'static str),
}

fn subresources(info: &ResourceInfo) -> Vec<Subresource> {
    let mut out = Vec::new();
    let mut add = |name, verbs, kind| out.push(Subresource { name, verbs, kind });
    if info.resource == Resource::Pod {
        let core = |kind| ("", "v1", kind);
        add("admission", &["create", "get"], core("Pod"));
        add("attach", &["create", "get"], core("PodAttachOptions"));
        add("eviction", &["create"], (EVICTION.group, EVICTION.version, EVICTION.kind));
        add("exec", &["create", "get"], core("PodExecOptions"));
        add("log", &["get"], core("Pod"));
        add("sandbox", &["create", "get"], core("Pod"));
    }
    if info.resource == Resource::Job {
        add("admission", &["get"], (info.group, info.version, info.kind));
        add("rerun", &["create"], (run::GROUP, run::VERSION, run::RERUN));
    }
    if info.resource == Resource::DataArray {
        add("rollback", &["create"], (run::GROUP, run::VERSION, run::ROLLBACK));
    }
    if info.resource == Resource::ServiceAccount {
        add("token", &["create"], (TOKEN_REQUEST.group, TOKEN_REQUEST.version, TOKEN_REQUEST.kind));
    }
    if info.has_status {
        add("status", &STATUS_VERBS, (info.group, info.version, info.kind));
    }
    if info.resource == Resource::CronJob {
        add("admission", &["get"], (info.group, info.version, info.kind));
        add("suspend", &["patch"], (info.group, info.version, info.kind));
        add("trigger", &["create"], (run::GROUP, run::VERSION, run::TRIGGER));
    }
    out
}

fn aggregated_version(shape: Shape) -> Option<&'static str> {
    match shape {
        Shape::Discovery => Some("apidiscovery.k8s.io/v2"),
        Shape::DiscoveryBeta => Some("apidiscovery.k8s.io/v2beta1"),
        Shape::Object | Shape::Table | Shape::Metadata | Shape::MetadataList => None,
    }
}

fn aggregated(
    call: &Call,
    answer: Answer,
    api_version: &str,
    groups: &[(&str, &str)],
) -> Result<Response<Body>, ApiError> {
    let items: Vec<Value> = groups.iter().map(|(group, version)| aggregated_group(group, version)).collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items,
    });
    let tag = format!("\"{}\"", respond::digest(document.to_string().as_bytes()));
    if call.if_none_match.split(',').any(|known| known.trim() == tag) {
        return Ok(not_modified());
    }
    let mut response = respond::document(StatusCode::OK, answer, &document, call.gzip)?;
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}

fn aggregated_group(group: &str, version: &str) -> Value {
    let kind_of =
        |info: &ResourceInfo| json!({"group": info.group, "version": info.version, "kind": info.kind});
    let asked = reviews(group, version).map(|asked| {
        json!({
            "resource": asked.plural,
            "responseKind": {"group": asked.group, "version": asked.version, "kind": asked.kind},
            "scope": if asked.is_namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": asked.singular, "verbs": ["create"],
        })
    });
    let stored = infos(group, version).into_iter().map(|info| {
        let mut entry = json!({
            "resource": info.plural, "responseKind": kind_of(info),
            "scope": if info.resource.is_namespaced() { "Namespaced" } else { "Cluster" },
            "singularResource": info.singular, "verbs": verbs_of(info),
        });
        if !info.short_names.is_empty() {
            entry["shortNames"] = json!(info.short_names);
        }
        if !info.categories.is_empty() {
            entry["categories"] = json!(info.categories);
        }
        let subs: Vec<Value> = subresources(info)
            .into_iter()
            .map(|Subresource { name, verbs, kind: (group, version, kind) }| {
                let kind = json!({"group": group, "version": version, "kind": kind});
                json!({"subresource": name, "responseKind": kind, "verbs": verbs})
            })
            .collect();
        if !subs.is_empty() {
            entry["subresources"] = Value::Array(subs);
        }
        entry
    });
    let resources: Vec<Value> = asked.chain(stored).collect();
    json!({
        "metadata": {"name": group, "creationTimestamp": null},
        "versions": [{"version": version, "resources": resources, "freshness": "Current"}],
    })
}
