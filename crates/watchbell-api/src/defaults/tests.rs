use proptest::prelude::*;
use serde_json::{Value, json};

use super::apply;
use crate::Resource;

#[track_caller]
fn check(resource: Resource, input: Value, expected: Value) {
    let mut object = input.clone();
    apply(resource, &mut object);
    // As text: the order counts.
    assert_eq!(object.to_string(), expected.to_string(), "{input}");
    apply(resource, &mut object);
    assert_eq!(object.to_string(), expected.to_string(), "twice: {input}");
}

/// The container of a pod, after defaulting.
#[track_caller]
fn check_container(input: Value, expected: Value) {
    let mut pod = json!({"spec": {"containers": [input]}});
    apply(Resource::Pod, &mut pod);
    let expected_fields = expected.as_object().unwrap();
    for (field, value) in expected_fields {
        assert_eq!(&pod["spec"]["containers"][0][field], value, "{field} of {pod:#}");
    }
}

fn template_defaults() -> Value {
    json!({
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
    })
}

#[test]
fn an_empty_pod() {
    let mut spec = template_defaults();
    spec["enableServiceLinks"] = json!(true);
    check(Resource::Pod, json!({}), json!({"spec": spec}));
}

#[test]
fn containers() {
    check(
        Resource::Pod,
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox"}], "serviceAccount": "x"}}),
        json!({"spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "a", "image": "busybox", "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "imagePullPolicy": "Always",
            }],
            "serviceAccount": "x", "dnsPolicy": "ClusterFirst", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "serviceAccountName": "x",
            "enableServiceLinks": true,
        }}),
    );
    check_container(
        json!({"resources": {"limits": {"cpu": "1", "memory": "0.0001"}, "requests": {"cpu": "500m"}}}),
        json!({"resources": {"limits": {"cpu": "1", "memory": "1m"}, "requests": {"cpu": "500m", "memory": "1m"}}}),
    );
    check_container(
        json!({
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
            "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0, "failureThreshold": 7},
            "startupProbe": {"grpc": {"port": 1}, "timeoutSeconds": 2, "successThreshold": 1, "periodSeconds": 3},
            "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/x"}}},
        }),
        json!({
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}},
                {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}},
            ],
            "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}],
            "livenessProbe": {
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 7,
                "timeoutSeconds": 1, "successThreshold": 1,
            },
            "startupProbe": {
                "grpc": {"port": 1, "service": ""}, "timeoutSeconds": 2, "successThreshold": 1, "periodSeconds": 3,
                "failureThreshold": 3,
            },
            "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/x", "scheme": "HTTP"}}},
        }),
    );
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("registry:5000/busybox", "Always"),
        ("registry:5000/busybox:1", "IfNotPresent"),
        ("busybox:1.36", "IfNotPresent"),
        ("busybox@sha256:aa", "IfNotPresent"),
        ("busybox:latest@sha256:aa", "Always"),
        ("", "IfNotPresent"),
    ] {
        check_container(json!({"image": image}), json!({"imagePullPolicy": policy}));
    }
    check_container(
        json!({"image": "busybox", "imagePullPolicy": "Never"}),
        json!({"imagePullPolicy": "Never"}),
    );
}

#[test]
fn volumes() {
    let mut pod = json!({"spec": {"volumes": [
        {"name": "a"},
        {"name": "b", "configMap": {"name": "x"}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "d", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
        {"name": "e", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}},
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
        ]}},
        {"name": "f", "hostPath": {"path": "/tmp"}},
        {"name": "g", "image": {"reference": "a:1"}},
    ]}});
    apply(Resource::Pod, &mut pod);
    let expected = json!([
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "d", "downwardAPI": {
            "items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid", "apiVersion": "v1"}}], "defaultMode": 420,
        }},
        {"name": "e", "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid", "apiVersion": "v1"}}]}},
            ],
            "defaultMode": 420,
        }},
        {"name": "f", "hostPath": {"path": "/tmp", "type": ""}},
        {"name": "g", "image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}},
    ]);
    assert_eq!(pod["spec"]["volumes"], expected);
}

