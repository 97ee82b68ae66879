use std::sync::Arc;

use serde_json::{Value, json};

use super::pod_security::{self, Policy, policy};
use super::{Level, Mode, PriorityClass, Rules, RuntimeClass, refusal, refuse_priority_class};

/// Fills a pod in as its namespace does and judges it; `None`: admitted.
fn effective(policy: &Policy, spec: &mut Value) -> Option<String> {
    let mut pod = json!({"metadata": {}, "spec": spec.take()});
    Rules::default().fill_in(Mode::of(policy), &mut pod).expect("it names no class");
    *spec = pod["spec"].take();
    let violations = pod_security::judge(policy.enforced(), &Value::Null, spec);
    let refused = || refusal(watchbell_api::Resource::Pod, "p", "n", policy, "", &violations).message;
    (!violations.is_empty()).then(refused)
}

fn labelled(level: Level) -> Policy {
    policy(&[(pod_security::ENFORCE.to_owned(), level.as_str().to_owned())].into())
}

fn pod(extra: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "x"}]});
    if let (Some(spec), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    spec
}

#[test]
fn an_empty_pod_is_filled_in_and_admitted() {
    let mut spec = pod(json!({}));
    assert_eq!(effective(&Policy::STRICT, &mut spec), None);
    assert_eq!(spec["securityContext"]["runAsUser"], 65534);
    assert_eq!(spec["securityContext"]["fsGroup"], 65534);
    assert_eq!(spec["automountServiceAccountToken"], false);
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
}

#[test]
fn a_pod_for_windows_is_given_nothing_of_linux() {
    let mut spec = pod(json!({"os": {"name": "windows"}}));
    assert_eq!(effective(&Policy::STRICT, &mut spec), None);
    assert_eq!(spec["securityContext"], json!({"runAsNonRoot": true}));
    assert_eq!(spec["containers"], pod(json!({}))["containers"]);
}

#[test]
fn the_group_of_volumes_is_filled_in_with_the_user() {
    let check = |context: Value, expect: Value| {
        let mut spec = pod(json!({"securityContext": context.clone()}));
        assert_eq!(effective(&Policy::STRICT, &mut spec), None);
        assert_eq!(spec["securityContext"].get("fsGroup").cloned().unwrap_or_default(), expect, "{context}");
    };
    check(json!({}), json!(65534));
    check(json!({"runAsUser": null, "runAsGroup": 5}), json!(65534));
    check(json!({"fsGroup": 7}), json!(7));
    // Who it is was thought of; the rest is as in Kubernetes.
    check(json!({"runAsUser": 1000}), Value::Null);
    check(json!({"runAsUser": 1000, "fsGroup": 7}), json!(7));
}

#[test]
fn what_is_asked_beyond_restricted_is_refused_with_its_path_and_the_way_out() {
    let check = |spec: Value, found: &str, fields: &str| {
        let mut spec = spec;
        let expect = format!(
            "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": {found}. The namespace \"n\" has no Pod \
             Security level, so the strictest is taken: leave out {fields}; or, if you may and it must be so, label the \
             namespace pod-security.kubernetes.io/enforce=baseline (or privileged)"
        );
        assert_eq!(effective(&Policy::STRICT, &mut spec).as_deref(), Some(&*expect), "{spec:#}");
    };
    check(
        pod(json!({"hostNetwork": true, "hostPID": true})),
        "host namespaces (hostNetwork=true, hostPID=true)",
        "spec.hostNetwork, spec.hostPID",
    );
    check(
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
        "spec.volumes[0].hostPath",
    );
    check(
        pod(json!({"securityContext": {"runAsUser": 0}})),
        "runAsUser=0 (pod must not set runAsUser=0)",
        "spec.securityContext.runAsUser",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
        "privileged (container \"a\" must not set securityContext.privileged=true)",
        "spec.containers[0].securityContext.privileged",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}),
        "unrestricted capabilities (container \"a\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        "spec.containers[0].securityContext.capabilities.add",
    );
}

