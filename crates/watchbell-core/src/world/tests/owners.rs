//! Who owns the fields of what is stored, through requests, restarts and the controllers' own writes.

use serde_json::{Value, json};
use watchbell_api::{ApiError, Reason, Resource};

use super::{Bench, array, config_map, create_request, cron, job, request};
use crate::request::{
    DeleteOptions, DryRun, Force, Outcome, PatchKind, Request, Subresource, Write, WriteOptions, Written,
};

/// `manager Operation subresource`, in the order of the object.
fn managers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    list.iter()
        .map(|e| format!("{} {} {}", text(e, "manager"), text(e, "operation"), text(e, "subresource")))
        .map(|told| told.trim_end().to_owned())
        .collect()
}

fn by(manager: &str, request: Request) -> Request {
    Request { options: WriteOptions { field_manager: manager.into(), ..request.options }, ..request }
}

fn patch(kind: PatchKind, resource: Resource, name: &str, body: Value) -> Request {
    Request { write: Write::Patch { kind, body }, ..request(resource, "ml", name) }
}

impl Bench {
    fn apply(&mut self, manager: &str, body: Value, more: WriteOptions) -> Result<Written, ApiError> {
        let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
        let request = patch(PatchKind::Apply, Resource::ConfigMap, &name, body);
        self.write(Request { options: WriteOptions { field_manager: manager.into(), ..more }, ..request })
    }
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

#[test]
fn every_path_of_a_write_is_recorded_and_outlives_a_restart() {
    let mut bench = Bench::new();
    bench.write(by("kubectl-create", create_request(array("a", 3, 1)))).expect("created");
    bench.now += 1;
    let label = json!({"metadata": {"labels": {"team": "x"}}});
    bench.write(by("kubectl-label", patch(PatchKind::Merge, Resource::Job, "a", label))).expect("patched");
    bench.now += 1;
    let status = json!({"status": {"conditions": []}, "metadata": {"annotations": {"note": "x"}}});
    let mut status = patch(PatchKind::Merge, Resource::Job, "a", status);
    status.subresource = Subresource::Status;
    bench.write(by("controller", status)).expect("patched");
    bench.settle();
    let before = bench.read(Resource::Job, "a");
    assert_eq!(
        managers(&before),
        [
            "kubectl-create Update",
            "kubectl-label Update",
            "controller Update status",
            "watchbell-controller Update status"
        ]
    );
    let fields = &before["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(fields["f:spec"]["f:selector"], Value::Null, "what the server makes is not the creator's");
    assert_eq!(fields["f:spec"]["f:backoffLimit"], json!({}), "a default is");
    bench.crash();
    assert_eq!(bench.read(Resource::Job, "a"), before);
}

#[test]
fn the_controllers_own_what_they_make() {
    let mut bench = Bench::new();
    bench.create(array("a", 3, 3));
    bench.create(cron("c", "* * * * *", json!({})));
    bench.settle();
    bench.sleep(60);
    for pod in bench.list(Resource::Pod) {
        assert_eq!(managers(&pod), ["watchbell-controller Update", "watchbell-node Update status"]);
        let entry = &pod["metadata"]["managedFields"][0];
        assert_eq!(entry["time"], pod["metadata"]["creationTimestamp"]);
        assert!(entry["fieldsV1"]["f:metadata"]["f:ownerReferences"].is_object(), "{entry}");
    }
    let made = bench.list(Resource::Job).into_iter().find(|job| job["metadata"]["name"] != "a");
    assert_eq!(
        managers(&made.expect("a Job of the CronJob")),
        ["watchbell-controller Update", "watchbell-controller Update status"]
    );
    // A client that changes one pod shares it with the controller, and its siblings stay as they are.
    let pod = bench.list(Resource::Pod).remove(0);
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let label = json!({"metadata": {"labels": {"mine": "x"}}});
    bench.write(by("me", patch(PatchKind::Merge, Resource::Pod, name, label))).expect("patched");
    bench.settle();
    let count = |manager: &str| {
        bench.list(Resource::Pod).iter().filter(|pod| managers(pod).contains(&manager.to_owned())).count()
    };
    assert_eq!(
        (count("me Update"), count("watchbell-controller Update")),
        (1, bench.list(Resource::Pod).len())
    );
}

/// The entry of a manager for the status.
fn of_status<'v>(object: &'v Value, manager: &str) -> &'v Value {
    let list = object["metadata"]["managedFields"].as_array().expect("managers");
    let is = |entry: &&Value| entry["manager"] == manager && entry["subresource"] == "status";
    list.iter().find(is).unwrap_or(&Value::Null)
}

