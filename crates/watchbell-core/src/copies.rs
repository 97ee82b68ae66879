//! Jobs that are made from what is there: by a trigger from a CronJob, by a rerun from a Job. What they run is what stands
//! there, word for word: whoever asks chooses a name and no more.

use serde_json::{Map, Value, json};
use watchbell_api::array::ARRAY_COMPLETIONS;
use watchbell_api::types::job::{CompletionMode, JobSpec};

use crate::controller::job::{FinishedKind, JobStatus, RERUN_INDEXES};

/// The annotation that says which Job a rerun repeats.
pub const RERUN_OF: &str = "watchbell.dev/rerun-of";

/// The annotation that says whose draft a gate looks at.
pub const GATE_OF: &str = "watchbell.dev/gate-of";

/// The annotation by which Kubernetes tells a Job that somebody started from one of the schedule.
const INSTANTIATE: &str = "cronjob.kubernetes.io/instantiate";

/// Labels that tie pods to one Job.
const CONTROLLER_LABELS: [&str; 4] =
    ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];

/// A stem is cut to so many characters, so that pods can be named after what grows from it.
const STEM_CHARS_MAX: usize = 52;

/// Which indexes a rerun runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RerunIndexes {
    #[default]
    All,
    /// Those that did not succeed. A Job without indexes runs again whole.
    Failed,
}

/// Whether a rerun goes on with what the indexes did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    None,
    /// What succeeded is in it, and waits to be published.
    Kept,
}

/// Why a Job cannot be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRerun {
    #[error("it has not ended; follow it, or delete it first")]
    NotEnded,
    #[error("it completed: no index is left to run again")]
    Completed,
    #[error("every index succeeded")]
    AllSucceeded,
    #[error("its one index is in the draft, and another would not count; run the whole Job again")]
    Committed,
}

/// What `generateName` takes for a copy of an object: `nightly-manual-`.
pub fn stem(name: &str) -> String {
    let stem: String = name.chars().take(STEM_CHARS_MAX).collect();
    format!("{}-", stem.trim_end_matches(['-', '.']))
}

/// The Job that a CronJob would start, as `kubectl create job --from` makes it.
pub fn triggered(cron_job: &Value, name: &str) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(INSTANTIATE.into(), "manual".into());
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": cron_job["metadata"]["namespace"],
            "annotations": annotations,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job["metadata"]["name"],
                "uid": cron_job["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": template["spec"],
    });
    if job["metadata"]["labels"].is_null()
        && let Some(metadata) = job["metadata"].as_object_mut()
    {
        metadata.shift_remove("labels");
    }
    job
}

/// The name of the Job that looks at the draft of another: the same each time, and at most 63 characters long.
pub fn gate_name(job_name: &str, uid: &str) -> String {
    const STEM_CHARS: usize = 47;
    if job_name.len() + "-gate".len() <= 63 {
        return format!("{job_name}-gate");
    }
    let stem = job_name[..job_name.floor_char_boundary(STEM_CHARS)].trim_end_matches(['-', '.']);
    format!("{stem}-{}-gate", &uid[..uid.floor_char_boundary(8)])
}

/// The Job of a CronJob that looks at the draft of another Job, which owns it.
pub fn gate(cron_job: &Value, name: &str, (writer, uid): (&str, &str)) -> Value {
    let mut job = triggered(cron_job, name);
    if let Some(annotations) = job["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(INSTANTIATE);
        annotations.insert(GATE_OF.into(), writer.into());
    }
    if let Some(spec) = job["spec"].as_object_mut() {
        // The other Job waits for it: nobody would resume it.
        spec.shift_remove("suspend");
    }
    // Its CronJob neither counts it nor clears it away: it goes with the Job that it is for.
    job["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": writer, "uid": uid, "blockOwnerDeletion": true,
    }]);
    job
}

/// A new Job from another: the same spec, without what the server added to it. `indexes`: only these (`1,3-5`).
pub fn again(job: &Value, name: &str, indexes: Option<&str>) -> Value {
    let metadata = &job["metadata"];
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| {
        key != "kubectl.kubernetes.io/last-applied-configuration"
            && !key.starts_with("batch.kubernetes.io/")
            && key != INSTANTIATE
    });
    annotations.insert(RERUN_OF.into(), metadata["name"].clone());
    annotations.shift_remove(RERUN_INDEXES);
    if let Some(indexes) = indexes {
        // The indexes are those of the plan that the first one followed.
        annotations.shift_remove(ARRAY_COMPLETIONS);
        annotations.insert(RERUN_INDEXES.into(), indexes.into());
    }
    let mut spec = job["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        // The selector is made anew from the new Job's uid; a suspended Job is not what a rerun is for.
        fields.shift_remove("selector");
        fields.shift_remove("manualSelector");
        fields.shift_remove("suspend");
    }
    if let Some(labels) = spec["template"]["metadata"]["labels"].as_object_mut() {
        without_controller_labels(labels);
    }
    let mut labels = metadata["labels"].as_object().cloned().unwrap_or_default();
    without_controller_labels(&mut labels);
    let mut new = json!({"name": name, "namespace": metadata["namespace"], "annotations": annotations});
    if !labels.is_empty() {
        new["labels"] = Value::Object(labels);
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": new, "spec": spec})
}

