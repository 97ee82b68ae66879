use serde_json::{Value, json};

use super::{CAPACITY, objects, spec, with_facts};
use crate::pod::{
    Qos, command, environment, expand, hosts, merge_image_env, oom_score_adj, qos, short_hostname,
};

/// The variables of one container, `A=b` each, or the error.
fn env_of(container: Value) -> Result<Vec<String>, String> {
    let pod = spec(json!({"containers": [container]}));
    with_facts(&pod, |facts| environment(facts, &pod.containers[0], &objects))
        .map(|env| env.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn references_are_expanded_as_go_does() {
    let find = |name: &str| match name {
        "A" => Some("a"),
        "EMPTY" => Some(""),
        "SELF" => Some("$(A)"),
        _ => None,
    };
    let check = |input: &str, expect: &str| assert_eq!(expand(input, find), expect, "{input}");
    check("", "");
    check("$(A)", "a");
    check("x$(A)y$(A)", "xaya");
    check("$$(A)", "$(A)");
    check("$$$(A)", "$a");
    check("$$$$(A)", "$$(A)");
    check("$(B)", "$(B)");
    check("$(EMPTY)|", "|");
    check("$(SELF)", "$(A)");
    check("$A", "$A");
    check("$", "$");
    check("a$", "a$");
    check("$(A", "$(A");
    check("$(A$(A)", "$(A$(A)");
    check("$()", "$()");
    check("ü$(A)ü", "üaü");
}

#[test]
fn variables_come_from_everywhere() {
    let check = |container: Value, expect: &[&str]| assert_eq!(env_of(container).unwrap(), expect);
    check(json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]}), &["A=1", "B=12"]);
    check(json!({"env": [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}]}), &["B=$(A)", "A=1"]);
    check(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}), &["A=12"]);
    check(
        json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "cfg"}}, {"secretRef": {"name": "gone", "optional": true}}],
               "env": [{"name": "X", "value": "$(P_color)"}, {"name": "P_color", "value": "blue"}]}),
        &["P_color=blue", "P_path.txt=p", "X=red"],
    );
    let field = |path: &str| json!({"env": [{"name": "F", "valueFrom": {"fieldRef": {"fieldPath": path}}}]});
    check(field("metadata.name"), &["F=train-3-abcde"]);
    check(field("metadata.namespace"), &["F=ml"]);
    check(field("metadata.uid"), &["F=00000000-0000-0000-0000-000000000007"]);
    check(field("metadata.labels['app']"), &["F=x"]);
    check(field("metadata.labels['none']"), &["F="]);
    check(field("spec.nodeName"), &["F=watchbell"]);
    check(field("spec.serviceAccountName"), &["F=default"]);
    check(field("status.podIP"), &["F="]);
    check(field("status.hostIP"), &["F=127.0.0.1"]);
    let key = |kind: &str, name: &str, key: &str, optional: bool| json!({"env": [{"name": "K", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}}]});
    check(key("configMapKeyRef", "cfg", "color", false), &["K=red"]);
    check(key("secretKeyRef", "sec", "user", false), &["K=admin"]);
    check(key("configMapKeyRef", "cfg", "none", true), &[]);
    check(key("secretKeyRef", "none", "user", true), &[]);
    let refuse = |container: Value, expect: &str| assert_eq!(env_of(container).unwrap_err(), expect);
    refuse(key("configMapKeyRef", "none", "k", false), "configmap \"none\" not found");
    refuse(key("secretKeyRef", "sec", "k", false), "couldn't find key k in Secret ml/sec");
    refuse(key("secretKeyRef", "sec", "broken", false), "key broken of \"sec\" is not base64");
    refuse(field("status.phase"), "unsupported fieldPath: status.phase");
    refuse(json!({"envFrom": [{"secretRef": {"name": "none"}}]}), "secret \"none\" not found");
    refuse(json!({"env": [{"name": "N", "value": "a\u{0}b"}]}), "the value of variable N holds a NUL byte");
}

