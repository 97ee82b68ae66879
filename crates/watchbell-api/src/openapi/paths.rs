//! `paths`: the operations that are served, with their parameters.

use serde_json::{Map, Value, json};

use super::Asked;
use super::schemas::{RERUN, ROLLBACK, TRIGGER, asked_name, gvk, object_name, reference};
use crate::Resource;
use crate::resource::Scope;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The operations of a resource.
pub(super) fn add(resource: Resource, paths: &mut Map<String, Value>) {
    let info = resource.info();
    let base = match info.group {
        "" => format!("/api/{}", info.version),
        group => format!("/apis/{group}/{}", info.version),
    };
    let mut put = |path: &str, parameters: &[Value], operations: Vec<(&str, Operation)>| {
        let mut item: Map<String, Value> = operations
            .into_iter()
            .map(|(method, made)| (method.into(), made.write(info.group, info.version, info.kind)))
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        paths.insert(path.into(), item.into());
    };
    let mut collection = format!("{base}/{}", info.plural);
    let mut parameters = Vec::new();
    if resource.is_namespaced() {
        let name = format!("list{}{}ForAllNamespaces", api_of(resource), info.kind);
        put(&collection, &[], vec![("get", Operation { id: name, ..Operation::list(resource) })]);
        collection = format!("{base}/namespaces/{{namespace}}/{}", info.plural);
        parameters.push(in_path("namespace", "The namespace of the objects."));
    }
    // kubectl looks here for a kind before it sends an object, and shows the server's own refusal.
    let (create, patch) = (Operation::create(resource), Operation::patch(resource, ""));
    let (create, patch) =
        if resource.is_list_only() { (create.refused(), patch.refused()) } else { (create, patch) };
    let mut all = vec![("get", Operation::list(resource)), ("post", create)];
    let mut one = vec![("get", Operation::read(resource, "")), ("patch", patch)];
    if !resource.is_list_only() {
        all.push(("delete", Operation::delete_collection(resource)));
        one.insert(1, ("put", Operation::replace(resource, "")));
        one.insert(2, ("delete", Operation::delete(resource)));
    }
    put(&collection, &parameters, all);
    parameters.insert(0, in_path("name", "The name of the object."));
    let named = format!("{collection}/{{name}}");
    put(&named, &parameters, one);
    if info.has_status {
        let status = vec![
            ("get", Operation::read(resource, "Status")),
            ("put", Operation::replace(resource, "Status")),
            ("patch", Operation::patch(resource, "Status")),
        ];
        put(&format!("{named}/status"), &parameters, status);
    }
    if resource == Resource::Pod {
        put(&format!("{named}/log"), &parameters, vec![("get", Operation::log())]);
    }
    if resource == Resource::CronJob {
        put(
            &format!("{named}/trigger"),
            &parameters,
            vec![("post", Operation::makes_job(resource, "Trigger", TRIGGER))],
        );
        put(&format!("{named}/suspend"), &parameters, vec![("patch", Operation::suspend(resource))]);
    }
    if resource == Resource::DataArray {
        put(&format!("{named}/rollback"), &parameters, vec![("post", Operation::rollback(resource))]);
    }
    if resource == Resource::Job {
        put(
            &format!("{named}/rerun"),
            &parameters,
            vec![("post", Operation::makes_job(resource, "Rerun", RERUN))],
        );
    }
}

/// The operation of a kind that is asked.
pub(super) fn add_asked(asked: &Asked, paths: &mut Map<String, Value>) {
    let Asked { group, version, kind, plural, scope } = *asked;
    let Some(schema) = asked_name(asked) else { return };
    let base = format!("/apis/{group}/{version}");
    let (path, parameters, word) = match scope {
        Scope::Cluster => (format!("{base}/{plural}"), Vec::new(), ""),
        Scope::Namespaced => (
            format!("{base}/namespaces/{{namespace}}/{plural}"),
            vec![in_path("namespace", "The namespace that is asked about.")],
            "Namespaced",
        ),
    };
    let operation = Operation {
        id: format!("create{}{word}{kind}", api(group, version)),
        action: "post",
        parameters: write_parameters(),
        body: Some((schema.clone(), objects(), Body::Required)),
        answer: Some(schema),
        codes: &[OK, CREATED, ACCEPTED],
    };
    let mut item = json!({"post": operation.write(group, version, kind)});
    if !parameters.is_empty() {
        item["parameters"] = parameters.into();
    }
    paths.insert(path, item);
}

