use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cells, columns, human_duration};
use crate::Resource;

const NOW: i64 = 1_767_322_800; // 2026-01-02T03:00:00Z

/// The columns and cells as kubectl prints them: `HEAD=cell`, wide ones after a bar.
#[track_caller]
fn check(resource: Resource, object: &Value, expected: &str) {
    let row = cells(resource, object, NOW);
    let columns = columns(resource);
    let columns = columns.as_array().unwrap();
    assert_eq!(columns.len(), row.len());
    let mut printed = [Vec::new(), Vec::new()];
    for (column, cell) in columns.iter().zip(row) {
        let is_integer = column["type"] == "integer";
        assert!(!is_integer || cell.is_i64() || cell.is_u64(), "{column}: {cell}");
        let cell = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        let head = column["name"].as_str().unwrap().to_uppercase();
        printed[usize::from(column["priority"] == 1)].push(format!("{head}={cell}"));
    }
    let mut line = printed[0].join(" ");
    if !printed[1].is_empty() {
        line = format!("{line} | {}", printed[1].join(" "));
    }
    assert_eq!(line, expected);
}

#[test]
fn durations_are_kubectls() {
    const H: i64 = 3600;
    const D: i64 = 24 * H;
    for (seconds, expected) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (1, "1s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (599, "9m59s"),
        (600, "10m"),
        (601, "10m"),
        (3 * H - 1, "179m"),
        (3 * H, "3h"),
        (3 * H + 120, "3h2m"),
        (8 * H - 1, "7h59m"),
        (8 * H, "8h"),
        (2 * D - 1, "47h"),
        (2 * D, "2d"),
        (2 * D + H, "2d1h"),
        (8 * D - 1, "7d23h"),
        (8 * D, "8d"),
        (2 * 365 * D - 1, "729d"),
        (2 * 365 * D, "2y"),
        (2 * 365 * D + D, "2y1d"),
        (8 * 365 * D, "8y"),
        (i64::MIN, "<invalid>"),
    ] {
        assert_eq!(human_duration(seconds), expected, "{seconds}");
    }
}

fn pod(spec: Value, status: Value) -> Value {
    json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-02T02:55:00Z"}, "spec": spec, "status": status,
    })
}

/// The ready, status and restarts columns.
#[track_caller]
fn check_pod(object: &Value, ready: &str, status: &str, restarts: &str) {
    let row = cells(Resource::Pod, object, NOW);
    assert_eq!(row[1..4], [ready, status, restarts], "{object:#}");
}

fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"})
}

fn running() -> Value {
    json!({"ready": true, "state": {"running": {}}, "restartCount": 0})
}

fn ended(reason: &str, exit_code: i32) -> Value {
    json!({"ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": exit_code, "reason": reason}}})
}

#[test]
fn a_pods_row() {
    check(
        Resource::Pod,
        &pod(
            two(),
            json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [running(), running()]}),
        ),
        "NAME=p READY=2/2 STATUS=Running RESTARTS=0 AGE=5m | IP=10.0.0.1 NODE=n NOMINATED NODE=<none> READINESS GATES=<none>",
    );
}

