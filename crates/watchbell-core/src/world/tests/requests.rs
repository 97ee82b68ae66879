//! Create, read, update, patch: what is answered, and what a refusal leaves behind.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, array, config_map, create_request, cron, job, pod, request};
use crate::request::{DeleteOptions, DryRun, Outcome, PatchKind, Request, Subresource, Write};

/// A request is refused with this reason and these words, and nothing is changed by it but the audit journal.
fn check_refused(bench: &mut Bench, request: Request, reason: Reason, words: &str) {
    let before = everything(bench);
    let version = bench.world.resource_version();
    let entries = bench.journal.audit.len();
    let error = match bench.write(request) {
        Ok(written) => panic!("accepted: {:#}", written.object),
        Err(error) => error,
    };
    assert_eq!(error.reason, reason, "{error}");
    assert!(error.message.contains(words), "{error}");
    let stage = bench.step();
    assert!(stage.changes.is_empty() && stage.rows.is_empty() && stage.commands.is_empty(), "{stage:?}");
    assert_eq!(everything(bench), before);
    assert_eq!(bench.world.resource_version(), version);
    let audit = &bench.journal.audit[entries..];
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0].body["responseStatus"]["code"], error.reason.code());
}

fn everything(bench: &Bench) -> Vec<Value> {
    Resource::all().flat_map(|resource| bench.list(resource)).collect()
}

#[test]
fn what_is_created_is_read_once_it_is_committed() {
    let mut bench = Bench::new();
    let answer = bench.create(config_map("a"));
    assert_eq!(bench.get(Resource::ConfigMap, "a"), None);
    bench.step();
    let read = bench.read(Resource::ConfigMap, "a");
    assert_eq!(read, answer);
    assert_eq!(read["metadata"]["namespace"], "ml");
    assert_eq!(read["metadata"]["creationTimestamp"], "2026-03-01T00:00:00Z");
    assert_eq!(read["metadata"]["resourceVersion"], bench.world.resource_version().to_string());
    let audit = &bench.journal.audit.last().expect("an entry").body;
    assert_eq!(audit["verb"], "create");
    assert_eq!(audit["responseStatus"]["code"], 201);
    assert_eq!(audit["objectRef"]["name"], "a");
    assert!(!audit.to_string().contains("\"data\""), "bodies do not stand in the journal");
}

#[test]
fn creation_is_refused() {
    let mut bench = Bench::new();
    bench.create(config_map("taken"));
    bench.settle();
    let mut check = |object: Value, reason: Reason, words: &str| {
        check_refused(&mut bench, create_request(object), reason, words);
    };
    check(config_map("taken"), Reason::AlreadyExists, "configmaps \"taken\" already exists");
    let mut versioned = config_map("a");
    versioned["metadata"]["resourceVersion"] = "7".into();
    check(versioned, Reason::BadRequest, "resourceVersion should not be set");
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = "nowhere".into();
    check(elsewhere, Reason::NotFound, "namespaces \"nowhere\" not found");
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    check(nameless, Reason::Invalid, "name or generateName is required");
    let mut unknown = config_map("a");
    unknown["daat"] = json!({});
    check(unknown, Reason::BadRequest, "strict decoding error: unknown field \"daat\"");
    let mut wrong = config_map("a");
    wrong["data"] = json!({"a": 1});
    check(wrong, Reason::BadRequest, "ConfigMap in version \"v1\" cannot be handled as a ConfigMap");
    check(
        cron("a", "61 * * * *", json!({})),
        Reason::Invalid,
        "spec.schedule: Invalid value: \"61 * * * *\"",
    );
    check(
        cron("a", "0 * * * *", json!({"timeZone": "Mars/Olympus"})),
        Reason::Invalid,
        "spec.timeZone: Invalid value: \"Mars/Olympus\"",
    );
    let mut catch_up = cron("a", "0 * * * *", json!({}));
    catch_up["metadata"]["annotations"] = json!({"watchbell.dev/catch-up": "some"});
    check(catch_up, Reason::Invalid, "metadata.annotations[watchbell.dev/catch-up]");
    let mut urgent = pod("a");
    urgent["spec"]["priorityClassName"] = "urgent".into();
    check(urgent, Reason::Forbidden, "no PriorityClass with name urgent was found");
    let mut strict = pod("a");
    strict["metadata"]["namespace"] = "default".into();
    strict["spec"]["hostNetwork"] = true.into();
    check(
        strict,
        Reason::Forbidden,
        "host namespaces (hostNetwork=true). The namespace \"default\" has no Pod Security level",
    );
}

