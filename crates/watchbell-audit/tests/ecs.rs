//! Each field of a document is a published field of ECS with its type, or one of ours; the template, the documents and the
//! list of fields say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use watchbell_audit::export::ecs::{self, Context, DEFAULT_INDEX, ECS_VERSION, Kind, Level, Original};
use watchbell_audit::export::fields::{FIELDS, FieldType, OWN_PREFIX, find};
use watchbell_audit::export::template::{Engine, INDEX_PATTERN, template};
use watchbell_audit::export::{Entry, LogPlace, hex};
use watchbell_audit::leaf_hash;

/// A published field.
struct Published {
    kind: String,
    is_array: bool,
    allowed: Vec<String>,
}

/// The published list, and its version.
fn published() -> (String, BTreeMap<String, Published>) {
    let text = include_str!("ecs/fields.tsv");
    let mut lines = text.lines();
    let version = lines.next().unwrap().split([' ', ',']).nth(4).unwrap().to_owned();
    let fields = lines.map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, kind, normalize, allowed] = cells[..] else { panic!("{line}") };
        let allowed = allowed.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect();
        (name.to_owned(), Published { kind: kind.into(), is_array: normalize == "array", allowed })
    });
    (version, fields.collect())
}

fn context() -> Context {
    Context::new("testhost", "1.2.3", DEFAULT_INDEX, Original::Omit)
}

fn entry(body: &Value) -> Entry {
    Entry {
        epoch: [0x5a; 16],
        index: 41,
        log: Some(LogPlace { origin: "watchbell.dev/log/5a/epoch-2".into(), index: 3 }),
        at_unix_nanos: 1_764_140_000_123_456_789,
        body: body.to_string().into_bytes(),
    }
}

fn document(body: &Value) -> Value {
    document_of(&context(), &entry(body)).0
}

fn document_of(context: &Context, entry: &Entry) -> (Value, ecs::Summary) {
    let mut line = Vec::new();
    let summary = ecs::write(context, entry, &mut line);
    assert!(!line.contains(&b'\n'), "a document is one line");
    (serde_json::from_slice(&line).unwrap(), summary)
}

/// Each leaf by its name with dots; lists are leaves, and so are the objects whose keys are their own.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        let is_leaf = find(prefix).is_some_and(|field| field.kind == FieldType::Flattened);
        match value {
            Value::Object(map) if !is_leaf => {
                for (key, below) in map {
                    let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&name, below, found);
                }
            }
            _ => found.push((prefix.to_owned(), value.clone())),
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}

fn request(changes: Value) -> Value {
    let mut body = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id-1",
        "stage": "ResponseComplete", "verb": "create", "requestURI": "/apis/batch/v1/namespaces/ml/jobs?dryRun=All",
        "user": {"username": "ada", "uid": "u-1", "groups": ["ml", "system:authenticated"],
                 "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]}},
        "sourceIPs": ["192.0.2.7", "2001:db8::1"], "userAgent": "kubectl/v1.36",
        "objectRef": {"resource": "jobs", "apiGroup": "batch", "apiVersion": "v1", "namespace": "ml", "name": "train",
                      "uid": "o-1", "resourceVersion": "12"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": "2026-11-26T06:51:55Z", "stageTimestamp": "2026-11-26T06:51:55.25Z",
    });
    merge(&mut body, changes);
    body
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn run(action: &str, details: Value) -> Value {
    json!({
        "kind": "RunEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": "2026-11-26T06:51:55Z",
        "objectRef": {"resource": "jobs", "apiGroup": "batch", "apiVersion": "v1", "namespace": "ml", "name": "train"},
        "action": action, "details": details,
    })
}

/// Of the log itself, or of the server: no object.
fn about(kind: &str, action: &str, details: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": "2026-11-26T06:51:55Z",
        "action": action, "details": details,
    })
}