#[test]
fn a_pods_status_is_the_word_that_matters_most() {
    check_pod(&pod(two(), json!({"phase": "Pending"})), "0/2", "Pending", "0");
    let phase =
        |phase: &str, statuses: Value| pod(two(), json!({"phase": phase, "containerStatuses": statuses}));
    let waiting =
        |reason: &str| json!({"ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason}}});
    check_pod(
        &phase("Pending", json!([waiting("ContainerCreating"), running()])),
        "1/2",
        "ContainerCreating",
        "0",
    );
    check_pod(
        &phase("Succeeded", json!([ended("Completed", 0), ended("Completed", 0)])),
        "0/2",
        "Completed",
        "0",
    );
    check_pod(
        &phase("Failed", json!([ended("OOMKilled", 137), ended("Completed", 0)])),
        "0/2",
        "OOMKilled",
        "0",
    );
    check_pod(&phase("Failed", json!([ended("Error", 1), ended("OOMKilled", 137)])), "0/2", "Error", "0");
    check_pod(&phase("Failed", json!([ended("", 3), ended("Completed", 0)])), "0/2", "ExitCode:3", "0");
    check_pod(&phase("Running", json!([ended("Completed", 0), running()])), "1/2", "NotReady", "0");
    let mut ready = phase("Running", json!([ended("Completed", 0), running()]));
    ready["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    check_pod(&ready, "1/2", "Running", "0");

    let mut signalled = phase("Failed", json!([ended("", 137)]));
    signalled["status"]["containerStatuses"][0]["state"]["terminated"]["signal"] = 9.into();
    check_pod(&signalled, "0/2", "Signal:9", "0");

    let mut deleted = phase("Running", json!([running(), running()]));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:30Z".into();
    check_pod(&deleted, "2/2", "Terminating", "0");
    deleted["status"]["phase"] = "Succeeded".into();
    deleted["status"]["containerStatuses"] = json!([ended("Completed", 0)]);
    check_pod(&deleted, "0/2", "Completed", "0");

    check_pod(&pod(two(), json!({"phase": "Failed", "reason": "Evicted"})), "0/2", "Evicted", "0");
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    check_pod(&pod(two(), json!({"phase": "Pending", "conditions": gated})), "0/2", "SchedulingGated", "0");
}

#[test]
fn restarts_tell_when_the_last_was() {
    let status = |count: i64, at: &str| {
        json!({
            "ready": false, "restartCount": count, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": at}},
        })
    };
    let object = pod(
        two(),
        json!({"phase": "Running", "containerStatuses": [status(2, "2026-01-02T02:59:10Z"), status(1, "2026-01-02T02:58:00Z")]}),
    );
    check_pod(&object, "0/2", "CrashLoopBackOff", "3 (50s ago)");
}

#[test]
fn init_containers_are_told_first() {
    let spec = json!({
        "initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
    });
    let init = |statuses: Value| {
        pod(
            spec.clone(),
            json!({"phase": "Pending", "initContainerStatuses": statuses, "containerStatuses": [
            {"ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]}),
        )
    };
    let named = |name: &str, mut status: Value| {
        status["name"] = name.into();
        status
    };
    check_pod(&init(json!([named("i", running())])), "0/2", "Init:0/2", "0");
    check_pod(&init(json!([named("i", ended("Error", 1))])), "0/2", "Init:Error", "0");
    check_pod(&init(json!([named("i", ended("", 2))])), "0/2", "Init:ExitCode:2", "0");
    let waiting =
        json!({"name": "i", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    check_pod(&init(json!([waiting])), "0/2", "Init:CrashLoopBackOff", "4");
    let done = named("i", ended("Completed", 0));
    let side_waits =
        json!({"name": "side", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}});
    check_pod(&init(json!([done, side_waits])), "0/2", "Init:1/2", "0");
    let mut side = named("side", running());
    side["started"] = true.into();
    check_pod(&init(json!([done, side])), "1/2", "PodInitializing", "0");
}

#[test]
fn a_jobs_row() {
    let mut job = json!({
        "metadata": {"name": "j", "creationTimestamp": "2026-01-02T02:00:00Z"},
        "spec": {
            "completions": 24, "parallelism": 4, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "x"}},
            "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}]}},
        },
        "status": {"startTime": "2026-01-02T02:00:10Z", "succeeded": 3},
    });
    check(
        Resource::Job,
        &job,
        "NAME=j STATUS=Running COMPLETIONS=3/24 DURATION=59m AGE=60m | CONTAINERS=a,b IMAGES=i:1,i:2 \
         SELECTOR=batch.kubernetes.io/controller-uid=x",
    );
    job["status"]["completionTime"] = "2026-01-02T02:02:10Z".into();
    job["status"]["conditions"] =
        json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]);
    assert_eq!(cells(Resource::Job, &job, NOW)[1..4], ["Complete", "3/24", "2m"]);
    let status = |conditions: Value, deleted: bool| {
        let mut job = json!({"spec": {"parallelism": 3}, "status": {"conditions": conditions}});
        if deleted {
            job["metadata"]["deletionTimestamp"] = "2026-01-02T02:00:00Z".into();
        }
        cells(Resource::Job, &job, NOW)[1].clone()
    };
    assert_eq!(status(json!([{"type": "Failed", "status": "True"}]), true), "Failed");
    assert_eq!(status(json!([{"type": "Suspended", "status": "True"}]), true), "Terminating");
    assert_eq!(status(json!([{"type": "Suspended", "status": "True"}]), false), "Suspended");
    assert_eq!(status(json!([{"type": "Suspended", "status": "False"}]), false), "Running");
    assert_eq!(status(json!([{"type": "FailureTarget", "status": "True"}]), false), "FailureTarget");
    let completions = |spec: Value| cells(Resource::Job, &json!({"spec": spec}), NOW)[2].clone();
    assert_eq!(completions(json!({"parallelism": 3})), "0/1 of 3");
    assert_eq!(completions(json!({"parallelism": 1})), "0/1");
}

#[test]
fn a_cronjobs_row() {
    let mut cron = json!({
        "metadata": {"name": "c", "creationTimestamp": "2025-12-31T03:00:00Z"},
        "spec": {"schedule": "*/5 * * * *", "suspend": false, "jobTemplate": {"spec": {"template": {"spec":
            {"containers": [{"name": "a", "image": "i"}]}}}}},
    });
    check(
        Resource::CronJob,
        &cron,
        "NAME=c SCHEDULE=*/5 * * * * TIMEZONE=<none> SUSPEND=False ACTIVE=0 LAST SCHEDULE=<none> AGE=2d | CONTAINERS=a \
         IMAGES=i SELECTOR=<none>",
    );
    cron["spec"]["timeZone"] = "Europe/Berlin".into();
    cron["spec"]["suspend"] = true.into();
    cron["status"] = json!({"active": [{}, {}], "lastScheduleTime": "2026-01-02T02:55:00Z"});
    assert_eq!(
        cells(Resource::CronJob, &cron, NOW)[2..6],
        [json!("Europe/Berlin"), json!("True"), json!(2), json!("5m")]
    );
}

#[test]
fn the_other_rows() {
    let meta = json!({"name": "x", "creationTimestamp": "2026-01-02T02:59:00Z"});
    check(
        Resource::Namespace,
        &json!({"metadata": meta, "status": {"phase": "Active"}}),
        "NAME=x STATUS=Active AGE=60s",
    );
    check(
        Resource::ConfigMap,
        &json!({"metadata": meta, "data": {"a": "", "b": ""}, "binaryData": {"c": ""}}),
        "NAME=x DATA=3 AGE=60s",
    );
    check(
        Resource::Secret,
        &json!({"metadata": meta, "type": "Opaque", "data": {"a": ""}}),
        "NAME=x TYPE=Opaque DATA=1 AGE=60s",
    );
    check(Resource::ServiceAccount, &json!({"metadata": meta}), "NAME=x SECRETS=0 AGE=60s");
    check(
        Resource::Node,
        &json!({
            "metadata": {"name": "x", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "gpu"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.6"},
            },
        }),
        "NAME=x STATUS=Ready,SchedulingDisabled ROLES=control-plane,gpu AGE=<unknown> VERSION=v1 | INTERNAL-IP=127.0.0.1 \
         EXTERNAL-IP=<none> OS-IMAGE=<unknown> KERNEL-VERSION=6.6 CONTAINER-RUNTIME=<unknown>",
    );
    check(
        Resource::Event,
        &json!({
            "metadata": {"name": "x.1"}, "type": "Warning", "reason": "Failed", "message": " no \n",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "source": {"component": "node", "host": "h"}, "count": 3,
            "firstTimestamp": "2026-01-02T02:00:00Z", "lastTimestamp": "2026-01-02T02:59:00Z",
        }),
        "LAST SEEN=60s TYPE=Warning REASON=Failed OBJECT=pod/p MESSAGE=no | SUBOBJECT=spec.containers{a} SOURCE=node, h \
         FIRST SEEN=60m COUNT=3 NAME=x.1",
    );
    check(
        Resource::Event,
        &json!({
            "metadata": {"name": "x.2"}, "eventTime": "2026-01-02T02:58:00.000000Z", "reportingComponent": "c",
            "series": {"count": 7, "lastObservedTime": "2026-01-02T02:59:50.000000Z"},
        }),
        "LAST SEEN=10s TYPE= REASON= OBJECT= MESSAGE= | SUBOBJECT= SOURCE=c FIRST SEEN=2m COUNT=7 NAME=x.2",
    );
}

proptest! {
    /// Whatever an object looks like, each column gets a cell.
    #[test]
    fn every_column_gets_a_cell(key in "metadata|spec|status|series", leaf in "[0-9a-z]{0,3}") {
        for resource in Resource::all() {
            for inner in [json!(leaf), json!([leaf]), json!({"conditions": [leaf], "name": leaf}), Value::Null] {
                let row = cells(resource, &json!({key.as_str(): inner}), NOW);
                prop_assert_eq!(row.len(), columns(resource).as_array().unwrap().len());
            }
        }
    }

    #[test]
    fn a_duration_never_has_more_than_two_units(seconds in any::<i64>()) {
        let units = human_duration(seconds).chars().filter(char::is_ascii_alphabetic).count();
        prop_assert!(units <= 2 || seconds < -1);
    }
}

#[test]
fn policies() {
    let metadata = json!({"name": "a", "creationTimestamp": "2026-01-02T02:59:00Z"});
    let of = |mut rest: Value| {
        rest["metadata"] = metadata.clone();
        rest
    };
    check(
        Resource::ResourceQuota,
        &of(json!({"status": {
            "hard": {"pods": "10", "limits.cpu": "4", "cpu": "2"}, "used": {"pods": "3", "limits.cpu": "1500m"},
        }})),
        "NAME=a REQUEST=cpu: 0/2, pods: 3/10 LIMIT=limits.cpu: 1500m/4 AGE=60s",
    );
    check(Resource::ResourceQuota, &of(json!({})), "NAME=a REQUEST= LIMIT= AGE=60s");
    check(Resource::LimitRange, &of(json!({})), "NAME=a CREATED AT=2026-01-02T02:59:00Z");
    check(
        Resource::PriorityClass,
        &of(json!({"value": -5, "preemptionPolicy": "Never"})),
        "NAME=a VALUE=-5 GLOBAL-DEFAULT=false AGE=60s PREEMPTIONPOLICY=Never",
    );
    check(Resource::RuntimeClass, &of(json!({"handler": "runc"})), "NAME=a HANDLER=runc AGE=60s");
    check(
        Resource::NetworkPolicy,
        &of(json!({"spec": {"podSelector": {}}})),
        "NAME=a POD-SELECTOR=<none> AGE=60s",
    );
    check(
        Resource::NetworkPolicy,
        &of(json!({"spec": {"podSelector": {"matchLabels": {"app": "db"}}}})),
        "NAME=a POD-SELECTOR=app=db AGE=60s",
    );
    check(Resource::Lease, &of(json!({"spec": {"holderIdentity": "me"}})), "NAME=a HOLDER=me AGE=60s");
    check(Resource::Role, &of(json!({"rules": []})), "NAME=a CREATED AT=2026-01-02T02:59:00Z");
    check(Resource::ClusterRole, &of(json!({})), "NAME=a CREATED AT=2026-01-02T02:59:00Z");
    let subjects = json!([
        {"kind": "User", "name": "ada"}, {"kind": "Group", "name": "ops"}, {"kind": "User", "name": "bob"},
        {"kind": "ServiceAccount", "name": "runner", "namespace": "ml"},
    ]);
    check(
        Resource::RoleBinding,
        &of(json!({"roleRef": {"kind": "Role", "name": "reader"}, "subjects": subjects})),
        "NAME=a ROLE=Role/reader AGE=60s | USERS=ada, bob GROUPS=ops SERVICEACCOUNTS=ml/runner",
    );
    check(
        Resource::ClusterRoleBinding,
        &of(json!({"roleRef": {"kind": "ClusterRole", "name": "view"}})),
        "NAME=a ROLE=ClusterRole/view AGE=60s | USERS= GROUPS= SERVICEACCOUNTS=",
    );
    let event = of(json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "type": "Normal", "reason": "Ran", "note": "it ran",
        "regarding": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-02T02:58:00.000000Z",
    }));
    let line = "LAST SEEN=2m TYPE=Normal REASON=Ran OBJECT=pod/p MESSAGE=it ran | \
                SUBOBJECT= SOURCE= FIRST SEEN=2m COUNT=1 NAME=a";
    check(Resource::EventsEvent, &event, line);
}

#[test]
fn claims_volumes_and_classes() {
    let metadata = json!({"name": "a", "creationTimestamp": "2026-01-02T02:59:00Z"});
    let claim = |volume: &str| {
        json!({
            "metadata": metadata, "spec": {
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
                "volumeName": volume, "storageClassName": "fast", "volumeMode": "Filesystem",
            }, "status": {
                "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            },
        })
    };
    check(
        Resource::PersistentVolumeClaim,
        &claim("v"),
        "NAME=a STATUS=Bound VOLUME=v CAPACITY=1Gi ACCESS MODES=RWO,RWX STORAGECLASS=fast \
         VOLUMEATTRIBUTESCLASS=<unset> AGE=60s | VOLUMEMODE=Filesystem",
    );
    let mut ending = claim("");
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-02T02:59:30Z");
    check(
        Resource::PersistentVolumeClaim,
        &ending,
        "NAME=a STATUS=Terminating VOLUME= CAPACITY= ACCESS MODES= STORAGECLASS=fast \
         VOLUMEATTRIBUTESCLASS=<unset> AGE=60s | VOLUMEMODE=Filesystem",
    );
    check(
        Resource::PersistentVolume,
        &json!({
            "metadata": metadata, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"],
                "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "ml", "name": "data"},
            }, "status": {"phase": "Failed", "reason": "Gone"},
        }),
        "NAME=a CAPACITY=1Gi ACCESS MODES=RWOP RECLAIM POLICY=Delete STATUS=Failed CLAIM=ml/data STORAGECLASS= \
         VOLUMEATTRIBUTESCLASS=<unset> REASON=Gone AGE=60s | VOLUMEMODE=<unset>",
    );
    let mut class =
        json!({"metadata": metadata, "provisioner": "a/b", "volumeBindingMode": "WaitForFirstConsumer"});
    class["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    check(
        Resource::StorageClass,
        &class,
        "NAME=a (default) PROVISIONER=a/b RECLAIMPOLICY=Delete VOLUMEBINDINGMODE=WaitForFirstConsumer \
         ALLOWVOLUMEEXPANSION=false AGE=60s",
    );
}

#[test]
fn services() {
    let service = |spec: Value| json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-02T02:59:00Z"}, "spec": spec});
    check(
        Resource::Service,
        &service(
            json!({"clusterIPs": ["10.0.0.1"], "type": "ClusterIP", "ports": [{"port": 443, "protocol": "TCP"}]}),
        ),
        "NAME=a TYPE=ClusterIP CLUSTER-IP=10.0.0.1 EXTERNAL-IP=<none> PORT(S)=443/TCP AGE=60s | SELECTOR=<none>",
    );
    check(
        Resource::Service,
        &service(json!({
            "clusterIP": "None", "externalIPs": ["1.2.3.4", "::1"], "type": "NodePort", "selector": {"app": "web", "b": "c"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        })),
        "NAME=a TYPE=NodePort CLUSTER-IP=None EXTERNAL-IP=1.2.3.4,::1 PORT(S)=80:30080/TCP,53/UDP AGE=60s | \
         SELECTOR=app=web,b=c",
    );
}
