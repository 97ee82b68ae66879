use std::collections::BTreeMap;

use serde_json::{Value, json};
use watchbell_api::Uid;

use crate::admission::pod_security::{
    EXISTING_PODS_MAX, ExistingPod, LevelVersion, existing_pods, has_tightened, is_significant, policy,
};

/// The cases of Kubernetes' `TestValidateNamespace`; a namespace without a label is strict here, where it is privileged
/// there.
#[test]
fn only_a_tighter_level_looks_at_the_pods() {
    let check = |before: &[(&str, &str)], after: &[(&str, &str)], expect: Option<&str>| {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let key = |key: &str| format!("pod-security.kubernetes.io/{key}");
            pairs.iter().map(|(k, value)| (key(k), (*value).to_owned())).collect()
        };
        let found = has_tightened(&policy(&labels(before)), &policy(&labels(after)));
        assert_eq!(found.map(|enforce| enforce.to_string()).as_deref(), expect, "{before:?} → {after:?}");
    };
    let old = |level| [("enforce", level), ("enforce-version", "v1.0")];
    check(&old("restricted"), &old("restricted"), None);
    check(&[("enforce", "unknown")], &[("enforce", "unknown")], None);
    check(&old("restricted"), &old("baseline"), None);
    check(&[("enforce", "restricted")], &[("enforce", "baseline")], None);
    check(&old("restricted"), &[("enforce", "privileged")], None);
    check(&[("enforce", "baseline")], &[("enforce", "restricted")], Some("restricted:latest"));
    check(&old("baseline"), &[("enforce", "baseline")], Some("baseline:latest"));
    check(&old("restricted"), &[("enforce", "baseline")], Some("baseline:latest"));
    check(&[("enforce", "baseline"), ("warn", "restricted")], &[("enforce", "baseline")], None);
    // A namespace without a label has the strictest level.
    check(&[], &[("enforce", "restricted")], None);
    check(&[], &[("enforce", "baseline")], None);
    check(&old("baseline"), &[], Some("restricted:latest"));
    check(&[("enforce", "privileged")], &[("warn", "baseline")], Some("restricted:latest"));
}

fn existing(name: &str, controller: Option<u128>, spec: Value) -> ExistingPod<Value> {
    ExistingPod { name: name.into(), controller: controller.map(Uid), pod: json!({"spec": spec}) }
}

#[test]
fn existing_pods_are_told_of_together() {
    let check = |pods: Vec<ExistingPod<Value>>, expect: &[&str]| {
        let baseline = LevelVersion::latest(crate::admission::Level::Baseline);
        assert_eq!(existing_pods("ml", baseline, pods, Clone::clone), expect);
    };
    let wild = || json!({"hostNetwork": true, "hostIPC": true});
    let port = || json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]});
    let head =
        "existing pods in namespace \"ml\" violate the new PodSecurity enforce level \"baseline:latest\"";
    check(vec![], &[]);
    check(vec![existing("fine", None, json!({}))], &[]);
    check(vec![existing("a", None, wild())], &[head, "a: host namespaces"]);
    check(
        vec![existing("c", None, wild()), existing("b", None, wild())],
        &[head, "b (and 1 other pod): host namespaces"],
    );
    check(
        vec![
            existing("a", None, wild()),
            existing("b", Some(1), port()),
            existing("c", Some(1), port()),
            existing("d", Some(2), wild()),
            existing("e", Some(1), port()),
            existing("f", None, json!({})),
        ],
        &[head, "a (and 1 other pod): host namespaces", "b (and 2 other pods): hostPort"],
    );
}

#[test]
fn looking_at_existing_pods_is_bounded() {
    // One controller has more pods than are looked at; the lonely one that comes last is judged nevertheless.
    let mut pods: Vec<ExistingPod<Value>> =
        (0..EXISTING_PODS_MAX + 10).map(|i| existing(&format!("p-{i:05}"), Some(7), json!({}))).collect();
    pods.push(existing("z", None, json!({"hostPID": true})));
    let asked = std::cell::Cell::new(0);
    let found = existing_pods("ml", LevelVersion::latest(crate::admission::Level::Baseline), pods, |pod| {
        asked.set(asked.get() + 1);
        pod.clone()
    });
    assert_eq!(asked.get(), EXISTING_PODS_MAX);
    assert_eq!(
        found,
        [
            "new PodSecurity enforce level only checked against the first 3000 of 3011 existing pods",
            "existing pods in namespace \"ml\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "z: host namespaces",
        ]
    );
}

#[test]
fn updates_of_what_the_standards_look_at_are_significant() {
    let pod = json!({
        "metadata": {"annotations": {"container.seccomp.security.alpha.kubernetes.io/a": "x"}},
        "spec": {
            "containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}],
            "initContainers": [{"name": "i", "image": "1"}], "ephemeralContainers": [{"name": "e", "image": "1"}],
        },
    });
    let check = |expect: bool, change: &dyn Fn(&mut Value)| {
        let mut after = pod.clone();
        change(&mut after);
        assert_eq!(is_significant(&pod, &after), expect, "{after:#}");
    };
    check(false, &|_| {});
    check(false, &|p| p["metadata"]["labels"]["a"] = "b".into());
    check(false, &|p| p["metadata"]["annotations"]["a"] = "b".into());
    check(false, &|p| p["spec"]["tolerations"] = json!([{"key": "a"}]));
    check(false, &|p| p["spec"]["activeDeadlineSeconds"] = 5.into());
    check(true, &|p| p["spec"]["containers"][1]["image"] = "2".into());
    check(true, &|p| p["spec"]["initContainers"][0]["image"] = "2".into());
    check(true, &|p| p["spec"]["ephemeralContainers"][0]["image"] = "2".into());
    check(true, &|p| p["spec"]["ephemeralContainers"] = json!([{"name": "new", "image": "1"}]));
    check(true, &|p| {
        p["metadata"]["annotations"]["container.seccomp.security.alpha.kubernetes.io/a"] = "y".into();
    });
    check(true, &|p| {
        p["metadata"]["annotations"]["container.seccomp.security.alpha.kubernetes.io/b"] = "y".into();
    });
    check(true, &|p| p["spec"]["containers"] = json!([{"name": "a", "image": "1"}]));
}