#[test]
fn statuses_are_owned_by_who_writes_them() {
    let mut bench = Bench::new();
    bench.create(array("a", 2, 2));
    bench.create(job("theirs", json!({"managedBy": "example.com/other"})));
    bench.create(cron("c", "0 0 1 1 *", json!({})));
    bench.settle();
    bench.sleep(10);
    let pod = bench.list(Resource::Pod).remove(0);
    let entry = of_status(&pod, "watchbell-node");
    assert_eq!(entry["time"], pod["status"]["conditions"][0]["lastTransitionTime"], "{pod:#}");
    let owned = &entry["fieldsV1"]["f:status"];
    assert!(
        owned["f:phase"].is_object() && owned["f:conditions"]["k:{\"type\":\"PodScheduled\"}"].is_object(),
        "{owned}"
    );
    assert_eq!(owned.get("f:qosClass"), None, "it was there when the pod was created");
    let read = |bench: &Bench, name: &str| bench.read(Resource::Job, name);
    let before = read(&bench, "a");
    assert!(of_status(&before, "watchbell-controller")["fieldsV1"]["f:status"]["f:startTime"].is_object());
    assert_eq!(managers(&read(&bench, "theirs")).len(), 1, "its status is another controller's");
    assert_eq!(managers(&bench.read(Resource::CronJob, "c")).len(), 1, "there is nothing in its status");
    // Who sends back what was read changes nothing.
    let same = Request { write: Write::Update(before.clone()), ..request(Resource::Job, "ml", "a") };
    let written = bench.write(by("me", same)).expect("sent back").object;
    assert_eq!(written["metadata"], before["metadata"]);
    assert!(bench.step().changes.is_empty());
    // Another who applies a field of the status is told whose it is, and may take it over.
    let apply = |force: Force| {
        let body = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "status": {"startTime": "2020-01-01T00:00:00Z"},
        });
        let mut request = patch(PatchKind::Apply, Resource::Job, "a", body);
        request.subresource = Subresource::Status;
        request.options.force = force;
        by("other", request)
    };
    let error = bench.write(apply(Force::No)).expect_err("a conflict");
    assert_eq!(error.reason, Reason::Conflict);
    let words = "conflict with \"watchbell-controller\" with subresource \"status\" using batch/v1: .status.startTime";
    assert!(error.message.contains(words), "{error}");
    bench.write(apply(Force::Yes)).expect("taken over");
    bench.settle();
    let after = read(&bench, "a");
    assert!(of_status(&after, "other")["fieldsV1"]["f:status"]["f:startTime"].is_object(), "{after:#}");
    assert_eq!(of_status(&after, "watchbell-controller")["fieldsV1"]["f:status"].get("f:startTime"), None);
    let (pods, events) = (bench.list(Resource::Pod), bench.list(Resource::Event));
    bench.crash();
    assert_eq!(read(&bench, "a"), after);
    assert_eq!((bench.list(Resource::Pod), bench.list(Resource::Event)), (pods, events));
}

#[test]
fn events_are_owned_by_who_tells_them() {
    let mut bench = Bench::new();
    bench.create(array("a", 1, 1));
    bench.settle();
    bench.sleep(10);
    let events = bench.list(Resource::Event);
    for event in &events {
        let is_of_node = event["source"]["host"].is_string();
        let manager = if is_of_node { "watchbell-node Update" } else { "watchbell-controller Update" };
        assert_eq!(managers(event), [manager]);
        let entry = &event["metadata"]["managedFields"][0];
        assert_eq!(entry["time"], event["lastTimestamp"]);
        assert_eq!(entry["fieldsV1"]["f:source"].get("f:host").is_some(), is_of_node);
        assert!(entry["fieldsV1"]["f:involvedObject"].is_object(), "{entry}");
    }
    assert!(!events.is_empty());
    // A journal's row does not repeat them.
    let name = events[0]["metadata"]["name"].as_str().expect("a name");
    let stored = bench.world.get(Resource::Event, "ml", name).expect("the event").clone();
    let row =
        String::from_utf8(crate::world::row::encode(None, &stored, &[]).head.expect("a head")).expect("text");
    assert!(!row.contains("fieldsV1") && row.ends_with(",\"managedFields\":0}"), "{row}");
    // One that a client changed is his too, and whole.
    let note = json!({"metadata": {"annotations": {"a": "b"}}});
    bench.write(by("me", patch(PatchKind::Merge, Resource::Event, name, note))).expect("patched");
    bench.settle();
    let events = bench.list(Resource::Event);
    assert!(events.iter().any(|event| managers(event).len() == 2));
    bench.crash();
    assert_eq!(bench.list(Resource::Event), events);
}

/// Who applies to an object that he knows by its uid does not want another one when it is gone.
#[test]
fn apply_to_an_object_that_is_gone_makes_no_other() {
    let mut bench = Bench::new();
    let first = bench.apply("tool", map(json!({"a": "1"})), WriteOptions::default()).unwrap().object;
    bench.settle();
    let mut known = map(json!({"a": "2"}));
    known["metadata"]["uid"] = first["metadata"]["uid"].clone();
    bench.apply("tool", known.clone(), WriteOptions::default()).expect("it is there");
    bench.settle();
    bench.try_delete(Resource::ConfigMap, "m", DeleteOptions::default()).unwrap();
    bench.settle();
    let refused = bench.apply("tool", known.clone(), WriteOptions::default()).expect_err("it is gone");
    assert_eq!(refused.reason, Reason::Conflict);
    let uid = first["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        refused.message,
        format!(
            "Operation cannot be fulfilled on configmaps \"m\": uid mismatch: the provided object specified uid {uid}, and no \
             existing object was found"
        )
    );
    known["metadata"]["uid"] = "".into();
    let made = bench.apply("tool", known, WriteOptions::default()).expect("no uid is none").object;
    assert_ne!(made["metadata"]["uid"], first["metadata"]["uid"]);
}

