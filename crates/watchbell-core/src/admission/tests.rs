use serde_json::{Value, json};

use super::{Level, Mode, Violation, check_priority, fill, judge};

fn effective(mode: Mode, spec: &mut Value, path: &str) -> Vec<Violation> {
    fill(mode, spec);
    judge(mode, spec, path)
}

fn check(mode: Mode, spec: Value, expect: &[&str]) {
    let mut spec = spec;
    let found: Vec<String> = effective(mode, &mut spec, "spec").iter().map(ToString::to_string).collect();
    assert_eq!(found, expect, "{spec:#}");
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
    assert_eq!(effective(Mode::Strict, &mut spec, "spec"), []);
    assert_eq!(spec["securityContext"]["runAsUser"], 65534);
    assert_eq!(spec["automountServiceAccountToken"], false);
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
}

#[test]
fn what_is_asked_beyond_restricted_is_refused_with_its_path() {
    check(Mode::Strict, pod(json!({"hostNetwork": true})), &["host namespaces (spec.hostNetwork=true)"]);
    check(
        Mode::Strict,
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        &[
            "hostPath volumes (spec.volumes[0].hostPath)",
            "restricted volume types (spec.volumes[0].hostPath)",
        ],
    );
    check(
        Mode::Strict,
        pod(json!({"securityContext": {"runAsUser": 0}})),
        &["runAsUser=0 (spec.securityContext.runAsUser=0)"],
    );
    check(
        Mode::Strict,
        json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
        &["privileged (spec.containers[0].securityContext.privileged=true)"],
    );
    check(
        Mode::Strict,
        json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}),
        &[
            "non-default capabilities (spec.containers[0].securityContext.capabilities.add=SYS_ADMIN)",
            "unrestricted capabilities (spec.containers[0].securityContext.capabilities.add=SYS_ADMIN)",
        ],
    );
}

#[test]
fn a_labelled_namespace_fills_nothing_in() {
    let mut spec = pod(json!({}));
    assert_eq!(effective(Mode::Labelled(Level::Baseline), &mut spec, "spec"), []);
    assert_eq!(spec, pod(json!({"priority": 0})));
    assert_eq!(effective(Mode::Labelled(Level::Restricted), &mut spec, "spec").len(), 4);
    let mut wild = pod(json!({"hostNetwork": true, "hostPID": true}));
    assert_eq!(effective(Mode::Labelled(Level::Privileged), &mut wild, "spec"), []);
    assert_eq!(effective(Mode::Labelled(Level::Baseline), &mut wild, "spec").len(), 2);
}

#[test]
fn a_priority_follows_from_its_class() {
    let check = |extra: Value, expect: Result<i32, &str>| {
        let mut spec = pod(extra);
        fill(Mode::Labelled(Level::Privileged), &mut spec);
        match (check_priority(&spec), expect) {
            (Ok(()), Ok(priority)) => assert_eq!(spec["priority"], priority, "{spec}"),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{found}"),
            (found, expect) => panic!("{spec}: {found:?}, not {expect:?}"),
        }
    };
    check(json!({}), Ok(0));
    check(json!({"priorityClassName": ""}), Ok(0));
    check(json!({"priorityClassName": "system-node-critical"}), Ok(2_000_001_000));
    check(
        json!({"priorityClassName": "system-cluster-critical", "priority": 2_000_000_000}),
        Ok(2_000_000_000),
    );
    check(json!({"priorityClassName": "urgent"}), Err("no PriorityClass with name urgent was found"));
    check(json!({"priority": 7}), Err("the integer value of priority (7) must not be provided"));
}