/// A Job that runs once what a pod of its own was asked to run. What belongs to that pod alone is left out: where it is, what the
/// server worked out when it was admitted, and that it is started again whenever it ends.
pub fn of_pod(pod: &Value, name: &str) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        for field in ["nodeName", "priority", "preemptionPolicy", "ephemeralContainers", "schedulingGates"] {
            fields.shift_remove(field);
        }
    }
    spec["restartPolicy"] = "Never".into();
    let mut metadata = Map::new();
    let mut labels = pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    without_controller_labels(&mut labels);
    let mut annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
    for (field, map) in [("labels", labels), ("annotations", annotations)] {
        if !map.is_empty() {
            metadata.insert(field.into(), map.into());
        }
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": pod["metadata"]["namespace"]},
        "spec": {"backoffLimit": 0, "template": {"metadata": metadata, "spec": spec}},
    })
}

/// The Job that a pod is of, and its index there.
pub fn job_of(pod: &Value) -> Option<(&str, Option<&str>)> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let job = owners.iter().find(|owner| owner["kind"] == "Job" && owner["controller"] == true)?;
    let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str();
    Some((job["name"].as_str()?, index))
}

fn without_controller_labels(labels: &mut Map<String, Value>) {
    labels.retain(|key, _| !CONTROLLER_LABELS.contains(&key.as_str()));
}