#[test]
fn host_ports_follow_in_the_hosts_network() {
    let mut pod = json!({"spec": {"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]}});
    apply(Resource::Pod, &mut pod);
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn jobs() {
    let job = |spec: Value, fields: Value| {
        let mut job = json!({"spec": spec});
        apply(Resource::Job, &mut job);
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(job["spec"].get(field).unwrap_or(&Value::Null), value, "{field} of {job:#}");
        }
    };
    job(
        json!({}),
        json!({
            "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "podReplacementPolicy": "TerminatingOrFailed", "template": {"metadata": {}, "spec": template_defaults()},
        }),
    );
    job(json!({"parallelism": 4}), json!({"completions": null, "parallelism": 4}));
    job(json!({"completions": 4}), json!({"completions": 4, "parallelism": 1}));
    job(json!({"completions": 0, "parallelism": 0}), json!({"completions": 0, "parallelism": 0}));
    job(json!({"backoffLimitPerIndex": 0}), json!({"backoffLimit": i32::MAX}));
    job(
        json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "x"}]}]}}),
        json!({
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "x", "status": "True"}]}]},
            "podReplacementPolicy": "Failed",
        }),
    );
    job(
        json!({"completionMode": "", "podReplacementPolicy": ""}),
        json!({"completionMode": "", "podReplacementPolicy": ""}),
    );
}

#[test]
fn a_job_takes_the_labels_of_its_template_once_they_are_complete() {
    let labels_of = |template: Value, own: Value| {
        let mut job =
            json!({"metadata": {"labels": own}, "spec": {"template": {"metadata": {"labels": template}}}});
        apply(Resource::Job, &mut job);
        job["metadata"]["labels"].clone()
    };
    assert_eq!(labels_of(json!({"a": "b"}), json!({})), json!({}));
    let generated = json!({"a": "b", "batch.kubernetes.io/controller-uid": "u"});
    assert_eq!(labels_of(generated.clone(), json!({})), generated);
    assert_eq!(labels_of(generated, json!({"c": "d"})), json!({"c": "d"}));
}

#[test]
fn cron_jobs() {
    check(
        Resource::CronJob,
        json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {}}}}}}),
        json!({"spec": {
            "schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": {"spec": template_defaults(), "metadata": {}}}, "metadata": {}},
            "concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
        }}),
    );
    check(
        Resource::CronJob,
        json!({"spec": {
            "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0, "suspend": true, "concurrencyPolicy": "Forbid",
            "jobTemplate": {"metadata": {}, "spec": {"template": {"metadata": {}, "spec": template_defaults()}}},
        }}),
        json!({"spec": {
            "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0, "suspend": true, "concurrencyPolicy": "Forbid",
            "jobTemplate": {"metadata": {}, "spec": {"template": {"metadata": {}, "spec": template_defaults()}}},
        }}),
    );
}

#[test]
fn secrets_and_namespaces() {
    check(
        Resource::Secret,
        json!({"stringData": {"a": "x", "b": ""}, "data": {"a": "b2xk", "c": "Yw=="}, "metadata": {"name": "s"}}),
        json!({"data": {"a": "eA==", "c": "Yw==", "b": ""}, "metadata": {"name": "s"}, "type": "Opaque"}),
    );
    check(Resource::Secret, json!({"stringData": {}, "type": "t"}), json!({"type": "t"}));
    check(
        Resource::Namespace,
        json!({"metadata": {"name": "ml", "labels": {"kubernetes.io/metadata.name": "else"}}}),
        json!({
            "metadata": {"name": "ml", "labels": {"kubernetes.io/metadata.name": "ml"}},
            "spec": {"finalizers": ["kubernetes"]},
        }),
    );
    check(Resource::ConfigMap, json!({"data": {"a": "b"}}), json!({"data": {"a": "b"}}));
}

