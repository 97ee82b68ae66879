//! ValidatingAdmissionPolicies in force: every way in which an object is made, changed, deleted or entered.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, array, config_map, cron, pod, request};
use crate::request::{
    DeleteOptions, DryRun, Page, PatchKind, Request, Subresource, User, Write, WriteOptions,
};

fn policy(name: &str, resources: &[&str], operations: &[&str], spec: Value) -> Value {
    let mut whole = json!({"matchConstraints": {"resourceRules": [{
        "apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": resources,
    }]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": whole,
    })
}

fn binding(policy: &str, actions: &[&str]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{policy}-binding")},
        "spec": {"policyName": policy, "validationActions": actions},
    })
}

/// A bench with one policy, and its binding with these actions.
fn bench(resources: &[&str], operations: &[&str], spec: Value, actions: &[&str]) -> Bench {
    let mut bench = Bench::new();
    bench.create(policy("house", resources, operations, spec));
    bench.create(binding("house", actions));
    bench.settle();
    bench
}

fn only(expression: &str) -> Value {
    json!({"validations": [{"expression": expression, "message": "not in this house"}]})
}

const REFUSED: &str =
    "ValidatingAdmissionPolicy 'house' with binding 'house-binding' denied request: not in this house";

/// The annotations of the last request's audit entry.
fn annotations(bench: &mut Bench) -> Value {
    bench.step();
    let entries = bench.journal.audit.iter().rev();
    let last = entries.map(|entry| &entry.body).find(|body| body["kind"] == "Event").expect("an entry");
    last["annotations"].clone()
}

#[test]
fn a_pod_is_judged_as_it_would_be_stored() {
    // What only defaults and admission fill in.
    let spec = only(
        "object.spec.restartPolicy == 'Never' && object.spec.dnsPolicy == 'ClusterFirst' && object.spec.priority == 0",
    );
    let mut bench = bench(&["pods"], &["CREATE"], spec, &["Deny"]);
    bench.create(pod("a"));
    let mut other = pod("b");
    other["spec"]["restartPolicy"] = "Always".into();
    let error = bench.try_create(other).expect_err("refused");
    assert_eq!(
        (error.reason, error.message.as_str()),
        (Reason::Invalid, format!("pods \"b\" is forbidden: {REFUSED}").as_str())
    );
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), ["a"]);
}

/// Nobody is past a policy by what he says of a status, and the server's own is there.
#[test]
fn of_a_status_at_creation_only_the_servers_own_is_judged() {
    let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let mut done = array("a", 1, 1);
    done["status"] = complete.clone();
    let over = "!has(object.status.conditions) || !object.status.conditions.exists(c, c.type == 'Complete')";
    let mut spec = only("false");
    spec["matchConditions"] = json!([{"name": "not-over", "expression": over}]);
    let mut bench = self::bench(&["jobs"], &["CREATE"], spec, &["Deny"]);
    assert!(bench.try_create(done.clone()).expect_err("refused").message.ends_with(REFUSED));
    let mut bench = self::bench(&["jobs"], &["CREATE"], only("!has(object.status.conditions)"), &["Deny"]);
    bench.create(done.clone());
    // Applied, it is no other.
    done["metadata"]["name"] = "b".into();
    let mut apply = Request {
        write: Write::Patch { kind: PatchKind::Apply, body: done },
        ..request(Resource::Job, "ml", "b")
    };
    apply.options.field_manager = "ada".into();
    bench.write(apply).expect("its status is the server's");

    let pending = "object.status.phase == 'Pending' && object.status.qosClass == 'BestEffort'";
    let mut bench = self::bench(&["pods"], &["CREATE"], only(pending), &["Deny"]);
    bench.create(pod("a"));
    let mut over = pod("b");
    over["status"] = json!({"phase": "Succeeded"});
    bench.create(over);
    let mut bench = self::bench(
        &["configmaps"],
        &["CREATE"],
        only("!has(object.metadata.deletionGracePeriodSeconds)"),
        &["Deny"],
    );
    let mut map = config_map("a");
    map["metadata"]["deletionGracePeriodSeconds"] = 1.into();
    bench.create(map);
}

