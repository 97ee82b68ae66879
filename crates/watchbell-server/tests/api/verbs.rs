//! Each verb on objects, and what is refused.

use serde_json::{Value, json};
use watchbell_api::Uid;
use watchbell_api::image::{ImageJudged, ImageOutcome};
use watchbell_api::node::Report;

use crate::harness::{Harness, config_map, job};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

#[test]
fn an_object_lives() {
    let h = Harness::start();
    let answer = h.client.post(MAPS, &config_map("a", "x"));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("audit-id").len(), 36);
    let made = answer.expect(201);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(h.client.get(&format!("{MAPS}/a")).expect(200), made);
    h.client.post(MAPS, &config_map("a", "x")).expect_refusal(
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    );

    let mut changed = made.clone();
    changed["data"]["key"] = "other".into();
    let changed = h.client.put(&format!("{MAPS}/a"), &changed).expect(200);
    assert_eq!(changed["data"]["key"], "other");
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    h.client.put(&format!("{MAPS}/a"), &made).expect_refusal(409, "Conflict", "the object has been modified");
    h.client.put(&format!("{MAPS}/b"), &changed).expect_refusal(
        404,
        "NotFound",
        "configmaps \"b\" not found",
    );

    let gone = h.client.delete(&format!("{MAPS}/a")).expect(200);
    assert_eq!((gone["kind"].as_str(), gone["status"].as_str()), (Some("Status"), Some("Success")));
    h.client.get(&format!("{MAPS}/a")).expect_refusal(404, "NotFound", "configmaps \"a\" not found");
    h.client.delete(&format!("{MAPS}/a")).expect_refusal(404, "NotFound", "configmaps \"a\" not found");
}

#[test]
fn patches_by_content_type() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let path = format!("{MAPS}/a");
    let merged =
        h.client.patch(&path, "application/merge-patch+json", &json!({"data": {"key": null, "m": "1"}}));
    assert_eq!(merged.expect(200)["data"], json!({"m": "1"}));
    let patch = json!([{"op": "add", "path": "/data/j", "value": "2"}]);
    let patched = h.client.patch(&path, "application/json-patch+json", &patch);
    assert_eq!(patched.expect(200)["data"], json!({"m": "1", "j": "2"}));
    let strategic = json!({"metadata": {"labels": {"team": "y"}}});
    let patched = h.client.patch(&path, "application/strategic-merge-patch+json", &strategic).expect(200);
    assert_eq!(patched["metadata"]["labels"]["team"], "y");
    h.client.patch(&path, "application/json", &strategic).expect_refusal(
        415,
        "UnsupportedMediaType",
        "merge-patch+json",
    );
    let failing = json!([{"op": "test", "path": "/data/j", "value": "9"}]);
    assert!(h.client.patch(&path, "application/json-patch+json", &failing).code >= 400);
    assert_eq!(h.client.get(&path).expect(200)["data"]["j"], "2");
}

#[test]
fn dry_runs_change_nothing() {
    let h = Harness::start();
    h.client.post(&format!("{MAPS}?dryRun=All"), &config_map("a", "x")).expect(201);
    h.client.get(&format!("{MAPS}/a")).expect(404);
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    h.client.delete(&format!("{MAPS}/a?dryRun=All")).expect(200);
    h.client.get(&format!("{MAPS}/a")).expect(200);
}

#[test]
fn unknown_fields_by_field_validation() {
    let h = Harness::start();
    let mut object = job("a");
    object["spec"]["template"]["spec"]["containers"][0]["imag\"e"] = "x".into();
    let strict = h.client.post(&format!("{JOBS}?fieldValidation=Strict"), &object);
    strict.expect_refusal(400, "BadRequest", "strict decoding error: unknown field");
    h.client.get(&format!("{JOBS}/a")).expect(404);
    let warned = h.client.post(JOBS, &object);
    assert_eq!(
        warned.header("warning"),
        r#"299 - "unknown field \"spec.template.spec.containers[0].imag\\\"e\"""#,
        "{:?}",
        warned.headers
    );
    warned.expect(201);
}

#[test]
fn invalid_objects_name_their_fields() {
    let h = Harness::start();
    let mut object = job("a");
    object["spec"]["completions"] = json!(-1);
    let answer = h.client.post(JOBS, &object);
    assert_eq!(answer.body["details"]["causes"][0]["field"], "spec.completions", "{}", answer.text);
    answer.expect_refusal(422, "Invalid", "Job.batch \"a\" is invalid: spec.completions");
    let mut wrong = job("a");
    wrong["kind"] = "Pod".into();
    h.client.post(JOBS, &wrong).expect_refusal(400, "BadRequest", "Pod");
    let nowhere = "/apis/batch/v1/namespaces/nowhere/jobs";
    h.client.post(nowhere, &job("a")).expect_refusal(404, "NotFound", "namespaces \"nowhere\" not found");
}