#[test]
fn a_body_of_another_kind_or_namespace_is_refused() {
    let mut bench = Bench::new();
    let mut other_kind = create_request(config_map("a"));
    other_kind.resource = Resource::Secret;
    check_refused(&mut bench, other_kind, Reason::BadRequest, "the path is that of Secret of v1");
    let mut other_namespace = create_request(config_map("a"));
    other_namespace.namespace = "default".into();
    if let Write::Create(object) = &mut other_namespace.write {
        object["metadata"]["namespace"] = "ml".into();
    }
    check_refused(&mut bench, other_namespace, Reason::BadRequest, "does not match the namespace sent");
}

#[test]
fn generated_names_differ() {
    let mut bench = Bench::new();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"}});
    let names: Vec<Value> =
        (0..20).map(|_| bench.create(object.clone())["metadata"]["name"].clone()).collect();
    for (i, name) in names.iter().enumerate() {
        assert!(name.as_str().is_some_and(|n| n.starts_with("run-") && n.len() == 9), "{name}");
        assert!(!names[..i].contains(name));
    }
}

#[test]
fn warnings_are_given_and_stop_nothing() {
    let mut bench = Bench::new();
    let mut check = |object: Value, words: &str| {
        let written = bench.try_create(object).unwrap_or_else(|error| panic!("{error}"));
        assert!(written.warnings.iter().any(|w| w.contains(words)), "{:?}", written.warnings);
    };
    check(cron("never", "0 0 30 2 *", json!({})), "never fires");
    let mut urgent = job("urgent", json!({}));
    urgent["spec"]["template"]["spec"]["priorityClassName"] = "urgent".into();
    check(urgent, "no PriorityClass with name urgent was found");
}

#[test]
fn an_update_must_know_the_version_it_changes() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    bench.settle();
    let stale = bench.read(Resource::ConfigMap, "a");
    let update = |object: &Value, value: &str| {
        let mut object = object.clone();
        object["data"]["a"] = value.into();
        Request { write: Write::Update(object), ..request(Resource::ConfigMap, "ml", "a") }
    };
    let written = bench.write(update(&stale, "2")).expect("the version is the newest");
    assert_eq!(written.outcome, Outcome::Done);
    bench.settle();
    check_refused(&mut bench, update(&stale, "3"), Reason::Conflict, "the object has been modified");
    let mut blind = stale.clone();
    blind["metadata"].as_object_mut().expect("metadata").shift_remove("resourceVersion");
    bench.write(update(&blind, "4")).expect("without a version the last one wins");
    let mut foreign = blind.clone();
    foreign["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000".into();
    bench.settle();
    check_refused(&mut bench, update(&foreign, "5"), Reason::Conflict, "UID in precondition");
    let stale_delete = DeleteOptions {
        precondition_resource_version: stale["metadata"]["resourceVersion"].as_str().map(str::to_owned),
        ..DeleteOptions::default()
    };
    let delete = Request { write: Write::Delete(stale_delete), ..request(Resource::ConfigMap, "ml", "a") };
    check_refused(&mut bench, delete, Reason::Conflict, "ResourceVersion in precondition");
    assert_eq!(bench.read(Resource::ConfigMap, "a")["data"]["a"], "4");
}

#[test]
fn an_update_that_changes_nothing_makes_no_version() {
    let mut bench = Bench::new();
    bench.create(array("a", 3, 1));
    bench.settle();
    for resource in [Resource::Job, Resource::Pod] {
        let object = bench.list(resource).remove(0);
        let name = object["metadata"]["name"].as_str().expect("a name");
        let same = Request { write: Write::Update(object.clone()), ..request(resource, "ml", name) };
        bench.write(same).expect("accepted");
        assert!(bench.step().changes.is_empty());
    }
}

#[test]
fn the_server_keeps_its_fields() {
    let mut bench = Bench::new();
    bench.create(array("a", 3, 1));
    bench.settle();
    let before = bench.read(Resource::Job, "a");
    let mut changed = before.clone();
    for field in ["creationTimestamp", "generateName", "deletionTimestamp"] {
        changed["metadata"][field] = "2020-01-01T00:00:00Z".into();
    }
    changed["metadata"]["generation"] = 77.into();
    changed["metadata"]["labels"] = json!({"team": "weather"});
    changed["status"] = json!({"succeeded": 3});
    bench
        .write(Request { write: Write::Update(changed), ..request(Resource::Job, "ml", "a") })
        .expect("accepted");
    bench.settle();
    let mut after = bench.read(Resource::Job, "a");
    assert_eq!(after["metadata"]["labels"], json!({"team": "weather"}));
    after["metadata"]["labels"] = before["metadata"]["labels"].clone();
    after["metadata"]["managedFields"] = before["metadata"]["managedFields"].clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before);
}