#[test]
fn apply_creates_changes_and_conflicts() {
    let mut bench = Bench::new();
    let none = WriteOptions::default;
    let trial = || WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() };
    let written = bench.apply("a", map(json!({"k": "1"})), trial()).expect("tried");
    assert_eq!((written.outcome, managers(&written.object)), (Outcome::Created, vec!["a Apply".into()]));
    assert_eq!(bench.apply("a", map(json!({"k": "1"})), none()).expect("created").outcome, Outcome::Created);
    bench.settle();
    // Nothing new, nothing stored.
    bench.now += 1;
    assert_eq!(bench.apply("a", map(json!({"k": "1"})), none()).expect("done").outcome, Outcome::Done);
    assert!(bench.step().changes.is_empty());
    let refused = bench.apply("b", map(json!({"k": "2"})), none()).expect_err("a conflict");
    assert_eq!((refused.reason, refused.causes.len()), (Reason::Conflict, 1));
    assert_eq!(refused.causes[0].field, ".data.k");
    assert!(bench.step().changes.is_empty());
    let force = WriteOptions { force: Force::Yes, ..none() };
    bench
        .apply("b", map(json!({"k": "2"})), WriteOptions { dry_run: DryRun::All, ..force.clone() })
        .expect("tried");
    assert!(bench.step().changes.is_empty());
    bench.apply("b", map(json!({"k": "2"})), force).expect("taken over");
    bench.settle();
    assert_eq!(managers(&bench.read(Resource::ConfigMap, "m")), ["b Apply"]);
    // A co-owner changes no value and is stored.
    bench.apply("a", map(json!({"k": "2"})), none()).expect("shared");
    assert_eq!(bench.step().changes.len(), 1);
    bench.apply("b", map(json!({"other": "x"})), none()).expect("given up");
    bench.settle();
    assert_eq!(bench.read(Resource::ConfigMap, "m")["data"], json!({"k": "2", "other": "x"}));
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let mut bench = Bench::new();
    bench.create(config_map("m"));
    let mut refused = |manager: &str, body: Value, reason: Reason, words: &str| {
        let error = bench.apply(manager, body, WriteOptions::default()).expect_err(words);
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    refused("", map(json!({})), Reason::BadRequest, "fieldManager is required");
    let mut body = map(json!({}));
    body["metadata"]["managedFields"] = json!([]);
    refused("a", body, Reason::BadRequest, "metadata.managedFields must be nil");
    let mut body = map(json!({}));
    body["kind"] = "Secret".into();
    refused("a", body, Reason::BadRequest, "Secret");
    let mut body = map(json!({}));
    body["metadata"]["resourceVersion"] = "1".into();
    refused("a", body, Reason::Conflict, "the object has been modified");
    refused("a", map(json!({"a b": "x"})), Reason::Invalid, "data[a b]");
    let absent = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "date": {}});
    refused("a", absent, Reason::BadRequest, ".date: field not declared in schema");
    assert!(bench.get(Resource::ConfigMap, "n").is_none());
}

#[test]
fn the_managers_themselves_can_be_patched() {
    let mut bench = Bench::new();
    bench.write(by("kubectl-client-side-apply", create_request(config_map("m")))).expect("created");
    bench.settle();
    let before = bench.read(Resource::ConfigMap, "m");
    // As kubectl moves an object from client-side to server-side apply.
    let mut list = before["metadata"]["managedFields"].clone();
    list[0]["manager"] = "kubectl".into();
    list[0]["operation"] = "Apply".into();
    let change = |list: &Value| {
        json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": list},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": before["metadata"]["resourceVersion"]},
        ])
    };
    let json = |body: Value| by("kubectl", patch(PatchKind::Json, Resource::ConfigMap, "m", body));
    let moved = bench.write(json(change(&list))).expect("patched").object;
    assert_eq!(managers(&moved), ["kubectl Apply"]);
    assert_eq!(moved["metadata"]["managedFields"], list);
    bench.settle();
    bench.write(json(change(&list))).expect_err("the object has another version by now");
    // A list that is none counts as not sent; one empty entry forgets all.
    let replace = |list: Value| json!([{"op": "replace", "path": "/metadata/managedFields", "value": list}]);
    for odd in [json!([]), json!([{"manager": "x"}])] {
        let same = bench.write(json(replace(odd))).expect("patched").object;
        assert_eq!(managers(&same), ["kubectl Apply"]);
    }
    let none = bench.write(json(replace(json!([{}])))).expect("patched").object;
    assert_eq!(none["metadata"].get("managedFields"), None);
    bench.settle();
    bench.crash();
    assert_eq!(managers(&bench.read(Resource::ConfigMap, "m")), [""; 0]);
}
