//! The Jobs and CronJobs that the published tests make.

use std::path::PathBuf;

use serde_json::{Value, json};

pub(crate) const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1";
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// What a test's container does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Succeed,
    Fail,
    /// Waits for ever, and ends when told to.
    NotTerminate,
    FailOddSucceedEven,
    /// Even indexes succeed, odd ones run for ever.
    NotTerminateOddSucceedEven,
    /// Fails once, and leaves a mark in its volume by which the next one knows.
    FailOnce,
    /// So does every index, with 42.
    FailOncePerIndex,
    /// Every index leaves its mark and stays; its next pod succeeds.
    NotTerminateOncePerIndex,
    /// What its image does: a shell without input.
    Nothing,
    /// Ends with 143 some time after it was told to.
    EndSlowly,
}

/// The node of a stand.
pub(crate) enum Place {
    Anywhere,
    /// Marks of [`Does::FailOnce`] and the like outlive the pod: a directory of the host, and privilege as the
    /// published tests ask.
    Node {
        name: String,
        marks: PathBuf,
    },
}

/// A Job with the fields that a Go client sends, empty ones included.
pub(crate) fn job(name: &str, does: Does, restart: &str, parallelism: u32, completions: u32) -> Value {
    job_on(name, does, restart, parallelism, completions, &Place::Anywhere)
}

pub(crate) fn job_on(
    name: &str,
    does: Does,
    restart: &str,
    parallelism: u32,
    completions: u32,
    place: &Place,
) -> Value {
    let (mut image, mut command) = (BUSYBOX, json!(null));
    let script = |text: &str| json!(["/bin/sh", "-c", text]);
    match does {
        Does::NotTerminate => image = PAUSE,
        Does::Succeed => command = script("exit 0"),
        Does::Fail => command = script("exit 1"),
        Does::FailOddSucceedEven => {
            command =
                script("if [ $(expr ${JOB_COMPLETION_INDEX} % 2) -ne 0 ]; then exit 1; else exit 0; fi");
        }
        Does::NotTerminateOddSucceedEven => {
            command = script(
                "if [ $(expr ${JOB_COMPLETION_INDEX} % 2) -ne 0 ]; then sleep 1000000; else exit 0; fi",
            );
        }
        Does::FailOnce => {
            command = script("if [[ -r /data/foo ]]; then exit 0; else touch /data/foo; exit 1; fi");
        }
        Does::FailOncePerIndex => {
            command = script(
                "if [[ -r /data/foo-$JOB_COMPLETION_INDEX ]]; then exit 0; else touch /data/foo-$JOB_COMPLETION_INDEX; \
                 exit 42; fi",
            );
        }
        Does::NotTerminateOncePerIndex => {
            command = script(
                "if [[ -r /data/foo-$JOB_COMPLETION_INDEX ]]; then exit 0; else touch /data/foo-$JOB_COMPLETION_INDEX; \
                 sleep 1000000; fi",
            );
        }
        Does::Nothing => {}
        Does::EndSlowly => {
            command =
                script("_term(){ sleep 2; exit 143; }; trap _term TERM; while true; do sleep 0.1; done");
        }
    }
    let mut container = json!({
        "name": "c", "image": image, "resources": {}, "securityContext": {},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    if !command.is_null() {
        container["command"] = command;
    }
    let mut volume = json!({"name": "data", "emptyDir": {}});
    let mut pod = json!({"restartPolicy": restart});
    if let Place::Node { name: node, marks } = place {
        pod["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        if matches!(does, Does::FailOnce | Does::FailOncePerIndex | Does::NotTerminateOncePerIndex) {
            let path = marks.join(name);
            volume = json!({"name": "data", "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
            container["securityContext"]["privileged"] = json!(true);
        }
    }
    if matches!(does, Does::NotTerminateOncePerIndex | Does::NotTerminateOddSucceedEven) {
        pod["terminationGracePeriodSeconds"] = json!(1);
    }
    if does == Does::NotTerminateOncePerIndex {
        let probe = ["/bin/sh", "-c", "cat /data/foo-$JOB_COMPLETION_INDEX"];
        container["readinessProbe"] = json!({"exec": {"command": probe}, "periodSeconds": 1});
    }
    pod["volumes"] = json!([volume]);
    pod["containers"] = json!([container]);
    json!({
        "kind": "Job",
        "apiVersion": "batch/v1",
        "metadata": {"name": name},
        "spec": {
            "parallelism": parallelism,
            "completions": completions,
            "backoffLimit": 6,
            "manualSelector": false,
            "template": {"metadata": {"labels": {"job": name}}, "spec": pod},
        },
        "status": {},
    })
}

/// Makes a Job an Indexed one.
pub(crate) fn indexed(mut job: Value) -> Value {
    job["spec"]["completionMode"] = json!("Indexed");
    job
}

/// Makes it an Indexed one with a limit for each index instead of one for the whole.
pub(crate) fn per_index(job: Value, limit: u32) -> Value {
    let mut job = indexed(job);
    job["spec"].as_object_mut().unwrap().remove("backoffLimit");
    job["spec"]["backoffLimitPerIndex"] = json!(limit);
    job
}

/// A rule of a failure policy on exit codes.
pub(crate) fn on_exit(action: &str, codes: &[u8]) -> Value {
    json!({"action": action, "onExitCodes": {"operator": "In", "values": codes}})
}

/// With this variable set, schedules are of a minute, as in the published tests, which then take some minutes.
pub(crate) const REAL_MINUTES: &str = "WATCHBELL_REAL_MINUTES";

/// A schedule: the shorter one, or each minute.
pub(crate) fn schedule(short: &str) -> &str {
    if std::env::var_os(REAL_MINUTES).is_some() { "*/1 * * * ?" } else { short }
}

/// A CronJob. `command` null: the image's own, a shell without input.
pub(crate) fn cron_job(name: &str, schedule: &str, concurrency: &str, command: &Value) -> Value {
    let mut container = json!({
        "name": "c", "image": BUSYBOX, "resources": {}, "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    if !command.is_null() {
        container["command"] = command.clone();
    }
    json!({
        "kind": "CronJob",
        "apiVersion": "batch/v1",
        "metadata": {"name": name},
        "spec": {
            "schedule": self::schedule(schedule),
            "concurrencyPolicy": concurrency,
            "jobTemplate": {"metadata": {}, "spec": {
                "parallelism": 1,
                "completions": 1,
                "backoffLimit": 1,
                "template": {"metadata": {}, "spec": {
                    "restartPolicy": "OnFailure",
                    "volumes": [{"name": "data", "emptyDir": {}}],
                    "containers": [container],
                }},
            }},
        },
        "status": {},
    })
}