#[test]
fn resources_read_in_units_of_the_divisor() {
    let check = |resources: Value, resource: &str, divisor: Value, expect: &str| {
        let container = json!({"resources": resources, "env": [{"name": "R", "valueFrom": {"resourceFieldRef": {
            "resource": resource, "divisor": divisor,
        }}}]});
        assert_eq!(env_of(container).unwrap(), [format!("R={expect}")], "{resource}");
    };
    check(json!({"limits": {"cpu": "1500m"}}), "limits.cpu", Value::Null, "2");
    check(json!({"limits": {"cpu": "1500m"}}), "limits.cpu", json!("1m"), "1500");
    check(json!({"limits": {"memory": "1Gi"}}), "limits.memory", json!("1Mi"), "1024");
    check(json!({"limits": {"memory": "1Gi"}}), "requests.memory", json!("0"), "1073741824");
    check(json!({}), "limits.cpu", Value::Null, "4");
    check(json!({}), "limits.memory", json!("1Gi"), "8");
    check(json!({}), "requests.cpu", Value::Null, "0");
    check(json!({}), "limits.ephemeral-storage", json!("1Gi"), "100");
}

#[test]
fn the_command_is_the_pods_or_the_images() {
    let check = |container: Value, entrypoint: &[&str], cmd: &[&str], expect: Result<&[&str], &str>| {
        let pod = spec(json!({"containers": [container]}));
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let env = [("A".to_owned(), "1".to_owned())];
        let got = command(&pod.containers[0], &words(entrypoint), &words(cmd), &env);
        match expect {
            Ok(argv) => assert_eq!(got.unwrap(), argv),
            Err(part) => assert!(got.unwrap_err().to_string().contains(part)),
        }
    };
    let none = json!({"name": "c"});
    check(none.clone(), &["/e"], &["c"], Ok(&["/e", "c"]));
    check(none.clone(), &[], &["sh"], Ok(&["sh"]));
    check(json!({"args": ["x"]}), &["/e"], &["c"], Ok(&["/e", "x"]));
    check(json!({"command": ["/p"]}), &["/e"], &["c"], Ok(&["/p"]));
    check(json!({"command": ["/p"], "args": ["$(A)", "$(B)"]}), &["/e"], &["c"], Ok(&["/p", "1", "$(B)"]));
    // The image's own words are not the pod's: nothing in them is expanded.
    check(none.clone(), &["/e"], &["$(A)"], Ok(&["/e", "$(A)"]));
    check(none, &[], &[], Err("no command specified"));
    check(json!({"name": "c", "command": [""]}), &[], &[], Err("empty word"));
}

#[test]
fn the_pods_variables_lie_over_the_images() {
    let image: Vec<String> =
        ["A=1", "B=2", "no sign", "=x", "B=3", "C=x=y", "N=\0"].iter().map(|s| (*s).to_owned()).collect();
    let own = vec![("A".to_owned(), "9".to_owned()), ("D".to_owned(), "4".to_owned())];
    let merged = merge_image_env(&image, own);
    let text: Vec<String> = merged.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(text, ["A=9", "B=3", "C=x=y", "D=4"]);
}

#[test]
fn host_names_are_cut_as_kubernetes_cuts_them() {
    let check = |name: &str, expect: &str| assert_eq!(short_hostname(name), expect);
    check("a", "a");
    check(&"a".repeat(63), &"a".repeat(63));
    check(&"a".repeat(70), &"a".repeat(63));
    check(&format!("{}-bc", "a".repeat(62)), &"a".repeat(62));
    let pod = spec(json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x", "y\n6.6.6.6 evil"]}]}));
    let text = hosts("me", &pod.host_aliases);
    assert_eq!(text.lines().last(), Some("10.0.0.1\tx\ty6.6.6.6evil"), "no line is forged");
}

#[test]
fn quality_of_service_follows_the_resources() {
    let check = |containers: Value, expect: Qos, adjust: i16| {
        let pod = spec(json!({"containers": containers}));
        assert_eq!(qos(&pod), expect, "{containers}");
        assert_eq!(oom_score_adj(expect, &pod.containers[0], &CAPACITY), adjust, "{containers}");
    };
    check(json!([{}]), Qos::BestEffort, 1000);
    check(json!([{"resources": {"requests": {"cpu": "0"}}}]), Qos::BestEffort, 1000);
    let full = json!({"resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m"}}});
    check(json!([full]), Qos::Guaranteed, -997);
    check(json!([full, {}]), Qos::Burstable, 875);
    check(json!([{"resources": {"requests": {"memory": "4Gi"}}}]), Qos::Burstable, 500);
    check(json!([{"resources": {"requests": {"cpu": 1}}}]), Qos::Burstable, 999);
    check(json!([{"resources": {"requests": {"memory": "80Gi"}}}]), Qos::Burstable, 3);
}