/// The indexes of a rerun; `None`: the whole Job. None at all of a Job whose draft is complete: only its publication is left.
///
/// # Errors
/// A Job that still runs is not run beside itself, and where nothing failed nothing is left to run.
pub fn rerun_indexes(
    spec: &JobSpec,
    status: &JobStatus,
    wanted: RerunIndexes,
    draft: Draft,
) -> Result<Option<String>, NoRerun> {
    let ended = status.is_finished().ok_or(NoRerun::NotEnded)?;
    if wanted == RerunIndexes::All {
        return Ok(None);
    }
    if ended.kind == FinishedKind::Complete {
        return Err(NoRerun::Completed);
    }
    if spec.completion_mode != CompletionMode::Indexed {
        return match draft {
            Draft::Kept if status.succeeded > 0 => Err(NoRerun::Committed),
            Draft::Kept | Draft::None => Ok(None),
        };
    }
    let total = spec.completions.unwrap_or(0);
    let left = status.completed_indexes.complement(total);
    match left.is_empty() && draft == Draft::None {
        true => Err(NoRerun::AllSucceeded),
        false => Ok(Some(left.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::job::{Condition, ConditionKind, ConditionStatus};
    use crate::index_set::IndexSet;

    fn ended(condition: ConditionKind) -> JobStatus {
        let condition = Condition {
            kind: condition,
            status: ConditionStatus::True,
            last_probe_time: None,
            last_transition_time: None,
            reason: "".into(),
            message: "".into(),
        };
        let mut status = JobStatus::default();
        status.conditions.push(condition);
        status
    }

    #[test]
    fn only_what_did_not_succeed_runs_again() {
        let check = |mode: CompletionMode,
                     condition: ConditionKind,
                     completed: &str,
                     wanted: RerunIndexes,
                     expect: Result<Option<&str>, NoRerun>| {
            let spec = JobSpec { completions: Some(10), completion_mode: mode, ..JobSpec::default() };
            let mut status = ended(condition);
            status.completed_indexes = IndexSet::parse(completed, 10).unwrap();
            let found = rerun_indexes(&spec, &status, wanted, Draft::None);
            assert_eq!(found, expect.map(|indexes| indexes.map(str::to_owned)));
        };
        use CompletionMode::{Indexed, NonIndexed};
        use ConditionKind::{Complete, Failed, Suspended};
        check(Indexed, Failed, "0-2,5", RerunIndexes::Failed, Ok(Some("3,4,6-9")));
        check(Indexed, Failed, "", RerunIndexes::Failed, Ok(Some("0-9")));
        check(Indexed, Failed, "0-9", RerunIndexes::Failed, Err(NoRerun::AllSucceeded));
        check(Indexed, Complete, "0-9", RerunIndexes::Failed, Err(NoRerun::Completed));
        check(Indexed, Complete, "0-9", RerunIndexes::All, Ok(None));
        check(Indexed, Suspended, "", RerunIndexes::Failed, Err(NoRerun::NotEnded));
        check(Indexed, Suspended, "", RerunIndexes::All, Err(NoRerun::NotEnded));
        check(NonIndexed, Failed, "", RerunIndexes::Failed, Ok(None));
    }

    #[test]
    fn what_is_left_of_the_largest_job_is_found_at_once() {
        let spec = JobSpec {
            completions: Some(i32::MAX as u32),
            completion_mode: CompletionMode::Indexed,
            ..JobSpec::default()
        };
        let mut status = ended(ConditionKind::Failed);
        status.completed_indexes.insert(5);
        let left = rerun_indexes(&spec, &status, RerunIndexes::Failed, Draft::None);
        assert_eq!(left, Ok(Some("0-4,6-2147483646".into())));
    }

    #[test]
    fn what_is_in_a_draft_is_not_run_again() {
        let check = |mode: CompletionMode, succeeded: u32, expect: Result<Option<&str>, NoRerun>| {
            let spec = JobSpec { completions: Some(1), completion_mode: mode, ..JobSpec::default() };
            let mut status = ended(ConditionKind::Failed);
            status.succeeded = succeeded;
            if mode == CompletionMode::Indexed {
                status.completed_indexes = (0..succeeded).collect();
            }
            let found = rerun_indexes(&spec, &status, RerunIndexes::Failed, Draft::Kept);
            assert_eq!(found, expect.map(|indexes| indexes.map(str::to_owned)));
        };
        check(CompletionMode::NonIndexed, 0, Ok(None));
        check(CompletionMode::NonIndexed, 1, Err(NoRerun::Committed));
        check(CompletionMode::Indexed, 0, Ok(Some("0")));
        check(CompletionMode::Indexed, 1, Ok(Some("")));
    }

    #[test]
    fn a_triggered_job_is_the_template() {
        let cron = json!({
            "metadata": {"name": "nightly", "namespace": "ml", "uid": "u1"},
            "spec": {"schedule": "@daily", "jobTemplate": {
                "metadata": {"annotations": {"team": "a"}}, "spec": {"completions": 3, "template": {"spec": {}}}}},
        });
        let job = triggered(&cron, "nightly-manual-1");
        assert_eq!(job["metadata"]["name"], "nightly-manual-1");
        assert_eq!(job["metadata"]["namespace"], "ml");
        assert_eq!(
            job["metadata"]["annotations"],
            json!({"team": "a", "cronjob.kubernetes.io/instantiate": "manual"})
        );
        assert!(job["metadata"].get("labels").is_none());
        assert_eq!(
            job["metadata"]["ownerReferences"],
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "u1", "controller": true}])
        );
        assert_eq!(job["spec"], cron["spec"]["jobTemplate"]["spec"]);
    }

    #[test]
    fn a_rerun_keeps_the_spec_and_loses_what_the_server_added() {
        let job = json!({
            "metadata": {
                "name": "train", "namespace": "ml", "uid": "u1",
                "labels": {"team": "a", "job-name": "train", "batch.kubernetes.io/controller-uid": "u1"},
                "annotations": {
                    "note": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "batch.kubernetes.io/cronjob-scheduled-timestamp": "x", "watchbell.dev/indexes": "1",
                },
                "ownerReferences": [{"kind": "CronJob", "name": "nightly", "uid": "u0"}],
            },
            "spec": {
                "completions": 3, "suspend": false, "manualSelector": true,
                "selector": {"matchLabels": {"controller-uid": "u1"}},
                "template": {"metadata": {"labels": {"team": "a", "job-name": "train", "controller-uid": "u1"}}},
            },
        });
        assert_eq!(
            again(&job, "again", Some("0,2")),
            json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": {
                    "name": "again", "namespace": "ml", "labels": {"team": "a"},
                    "annotations": {
                        "note": "b", "watchbell.dev/rerun-of": "train", "watchbell.dev/indexes": "0,2",
                    },
                },
                "spec": {"completions": 3, "template": {"metadata": {"labels": {"team": "a"}}}},
            })
        );
    }

    #[test]
    fn a_pod_runs_again_as_a_job_of_one() {
        let pod = json!({
            "metadata": {
                "name": "shell", "namespace": "ml", "uid": "u1", "labels": {"team": "a", "job-name": "x"},
                "annotations": {"note": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "spec": {
                "nodeName": "here", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "restartPolicy": "Always",
                "containers": [{"name": "main", "image": "busybox"}],
            },
            "status": {"phase": "Running"},
        });
        assert_eq!(
            of_pod(&pod, "shell-trace-1"),
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "shell-trace-1", "namespace": "ml"},
                "spec": {"backoffLimit": 0, "template": {
                    "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
                }},
            })
        );
        assert_eq!(job_of(&pod), None);
        let owned = json!({"metadata": {
            "annotations": {"batch.kubernetes.io/job-completion-index": "7"},
            "ownerReferences": [{"kind": "Job", "name": "train", "controller": true}],
        }});
        assert_eq!(job_of(&owned), Some(("train", Some("7"))));
    }

    #[test]
    fn a_stem_leaves_room_for_what_grows_from_it() {
        assert_eq!(stem("nightly-manual"), "nightly-manual-");
        assert_eq!(stem(&format!("{}--x", "a".repeat(50))), format!("{}-", "a".repeat(50)));
        assert_eq!(stem("ends."), "ends-");
    }
}