#[test]
fn generation_counts_changes_of_the_spec() {
    let mut bench = Bench::new();
    bench.create(array("a", 3, 1));
    bench.patch(Resource::Job, "a", json!({"spec": {"parallelism": 2}}));
    bench.patch(Resource::Job, "a", json!({"metadata": {"labels": {"x": "y"}}}));
    bench.settle();
    let job = bench.read(Resource::Job, "a");
    assert_eq!(job["metadata"]["generation"], 2);
    assert_eq!(bench.list(Resource::Pod).len(), 2);
}

#[test]
fn a_dry_run_answers_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    bench.settle();
    let writes = [
        create_request(config_map("b")),
        Request {
            write: Write::Patch { kind: PatchKind::Merge, body: json!({"data": {"a": "2"}}) },
            ..request(Resource::ConfigMap, "ml", "a")
        },
        request(Resource::ConfigMap, "ml", "a"),
    ];
    for mut write in writes {
        write.options.dry_run = DryRun::All;
        bench.write(write).expect("it would be accepted");
        let stage = bench.step();
        assert!(stage.changes.is_empty());
        assert_eq!(stage.audit[0].body["annotations"]["watchbell.dev/dry-run"], "All");
    }
    assert_eq!(bench.read(Resource::ConfigMap, "a")["data"]["a"], "1");
}

#[test]
fn status_is_written_by_its_own_door() {
    let mut bench = Bench::new();
    bench.create(cron("c", "0 0 1 1 *", json!({})));
    bench.create(job("j", json!({"managedBy": "example.com/other"})));
    bench.create(pod("p"));
    bench.settle();
    let patch = |resource, name: &str, body: Value| Request {
        subresource: Subresource::Status,
        write: Write::Patch { kind: PatchKind::Merge, body },
        ..request(resource, "ml", name)
    };
    let body = json!({
        "metadata": {"annotations": {"patched": "true"}}, "spec": {"suspend": true},
        "status": {"lastScheduleTime": "2026-02-28T00:00:00Z"},
    });
    bench.write(patch(Resource::CronJob, "c", body)).expect("accepted");
    bench.settle();
    let cron = bench.read(Resource::CronJob, "c");
    assert_eq!(cron["status"]["lastScheduleTime"], "2026-02-28T00:00:00Z");
    assert_eq!(cron["metadata"]["annotations"]["patched"], "true");
    assert_eq!(cron["spec"]["suspend"], false);
    let body = json!({"status": {"active": 2, "startTime": "2026-02-28T00:00:00Z"}});
    bench.write(patch(Resource::Job, "j", body)).expect("accepted");
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "j")["status"]["active"], 2);
    check_refused(
        &mut bench,
        patch(Resource::CronJob, "c", json!({"status": {"lastScheduleTime": "yesterday"}})),
        Reason::BadRequest,
        "status.lastScheduleTime",
    );
    let body = json!({"status": {"phase": "Succeeded", "conditions": [{"type": "A", "status": "True"}]}});
    let written = bench.write(patch(Resource::Pod, "p", body)).expect("accepted");
    assert_eq!(written.warnings, ["status.phase of a pod is what the node sees: it stays"]);
    bench.settle();
    let pod = bench.read(Resource::Pod, "p");
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["conditions"][1]["type"]),
        (&json!("Pending"), &json!("A"))
    );
    let mut create = create_request(config_map("x"));
    create.subresource = Subresource::Status;
    check_refused(&mut bench, create, Reason::MethodNotAllowed, "not created");
}

