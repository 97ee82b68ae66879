use serde_json::{Value, json};

use crate::patch::strategic;
use crate::{Reason, Resource};

/// The pod template of a Job is where most patches go.
fn job(template: Value) -> Value {
    json!({"spec": {"template": {"spec": template}}})
}

#[track_caller]
fn check(current: Value, patch: Value, expected: Value) {
    let patched = strategic(Resource::Job, &job(current), &job(patch.clone()))
        .unwrap_or_else(|e| panic!("{patch}: {e}"));
    assert_eq!(patched["spec"]["template"]["spec"], expected, "{patch}");
}

#[track_caller]
fn refused(current: Value, patch: Value, reason: Reason, text: &str) {
    let error =
        strategic(Resource::Job, &job(current), &job(patch)).expect_err("the patch cannot be applied");
    assert_eq!(error.reason, reason, "{error}");
    assert!(error.message.contains(text), "{error}");
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": format!("{name}:1")})
}

#[test]
fn lists_with_a_merge_key_are_merged() {
    check(
        json!({"containers": [container("a"), container("b")]}),
        json!({"containers": [{"name": "b", "image": "b:2"}]}),
        json!({"containers": [container("a"), {"name": "b", "image": "b:2"}]}),
    );
    // A new item comes first, as in Kubernetes: nothing says that it belongs behind. Without one to merge with, its nulls and directives are gone.
    check(
        json!({"containers": [container("a")]}),
        json!({"containers": [{"name": "b", "image": "b:1", "command": null, "env": [{"name": "X", "$patch": "delete"}]}]}),
        json!({"containers": [{"name": "b", "image": "b:1", "env": []}, container("a")]}),
    );
    check(json!({}), json!({"containers": [container("a")]}), json!({"containers": [container("a")]}));
    // Nested merges, each by its own key.
    check(
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
               "volumeMounts": [{"mountPath": "/in", "name": "v"}], "args": ["1", "2"]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}],
               "volumeMounts": [{"mountPath": "/out", "name": "v"}], "args": ["3"]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}],
               "volumeMounts": [{"mountPath": "/out", "name": "v"}, {"mountPath": "/in", "name": "v"}], "args": ["3"]}]}),
    );
    // Lists without a merge strategy are replaced.
    check(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "b"}]}),
        json!({"tolerations": [{"key": "b"}]}),
    );
}

#[test]
fn maps_are_merged_and_nulls_remove() {
    check(
        json!({"nodeSelector": {"a": "1", "b": "2"}, "restartPolicy": "Never"}),
        json!({"nodeSelector": {"a": null, "c": "3"}, "restartPolicy": null, "hostname": null}),
        json!({"nodeSelector": {"b": "2", "c": "3"}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {}}),
        json!({"securityContext": {"runAsUser": 1}}),
    );
    check(json!({"hostname": {"no": "string"}}), json!({"hostname": "h"}), json!({"hostname": "h"}));
}

/// The cases of Kubernetes' document on strategic merge patches, with kinds of today.
#[test]
fn directives_say_what_a_merge_cannot() {
    check(
        json!({"containers": [container("a"), container("b")]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c", "image": "c:1"}]}),
        json!({"containers": [container("c")]}),
    );
    check(
        json!({"containers": [container("a"), container("b")]}),
        json!({"containers": [{"$patch": "delete", "name": "a"}]}),
        json!({"containers": [container("b")]}),
    );
    check(
        json!({"containers": [container("a")]}),
        json!({"containers": [{"$patch": "merge", "name": "a", "tty": true}]}),
        json!({"containers": [{"name": "a", "image": "a:1", "tty": true}]}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
        json!({"securityContext": {"$patch": "replace", "runAsUser": 3, "runAsGroup": null}}),
        json!({"securityContext": {"runAsUser": 3}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"securityContext": {}}),
    );
    check(json!({}), json!({"securityContext": {"$patch": "delete"}}), json!({}));
    // The source of a volume is a union: the old member must go.
    check(
        json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
        json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "w", "emptyDir": {}}]}),
    );
}

