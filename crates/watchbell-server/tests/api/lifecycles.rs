//! What every kind can do, by HTTP alone: the verbs, patches, selectors and media types that typed clients use.

use serde_json::{Value, json};
use watchbell_api::{Resource, convert, decode, protobuf};

use crate::client::{Answer, Client};
use crate::harness::Harness;
use crate::kinds::CASES;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

struct Collection<'a> {
    client: &'a Client,
    resource: Resource,
    /// Of one namespace, where there are namespaces.
    path: String,
    everywhere: String,
}

impl<'a> Collection<'a> {
    fn of(client: &'a Client, resource: Resource) -> Collection<'a> {
        let info = resource.info();
        let base = match info.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/{}", info.version),
        };
        let everywhere = format!("{base}/{}", info.plural);
        let path = match resource.is_namespaced() {
            true => format!("{base}/namespaces/default/{}", info.plural),
            false => everywhere.clone(),
        };
        Collection { client, resource, path, everywhere }
    }

    fn one(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn patch(&self, name: &str, content_type: &str, body: &Value) -> Answer {
        self.client.patch(&self.one(name), content_type, body)
    }

    fn names(&self, query: &str) -> Vec<String> {
        let list = self.client.get(&format!("{}{query}", self.everywhere)).expect(200);
        assert_eq!(list["kind"], format!("{}List", self.resource.info().kind));
        assert_eq!(list["apiVersion"], self.resource.info().api_version());
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn named(manifest: &Value, name: &str) -> Value {
    let mut object = manifest.clone();
    object["metadata"] = json!({"name": name, "labels": {"test": "life"}});
    object
}

fn live(client: &Client, manifest: &Value) {
    let api_version = manifest["apiVersion"].as_str().unwrap();
    let kind = manifest["kind"].as_str().unwrap();
    let resource = Resource::from_kind(api_version, kind).unwrap();
    let all = Collection::of(client, resource);
    let first = client.post(&all.path, &named(manifest, "first")).expect(201);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!((&first["kind"], &first["apiVersion"]), (&manifest["kind"], &manifest["apiVersion"]));
    client.post(&all.path, &named(manifest, "first")).expect_refusal(409, "AlreadyExists", "first");
    client.post(&format!("{}?dryRun=All", all.path), &named(manifest, "dry")).expect(201);
    let mut unknown = named(manifest, "odd");
    unknown["wizard"] = json!(1);
    let strict = client.post(&format!("{}?fieldValidation=Strict", all.path), &unknown);
    strict.expect_refusal(400, "BadRequest", "unknown field \"wizard\"");
    client.post(&all.path, &named(manifest, "second")).expect(201);

    assert_eq!(all.names("?labelSelector=test%3Dlife"), ["first", "second"], "{kind}");
    assert_eq!(all.names("?fieldSelector=metadata.name%3Dsecond"), ["second"], "{kind}");
    let table = client.get_as(&all.path, TABLE).expect(200);
    let columns = table["columnDefinitions"].as_array().unwrap().len();
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns, "{kind}");
    let bytes = client.bytes("GET", &all.one("first"), &[("Accept", protobuf::MEDIA_TYPE)], b"").content;
    let read = protobuf::decode(&bytes).unwrap();
    assert_eq!(read["metadata"]["uid"], first["metadata"]["uid"], "{kind}");

    let label = |value: &str| json!({"metadata": {"labels": {"step": value}}});
    let step = |answer: Answer, value: &str| {
        let object = answer.expect(200);
        assert_eq!(object["metadata"]["labels"]["step"], value, "{kind}");
        object
    };
    step(all.patch("first", MERGE, &label("a")), "a");
    step(all.patch("first", STRATEGIC, &label("b")), "b");
    let json_patch = json!([{"op": "replace", "path": "/metadata/labels/step", "value": "c"}]);
    let mut current = step(all.patch("first", JSON_PATCH, &json_patch), "c");
    current["metadata"]["labels"]["step"] = json!("d");
    let stale = current.clone();
    step(client.put(&all.one("first"), &current), "d");
    client.put(&all.one("first"), &stale).expect_refusal(409, "Conflict", "the object has been modified");
    let mut applied = manifest.clone();
    applied["metadata"] = json!({"name": "third", "labels": {"test": "life"}});
    let by = |who: &str| format!("{}?fieldManager={who}", all.one("third"));
    client.patch(&by("one"), APPLY, &applied).expect(201);
    applied["metadata"]["labels"] = json!({"test": "other"});
    client.patch(&by("two"), APPLY, &applied).expect_refusal(409, "Conflict", "conflict with \"one\"");

    let status = format!("{}/status", all.one("first"));
    if resource.info().has_status {
        assert_eq!(client.get(&status).expect(200)["metadata"]["name"], "first");
        let patched = client.patch(&status, MERGE, &json!({"metadata": {"annotations": {"seen": "yes"}}}));
        assert_eq!(patched.expect(200)["metadata"]["annotations"]["seen"], "yes", "{kind}");
    } else {
        client.get(&status).expect(404);
    }

    client.delete(&all.one("second")).expect(200);
    assert_eq!(all.names("?labelSelector=test%3Dlife"), gone_but(&all, &["first", "third"]), "{kind}");
    client.delete(&format!("{}?labelSelector=test%3Dlife", all.path)).expect(200);
    let left = all.names("?labelSelector=test%3Dlife");
    assert_eq!(left, gone_but(&all, &[]), "{kind}");
    let watch = format!("{}?watch=true&labelSelector=test%3Dlife&resourceVersion={version}", all.path);
    // What the server adds to a new object in the same breath (a quota's use) is told with it.
    let told: Vec<(Value, Value)> = client
        .watch(&watch, &[])
        .filter(|event| event["object"]["metadata"]["name"] == "first")
        .inspect(|event| assert_eq!(event["object"]["apiVersion"], manifest["apiVersion"]))
        .map(|event| (event["type"].clone(), event["object"]["metadata"]["labels"]["step"].clone()))
        .filter(|(_, step)| !step.is_null())
        .take(4)
        .collect();
    let steps = ["a", "b", "c", "d"].map(|step| (json!("MODIFIED"), json!(step)));
    assert_eq!(told, steps, "{kind}");
}

/// What is left once these names are: claims and volumes stay as long as a finalizer protects them.
fn gone_but(all: &Collection<'_>, names: &[&str]) -> Vec<String> {
    let list = all.client.get(&format!("{}?labelSelector=test%3Dlife", all.path)).expect(200);
    let items = list["items"].as_array().unwrap();
    let held = |item: &&Value| item["metadata"]["deletionTimestamp"].is_string();
    let mut left: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    left.extend(items.iter().filter(held).map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
    left.sort();
    left.dedup();
    left
}

#[test]
fn every_kind_does_what_every_kind_can() {
    let server = Harness::start();
    for case in CASES {
        let manifest = decode::yaml(case.yaml.as_bytes()).unwrap().remove(0);
        live(&server.client, &manifest);
    }
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Ran", "message": "m",
        "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}, "type": "Normal",
        "eventTime": "2026-03-01T00:00:00.000000Z", "reportingComponent": "a/b", "reportingInstance": "i", "action": "Run",
    });
    live(&server.client, &event);
    live(&server.client, &convert::from_stored(Resource::EventsEvent, event));
}