/// Objects of any shape, with the fields that defaults look at.
fn any_object() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "spec",
        "template",
        "metadata",
        "labels",
        "containers",
        "initContainers",
        "volumes",
        "resources",
        "limits",
        "requests",
        "env",
        "valueFrom",
        "fieldRef",
        "ports",
        "hostPort",
        "containerPort",
        "livenessProbe",
        "httpGet",
        "emptyDir",
        "configMap",
        "projected",
        "sources",
        "serviceAccount",
        "hostNetwork",
        "image",
        "jobTemplate",
        "podFailurePolicy",
        "rules",
        "onPodConditions",
        "completions",
        "parallelism",
        "stringData",
        "data",
        "finalizers",
        "name",
        "cpu",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-1i64..3).prop_map(Value::from),
        "[a-z:0-9.]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::vec((names.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn defaulting_twice_changes_nothing_more(object in any_object()) {
        for resource in Resource::all() {
            let mut once = object.clone();
            apply(resource, &mut once);
            let mut twice = once.clone();
            apply(resource, &mut twice);
            prop_assert_eq!(once.to_string(), twice.to_string());
        }
    }
}

#[test]
fn limit_ranges_fill_in_what_they_imply() {
    let check = |input: Value, expected: Value| {
        check(
            Resource::LimitRange,
            json!({"spec": {"limits": [input]}}),
            json!({"spec": {"limits": [expected]}}),
        );
    };
    check(
        json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}}),
        json!({
            "type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}, "default": {"cpu": "2"},
            "defaultRequest": {"cpu": "2", "memory": "1Mi"},
        }),
    );
    check(
        json!({"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
        json!({"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
    );
    check(json!({"type": "Pod", "max": {"cpu": "2"}}), json!({"type": "Pod", "max": {"cpu": "2"}}));
}

#[test]
fn claims_volumes_and_classes() {
    check(
        Resource::PersistentVolumeClaim,
        json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}}),
        json!({"spec": {
            "dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}, "volumeMode": "Filesystem",
            "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "a"},
        }}),
    );
    check(
        Resource::PersistentVolume,
        json!({"spec": {"hostPath": {"path": "/a"}}}),
        json!({"spec": {
            "hostPath": {"path": "/a", "type": ""}, "persistentVolumeReclaimPolicy": "Retain",
            "volumeMode": "Filesystem",
        }}),
    );
    check(
        Resource::StorageClass,
        json!({"provisioner": "a/b"}),
        json!({"provisioner": "a/b", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
    );
    check(
        Resource::PriorityClass,
        json!({"value": 1}),
        json!({"value": 1, "preemptionPolicy": "PreemptLowerPriority"}),
    );
}

#[test]
fn network_policies() {
    check(
        Resource::NetworkPolicy,
        json!({"spec": {"podSelector": {}}}),
        json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    );
    check(
        Resource::NetworkPolicy,
        json!({"spec": {"egress": [{"ports": [{"port": 53}]}]}}),
        json!({"spec": {
            "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}], "policyTypes": ["Ingress", "Egress"],
        }}),
    );
}

#[test]
fn bindings() {
    let group = "rbac.authorization.k8s.io";
    for resource in [Resource::RoleBinding, Resource::ClusterRoleBinding] {
        check(
            resource,
            json!({
                "subjects": [
                    {"kind": "User", "name": "ada"}, {"kind": "Group", "name": "ops", "apiGroup": ""},
                    {"kind": "ServiceAccount", "name": "a"}, {"kind": "Robot", "name": "r"},
                ],
                "roleRef": {"kind": "ClusterRole", "name": "view"},
            }),
            json!({
                "subjects": [
                    {"kind": "User", "name": "ada", "apiGroup": group},
                    {"kind": "Group", "name": "ops", "apiGroup": group},
                    {"kind": "ServiceAccount", "name": "a"}, {"kind": "Robot", "name": "r"},
                ],
                "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": group},
            }),
        );
    }
}