/// Entries of every kind that the server writes, and of some that a later one may write.
fn corpus() -> Vec<Value> {
    let exec = json!({
        "verb": "create", "objectRef": {"resource": "pods", "apiGroup": "", "subresource": "exec"},
        "annotations": {"watchbell.dev/container": "main", "watchbell.dev/command": "[\"sh\",\"-c\",\"id\"]",
                        "watchbell.dev/exit-code": "3"},
        "responseStatus": {"code": 101, "message": "the command ended with 3"},
    });
    let mut begun = exec.clone();
    begun["stage"] = "ResponseStarted".into();
    vec![
        request(json!({})),
        request(json!({"verb": "get"})),
        request(json!({"verb": "watch", "stage": "ResponseStarted"})),
        request(json!({"verb": "patch", "objectRef": {"subresource": "status"}})),
        request(json!({"verb": "deletecollection", "impersonatedUser": {"username": "bob"}})),
        request(
            json!({"verb": "create", "objectRef": {"resource": "pods", "apiGroup": "", "subresource": "eviction"}}),
        ),
        request(json!({"verb": "create", "objectRef": {"resource": "selfsubjectaccessreviews"}})),
        request(
            json!({"verb": "create", "objectRef": {"resource": "rolebindings", "apiGroup": "rbac.authorization.k8s.io"},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: allowed by …"}}),
        ),
        request(
            json!({"verb": "delete", "responseStatus": {"code": 403, "reason": "Forbidden", "message": "jobs is forbidden"},
            "annotations": {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}}),
        ),
        request(json!({"responseStatus": {"code": 403}, "annotations": {
            "pod-security.kubernetes.io/enforce-policy": "restricted:v1.36",
            "pod-security.kubernetes.io/audit-violations": "would violate …"}})),
        request(exec),
        request(begun),
        json!({"kind": "Event", "level": "Metadata", "auditID": "", "stage": "ResponseComplete", "sourceIPs": ["192.0.2.9"],
            "user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
            "responseStatus": {"status": "Failure", "code": 401, "message": "requests without an identity"},
            "annotations": {"watchbell.dev/count": "17"}}),
        request(
            json!({"verb": "get", "objectRef": null, "requestURI": "/metrics", "responseStatus": {"code": 403}}),
        ),
        run("started", json!({"slot": "2026-11-26T06:00:00Z", "job": "train-29", "uid": "o-2"})),
        run(
            "skipped",
            json!({"first": "2026-11-26T05:00:00Z", "slot": "2026-11-26T06:00:00Z", "count": "2", "reason": "suspended"}),
        ),
        run(
            "admitted",
            json!({"containers": [{"name": "main", "image": "docker.io/library/busybox:1@sha256:ab", "privileged": false}],
            "hostNetwork": false}),
        ),
        run(
            "admitted",
            json!({"containers": [{"name": "a", "image": "x@sha256:1"}, {"name": "b", "image": "y"}]}),
        ),
        run("images-resolved", json!({"uid": "o-1", "images": ["docker.io/library/busybox@sha256:ab"]})),
        run(
            "confined",
            json!({"uid": "o-1", "name": "5f3a9c1e", "settings": {
                "container": "main", "image": "docker.io/library/busybox@sha256:ab", "privileged": false,
                "capabilities": "none"}}),
        ),
        run(
            "pods-started",
            json!({"uid": "o-1", "started": [[0, 0, 0, 0, "5f3a9c1e", 1_000_000], [1, 0, 0, 0, null, null]]}),
        ),
        run(
            "pods-ended",
            json!({"uid": "o-1", "started": [[4, 0, 0, 0, "5f3a9c1e", null]], "ended": [[4, 0, "Succeeded", 0]]}),
        ),
        about("LogEvent", "restored", json!({"epoch": 2, "backup": {"entries": 4}})),
        about("LogEvent", "key-rotating", json!({"publicKey": "x"})),
        about("LogEvent", "key-rotated", json!({"epoch": 2})),
        about("ServerEvent", "keys-in-use", json!({"server": {"sha256": "ab"}})),
        run("pods-created", json!({"uid": "o-1", "created": [[0, 1], [1, 1]]})),
        run("pods-ended", json!({"uid": "o-1", "ended": [[0, 1, "Succeeded", 0]]})),
        run(
            "pods-ended",
            json!({"uid": "o-1", "ended": [[0, 1, "Succeeded", 0], [1, 1, "Failed", 137], [2, 1, "Removed", null]]}),
        ),
        run("completed", json!({"uid": "o-1", "reason": "CompletionsReached", "succeeded": 3, "failed": 0})),
        run("failed", json!({"uid": "o-1", "reason": "BackoffLimitExceeded", "succeeded": 1, "failed": 7})),
        run("deleted", json!({"uid": "o-1", "reason": "beyond spec.failedJobsHistoryLimit"})),
        run("expired", json!({})),
        run("refused-at-start", json!({"uid": "o-1", "why": "violates PodSecurity"})),
        run("policies", json!({"uid": "o-1", "annotations": {"validation.policy/p": "no"}})),
        run("array-committed", json!({"uid": "o-1", "committed": [[0, 0, 1, 64]]})),
        run("gate-started", json!({"uid": "o-1", "gate": "look-1"})),
        run("array-published", json!({"uid": "o-1", "array": "a", "snapshot": "ab"})),
        run("array-refused", json!({"uid": "o-1", "at": "start", "message": "no right"})),
        run("array-rolled-back", json!({"uid": "o-1", "to": "ab"})),
        run("array-changed", json!({"uid": "o-1"})),
        run("array-found", json!({"uid": "o-1"})),
        run(
            "image-refused",
            json!({"uid": "o-1", "image": "x", "digest": "sha256:1", "reason": "not signed"}),
        ),
        run(
            "vulnerabilities-found",
            json!({"uid": "o-1", "image": "x", "count": 2, "advisories": ["CVE-2026-1"]}),
        ),
        run(
            "connection-allowed",
            json!({"uid": "o-1", "job": "train", "at": "2026-11-26T06:51:55.5Z", "connection": 7, "name": "data.example",
                "address": "151.101.0.223", "port": 443, "policy": "ml/data"}),
        ),
        run(
            "connection-refused",
            json!({"uid": "o-1", "connection": 8, "name": "evil.example", "reason": "NoRule", "why": "no policy allows it"}),
        ),
        run(
            "connection-ended",
            json!({"uid": "o-1", "at": "2026-11-26T06:51:57Z", "connection": 7, "address": "2001:db8::1", "port": 443,
                "how": "Closed", "nanoseconds": 1_500_000_000, "sent": 10, "received": 20}),
        ),
        run(
            "connections-counted",
            json!({"uid": "o-1", "allowed": 1, "refused": 2, "ended": 3, "sent": 4, "received": 5,
                "reached": [{"name": "a.example", "port": 443, "count": 1}, {"address": "192.0.2.7", "port": 80, "count": 1}]}),
        ),
        run("connections-lost", json!({"count": 7})),
        run("gate-lost", json!({"from": "2026-11-26T06:51:47Z", "until": "2026-11-26T06:51:57Z"})),
        run("an-action-of-tomorrow", json!({"anything": {"at": ["all"]}})),
        json!({"kind": "Tomorrow"}),
        json!("no object at all"),
        json!({"kind": "Event", "verb": 7}),
    ]
}

#[test]
fn every_field_is_published_with_its_type_or_ours() {
    let (version, published) = published();
    assert_eq!(version, ECS_VERSION);
    assert!(published.len() > 2000, "{}", published.len());
    for field in FIELDS {
        match published.get(field.name) {
            Some(there) => assert_eq!(there.kind, field.kind.as_str(), "{}", field.name),
            None => assert!(field.name.starts_with(OWN_PREFIX), "ECS has no field {}", field.name),
        }
    }
    // Ours cannot become theirs: nobody else has the name.
    assert!(!published.keys().any(|name| name.starts_with(OWN_PREFIX)));
    let names: Vec<&str> = FIELDS.iter().map(|f| f.name).collect();
    assert!(names.is_sorted() && names.iter().collect::<BTreeSet<_>>().len() == names.len());
}

fn fits(kind: FieldType, value: &Value) -> bool {
    match kind {
        FieldType::Keyword | FieldType::ConstantKeyword | FieldType::Wildcard | FieldType::MatchOnlyText => {
            value.is_string()
        }
        FieldType::Date => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        FieldType::Long => value.is_i64() || value.as_u64().is_some_and(|n| i64::try_from(n).is_ok()),
        FieldType::Ip => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Flattened => value.is_object(),
    }
}

#[test]
fn every_document_has_mapped_fields_of_the_right_type_alone() {
    let (_, published) = published();
    let mut seen = BTreeSet::new();
    let keep = Context { original: Original::Keep, ..context() };
    for body in corpus() {
        for context in [&context(), &keep] {
            let (document, _) = document_of(context, &entry(&body));
            for (name, value) in leaves(&document) {
                let field = find(&name).unwrap_or_else(|| panic!("{name} has no mapping: {document}"));
                let list = published.get(&name).is_some_and(|p| p.is_array);
                match &value {
                    Value::Array(values) => {
                        assert!(list || name.starts_with(OWN_PREFIX), "{name} is a list");
                        assert!(
                            !values.is_empty() && values.iter().all(|v| fits(field.kind, v)),
                            "{name}: {value}"
                        );
                    }
                    _ => {
                        assert!(!list, "{name} is no list: {value}");
                        assert!(fits(field.kind, &value), "{name}: {value}");
                    }
                }
                if let Some(there) = published.get(&name).filter(|p| !p.allowed.is_empty()) {
                    for value in value.as_array().unwrap_or(&vec![value.clone()]) {
                        let is_allowed = there.allowed.iter().any(|a| a.split(':').next() == value.as_str());
                        assert!(is_allowed, "{name} must not be {value}");
                    }
                }
                seen.insert(name);
            }
        }
    }
    let unused: Vec<&str> = FIELDS.iter().map(|f| f.name).filter(|name| !seen.contains(*name)).collect();
    assert!(unused.is_empty(), "fields that no document has: {unused:?}");
}

#[test]
fn types_of_events_are_those_that_their_categories_expect() {
    let (_, published) = published();
    let expected: BTreeMap<&str, Vec<&str>> = published["event.category"]
        .allowed
        .iter()
        .map(|value| {
            let (category, types) = value.split_once(':').unwrap();
            (category, types.split('/').collect())
        })
        .collect();
    for body in corpus() {
        let event = &document(&body)["event"];
        let words = |key: &str| -> Vec<String> {
            event[key].as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        let (categories, types) = (words("category"), words("type"));
        for category in &categories {
            let fits = types.iter().any(|t| expected[&**category].contains(&&**t));
            assert!(fits, "{category} does not expect {types:?}");
        }
        for kind in &types {
            let fits = categories.is_empty() || categories.iter().any(|c| expected[&**c].contains(&&**kind));
            assert!(fits, "{categories:?} do not expect {kind}");
        }
        let distinct: BTreeSet<&String> = types.iter().collect();
        assert_eq!(distinct.len(), types.len(), "{types:?}");
    }
}

#[test]
fn who_did_what_and_whether_he_might() {
    let made = document(&request(json!({})));
    assert_eq!(made["@timestamp"], "2025-11-26T06:53:20.123456789Z");
    assert_eq!(made["event"]["id"], format!("{}-41", "5a".repeat(16)));
    assert_eq!(made["event"]["sequence"], 41);
    assert_eq!(made["event"]["hash"], hex(&leaf_hash(&entry(&request(json!({}))).body)));
    assert_eq!(made["event"]["duration"], 250_000_000);
    assert_eq!(made["user"], json!({"name": "ada", "id": "u-1"}));
    assert_eq!(made["source"], json!({"address": "192.0.2.7", "ip": "192.0.2.7"}));
    assert_eq!(made["related"], json!({"user": ["ada"], "ip": ["192.0.2.7", "2001:db8::1"]}));
    assert_eq!(made["orchestrator"]["api_version"], "batch/v1");
    assert_eq!(made["orchestrator"]["resource"], json!({"type": "jobs", "name": "train", "id": "o-1"}));
    assert_eq!(
        made["url"],
        json!({"original": "/apis/batch/v1/namespaces/ml/jobs?dryRun=All",
        "path": "/apis/batch/v1/namespaces/ml/jobs", "query": "dryRun=All"})
    );
    assert_eq!(
        made["http"],
        json!({"request": {"id": "id-1", "method": "POST"}, "response": {"status_code": 201}})
    );
    assert_eq!(
        made["data_stream"],
        json!({"type": "logs", "dataset": "watchbell.audit", "namespace": "default"})
    );
    assert_eq!(made["message"], "ada create jobs ml/train: 201");

    let refused = document(&request(json!({"verb": "delete",
        "responseStatus": {"code": 403, "reason": "Forbidden", "message": "jobs is forbidden"}})));
    assert_eq!(refused["event"]["outcome"], "failure");
    assert_eq!(refused["event"]["type"], json!(["deletion", "denied"]));
    assert_eq!(refused["event"]["reason"], "jobs is forbidden");

    let stranger = document(&corpus()[12]);
    assert_eq!(stranger["event"]["category"], json!(["api", "authentication"]));
    assert_eq!(stranger["event"]["type"], json!(["start", "denied"]));
    assert_eq!(stranger["watchbell"]["count"], 17);

    let exec = document(&corpus()[10]);
    assert_eq!(exec["process"], json!({"args": ["sh", "-c", "id"], "args_count": 3, "exit_code": 3}));
    assert_eq!(
        (&exec["event"]["type"], &exec["event"]["category"]),
        (&json!(["end"]), &json!(["api", "session"]))
    );
}

#[test]
fn what_became_of_a_run() {
    let ended = document(&run(
        "pods-ended",
        json!({"uid": "o-1", "ended": [[3, 1, "Succeeded", 0], [1, 2, "Failed", 137], [2, 1, "Removed", null]]}),
    ));
    assert_eq!(
        ended["watchbell"]["run"]["pods"],
        json!({"ended": 3, "succeeded": 1, "failed": 1, "indexes": [1, 2, 3], "exit_codes": [0, 137]})
    );
    assert_eq!(ended["event"]["outcome"], "failure");
    assert_eq!(ended.get("process"), None, "there is no one exit code");
    assert_eq!(ended["orchestrator"]["resource"]["id"], "o-1");
    assert_eq!(ended["message"], "jobs ml/train: pods-ended, 3 ended, 1 succeeded, 1 failed");
    let one = document(&run("pods-ended", json!({"ended": [[3, 1, "Failed", 9]]})));
    assert_eq!(one["process"]["exit_code"], 9);
    let admitted = document(&corpus()[16]);
    assert_eq!(
        admitted["container"],
        json!({"name": "main",
        "image": {"name": "docker.io/library/busybox:1", "hash": {"all": ["sha256:ab"]}},
        "security_context": {"privileged": false}})
    );
    assert_eq!(admitted["related"]["hash"], json!(["sha256:ab"]));
    let skipped = document(&corpus()[15]);
    assert_eq!(skipped["watchbell"]["run"], json!({"slot": "2026-11-26T06:00:00Z", "skipped": 2}));
    assert_eq!(skipped["event"].get("outcome"), None);
}

#[test]
fn an_entry_that_cannot_be_read_is_exported_as_it_is_and_says_so() {
    for body in
        [&b"\xff\xfe"[..], b"", b"{", b"[]", b"{\"kind\":\"Event\",\"verb\":{}}", b"{\"kind\":\"New\"}"]
    {
        let entry = Entry { body: body.to_vec(), ..entry(&Value::Null) };
        let (document, summary) = document_of(&context(), &entry);
        assert_eq!((summary.level, summary.kind), (Level::Error, Kind::Unreadable));
        assert_eq!(document["event"]["kind"], "pipeline_error");
        assert_eq!(document["event"]["original"], String::from_utf8_lossy(body).as_ref());
        assert!(!document["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_namespace_of_a_data_stream_is_said_only_where_there_is_one() {
    let namespace = |index: &str| Context::new("h", "1", index, Original::Omit).data_stream_namespace;
    assert_eq!(namespace("logs-watchbell.audit-prod").as_deref(), Some("prod"));
    assert_eq!(namespace("audit"), None);
    assert_eq!(namespace("logs-watchbell.audit"), None);
    let other = Context::new("h", "1", "audit", Original::Omit);
    assert_eq!(document_of(&other, &entry(&request(json!({})))).0.get("data_stream"), None);
}

/// Each leaf of a mapping with its type.
fn mapped(properties: &Value, prefix: &str, found: &mut BTreeMap<String, String>) {
    for (key, value) in properties.as_object().unwrap() {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value.get("properties") {
            Some(below) => mapped(below, &name, found),
            None => drop(found.insert(name, value["type"].as_str().unwrap().to_owned())),
        }
    }
}

#[test]
fn the_template_maps_every_field_and_no_other() {
    for engine in [Engine::Elasticsearch, Engine::OpenSearch] {
        let template = template(engine);
        let mut found = BTreeMap::new();
        mapped(&template["template"]["mappings"]["properties"], "", &mut found);
        assert_eq!(found.len(), FIELDS.len());
        for field in FIELDS {
            let expect = match (engine, field.kind) {
                (Engine::OpenSearch, FieldType::Flattened) => "flat_object",
                (Engine::OpenSearch, FieldType::ConstantKeyword) => "keyword",
                (_, kind) => kind.as_str(),
            };
            assert_eq!(found[field.name], expect, "{}", field.name);
        }
        assert_eq!(template["data_stream"], json!({}));
        assert_eq!(template["template"]["mappings"]["dynamic"], false);
        assert_eq!(template["template"].get("lifecycle").is_some(), engine == Engine::Elasticsearch);
        let pattern = template["index_patterns"][0].as_str().unwrap();
        assert_eq!(pattern, INDEX_PATTERN);
        assert!(DEFAULT_INDEX.starts_with(pattern.trim_end_matches('*')));
    }
}

#[test]
fn a_start_says_what_it_was_started_with() {
    let find = |action: &str| {
        let body = corpus().into_iter().find(|body| body["action"] == action).unwrap();
        let (document, summary) = document_of(&context(), &entry(&body));
        assert_ne!(document["event"]["kind"], "pipeline_error");
        (document, summary)
    };
    let (confined, _) = find("confined");
    assert_eq!(confined["container"]["name"], "main");
    assert_eq!(confined["container"]["image"]["hash"]["all"], json!(["sha256:ab"]));
    assert_eq!(confined["watchbell"]["details"]["settings"]["capabilities"], "none");
    assert_eq!(find("images-resolved").0["related"]["hash"], json!(["sha256:ab"]));
    let (started, _) = find("pods-started");
    assert_eq!(started["watchbell"]["run"]["pods"], json!({"started": 2, "indexes": [0, 1]}));
    assert_eq!(started["event"]["type"], json!(["start"]));
    for action in ["restored", "key-rotating", "key-rotated", "keys-in-use"] {
        let (document, summary) = find(action);
        assert_eq!((summary.kind, summary.level), (Kind::Server, Level::Info));
        assert_eq!((&document["event"]["action"], &document["message"]), (&action.into(), &action.into()));
    }
}

/// The dashboard's "Refusals" and "Findings" are made of these.
#[test]
fn a_refusal_is_one_whoever_says_it() {
    let of = |action: &str, details: Value| document(&run(action, details));
    let refused = of("refused-at-start", json!({"why": "violates PodSecurity"}));
    assert_eq!(refused["event"]["outcome"], "failure");
    assert_eq!(refused["rule"], json!({"ruleset": "admission", "description": "violates PodSecurity"}));
    let array = of("array-refused", json!({"at": "publication", "message": "too small"}));
    assert_eq!(
        (&array["event"]["outcome"], &array["event"]["reason"]),
        (&json!("failure"), &json!("too small"))
    );
    for (action, ruleset) in [("image-refused", "image-policy"), ("vulnerabilities-found", "vulnerabilities")]
    {
        assert_eq!(of(action, json!({}))["rule"]["ruleset"], ruleset);
    }
    let pull = |stage: &str, code: u16| {
        document(&request(json!({"verb": "pull", "stage": stage, "responseStatus": {"code": code}})))["event"]
            .clone()
    };
    assert_eq!(pull("ResponseStarted", 200)["outcome"], "unknown");
    assert_eq!(
        (&pull("ResponseComplete", 200)["outcome"], &pull("ResponseComplete", 200)["type"][0]),
        (&json!("success"), &json!("creation"))
    );
    assert_eq!(pull("ResponseComplete", 502)["outcome"], "failure");
}

/// The dashboard's "Connections of tasks" is made of these.
#[test]
fn where_a_task_went_and_whether_it_might() {
    let of = |action: &str, details: Value| document_of(&context(), &entry(&run(action, details)));
    let place = json!({"uid": "o-1", "connection": 7, "name": "data.example", "address": "151.101.0.223", "port": 443});
    let with = |more: Value| {
        let mut whole = place.clone();
        merge(&mut whole, more);
        whole
    };
    let (allowed, summary) = of("connection-allowed", with(json!({"policy": "ml/data", "job": "train"})));
    assert_eq!(allowed["event"]["category"], json!(["network"]));
    assert_eq!(allowed["event"]["type"], json!(["connection", "start", "allowed"]));
    assert_eq!(
        allowed["destination"],
        json!({"address": "data.example", "domain": "data.example", "ip": "151.101.0.223", "port": 443})
    );
    assert_eq!(allowed["network"], json!({"direction": "egress", "transport": "tcp", "type": "ipv4"}));
    assert_eq!(allowed["related"], json!({"ip": ["151.101.0.223"], "hosts": ["data.example"]}));
    assert_eq!(allowed["rule"], json!({"ruleset": "network-policy", "name": "ml/data"}));
    assert_eq!(allowed["watchbell"]["run"]["job"], "train");
    assert_eq!(summary.message, "jobs ml/train: connection-allowed, job train to data.example port 443");

    let why = json!({"name": "evil.example", "reason": "NoRule", "why": "no policy allows it"});
    let (refused, summary) = of("connection-refused", why);
    assert_eq!(refused["event"]["type"], json!(["connection", "denied"]));
    assert_eq!(refused["event"]["outcome"], "failure");
    assert_eq!(refused["event"]["reason"], "no policy allows it");
    assert_eq!(refused["destination"], json!({"address": "evil.example", "domain": "evil.example"}));
    assert_eq!(summary.level, Level::Warning);

    let ended =
        json!({"how": "Closed", "nanoseconds": 1_500_000_000, "sent": 10, "received": 20, "name": null});
    let (ended, _) = of("connection-ended", with(ended));
    assert_eq!(
        (&ended["event"]["outcome"], &ended["event"]["reason"]),
        (&json!("success"), &json!("Closed"))
    );
    assert_eq!(ended["event"]["duration"], 1_500_000_000);
    assert_eq!((&ended["source"]["bytes"], &ended["destination"]["bytes"]), (&json!(10), &json!(20)));
    assert_eq!(ended["network"]["bytes"], 30);
    assert_eq!(ended["destination"]["address"], "151.101.0.223");
    let (lost, _) =
        of("connection-ended", json!({"how": "NotReached", "why": "it timed out", "sent": 0, "received": 0}));
    assert_eq!(
        (&lost["event"]["outcome"], &lost["event"]["reason"]),
        (&json!("failure"), &json!("it timed out"))
    );

    let (counted, _) =
        of("connections-counted", json!({"allowed": 1, "refused": 2, "ended": 3, "sent": 4, "received": 5}));
    assert_eq!(counted["watchbell"]["count"], 3);
    let reached = json!([{"name": "a.example", "count": 1}, {"address": "192.0.2.7", "count": 1}]);
    let (counted, _) = of("connections-counted", json!({"allowed": 2, "reached": reached}));
    assert_eq!(counted["related"]["hosts"], json!(["a.example"]));
    assert_eq!(counted["related"]["ip"], json!(["192.0.2.7"]));
    // What is no address of the network is not said to be one.
    let (odd, _) = of("connection-allowed", json!({"address": "not an address", "port": "x"}));
    assert_eq!(odd["destination"], json!({"address": "not an address"}));
}