/// `batch` of batch, `networking` of networking.k8s.io, `core` of the one without a name.
fn short_group(group: &str) -> &str {
    match group {
        "" => "core",
        group => group.split('.').next().unwrap_or_default(),
    }
}

/// `BatchV1`, `CoreV1`
fn api(group: &str, version: &str) -> String {
    format!("{}{}", capital(short_group(group)), capital(version))
}

fn api_of(resource: Resource) -> String {
    api(resource.info().group, resource.info().version)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

struct Operation {
    /// `createBatchV1NamespacedJob`
    id: String,
    /// Kubernetes' word for it: `x-kubernetes-action`.
    action: &'static str,
    parameters: Vec<Value>,
    /// The schema of the body, in these media types.
    body: Option<(String, Vec<&'static str>, Body)>,
    /// The schema of the answer; `None`: text.
    answer: Option<String>,
    codes: &'static [(&'static str, &'static str)],
}

#[derive(PartialEq, Eq)]
enum Body {
    Required,
    Optional,
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");
const REFUSED: (&str, &str) = ("405", "Method Not Allowed: it needs a Kubernetes cluster");

impl Operation {
    fn new(resource: Resource, verb: &str, suffix: &str, action: &'static str) -> Operation {
        let scope = if resource.is_namespaced() { "Namespaced" } else { "" };
        Operation {
            id: format!("{verb}{}{scope}{}{suffix}", api_of(resource), resource.info().kind),
            action,
            parameters: Vec::new(),
            body: None,
            answer: Some(object_name(resource)),
            codes: &[OK],
        }
    }

    fn list(resource: Resource) -> Operation {
        Operation {
            parameters: list_parameters(),
            answer: Some(format!("{}List", object_name(resource))),
            ..Operation::new(resource, "list", "", "list")
        }
    }

    fn read(resource: Resource, suffix: &str) -> Operation {
        Operation::new(resource, "read", suffix, "get")
    }

    fn create(resource: Resource) -> Operation {
        Operation {
            parameters: write_parameters(),
            body: Some((object_name(resource), objects(), Body::Required)),
            codes: &[OK, CREATED, ACCEPTED],
            ..Operation::new(resource, "create", "", "post")
        }
    }

    fn replace(resource: Resource, suffix: &str) -> Operation {
        Operation {
            parameters: write_parameters(),
            body: Some((object_name(resource), objects(), Body::Required)),
            codes: &[OK, CREATED],
            ..Operation::new(resource, "replace", suffix, "put")
        }
    }

    fn patch(resource: Resource, suffix: &str) -> Operation {
        let mut parameters = write_parameters();
        parameters.push(query("force", "boolean", "Of an apply patch: takes fields from who owns them."));
        Operation {
            parameters,
            body: Some((format!("{META}.Patch"), PATCHES.to_vec(), Body::Required)),
            codes: &[OK, CREATED],
            ..Operation::new(resource, "patch", suffix, "patch")
        }
    }

    fn delete(resource: Resource) -> Operation {
        let answer = match resource.is_returned_when_deleted() {
            true => object_name(resource),
            false => format!("{META}.Status"),
        };
        Operation {
            parameters: delete_parameters(),
            body: Some((format!("{META}.DeleteOptions"), objects(), Body::Optional)),
            answer: Some(answer),
            codes: &[OK, ACCEPTED],
            ..Operation::new(resource, "delete", "", "delete")
        }
    }

    fn delete_collection(resource: Resource) -> Operation {
        let mut parameters = delete_parameters();
        let known: Vec<Value> = parameters.iter().map(|p| p["name"].clone()).collect();
        parameters.extend(
            list_parameters().into_iter().filter(|p| !known.contains(&p["name"]) && p["name"] != "watch"),
        );
        let scope = if resource.is_namespaced() { "Namespaced" } else { "" };
        let id = format!("delete{}Collection{scope}{}", api_of(resource), resource.info().kind);
        Operation {
            id,
            parameters,
            body: Some((format!("{META}.DeleteOptions"), objects(), Body::Optional)),
            answer: Some(format!("{META}.Status")),
            ..Operation::new(resource, "delete", "", "deletecollection")
        }
    }

    /// Of a subresource that makes a Job from what stands there.
    fn makes_job(resource: Resource, suffix: &str, body: &str) -> Operation {
        Operation {
            parameters: write_parameters(),
            body: Some((body.to_owned(), objects(), Body::Optional)),
            answer: Some(object_name(Resource::Job)),
            codes: &[CREATED],
            ..Operation::new(resource, "create", suffix, "post")
        }
    }

    /// Of `dataarrays/rollback`: it answers with the array.
    fn rollback(resource: Resource) -> Operation {
        Operation {
            parameters: write_parameters(),
            body: Some((ROLLBACK.to_owned(), objects(), Body::Required)),
            codes: &[OK],
            ..Operation::new(resource, "create", "Rollback", "post")
        }
    }

    /// Of `cronjobs/suspend`: a patch of one field.
    fn suspend(resource: Resource) -> Operation {
        Operation {
            body: Some((format!("{META}.Patch"), vec!["application/merge-patch+json"], Body::Required)),
            codes: &[OK],
            ..Operation::patch(resource, "Suspend")
        }
    }

    /// The operation is known and never carried out.
    fn refused(self) -> Operation {
        Operation { answer: Some(format!("{META}.Status")), codes: &[REFUSED], ..self }
    }

    fn log() -> Operation {
        Operation {
            parameters: vec![
                query("container", "string", "The container; not needed when there is only one."),
                query("follow", "boolean", "Goes on as the container writes."),
                query("limitBytes", "integer", "Ends after so many bytes."),
                query("previous", "boolean", "Of the run before this one."),
                query("sinceSeconds", "integer", "Only what is not older than this."),
                query("sinceTime", "string", "Only what is not older than this time (RFC 3339)."),
                query("tailLines", "integer", "Only so many lines from the end."),
                query("timestamps", "boolean", "Each line begins with its time."),
            ],
            answer: None,
            ..Operation::new(Resource::Pod, "read", "Log", "get")
        }
    }

    fn write(self, group: &str, version: &str, kind: &str) -> Value {
        let tag = format!("{}_{version}", short_group(group));
        let mut out = json!({"tags": [tag], "operationId": self.id});
        if !self.parameters.is_empty() {
            out["parameters"] = self.parameters.into();
        }
        let content = |media_types: &[&str], schema: &Value| -> Value {
            media_types
                .iter()
                .map(|m| ((*m).to_owned(), json!({"schema": schema})))
                .collect::<Map<_, _>>()
                .into()
        };
        if let Some((schema, media_types, body)) = &self.body {
            out["requestBody"] = json!({"content": content(media_types, &reference(schema))});
            if *body == Body::Required {
                out["requestBody"]["required"] = true.into();
            }
        }
        let mut responses = Map::new();
        for (code, description) in self.codes {
            let content = match &self.answer {
                Some(schema) => content(&objects(), &reference(schema)),
                None => content(&["text/plain"], &json!({"type": "string"})),
            };
            responses.insert((*code).into(), json!({"description": description, "content": content}));
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        out["responses"] = responses.into();
        out["x-kubernetes-action"] = self.action.into();
        out["x-kubernetes-group-version-kind"] = gvk(group, version, kind);
        out
    }
}

/// The media types of objects.
fn objects() -> Vec<&'static str> {
    vec!["application/json", "application/yaml"]
}

fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "query", "description": description,
        "schema": {"type": kind, "uniqueItems": true},
    })
}