#[test]
fn warnings_and_notes_reach_the_client_and_the_audit_entry() {
    let mut spec = only("false");
    spec["auditAnnotations"] = json!([{"key": "who", "valueExpression": "request.userInfo.username"}]);
    let mut bench = bench(&["configmaps"], &["CREATE"], spec, &["Warn", "Audit"]);
    let written = bench.try_create(config_map("c")).expect("only warned");
    assert_eq!(
        written.warnings,
        [
            "Validation failed for ValidatingAdmissionPolicy 'house' with binding 'house-binding': not in this house"
        ]
    );
    let annotations = annotations(&mut bench);
    assert_eq!(annotations["house/who"], "ada");
    let failure = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    let failure: Value = serde_json::from_str(failure).unwrap();
    assert_eq!(failure[0]["validationActions"], json!(["Warn", "Audit"]));
    assert_eq!(failure[0]["message"], "not in this house");
}

#[test]
fn updates_see_both_objects_and_statuses_are_apart() {
    let spec = only("object.data.a == oldObject.data.a");
    let mut bench = bench(&["configmaps"], &["UPDATE"], spec, &["Deny"]);
    bench.create(config_map("c"));
    bench.settle();
    bench.patch(Resource::ConfigMap, "c", json!({"metadata": {"labels": {"x": "y"}}}));
    let error = bench.try_patch(Resource::ConfigMap, "c", json!({"data": {"a": "2"}})).expect_err("refused");
    assert!(error.message.ends_with(REFUSED), "{error}");
    bench.settle();
    assert_eq!(bench.read(Resource::ConfigMap, "c")["data"]["a"], "1");

    let mut bench = self::bench(&["namespaces/status"], &["UPDATE"], only("false"), &["Deny"]);
    bench.patch(Resource::Namespace, "ml", json!({"metadata": {"labels": {"x": "y"}}}));
    bench.settle();
    let status = Request {
        subresource: Subresource::Status,
        write: Write::Update(bench.read(Resource::Namespace, "ml")),
        ..request(Resource::Namespace, "", "ml")
    };
    assert!(bench.write(status).expect_err("refused").message.ends_with(REFUSED));
}

#[test]
fn deletions_are_judged_one_by_one_and_as_a_collection_as_a_whole() {
    let spec = only("!('keep' in oldObject.data) && object == null");
    let mut bench = bench(&["configmaps"], &["DELETE"], spec, &["Deny"]);
    for name in ["a", "b"] {
        bench.create(config_map(name));
    }
    let mut kept = config_map("kept");
    kept["data"]["keep"] = "me".into();
    bench.create(kept);
    bench.settle();
    bench.try_delete(Resource::ConfigMap, "a", DeleteOptions::default()).expect("may go");
    assert!(bench.try_delete(Resource::ConfigMap, "kept", DeleteOptions::default()).is_err());
    let all = Request {
        write: Write::DeleteCollection {
            options: DeleteOptions::default(),
            label_selector: String::new(),
            field_selector: String::new(),
            page: Page::default(),
        },
        ..request(Resource::ConfigMap, "ml", "")
    };
    assert!(bench.write(all).expect_err("one of them may not go").message.ends_with(REFUSED));
    bench.settle();
    let names = bench.names(Resource::ConfigMap);
    assert!(names.contains(&"b".to_owned()) && names.contains(&"kept".to_owned()), "{names:?}");
}

