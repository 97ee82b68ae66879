//! Random Jobs and CronJobs that pass validation.

use serde_json::{Value, json};

use super::super::{cron, job};
use super::Random;
use crate::placement::Pools;

pub(super) fn random_job(random: &mut Random, name: &str) -> Value {
    job(name, job_spec(random))
}

pub(super) fn random_cron(random: &mut Random, name: &str) -> Value {
    let schedule =
        random.pick(&["* * * * *", "*/2 * * * *", "30 2 * * *", "@every 45s", "0/15 1-3 * * *", "@hourly"]);
    let mut spec = json!({
        "concurrencyPolicy": random.pick(&["Allow", "Forbid", "Forbid", "Replace"]),
        "successfulJobsHistoryLimit": random.below(4),
        "failedJobsHistoryLimit": random.below(3),
        "jobTemplate": {"spec": job_spec(random)},
    });
    if random.one_in(2) {
        let zone = random.pick(&["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Etc/UTC"]);
        spec["timeZone"] = zone.into();
    }
    if random.one_in(3) {
        spec["startingDeadlineSeconds"] = random.pick(&[1, 30, 200, 5_000]).into();
    }
    if random.one_in(6) {
        spec["suspend"] = true.into();
    }
    let mut object = cron(name, schedule, spec);
    if random.one_in(2) {
        let catch_up = random.pick(&["none", "latest", "all"]);
        object["metadata"]["annotations"] = json!({"watchbell.dev/catch-up": catch_up});
    }
    object
}

fn job_spec(random: &mut Random) -> Value {
    let mut spec = json!({"parallelism": random.below(6)});
    let indexed = !random.one_in(3);
    if indexed {
        spec["completionMode"] = "Indexed".into();
        spec["completions"] = (1 + random.below(10)).into();
        if random.one_in(2) {
            spec["backoffLimitPerIndex"] = random.below(3).into();
            if random.one_in(2) {
                spec["maxFailedIndexes"] = random.below(2).into();
            }
        }
        if random.one_in(4) {
            spec["successPolicy"] = json!({"rules": [{"succeededCount": 1}]});
        }
    } else if random.one_in(2) {
        spec["completions"] = (1 + random.below(8)).into();
    }
    if random.one_in(2) {
        spec["backoffLimit"] = random.pick(&[0, 1, 3, 20]).into();
    }
    if random.one_in(4) {
        spec["activeDeadlineSeconds"] = (1 + random.below(3_000)).into();
    }
    if random.one_in(4) {
        spec["ttlSecondsAfterFinished"] = random.below(300).into();
    }
    if random.one_in(3) {
        spec["podReplacementPolicy"] = random.pick(&["Failed", "TerminatingOrFailed"]).into();
    }
    if random.one_in(4) {
        spec["podFailurePolicy"] = json!({"rules": [
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [40]}},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [41]}},
        ]});
        spec["podReplacementPolicy"] = "Failed".into();
    }
    if random.one_in(8) {
        spec["suspend"] = true.into();
    }
    let pod = pod_spec(random);
    if !pod.is_null() {
        spec["template"] = json!({"spec": pod});
    }
    if indexed && spec.get("successPolicy").is_none() && random.one_in(3) {
        let completions = 1 + random.below(8);
        spec["completions"] = completions.into();
        let uses =
            format!("{{name: obs, mount: /data, mode: write, split: {{dim: time, into: {completions}}}}}");
        spec["template"]["metadata"] = json!({"annotations": {"watchbell.dev/array": uses}});
    }
    spec
}

/// What its pods ask for beside a container: a part of the machine, a claim, a place before others.
fn pod_spec(random: &mut Random) -> Value {
    let mut pod = Value::Null;
    if random.one_in(3) {
        let cpu = random.pick(&["100m", "1", "2"]);
        pod["containers"] = json!([{
            "name": "main", "image": "busybox:bar", "imagePullPolicy": "Never", "resources": {"requests": {"cpu": cpu}},
        }]);
    }
    if random.one_in(3) {
        let count = random.pick(&["1", "1", "2"]);
        pod["containers"] = json!([{
            "name": "main", "image": "busybox:bar", "imagePullPolicy": "Never", "resources": {"limits": {"vendor.com/toy": count}},
        }]);
    }
    if random.one_in(4) {
        let claim = random.pick(&CLAIMS);
        pod["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    }
    if random.one_in(4) {
        pod["priorityClassName"] = random.pick(&["system-cluster-critical", "system-node-critical"]).into();
    }
    pod
}

/// The devices of the machine, those left out that chance takes away.
pub(super) fn toys(is_there: impl FnMut(&u32) -> bool) -> Pools {
    let names = (0..3).filter(is_there).map(|i| format!("vendor.com/toy={i}").into());
    Pools::from([("vendor.com/toy".into(), names.collect())])
}

pub(super) const CLAIMS: [&str; 3] = ["shared", "lazy", "alone"];

/// One of [`CLAIMS`].
pub(super) fn claim(name: &str) -> Value {
    let mode = if name == "alone" { "ReadWriteOncePod" } else { "ReadWriteMany" };
    let class = if name == "lazy" { "lazy" } else { "local" };
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": [mode], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}},
    })
}

pub(super) fn lazy_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "lazy"},
        "provisioner": "watchbell.dev/local", "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// A quota or a LimitRange.
pub(super) fn random_policy(random: &mut Random, name: &str) -> Value {
    if random.one_in(3) {
        let limits = random.pick(&[
            json!([{"type": "Container", "defaultRequest": {"cpu": "50m"}, "default": {"memory": "1Gi"}}]),
            json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "200m"}}]),
        ]);
        return json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": limits}});
    }
    let spec = random.pick(&[
        json!({"hard": {"pods": "3", "count/jobs.batch": "9"}}),
        json!({"hard": {"count/pods": "12"}}),
        json!({"hard": {"requests.cpu": "2"}}),
        json!({"hard": {"pods": "2"}, "scopes": ["Terminating"]}),
        json!({"hard": {"pods": "4"}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "DoesNotExist"},
        ]}}),
    ]);
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})
}

/// The array that Jobs write, and the right to it.
pub(super) fn data_array() -> [Value; 2] {
    let array = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": "obs"}, "spec": {},
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "writers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "array-writer"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "ml"}],
    });
    [array, binding]
}