fn write_parameters() -> Vec<Value> {
    vec![
        query("dryRun", "string", "All: everything is checked and nothing is kept."),
        query("fieldManager", "string", "Who makes the change, in at most 128 printable characters."),
        query(
            "fieldValidation",
            "string",
            "What becomes of unknown and duplicate fields: Ignore drops them, Warn (the default) says so, Strict refuses.",
        ),
    ]
}

fn delete_parameters() -> Vec<Value> {
    vec![
        query("dryRun", "string", "All: everything is checked and nothing is deleted."),
        query("gracePeriodSeconds", "integer", "How long it may take to end; 0: at once."),
        query("orphanDependents", "boolean", "The old form of propagationPolicy=Orphan."),
        query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
    ]
}

fn list_parameters() -> Vec<Value> {
    vec![
        query("allowWatchBookmarks", "boolean", "A watch also tells now and then how far it is."),
        query("continue", "string", "The token with which the list before this one ended."),
        query("fieldSelector", "string", "Only objects with these fields."),
        query("labelSelector", "string", "Only objects with these labels."),
        query("limit", "integer", "At most so many objects; the answer's token asks for more."),
        query("resourceVersion", "string", "How new the answer must be, or where a watch begins."),
        query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
        query("sendInitialEvents", "boolean", "A watch begins with the objects there are."),
        query("timeoutSeconds", "integer", "When a watch ends."),
        query("watch", "boolean", "Tells changes instead of a list."),
    ]
}