/// The metadata come with a status, and under the same rules as by any other door.
#[test]
fn metadata_that_come_with_a_status_are_checked() {
    let mut bench = Bench::new();
    let mut held = cron("c", "0 0 1 1 *", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    bench.create(held);
    bench.create(array("j", 1, 1));
    bench.settle();
    let patch = |resource, name: &str, metadata: Value| Request {
        subresource: Subresource::Status,
        write: Write::Patch { kind: PatchKind::Merge, body: json!({"metadata": metadata}) },
        ..request(resource, "ml", name)
    };
    let wrong = [
        (json!({"labels": {"no label": "x"}}), "metadata.labels"),
        (json!({"labels": {"team": "no value!"}}), "metadata.labels"),
        (json!({"annotations": {"a": "x".repeat(257 << 10)}}), "metadata.annotations"),
        (json!({"finalizers": ["unqualified"]}), "metadata.finalizers"),
        (
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": ""}]}),
            "uid",
        ),
    ];
    for (metadata, field) in wrong {
        check_refused(&mut bench, patch(Resource::CronJob, "c", metadata), Reason::Invalid, field);
    }
    bench.try_delete(Resource::CronJob, "c", DeleteOptions::default()).expect("it waits for its finalizer");
    bench.settle();
    let added = json!({"finalizers": ["example.com/a", "example.com/b"]});
    check_refused(
        &mut bench,
        patch(Resource::CronJob, "c", added),
        Reason::Invalid,
        "no new finalizers can be added",
    );
    // As in Kubernetes a pod's owners are not told with its status: it stays its Job's.
    let name = bench.names(Resource::Pod).remove(0);
    let before = bench.read(Resource::Pod, &name);
    let taken = json!({"ownerReferences": null, "annotations": {"seen": "true"}});
    bench.write(patch(Resource::Pod, &name, taken)).expect("accepted");
    bench.settle();
    let pod = bench.read(Resource::Pod, &name);
    assert_eq!(pod["metadata"]["ownerReferences"], before["metadata"]["ownerReferences"]);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "j");
    assert_eq!(pod["metadata"]["annotations"]["seen"], "true");
    assert_eq!(bench.names(Resource::Pod), [name]);
}

#[test]
fn a_commit_that_failed_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.create(array("a", 5, 2));
    bench.settle();
    let before = everything(&bench);
    let version = bench.world.resource_version();
    let (invariants, queue) = (bench.world.check_invariants(), bench.world.node_sync().len());
    bench.create(config_map("lost"));
    bench.create(array("lost", 5, 2));
    bench.delete(Resource::Job, "a", crate::request::Propagation::Background);
    bench.world.settle(bench.at());
    assert!(!bench.world.take_stage(bench.at()).is_empty());
    bench.world.rollback(bench.at());
    assert_eq!(everything(&bench), before);
    assert_eq!(bench.world.check_invariants(), invariants);
    assert_eq!(bench.world.node_sync().len(), queue);
    bench.settle();
    assert_eq!(everything(&bench), before, "settling again changes nothing");
    // Versions that were seen by nobody are not given out again.
    bench.create(config_map("next"));
    bench.settle();
    let next = bench.read(Resource::ConfigMap, "next")["metadata"]["resourceVersion"].clone();
    assert!(next.as_str().and_then(|v| v.parse::<u64>().ok()).is_some_and(|v| v > version + 3), "{next}");
}

/// Nothing of what was sent stays for ever, but where it was wrong.
#[test]
fn what_is_refused_is_not_kept_in_the_journal() {
    let mut bench = Bench::new();
    let mut object = job("a", json!({}));
    object["spec"]["template"]["spec"]["containers"][0]["name"] = "S3CRET".into();
    object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "S3CRET".into();
    let error = bench.try_create(object).unwrap_err();
    assert!(error.message.contains("S3CRET"), "who sent it is told: {error}");
    bench.create(config_map("b"));
    let wrong = json!([{"op": "test", "path": "/data", "value": "S3CRET"}]);
    bench.settle();
    let patch = Write::Patch { kind: PatchKind::Json, body: wrong };
    bench.write(Request { write: patch, ..request(Resource::ConfigMap, "ml", "b") }).unwrap_err();
    bench.settle();
    let told: Vec<&Value> =
        bench.journal.audit.iter().map(|r| &r.body["responseStatus"]["message"]).collect();
    assert!(told.iter().all(|message| !message.to_string().contains("S3CRET")), "{told:?}");
    let one = told.iter().find(|message| message.is_string()).expect("a refusal").as_str().unwrap();
    assert!(
        one.starts_with("Job.batch \"a\" is invalid: [") && one.contains("containers[0].name: Invalid value"),
        "{one}"
    );
    assert!(one.contains("containers[0].imagePullPolicy: Unsupported value: supported values:"), "{one}");
}