#[test]
fn the_path_says_what_an_object_is() {
    let h = Harness::start();
    let made = h.client.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).expect(201);
    assert_eq!((made["kind"].as_str(), made["apiVersion"].as_str()), (Some("ConfigMap"), Some("v1")));
    let changed = json!({"kind": "", "metadata": {"name": "a"}, "data": {"k": "w"}});
    assert_eq!(h.client.put(&format!("{MAPS}/a"), &changed).expect(200)["data"]["k"], "w");
    let other = json!({"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "b"}});
    h.client.post(MAPS, &other).expect_refusal(400, "BadRequest", "v2");
}

#[test]
fn yaml_goes_in_and_comes_out() {
    let h = Harness::start();
    let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata:\n  a: 'true'\n";
    let headers = [("Content-Type", "application/yaml"), ("Accept", "application/yaml")];
    let answer = h.client.call("POST", MAPS, &headers, text);
    assert_eq!((answer.code, answer.header("content-type")), (201, "application/yaml"));
    let documents = watchbell_api::decode::yaml(answer.text.as_bytes()).unwrap();
    assert_eq!(documents[0]["data"]["a"], "true");
}

#[test]
fn a_status_is_written_alone() {
    let h = Harness::start();
    h.client.post(JOBS, &job("a")).expect(201);
    let path = format!("{JOBS}/a/status");
    let mut object = h.client.get(&path).expect(200);
    object["spec"]["parallelism"] = 7.into();
    h.client.put(&path, &object);
    let after = h.client.get(&format!("{JOBS}/a")).expect(200);
    assert_eq!(after["spec"]["parallelism"], 1);
    h.client.post(&path, &object).expect_refusal(405, "MethodNotAllowed", "");
    h.client.get(&format!("{MAPS}/kube-root-ca.crt/status")).expect_refusal(
        404,
        "NotFound",
        "could not find",
    );
}

#[test]
fn deletion_takes_options_from_body_and_query() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let body =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "nobody"}}).to_string();
    let headers = [("Content-Type", "application/json")];
    let refused = h.client.call("DELETE", &format!("{MAPS}/a"), &headers, body.as_bytes());
    refused.expect_refusal(409, "Conflict", "");
    let wrong = h.client.call("DELETE", &format!("{MAPS}/a"), &headers, b"{\"kind\":\"Job\"}");
    wrong.expect_refusal(400, "BadRequest", "DeleteOptions");
    h.client.delete(&format!("{MAPS}/a?propagationPolicy=No")).expect_refusal(
        422,
        "Invalid",
        "propagationPolicy",
    );
    h.client.get(&format!("{MAPS}/a")).expect(200);

    h.client.post(JOBS, &job("j")).expect(201);
    let (_, pod) = h.started();
    h.client.delete(&format!("{JOBS}/j?propagationPolicy=Background")).expect(200);
    h.client.get(&format!("{JOBS}/j")).expect(404);
    // Its pod runs and is told to end; until the node says so it is there, marked.
    h.client.wait_for(&format!("/api/v1/namespaces/default/pods/{pod}"), "marked as deleted", |answer| {
        answer.code == 404 || answer.body["metadata"]["deletionTimestamp"].is_string()
    });
}

#[test]
fn collections_are_swept_by_selector() {
    let h = Harness::start();
    for (name, team) in [("a", "x"), ("b", "y"), ("c", "x")] {
        h.client.post(MAPS, &config_map(name, team)).expect(201);
    }
    let swept = h.client.delete(&format!("{MAPS}?labelSelector=team%3Dx")).expect(200);
    assert_eq!(swept["items"].as_array().map(Vec::len), Some(2));
    h.client.get(&format!("{MAPS}/a")).expect(404);
    h.client.get(&format!("{MAPS}/b")).expect(200);
    h.client.delete("/api/v1/configmaps").expect_refusal(405, "MethodNotAllowed", "");
}