/// Events are served under two groups; which one a deletion names makes no difference.
#[test]
fn no_other_name_of_a_kind_is_a_way_around_a_policy() {
    let core = json!({"matchConstraints": {"resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["events"],
    }]}, "validations": [{"expression": "oldObject.reason != 'Keep'", "message": "not in this house"}]});
    let mut bench = bench(&["events"], &["DELETE"], core, &["Deny"]);
    bench.create(json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ml"}, "reason": "Keep",
        "involvedObject": {"kind": "Job", "name": "train", "namespace": "ml"}, "type": "Normal", "message": "it ran",
    }));
    bench.settle();
    let all = || Write::DeleteCollection {
        options: DeleteOptions::default(),
        label_selector: String::new(),
        field_selector: String::new(),
        page: Page::default(),
    };
    for (write, name) in [(Write::Delete(DeleteOptions::default()), "e"), (all(), "")] {
        for resource in [Resource::Event, Resource::EventsEvent] {
            let request = Request { write: write.clone(), ..request(resource, "ml", name) };
            assert!(bench.write(request).expect_err("refused").message.ends_with(REFUSED), "{resource:?}");
        }
    }
}

#[test]
fn a_status_comes_with_what_is_there_and_nothing_else() {
    let spec = only("has(object.spec) == has(oldObject.spec)");
    let mut bench = bench(&["resourcequotas/status"], &["UPDATE"], spec, &["Deny"]);
    bench.create(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "ml"},
    }));
    bench.settle();
    let quota = bench.read(Resource::ResourceQuota, "q");
    assert!(quota.get("spec").is_none(), "{quota}");
    let request = Request {
        subresource: Subresource::Status,
        write: Write::Update(quota),
        ..request(Resource::ResourceQuota, "ml", "q")
    };
    bench.write(request).expect("nothing was added");
}

/// As in Kubernetes, where a name is made up after the request was read; the object has it.
#[test]
fn a_name_that_is_made_up_is_not_the_requests() {
    let spec = only("has(request.name) == has(object.data.named) && object.metadata.name.startsWith('c')");
    let mut bench = bench(&["configmaps"], &["CREATE"], spec, &["Deny"]);
    let mut made_up = config_map("c");
    made_up["metadata"] = json!({"generateName": "c-", "namespace": "ml"});
    bench.create(made_up.clone());
    let mut named = config_map("c");
    named["data"]["named"] = "yes".into();
    bench.create(named);
    // A refusal names the object.
    made_up["metadata"]["generateName"] = "d-".into();
    let error = bench.try_create(made_up).expect_err("refused");
    assert!(error.message.starts_with("configmaps \"d-"), "{error}");

    let mut bench = self::bench(&["pods"], &["CREATE"], only("!has(request.name)"), &["Deny"]);
    bench.create(array("a", 2, 2));
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 2);
}

/// 9.8 million a judgement, of fifty for all that is judged together.
fn dear() -> Value {
    let check = |of: &str| format!("authorizer.group('').resource('{of}').check('fly').reason() != 'x'");
    let one = json!({"expression": format!("{} && {}", check("a"), check("b"))});
    json!({"validations": vec![one; 14]})
}

/// What the pods of a Job cost is no refusal: a batch makes as many as it may, the next one goes on.
#[test]
fn pods_that_cost_too_much_together_are_made_in_several_batches() {
    let mut bench = bench(&["pods"], &["CREATE"], dear(), &["Deny"]);
    bench.create(array("a", 12, 12));
    bench.step();
    let at_once = bench.names(Resource::Pod).len();
    assert_eq!(at_once, 5);
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 12);
    assert!(!bench.reasons("Job", "a").contains(&"FailedCreate".to_owned()));
}

/// However many Jobs and CronJobs are due, a batch judges as much as one request may, then what it has begun; and each
/// has its turn.
#[test]
fn what_controllers_make_in_a_batch_is_bounded() {
    let mut bench = bench(&["pods"], &["CREATE"], dear(), &["Deny"]);
    for n in 0..4 {
        bench.create(array(&format!("a{n}"), 3, 3));
    }
    bench.step();
    assert_eq!(bench.names(Resource::Pod).len(), 6);
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 12);
    // One of many pods does not keep others back.
    bench.create(array("long", 40, 40));
    bench.create(array("short", 2, 2));
    bench.step();
    bench.step();
    let short = bench.names(Resource::Pod).iter().filter(|name| name.starts_with("short")).count();
    assert_eq!(short, 2);

    let mut bench = self::bench(&["jobs"], &["CREATE"], dear(), &["Deny"]);
    for n in 0..8 {
        bench.create(cron(&format!("c{n}"), "* * * * *", json!({})));
    }
    bench.settle();
    bench.now += 60;
    bench.step();
    assert_eq!(bench.names(Resource::Job).len(), 6);
    bench.settle();
    assert_eq!(bench.names(Resource::Job).len(), 8);
}

