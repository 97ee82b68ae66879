//! Pod Security as a client meets it: refusals, `Warning` headers, annotations of the audit trail, labels of namespaces.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::harness::{Harness, job};

const NAMESPACES: &str = "/api/v1/namespaces";
const MERGE: &str = "application/merge-patch+json";

fn label(key: &str) -> String {
    format!("pod-security.kubernetes.io/{key}")
}

fn namespace(name: &str, labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(key, value)| (label(key), (*value).into())).collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// What Pod Security says in the audit entries of these requests, in their order, once the server has ended.
fn annotations(h: Harness, ids: &[String]) -> Vec<Value> {
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut entries: Vec<Value> = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(1, &mut |row| {
            entries.push(serde_json::from_slice(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    ids.iter()
        .map(|id| {
            let entry = entries.iter().find(|entry| entry["auditID"] == id.as_str());
            let all = entry.unwrap_or_else(|| panic!("no entry {id}"))["annotations"].as_object().unwrap();
            let ours = all.iter().filter(|(key, _)| key.starts_with("pod-security.kubernetes.io/"));
            Value::Object(ours.map(|(key, note)| (key.clone(), note.clone())).collect())
        })
        .collect()
}

#[test]
fn warnings_and_annotations_say_what_a_level_forbids() {
    let h = Harness::start();
    let labels = [
        ("enforce", "baseline"),
        ("enforce-version", "v1.35"),
        ("warn", "restricted"),
        ("audit", "restricted"),
    ];
    h.client.post(NAMESPACES, &namespace("ml", &labels)).expect(201);
    let pods = format!("{NAMESPACES}/ml/pods");
    let jobs = "/apis/batch/v1/namespaces/ml/jobs";
    let wild = h.client.post(&pods, &pod("wild", &json!({"hostPID": true})));
    assert_eq!(warnings(&wild), Vec::<String>::new(), "what is refused is not warned of");
    let mut ids = vec![wild.header("audit-id").to_owned()];
    wild.expect_refusal(
        403,
        "Forbidden",
        "pods \"wild\" is forbidden: violates PodSecurity \"baseline:v1.35\": host namespaces (hostPID=true)",
    );
    let allowed = h.client.post(&pods, &pod("a", &json!({})));
    let words = "allowPrivilegeEscalation != false (container \\\"c\\\" must set \
                 securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \\\"c\\\" must set \
                 securityContext.capabilities.drop=[\\\"ALL\\\"]), runAsNonRoot != true (pod or container \\\"c\\\" must set \
                 securityContext.runAsNonRoot=true), seccompProfile (pod or container \\\"c\\\" must set \
                 securityContext.seccompProfile.type to \\\"RuntimeDefault\\\" or \\\"Localhost\\\")";
    let warned = format!("299 - \"would violate PodSecurity \\\"restricted:latest\\\": {words}\"");
    assert_eq!(warnings(&allowed), std::slice::from_ref(&warned));
    ids.push(allowed.header("audit-id").to_owned());
    allowed.expect(201);
    let mut template = job("j");
    template["spec"]["template"]["spec"] = pod("", &json!({"restartPolicy": "Never"}))["spec"].clone();
    let allowed = h.client.post(jobs, &template);
    assert_eq!(warnings(&allowed), [warned]);
    ids.push(allowed.header("audit-id").to_owned());
    allowed.expect(201);
    let noted = format!("would violate PodSecurity \"restricted:latest\": {}", words.replace('\\', ""));
    let host = "would violate PodSecurity \"restricted:latest\": host namespaces (hostPID=true), ";
    let found = annotations(h, &ids);
    assert_eq!(found[0][label("enforce-policy")], "baseline:v1.35");
    let violations = found[0][label("audit-violations")].as_str().unwrap();
    assert!(violations.starts_with(host), "{violations}");
    let expect = json!({label("audit-violations"): noted, label("enforce-policy"): "baseline:v1.35"});
    assert_eq!(found[1], expect);
    assert_eq!(found[2], json!({label("audit-violations"): noted}), "a template has nothing enforced");
}

#[test]
fn labels_of_namespaces_are_checked_and_told_about() {
    let h = Harness::start();
    h.client.post(NAMESPACES, &namespace("x", &[("enforce", "tight")])).expect_refusal(
        422,
        "Invalid",
        "Namespace \"x\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": must be \
         one of privileged, baseline, restricted",
    );
    h.client.post(NAMESPACES, &namespace("ml", &[("enforce", "privileged")])).expect(201);
    h.client.post(&format!("{NAMESPACES}/ml/pods"), &pod("a", &json!({"hostIPC": true}))).expect(201);
    let relabel = |key: &str, value: &str| {
        let body = json!({"metadata": {"labels": {label(key): value}}});
        h.client.patch(&format!("{NAMESPACES}/ml"), MERGE, &body)
    };
    relabel("warn-version", "1.2").expect_refusal(422, "Invalid", "must be \"latest\" or \"v1.x\"");
    let tightened = relabel("enforce", "baseline");
    assert_eq!(
        warnings(&tightened),
        [
            "299 - \"existing pods in namespace \\\"ml\\\" violate the new PodSecurity enforce level \
             \\\"baseline:latest\\\"\"",
            "299 - \"a: host namespaces\"",
        ]
    );
    tightened.expect(200);
    h.client.post(&format!("{NAMESPACES}/ml/pods"), &pod("b", &json!({"hostIPC": true}))).expect_refusal(
        403,
        "Forbidden",
        "violates PodSecurity",
    );
}

/// Who gave which field: `PATH from GIVER`.
fn givers(told: &Value, paths: &[&str]) -> Vec<String> {
    let fields = told["fields"].as_array().unwrap();
    let of = |path: &&str| {
        let field = fields.iter().find(|field| field["path"] == *path);
        let field = field.unwrap_or_else(|| panic!("no {path}: {told:#}"));
        assert!(!field["why"].as_str().unwrap().is_empty());
        format!("{path}={} from {}", field["value"], field["from"].as_str().unwrap())
    };
    paths.iter().map(of).collect()
}

#[test]
fn admission_is_explained_field_by_field() {
    let h = Harness::start();
    let pods = format!("{NAMESPACES}/default/pods");
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
        "spec": {"limits": [{"type": "Container", "default": {"memory": "1Gi"}}]},
    });
    h.client.post(&format!("{NAMESPACES}/default/limitranges"), &range).expect(201);
    let paths = [
        "spec.containers[0].image",
        "spec.containers[0].resources.limits.memory",
        "spec.containers[0].securityContext.readOnlyRootFilesystem",
        "spec.priority",
        "spec.restartPolicy",
        "spec.securityContext.runAsUser",
    ];
    let given = |author: &str, default: &str| {
        [
            format!("{}=\"i:1\" from {author}", paths[0]),
            format!("{}=\"1Gi\" from LimitRange small", paths[1]),
            format!("{}=true from strict namespace", paths[2]),
            format!("{}=0 from no PriorityClass", paths[3]),
            format!("{}=\"Always\" from {default}", paths[4]),
            format!("{}=7 from {author}", paths[5]),
        ]
    };
    let sent = pod("sent", &json!({"securityContext": {"runAsUser": 7}}));
    let told = h.client.post(&format!("{pods}/sent/admission"), &sent).expect(200);
    assert_eq!((&told["isAdmitted"], &told["namespace"]["enforce"]), (&json!(true), &json!("strict")));
    assert_eq!(givers(&told, &paths), given("manifest", "API default"));
    h.client.get(&format!("{pods}/sent")).expect_refusal(404, "NotFound", "");
    h.client.post(&pods, &sent).expect(201);
    let told = h.client.get(&format!("{pods}/sent/admission")).expect(200);
    let unknown = "manifest or API default";
    assert_eq!(givers(&told, &paths), given(unknown, unknown), "who made it kept no manifest");
    // What was applied is known from then on.
    let mut applied = pod("applied", &json!({"securityContext": {"runAsUser": 7}}));
    applied["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()});
    h.client.post(&pods, &applied).expect(201);
    let told = h.client.get(&format!("{pods}/applied/admission")).expect(200);
    assert_eq!(givers(&told, &paths), given("manifest", "API default"));
    // A Job's pod has its template.
    let mut template = job("j");
    template["spec"]["template"]["spec"]["securityContext"] = json!({"runAsUser": 7});
    h.client.post("/apis/batch/v1/namespaces/default/jobs", &template).expect(201);
    let list = h.client.wait_for(&pods, "the Job's pod", |answer| {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().any(|pod| pod["metadata"]["name"].as_str().unwrap().starts_with("j-"))
    });
    let items = list.body["items"].as_array().unwrap();
    let name =
        items.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).find(|name| name.starts_with("j-"));
    let told = h.client.get(&format!("{pods}/{}/admission", name.unwrap())).expect(200);
    assert_eq!(givers(&told, &paths[1..3]), given("", "")[1..3],);
    assert_eq!(givers(&told, &paths[5..]), [format!("{}=7 from template of Job j", paths[5])]);
}

#[test]
fn a_refusal_is_explained_with_the_way_out() {
    let h = Harness::start();
    h.client
        .post(NAMESPACES, &namespace("ml", &[("enforce", "baseline"), ("warn", "restricted")]))
        .expect(201);
    let pods = format!("{NAMESPACES}/ml/pods");
    let wild = pod("wild", &json!({"hostPID": true, "priorityClassName": "none"}));
    let told = h.client.post(&format!("{pods}/wild/admission"), &wild).expect(200);
    assert_eq!(told["isAdmitted"], false);
    assert_eq!(told["namespace"]["judgedBy"], "baseline:latest");
    assert_eq!(told["refusals"], json!(["no PriorityClass with name none was found"]));
    assert_eq!(
        told["violations"],
        json!([{
            "check": "hostNamespaces", "reason": "host namespaces", "detail": "hostPID=true", "fields": ["spec.hostPID"],
            "why": "in the host's namespaces a container sees the machine's processes, network and shared memory",
            "wayOut": "leave hostNetwork, hostPID and hostIPC out",
        }])
    );
    assert_eq!(told["wouldWarn"].as_array().unwrap().len(), 5);
    assert_eq!(told["wouldNote"], json!([]));
    let wrong = json!({"metadata": {"name": "x"}, "spec": {"hostPID": "yes"}});
    h.client.post(&format!("{pods}/x/admission"), &wrong).expect_refusal(
        400,
        "BadRequest",
        "cannot unmarshal string",
    );
    h.client.post(&format!("{pods}/y/admission"), &wild).expect_refusal(
        400,
        "BadRequest",
        "not that of the pod",
    );
    h.client.get(&format!("{pods}/nobody/admission")).expect_refusal(404, "NotFound", "pods \"nobody\"");
    h.client.anonymous().get(&format!("{pods}/nobody/admission")).expect_refusal(401, "Unauthorized", "");
}