#[test]
fn a_set_of_scalars_is_merged_and_taken_from() {
    let check = |current: Value, patch: Value, expected: Value| {
        let patched =
            strategic(Resource::Pod, &json!({"metadata": current}), &json!({"metadata": patch})).unwrap();
        assert_eq!(patched["metadata"], expected);
    };
    check(
        json!({"finalizers": ["a", "b"]}),
        json!({"finalizers": ["b", "c"]}),
        json!({"finalizers": ["a", "b", "c"]}),
    );
    check(
        json!({"finalizers": ["a", "b", "c"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["b"]}),
        json!({"finalizers": ["a", "c"]}),
    );
    check(
        json!({"finalizers": ["a", "b", "c"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["d", "c", "b"], "finalizers": ["d"]}),
        json!({"finalizers": ["d", "c", "b"]}),
    );
    check(json!({}), json!({"$deleteFromPrimitiveList/finalizers": ["b"]}), json!({}));
    check(
        json!({"ownerReferences": [{"uid": "1", "name": "a"}]}),
        json!({"ownerReferences": [{"uid": "1", "$patch": "delete"}, {"uid": "2", "name": "b"}]}),
        json!({"ownerReferences": [{"uid": "2", "name": "b"}]}),
    );
}

#[test]
fn the_patch_orders_what_it_names() {
    let names = |list: &[&str]| Value::from(list.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    let check_order = |current: &[&str], patch: Option<&[&str]>, order: &[&str], expected: &[&str]| {
        let mut body = json!({"$setElementOrder/containers": names(order)});
        if let Some(patch) = patch {
            body["containers"] = names(patch);
        }
        check(json!({"containers": names(current)}), body, json!({"containers": names(expected)}));
    };
    check_order(&["a", "b", "c"], None, &["c", "b", "a"], &["c", "b", "a"]);
    check_order(&["a", "b"], Some(&["c"]), &["a", "c", "b"], &["a", "c", "b"]);
    check_order(&["a", "b"], Some(&["c"]), &["c", "a", "b"], &["c", "a", "b"]);
    // What only the server knows keeps its place as well as can be.
    check_order(&["x", "a", "b"], None, &["b", "a"], &["x", "b", "a"]);
    check_order(&["a", "x", "b"], None, &["a", "b"], &["a", "x", "b"]);
    check_order(&["a", "b", "x"], Some(&["c"]), &["a", "b", "c"], &["a", "b", "c", "x"]);
    // Without the directive the patch list itself is the order.
    check(
        json!({"containers": names(&["a", "b", "c"])}),
        json!({"containers": names(&["c", "a"])}),
        json!({"containers": names(&["b", "c", "a"])}),
    );
    check_order(&["a"], Some(&["d"]), &["d"], &["d", "a"]);
    // Nothing to order.
    check(json!({}), json!({"$setElementOrder/containers": names(&["a"])}), json!({}));
}

/// What `kubectl apply` sends for a changed image and a new variable of a CronJob.
#[test]
fn what_kubectl_apply_sends_is_understood() {
    let current = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, "uid": "1"},
        "spec": {"schedule": "@daily", "suspend": false, "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "a:1", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "1"}]}]}}}}},
    });
    let patch = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"x\":1}"}},
        "spec": {"suspend": null, "jobTemplate": {"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "main"}],
            "containers": [{"$setElementOrder/env": [{"name": "B"}, {"name": "A"}], "name": "main", "image": "a:2",
            "env": [{"name": "B", "value": "2"}]}]}}}}},
    });
    let expected = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"x\":1}"}, "uid": "1"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "a:2", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}]}}}}},
    });
    let patched = strategic(Resource::CronJob, &current, &patch).unwrap();
    assert_eq!(patched, expected);
    assert_eq!(strategic(Resource::CronJob, &patched, &patch).unwrap(), patched);
}