#[test]
fn a_deletion_of_many_costs_no_more_than_any_request() {
    let mut bench = bench(&["configmaps"], &["DELETE"], dear(), &["Deny"]);
    for n in 0..6 {
        let mut map = config_map(&format!("c{n}"));
        map["metadata"]["labels"] = json!({"half": (n % 2).to_string()});
        bench.create(map);
    }
    bench.settle();
    let delete = |selector: &str| Request {
        write: Write::DeleteCollection {
            options: DeleteOptions::default(),
            label_selector: selector.into(),
            field_selector: String::new(),
            page: Page::default(),
        },
        ..request(Resource::ConfigMap, "ml", "")
    };
    let error = bench.write(delete("half in (0,1)")).expect_err("too much at once");
    assert!(error.message.contains("come to more than a request may cost"), "{error}");
    bench.write(delete("half=0")).expect("three are less");
    bench.write(delete("half=1")).expect("and so are the others");
}

#[test]
fn pods_of_jobs_are_judged_as_the_job_controllers() {
    let spec = json!({"validations": [{
        "expression": "request.userInfo.username != 'system:serviceaccount:kube-system:job-controller' || \
                       object.metadata.annotations['batch.kubernetes.io/job-completion-index'] != '1'",
        "message": "not in this house",
    }]});
    let mut bench = bench(&["pods"], &["CREATE"], spec, &["Deny"]);
    bench.create(array("a", 3, 3));
    bench.settle();
    // The second of them is refused, and with it those behind it.
    assert_eq!(bench.names(Resource::Pod).len(), 1);
    let events = bench.list(Resource::Event);
    let event = events.iter().find(|event| event["reason"] == "FailedCreate").expect("an event");
    assert_eq!(event["message"], format!("Error creating: pods \"a-\" is forbidden: {REFUSED}"));
    // Without the policy they come, and nobody has to wait.
    bench
        .try_delete(Resource::ValidatingAdmissionPolicyBinding, "house-binding", DeleteOptions::default())
        .unwrap();
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 3);
}

#[test]
fn jobs_of_cronjobs_are_judged_as_the_cronjob_controllers() {
    let spec = only("request.userInfo.username != 'system:serviceaccount:kube-system:cronjob-controller'");
    let mut bench = bench(&["jobs"], &["CREATE"], spec, &["Deny"]);
    bench.create(cron("c", "* * * * *", json!({})));
    bench.sleep(70);
    assert_eq!(bench.names(Resource::Job), Vec::<String>::new());
    assert!(bench.reasons("CronJob", "c").contains(&"FailedCreate".to_owned()));
    // Somebody else may.
    bench.create(array("mine", 1, 1));
}

#[test]
fn evictions_and_tokens_are_judged_under_their_own_names() {
    let mut bench =
        bench(&["pods/eviction"], &["CREATE"], only("request.kind.kind != 'Eviction'"), &["Deny"]);
    bench.create(pod("a"));
    bench.settle();
    let evict = Request {
        subresource: Subresource::Eviction,
        write: Write::Evict(DeleteOptions::default()),
        ..request(Resource::Pod, "ml", "a")
    };
    assert!(bench.write(evict).expect_err("refused").message.ends_with(REFUSED));
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), ["a"]);
}

#[test]
fn a_rollback_is_judged_under_its_own_name() {
    let spec = only("object.status.rollback.to == 'good' && !has(oldObject.status)");
    let mut bench = self::bench(&["dataarrays/rollback"], &["UPDATE"], spec, &["Deny"]);
    bench.create(json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": "obs"}, "spec": {},
    }));
    bench.settle();
    let rollback = |to: &str| Request {
        subresource: Subresource::Rollback,
        write: Write::Rollback { to: to.into(), unsigned_ok: false },
        ..request(Resource::DataArray, "ml", "obs")
    };
    assert!(bench.write(rollback("other")).expect_err("refused").message.ends_with(REFUSED));
    bench.settle();
    assert_eq!(bench.read(Resource::DataArray, "obs")["status"].get("rollback"), None);
    bench.write(rollback("good")).expect("allowed");
}