#[test]
fn a_labelled_namespace_fills_nothing_in() {
    let mut spec = pod(json!({}));
    assert_eq!(effective(&labelled(Level::Baseline), &mut spec), None);
    assert_eq!(spec, pod(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})));
    assert_eq!(
        effective(&labelled(Level::Restricted), &mut spec).as_deref(),
        Some(
            "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
             (container \"a\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
             (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \
             \"a\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"a\" must set \
             securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        )
    );
    let mut wild = pod(json!({"hostNetwork": true, "hostPID": true}));
    assert_eq!(effective(&labelled(Level::Privileged), &mut wild), None);
    let refused = effective(&labelled(Level::Baseline), &mut wild).expect("refused");
    assert!(refused.ends_with(
        "violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true, hostPID=true)"
    ));
}

/// What rules with these objects make of a pod spec.
fn under(priority_classes: Value, runtime_classes: Value, spec: Value) -> Result<Value, String> {
    let list = |value: Value| value.as_array().cloned().unwrap_or_default();
    let rules = Rules {
        priority_classes: list(priority_classes).iter().map(PriorityClass::read).map(Arc::new).collect(),
        runtime_classes: list(runtime_classes).iter().map(RuntimeClass::read).map(Arc::new).collect(),
        ..Rules::default()
    };
    let mut pod = json!({"metadata": {}, "spec": spec});
    rules.fill_in(Mode::Labelled(Level::Privileged), &mut pod)?;
    Ok(pod["spec"].take())
}

#[test]
fn a_priority_follows_from_its_class() {
    let classes = json!([
        {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"},
        {"metadata": {"name": "usual"}, "value": 10, "globalDefault": true},
    ]);
    let check = |classes: &Value, extra: Value, expect: Result<(i32, &str), &str>| match (
        under(classes.clone(), json!([]), pod(extra.clone())),
        expect,
    ) {
        (Ok(spec), Ok((priority, policy))) => {
            assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(priority), &json!(policy)));
        }
        (Err(found), Err(expect)) => assert_eq!(found, expect),
        (found, expect) => panic!("{extra}: {found:?}, not {expect:?}"),
    };
    let none = json!([]);
    let lower = "PreemptLowerPriority";
    check(&none, json!({}), Ok((0, lower)));
    check(&none, json!({"priorityClassName": ""}), Ok((0, lower)));
    check(&none, json!({"priorityClassName": "system-node-critical"}), Ok((2_000_001_000, lower)));
    check(
        &none,
        json!({"priorityClassName": "system-cluster-critical", "priority": 2_000_000_000}),
        Ok((2_000_000_000, lower)),
    );
    check(&none, json!({"priorityClassName": "high"}), Err("no PriorityClass with name high was found"));
    check(
        &none,
        json!({"priority": 7}),
        Err(
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller \
             computed 0 from the given PriorityClass name",
        ),
    );
    check(&classes, json!({"priorityClassName": "high"}), Ok((1000, "Never")));
    check(&classes, json!({"priorityClassName": "high", "priority": 1000}), Ok((1000, "Never")));
    check(&classes, json!({}), Ok((10, lower)));
    let spec = under(classes, json!([]), pod(json!({}))).expect("admitted");
    assert_eq!(spec["priorityClassName"], "usual");
}

#[test]
fn one_priority_class_is_the_default() {
    let class = |name: &str, default: bool| {
        PriorityClass::read(&json!({"metadata": {"name": name}, "value": 1, "globalDefault": default}))
    };
    let others = [class("a", true), class("b", false)].map(Arc::new);
    assert_eq!(refuse_priority_class(&class("c", false), &others), None);
    assert_eq!(refuse_priority_class(&class("a", true), &others), None);
    assert_eq!(
        refuse_priority_class(&class("b", true), &others).as_deref(),
        Some("PriorityClass a is already marked as default. Only one default can exist")
    );
}

#[test]
fn a_runtime_class_gives_overhead_and_place() {
    let classes = json!([
        {"metadata": {"name": "plain"}, "handler": "watchbell"},
        {"metadata": {"name": "vm"}, "handler": "kata", "overhead": {"podFixed": {"cpu": "250m"}},
         "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm"}]}},
    ]);
    let check = |extra: Value, expect: Result<Value, &str>| {
        let found = under(json!([]), classes.clone(), pod(extra)).map(|spec| {
            let part = |field: &str| spec.get(field).cloned().unwrap_or(Value::Null);
            json!([part("overhead"), part("nodeSelector"), part("tolerations")])
        });
        assert_eq!(found, expect.map_err(str::to_owned));
    };
    check(json!({}), Ok(json!([null, null, null])));
    check(json!({"runtimeClassName": "plain"}), Ok(json!([null, null, null])));
    check(
        json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}, "tolerations": [{"key": "vm"}]}),
        Ok(json!([{"cpu": "250m"}, {"a": "b", "vm": "yes"}, [{"key": "vm"}]])),
    );
    check(json!({"runtimeClassName": "none"}), Err("pod rejected: RuntimeClass \"none\" not found"));
    check(
        json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
        Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
    );
    check(
        json!({"overhead": {"cpu": "1"}}),
        Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"),
    );
    check(
        json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
        Err("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"),
    );
}
