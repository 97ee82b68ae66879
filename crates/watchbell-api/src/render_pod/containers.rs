//! `containerStatuses` and `initContainerStatuses`.

use serde_json::{Map, Value, json};

use super::{Pod, time};
use crate::types::pod::{Container, PodSpec};
use crate::types::pod_status::{ContainerState, ContainerStatus, Terminated};

/// The statuses of the containers of a list, in the order of the spec.
pub(super) fn of(pod: &Pod<'_>, statuses: &[ContainerStatus], containers: &[Container]) -> Vec<Value> {
    containers.iter().zip(statuses).map(|(container, status)| one(pod, container, status)).collect()
}

fn one(pod: &Pod<'_>, container: &Container, status: &ContainerStatus) -> Value {
    let id = |run: u32| format!("watchbell://{}/{}/{run}", pod.uid, container.name);
    let is_init = pod.spec.init_containers.iter().any(|c| std::ptr::eq(c, container));
    let mut out = Map::new();
    out.insert("name".into(), container.name.clone().into());
    out.insert("state".into(), state(&status.state, &id(status.restart_count)));
    let last = match &status.last_terminated {
        Some(end) => json!({"terminated": terminated(end, &id(status.restart_count.saturating_sub(1)))}),
        None => json!({}),
    };
    out.insert("lastState".into(), last);
    out.insert("ready".into(), is_ready(is_init, container, status).into());
    out.insert("restartCount".into(), status.restart_count.into());
    out.insert("image".into(), container.image.clone().into());
    out.insert("imageID".into(), status.image_id.as_deref().unwrap_or_default().into());
    if !matches!(status.state, ContainerState::Waiting { .. }) {
        out.insert("containerID".into(), id(status.restart_count).into());
    }
    out.insert("started".into(), is_running(status).into());
    let devices = devices(pod, container);
    if !devices.is_empty() {
        out.insert("allocatedResourcesStatus".into(), devices.into());
    }
    Value::Object(out)
}

/// Which devices the container has (KEP-4680). Nobody watches their health.
fn devices(pod: &Pod<'_>, container: &Container) -> Vec<Value> {
    if pod.status.devices.is_empty() {
        return Vec::new();
    }
    let mut all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let Some(ordinal) = all.position(|c| std::ptr::eq(c, container)) else { return Vec::new() };
    let mut kinds: Vec<(String, Vec<Value>)> = Vec::new();
    for name in crate::devices::of_container(pod.spec, &pod.status.devices, ordinal) {
        let kind = crate::devices::kind_of(&name);
        let one = json!({"resourceID": &*name, "health": "Unknown"});
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, list)) => list.push(one),
            None => kinds.push((kind.to_owned(), vec![one])),
        }
    }
    kinds.into_iter().map(|(name, resources)| json!({"name": name, "resources": resources})).collect()
}

/// Ready is what counts for the pod: a container runs, an init container has done its work.
pub(super) fn is_ready(is_init: bool, container: &Container, status: &ContainerStatus) -> bool {
    if is_init && !PodSpec::is_sidecar(container) {
        status.terminated().is_some_and(|end| end.exit_code == 0)
    } else {
        is_running(status)
    }
}

pub(super) fn is_running(status: &ContainerStatus) -> bool {
    matches!(status.state, ContainerState::Running { .. })
}

fn state(state: &ContainerState, id: &str) -> Value {
    match state {
        ContainerState::Waiting { reason, message } => {
            let mut waiting = json!({"reason": &**reason});
            if let Some(message) = message {
                waiting["message"] = Value::from(&**message);
            }
            json!({"waiting": waiting})
        }
        ContainerState::Running { started_at } => json!({"running": {"startedAt": time(*started_at)}}),
        ContainerState::Terminated(end) => json!({"terminated": terminated(end, id)}),
    }
}

fn terminated(end: &Terminated, id: &str) -> Value {
    let mut out = json!({"exitCode": end.exit_code});
    if let Some(signal) = end.signal {
        out["signal"] = signal.into();
    }
    out["reason"] = end.reason.as_str().into();
    if let Some(message) = &end.message {
        out["message"] = Value::from(&**message);
    }
    if let Some(at) = end.started_at {
        out["startedAt"] = time(at);
    }
    out["finishedAt"] = time(end.finished_at);
    out["containerID"] = id.into();
    out
}
