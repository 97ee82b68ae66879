//! `status.conditions`, and when each came to be as it is. Nothing of them is stored: they follow from the status.

use serde_json::{Value, json};

use super::containers::{is_ready, is_running};
use super::{Pod, time};
use crate::types::pod::{Container, PodSpec};
use crate::types::pod_status::{ContainerState, ContainerStatus, Phase};

/// A condition before it is written down.
struct Condition {
    is_true: bool,
    reason: &'static str,
    message: String,
    since: i64,
}

impl Condition {
    fn met(since: i64) -> Condition {
        Condition { is_true: true, reason: "", message: String::new(), since }
    }

    fn unmet(reason: &'static str, message: String, since: i64) -> Condition {
        Condition { is_true: false, reason, message, since }
    }
}

/// The types of the conditions that follow from what the node says.
pub const DERIVED_CONDITIONS: [&str; 6] = [
    "DisruptionTarget",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The conditions of a pod: those of the node in kubelet's order, then those that clients wrote.
pub(super) fn of(pod: &Pod<'_>) -> Vec<Value> {
    let mut list = derived(pod);
    if let Some(written) = &pod.status.written_conditions {
        // It was JSON when it was taken.
        list.extend(serde_json::from_str::<Vec<Value>>(written).unwrap_or_default());
    }
    list
}

fn derived(pod: &Pod<'_>) -> Vec<Value> {
    let status = pod.status;
    let mut list = Vec::new();
    if let Some(reason) = &status.disruption {
        let since = status.finished_at.or(pod.deleting_at).unwrap_or(pod.created_at);
        list.push(json!({
            "type": "DisruptionTarget", "status": "True", "lastTransitionTime": time(since),
            "reason": &**reason, "message": disruption_message(reason),
        }));
    }
    let mut push = |kind: &str, condition: &Condition| list.push(write(kind, condition));
    if pod.is_waiting_for_room() {
        // Not looked at yet: a pod that was made this moment has no condition.
        if let Some(reason) = &status.reason {
            let message = status.message.as_deref().unwrap_or_default();
            let mut condition = write("PodScheduled", &Condition::unmet("", message.into(), pod.created_at));
            condition["reason"] = Value::from(&**reason);
            list.push(condition);
        }
        return list;
    }
    let Some(scheduled_at) = status.scheduled_at else {
        // It ended before there was room for it.
        return list;
    };
    if status.started_at.is_some() || status.phase != Phase::Pending {
        let taken_up_at = status.started_at.unwrap_or(scheduled_at);
        let ready = ready(pod, taken_up_at);
        push("PodReadyToStartContainers", &sandbox(pod, taken_up_at));
        push("Initialized", &initialized(pod, taken_up_at));
        push("Ready", &ready);
        push("ContainersReady", &ready);
    }
    push("PodScheduled", &Condition::met(scheduled_at));
    list
}

fn write(kind: &str, condition: &Condition) -> Value {
    let mut out = json!({
        "type": kind,
        "status": if condition.is_true { "True" } else { "False" },
        "lastTransitionTime": time(condition.since),
    });
    if !condition.reason.is_empty() {
        out["reason"] = condition.reason.into();
    }
    if !condition.message.is_empty() {
        out["message"] = condition.message.clone().into();
    }
    out
}

/// The namespaces and volumes of the pod stand as long as something in it runs or may run.
fn sandbox(pod: &Pod<'_>, taken_up_at: i64) -> Condition {
    let status = pod.status;
    if status.phase.is_terminal() {
        return Condition::unmet("", String::new(), status.finished_at.unwrap_or(taken_up_at));
    }
    let starts = status.init_containers.iter().chain(&status.containers).filter_map(first_start);
    match starts.min() {
        Some(at) => Condition::met(at),
        None => Condition::unmet("", String::new(), taken_up_at),
    }
}

fn initialized(pod: &Pod<'_>, taken_up_at: i64) -> Condition {
    let status = pod.status;
    let incomplete: Vec<&str> = pod
        .spec
        .init_containers
        .iter()
        .enumerate()
        .filter(|(i, container)| {
            !status.init_containers.get(*i).is_some_and(|s| is_ready(true, container, s))
        })
        .map(|(_, container)| container.name.as_str())
        .collect();
    // The last init container's end; a sidecar counts from its start.
    let done_at =
        pod.spec.init_containers.iter().zip(&status.init_containers).filter_map(|(container, s)| {
            if PodSpec::is_sidecar(container) {
                first_start(s)
            } else {
                s.terminated().map(|end| end.finished_at)
            }
        });
    let done_at = done_at.max().unwrap_or(taken_up_at).max(taken_up_at);
    if status.phase == Phase::Succeeded {
        return Condition { reason: "PodCompleted", ..Condition::met(done_at) };
    }
    let has_begun = status.containers.iter().any(|s| first_start(s).is_some());
    if incomplete.is_empty() || has_begun {
        return Condition::met(done_at);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Condition::unmet("ContainersNotInitialized", message, taken_up_at)
}

/// `ContainersReady`; without readiness gates `Ready` is the same.
fn ready(pod: &Pod<'_>, taken_up_at: i64) -> Condition {
    let status = pod.status;
    let ended_at = status.finished_at.unwrap_or(taken_up_at);
    match status.phase {
        Phase::Succeeded => return Condition::unmet("PodCompleted", String::new(), ended_at),
        Phase::Failed => return Condition::unmet("PodFailed", String::new(), ended_at),
        Phase::Pending | Phase::Running => {}
    }
    let sidecars = pod.spec.init_containers.iter().zip(&status.init_containers);
    let counted = sidecars.filter(|(container, _)| PodSpec::is_sidecar(container));
    let counted: Vec<(&Container, &ContainerStatus)> =
        counted.chain(pod.spec.containers.iter().zip(&status.containers)).collect();
    let unready: Vec<&str> = counted
        .iter()
        .filter(|(_, s)| !is_running(s))
        .map(|(container, _)| container.name.as_str())
        .collect();
    if unready.is_empty() && status.containers.len() == pod.spec.containers.len() {
        let since = counted.iter().filter_map(|(_, s)| match s.state {
            ContainerState::Running { started_at } => Some(started_at),
            ContainerState::Waiting { .. } | ContainerState::Terminated(_) => None,
        });
        return Condition::met(since.max().unwrap_or(taken_up_at));
    }
    let names = if counted.is_empty() {
        pod.spec.containers.iter().map(|container| container.name.as_str()).collect()
    } else {
        unready
    };
    // Unready since the first of them ended, or since the beginning.
    let since = counted.iter().filter_map(|(_, s)| {
        let end = s.terminated().or(s.last_terminated.as_deref().filter(|_| !is_running(s)));
        end.map(|end| end.finished_at)
    });
    let message = format!("containers with unready status: [{}]", names.join(" "));
    Condition::unmet("ContainersNotReady", message, since.min().unwrap_or(taken_up_at))
}

/// When the first run that is still known of a container began.
fn first_start(status: &ContainerStatus) -> Option<i64> {
    if let Some(last) = &status.last_terminated {
        return Some(last.started_at.unwrap_or(last.finished_at));
    }
    match &status.state {
        ContainerState::Running { started_at } => Some(*started_at),
        ContainerState::Terminated(end) => Some(end.started_at.unwrap_or(end.finished_at)),
        ContainerState::Waiting { .. } => None,
    }
}

fn disruption_message(reason: &str) -> &'static str {
    match reason {
        "DeletionByPodGC" => "the machine lost the pod: what ran it died, or the machine did",
        "DeletionByTaintManager" => "the machine's taints do not let the pod stay",
        "EvictionByEvictionAPI" => "Eviction API: evicting",
        "PreemptionByScheduler" => "the pod made room for one of higher priority",
        "TerminationByKubelet" => "the node ended the pod",
        _ => "the pod was ended from outside",
    }
}