/// As much goes as was asked for, and what is required of each is required.
#[test]
fn a_collection_is_swept_in_pages_and_under_conditions() {
    let h = Harness::start();
    for name in ["a", "b", "c"] {
        h.client.post(MAPS, &config_map(name, "x")).expect(201);
    }
    let team = format!("{MAPS}?labelSelector=team%3Dx");
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = h.client.get(&format!("{team}&limit=1")).expect(200);
    let uid = &list["items"][0]["metadata"]["uid"];
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
    h.client
        .call("DELETE", &team, &[("Content-Type", "application/json")], options.to_string().as_bytes())
        .expect_refusal(409, "Conflict", "UID in precondition");
    let of_list = list["metadata"]["continue"].as_str().unwrap();
    h.client.delete(&format!("{team}&limit=1&continue={of_list}")).expect_refusal(
        400,
        "BadRequest",
        "this continue token is of a list",
    );
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    h.client.delete(&format!("{team}&resourceVersion={version}&resourceVersionMatch=Exact")).expect_refusal(
        400,
        "BadRequest",
        "resourceVersionMatch=Exact is not supported",
    );
    let beyond = h.client.delete(&format!("{team}&resourceVersion=1{version}"));
    beyond.expect_refusal(504, "Timeout", "Too large resource version");
    assert_eq!(names(&h.client.get(&team).expect(200)), ["a", "b", "c"]);

    let first = h.client.delete(&format!("{team}&limit=2")).expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(names(&h.client.get(&team).expect(200)), ["c"]);
    let rest = first["metadata"]["continue"].as_str().unwrap();
    let last = h.client.delete(&format!("{team}&limit=2&continue={rest}")).expect(200);
    assert_eq!((names(&last), last["metadata"].get("continue")), (vec!["c".to_owned()], None));
}

#[test]
fn single_objects_as_table_and_metadata() {
    let h = Harness::start();
    h.client.post(JOBS, &job("a")).expect(201);
    let path = format!("{JOBS}/a");
    let table = h.client.get_as(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(
        table["rows"][0]["cells"].as_array().map(Vec::len),
        table["columnDefinitions"].as_array().map(Vec::len)
    );
    let metadata =
        h.client.get_as(&path, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").expect(200);
    assert_eq!(metadata["kind"], "PartialObjectMetadata");
    assert!(metadata.get("spec").is_none());
    let unknown = h.client.get_as(&path, "application/cbor");
    unknown.expect_refusal(406, "NotAcceptable", "application/json");
}

#[test]
fn jobs_run_to_their_end() {
    use watchbell_api::types::pod_status::{ContainerState, Phase, Terminated, TerminatedReason};
    let (h, uid, _) = Harness::with_running_pod();
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(1),
        finished_at: 2,
    };
    h.report(uid, Phase::Succeeded, ContainerState::Terminated(end));
    let done = h.client.wait_for(&format!("{JOBS}/a"), "complete", |answer| {
        answer.body["status"]["conditions"]
            .as_array()
            .is_some_and(|list| list.iter().any(|c| c["type"] == "Complete" && c["status"] == "True"))
    });
    assert_eq!(done.body["status"]["succeeded"], 1);
    let metrics = h.client.get("/metrics");
    for line in [
        "watchbell_pods_started_total 1",
        "watchbell_pods_ended_total{phase=\"Succeeded\"} 1",
        "watchbell_pods{phase=\"Succeeded\"} 1",
        "watchbell_objects{resource=\"jobs.batch\"} 1",
        "watchbell_requests_total{method=\"POST\",code=\"201\"} 1",
    ] {
        assert!(metrics.text.lines().any(|l| l == line), "{line}\n{}", metrics.text);
    }
}

#[test]
fn what_policies_of_images_do_is_counted() {
    let (h, uid, _) = Harness::with_running_pod();
    let judged = |uid, outcome, image: &str| {
        let judged = Box::new(ImageJudged {
            container: "main".into(),
            image: image.into(),
            digest: "sha256:d".into(),
            outcome,
            reasons: Vec::new(),
        });
        (h.state.reports())(Report::ImageJudged { uid, judged });
    };
    judged(uid, ImageOutcome::Refused, "a:1");
    judged(uid, ImageOutcome::Refused, "a:2");
    // Of a pod that is not there any more.
    judged(Uid::from_random([7; 16]), ImageOutcome::Refused, "a:1");
    judged(uid, ImageOutcome::Warned, "a:3");
    let name = "watchbell_image_policy_verdicts_total";
    let page = h.client.wait_for("/metrics", "counted", |answer| {
        answer.text.contains(&format!("{name}{{verdict=\"warned\"}} 1\n"))
    });
    for line in [
        &format!("{name}{{verdict=\"refused\"}} 2"),
        &format!("{name}{{verdict=\"noted\"}} 0"),
        "watchbell_cronjobs_held 0",
        "watchbell_image_findings{severity=\"Critical\"} 0",
        "# TYPE watchbell_image_findings gauge",
    ] {
        assert!(page.text.lines().any(|found| found == line), "{line}\n{}", page.text);
    }
}