#[test]
fn sessions_are_judged_as_connections() {
    let spec = only("object.command[0] != 'sh' && request.subResource == 'exec'");
    let bench = bench(&["pods/exec"], &["CONNECT"], spec, &["Deny"]);
    let user = User { name: "ada".into(), ..User::default() };
    let judged = |sub: &str, command: &str| {
        let options = json!({"apiVersion": "v1", "kind": "PodExecOptions", "command": [command]});
        bench.world.snapshot().judge_connection(&user, sub, "ml", "a", &options)
    };
    assert!(judged("exec", "ls").is_ok() && judged("attach", "sh").is_ok());
    let error = judged("exec", "sh").expect_err("refused");
    assert_eq!(error.message, format!("pods \"a\" is forbidden: {REFUSED}"));
}

#[test]
fn a_dry_run_is_judged_and_says_so() {
    let mut bench = bench(&["configmaps"], &["CREATE"], only("!request.dryRun"), &["Deny"]);
    bench.create(config_map("c"));
    let dry = Request {
        options: WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() },
        ..super::create_request(config_map("d"))
    };
    assert!(bench.write(dry).expect_err("refused").message.ends_with(REFUSED));
}

/// What the server needs for itself comes into being whatever a policy says.
#[test]
fn a_policy_that_forbids_everything_does_not_break_the_house() {
    let mut bench = bench(&["*"], &["*"], only("false"), &["Deny"]);
    assert!(bench.try_create(config_map("c")).is_err());
    // It can be taken back by who may.
    bench
        .try_delete(Resource::ValidatingAdmissionPolicyBinding, "house-binding", DeleteOptions::default())
        .unwrap();
    bench.settle();
    bench.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}));
    bench.create(binding("house", &["Deny"]));
    bench.settle();
    let snapshot = bench.world.snapshot();
    assert!(snapshot.get(Resource::ServiceAccount, "new", "default").is_some());
    assert!(snapshot.get(Resource::ConfigMap, "new", "kube-root-ca.crt").is_some());
}

#[test]
fn a_policy_has_generations_and_its_types_are_checked() {
    let mut bench = Bench::new();
    let made = bench.create(policy("house", &["pods"], &["CREATE"], only("object.spec.hostNetwork != true")));
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    assert_eq!(made["spec"]["failurePolicy"], "Fail");
    assert_eq!(made["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
    let body = json!({"spec": {"validations": [{"expression": "object.spec.hostNetwrk != true"}]}});
    // What it names is not there in a pod; nothing keeps it from being used.
    let mut rules = body.clone();
    rules["spec"]["matchConstraints"] = json!({"resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    }]});
    let changed = bench.patch(Resource::ValidatingAdmissionPolicy, "house", rules);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed["status"]["observedGeneration"], 2);
    let warning = &changed["status"]["typeChecking"]["expressionWarnings"][0]["warning"];
    assert!(warning.as_str().unwrap().contains("undefined field 'hostNetwrk'"), "{warning}");
    let error = bench
        .try_patch(
            Resource::ValidatingAdmissionPolicy,
            "house",
            json!({"spec": {"validations": [{"expression": "nope()"}]}}),
        )
        .expect_err("does not compile");
    assert!(
        error
            .message
            .contains("spec.validations[0].expression: Invalid value: \"nope()\": compilation failed"),
        "{error}"
    );
    bench.settle();
    // It is there after a restart too.
    bench.create(binding("house", &["Deny"]));
    bench.settle();
    bench.crash();
    let error = bench.try_create(pod("a")).expect_err("a field that is not there has no value");
    assert!(error.message.contains("resulted in error: no such key: hostNetwrk"), "{error}");
}
