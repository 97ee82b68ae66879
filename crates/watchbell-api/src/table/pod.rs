//! Pods: the status column gathers phase, containers and deletion into one word.

use serde_json::Value;

use super::{
    AGE, Column, NAME, age, at, column, is_true, list, name, number, or_none, seconds, since, text, wide,
};

pub(super) static COLUMNS: [Column; 9] = [
    NAME,
    column("Ready", "How many containers are ready, of how many."),
    column("Status", "How the pod stands."),
    column("Restarts", "How often its containers were started again."),
    AGE,
    wide("IP", "Its address."),
    wide("Node", "The machine it runs on."),
    wide("Nominated Node", "The machine on which room is being made for it."),
    wide("Readiness Gates", "How many of its own conditions for readiness hold."),
];

pub(super) fn cells(object: &Value, now: i64) -> Vec<Value> {
    let sight = Sight::of(object);
    let restarts = match sight.restarts.last_at {
        Some(at) if sight.restarts.count > 0 => {
            format!("{} ({} ago)", sight.restarts.count, since(at, now))
        }
        _ => sight.restarts.count.to_string(),
    };
    vec![
        name(object),
        format!("{}/{}", sight.ready, sight.total).into(),
        sight.status.into(),
        restarts.into(),
        age(object, now),
        or_none(text(object, &["status", "podIP"])),
        or_none(text(object, &["spec", "nodeName"])),
        or_none(text(object, &["status", "nominatedNodeName"])),
        gates(object),
    ]
}

/// What one look at a pod tells.
struct Sight<'a> {
    status: String,
    ready: usize,
    total: usize,
    restarts: Restarts<'a>,
}

#[derive(Default, Clone, Copy)]
struct Restarts<'a> {
    count: i64,
    last_at: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += number(container, &["restartCount"]);
        let ended = text(container, &["lastState", "terminated", "finishedAt"]);
        if seconds(ended) > self.last_at.and_then(seconds) {
            self.last_at = Some(ended);
        }
    }
}

impl<'a> Sight<'a> {
    fn of(pod: &'a Value) -> Sight<'a> {
        let conditions = list(pod, &["status", "conditions"]);
        let phase = text(pod, &["status", "phase"]);
        let reason = text(pod, &["status", "reason"]);
        let mut status = String::from(if reason.is_empty() { phase } else { reason });
        let is_gated =
            |c: &Value| text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated";
        if conditions.iter().any(is_gated) {
            status = "SchedulingGated".into();
        }
        let init_containers = list(pod, &["spec", "initContainers"]);
        let is_sidecar = |name: &str| {
            let container = init_containers.iter().find(|c| text(c, &["name"]) == name);
            container.is_some_and(|c| text(c, &["restartPolicy"]) == "Always")
        };
        let sidecars = init_containers.iter().filter(|c| is_sidecar(text(c, &["name"]))).count();
        let mut sight = Sight {
            status,
            ready: 0,
            total: list(pod, &["spec", "containers"]).len() + sidecars,
            restarts: Restarts::default(),
        };

        let mut sidecar_restarts = Restarts::default();
        let mut is_initializing = false;
        for (i, container) in list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
            sight.restarts.add(container);
            let is_sidecar = is_sidecar(text(container, &["name"]));
            if is_sidecar {
                sidecar_restarts.add(container);
            }
            let terminated = at(container, &["state", "terminated"]);
            if terminated.is_some_and(|end| number(end, &["exitCode"]) == 0) {
                continue;
            }
            if is_sidecar && flag(container, "started") {
                sight.ready += usize::from(flag(container, "ready"));
                continue;
            }
            let waiting = text(container, &["state", "waiting", "reason"]);
            sight.status = match terminated {
                Some(end) => format!("Init:{}", end_word(end)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", init_containers.len()),
            };
            is_initializing = true;
            break;
        }

        if !is_initializing || is_true(conditions, "Initialized") {
            sight.restarts = sidecar_restarts;
            sight.look_at_containers(pod);
        }
        if !text(pod, &["metadata", "deletionTimestamp"]).is_empty() {
            if reason == "NodeLost" {
                sight.status = "Unknown".into();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                sight.status = "Terminating".into();
            }
        }
        sight
    }

    fn look_at_containers(&mut self, pod: &'a Value) {
        let mut has_running = false;
        // From the last to the first: of several words the first container's stands.
        for container in list(pod, &["status", "containerStatuses"]).iter().rev() {
            self.restarts.add(container);
            let waiting = text(container, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.status = waiting.into();
            } else if let Some(end) = at(container, &["state", "terminated"]) {
                self.status = end_word(end);
            } else if flag(container, "ready") && at(container, &["state", "running"]).is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && has_running {
            let is_ready = is_true(list(pod, &["status", "conditions"]), "Ready");
            self.status = if is_ready { "Running" } else { "NotReady" }.into();
        }
    }
}

fn end_word(end: &Value) -> String {
    let reason = text(end, &["reason"]);
    let signal = number(end, &["signal"]);
    match (reason, signal) {
        ("", 0) => format!("ExitCode:{}", number(end, &["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

fn flag(container: &Value, field: &str) -> bool {
    container.get(field).and_then(Value::as_bool).unwrap_or(false)
}

fn gates(pod: &Value) -> Value {
    let gates = list(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = list(pod, &["status", "conditions"]);
    let open = gates.iter().filter(|gate| is_true(conditions, text(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len()).into()
}