/// Recorded from kubectl 1.32: an image changes, a variable gives way to another, a volume gets another source.
#[test]
fn what_kubectl_apply_takes_away_is_gone() {
    check(
        json!({
            "restartPolicy": "Never",
            "containers": [
                {"name": "a", "image": "x"},
                {"name": "b", "image": "y", "env": [{"name": "A", "value": "1"}]},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }),
        json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "containers": [{
                "$setElementOrder/env": [{"name": "B"}],
                "env": [{"name": "B", "value": "1"}, {"$patch": "delete", "name": "A"}], "image": "z", "name": "b",
            }],
            "volumes": [{"$retainKeys": ["configMap", "name"], "configMap": {"name": "c"}, "emptyDir": null, "name": "v"}],
        }),
        json!({
            "restartPolicy": "Never",
            "containers": [
                {"name": "a", "image": "x"},
                {"name": "b", "image": "z", "env": [{"name": "B", "value": "1"}]},
            ],
            "volumes": [{"name": "v", "configMap": {"name": "c"}}],
        }),
    );
}

#[test]
fn conditions_are_merged_by_their_type() {
    let current = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}});
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let patched = strategic(Resource::Pod, &current, &patch).unwrap();
    assert_eq!(
        patched["status"]["conditions"],
        json!([{"type": "Ready", "status": "True"}, {"type": "Other", "status": "True"}])
    );
}

#[test]
fn what_cannot_be_merged_names_its_place() {
    let invalid =
        |patch, text| refused(json!({"containers": [container("a")]}), patch, Reason::Invalid, text);
    invalid(
        json!({"containers": [{"image": "x"}]}),
        "cannot apply the patch: spec.template.spec.containers[0]: map does not contain the merge key name",
    );
    invalid(
        json!({"containers": ["a"]}),
        "spec.template.spec.containers[0]: the items of this list are maps",
    );
    invalid(json!({"containers": [{"$patch": "delete"}]}), "does not contain the merge key name");
    let missing = json!({"containers": [{"image": "x"}]});
    let error = strategic(Resource::Job, &job(json!({})), &job(missing)).unwrap_err();
    // What kubectl prints.
    assert_eq!(error.kind, "Job");
    assert_eq!(error.causes[0].field, "spec.template.spec.containers[0]");
    assert_eq!(error.causes[0].message, "map does not contain the merge key name");

    let bad = |patch, text| refused(json!({"containers": [container("a")]}), patch, Reason::BadRequest, text);
    bad(json!({"$patch": "frob"}), "spec.template.spec: $patch is none of merge, replace, delete: \"frob\"");
    bad(json!({"containers": [{"name": "a", "$patch": 1}]}), "$patch is none of");
    bad(json!({"$retainKeys": "a"}), "$retainKeys is no list of names");
    bad(json!({"$retainKeys": ["a"], "hostname": "h"}), "hostname is set and not in $retainKeys");
    bad(json!({"$setElementOrder/containers": {}}), "$setElementOrder is no list");
    bad(json!({"$setElementOrder/containers": [{"image": "x"}]}), "$setElementOrder lacks the merge key");
    bad(
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}),
        "spec.template.spec.containers: the order in the patch list does not match $setElementOrder: \"a\"",
    );
}

/// Fifty thousand items take a moment, not an hour.
#[test]
fn long_lists_are_merged_in_linear_time() {
    let list = |offset: usize| -> Vec<Value> {
        (0..50_000).map(|i| json!({"name": format!("v{}", i + offset)})).collect()
    };
    let patched = strategic(
        Resource::Job,
        &job(json!({"volumes": list(0)})),
        &job(json!({"volumes": list(25_000), "$setElementOrder/volumes": list(25_000)})),
    )
    .unwrap();
    assert_eq!(patched["spec"]["template"]["spec"]["volumes"].as_array().map(Vec::len), Some(75_000));
}
