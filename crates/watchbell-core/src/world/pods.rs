//! Pods: room for them, and what the node needs to know of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::array::{ARRAY, ArrayRun};
use watchbell_api::node::{Assignment, Command, StopCause};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, Phase, PodStatus};
use watchbell_api::{Resource, Uid};

use super::arrays::ARRAY_REFUSED;
use super::doors::Made;
use super::object::{Head, JsonHead, Status, Stored, string_map};
use super::podsecurity::POD_SECURITY;
use super::{NODE_NAME, Snapshot, World};
use crate::admission::Mode;
use crate::controller::event::PlannedEvent;
use crate::placement::{Demand, Preemption, Waiting};

/// The reasons of the `PodScheduled` condition of a pod that waits.
const UNSCHEDULABLE: &str = "Unschedulable";
const SCHEDULING_GATED: &str = "SchedulingGated";

/// The scheduler's events.
pub(super) const SCHEDULED: &str = "Scheduled";
pub(super) const PREEMPTED: &str = "Preempted";
/// The reason of the `DisruptionTarget` condition of a pod that had to make room.
const PREEMPTION: &str = "PreemptionByScheduler";
pub(super) const FAILED_SCHEDULING: &str = "FailedScheduling";

/// Linux takes host names of at most so many bytes, as do DNS labels.
const HOSTNAME_BYTES_MAX: usize = 63;
/// Pods for which others are told to end, in one batch.
const PREEMPTIONS_PER_BATCH: usize = 64;

/// A pod that the node takes up: all its containers wait. Before that it has none to speak of, as in Kubernetes.
fn bound_status(spec: &PodSpec, at: i64) -> PodStatus {
    let reason = if spec.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    PodStatus {
        scheduled_at: Some(at),
        init_containers: vec![ContainerStatus::waiting("PodInitializing"); spec.init_containers.len()],
        containers: vec![ContainerStatus::waiting(reason); spec.containers.len()],
        ..PodStatus::default()
    }
}

/// What a client is told who changes the image of a container that runs.
pub(super) fn images_that_wait(pod: &Stored, before: &Value, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["initContainers", "containers"].into_iter().filter(|_| has_node(pod)) {
        let containers = object["spec"][list].as_array().into_iter().flatten();
        for (i, container) in containers.enumerate() {
            if container["image"] != before["spec"][list][i]["image"] {
                warnings.push(format!(
                    "spec.{list}[{i}].image: the container is not ended for it on this node; the image counts from its next \
                     restart on"
                ));
            }
        }
    }
    warnings
}

/// Whether the node has it and has not ended it.
fn has_node(pod: &Stored) -> bool {
    pod.pod_status().is_some_and(|status| status.scheduled_at.is_some() && !status.phase.is_terminal())
}

pub(super) fn is_ready(status: &PodStatus) -> bool {
    status.phase == Phase::Running
        && status.containers.iter().all(|c| matches!(c.state, ContainerState::Running { .. }))
}

impl World {
    /// What a pod asks of the machine, and its place in the queue.
    pub(super) fn waiting(&self, pod: &Stored) -> Option<Waiting> {
        let spec = pod.pod_spec()?;
        let mut node_selector = spec.node_selector.clone();
        if let Some(name) = &spec.node_name {
            // The name of this machine is taken out of a head: it asks for another one.
            node_selector.insert("metadata.name".into(), name.clone());
        }
        Some(Waiting {
            uid: pod.uid,
            namespace: pod.namespace.clone(),
            priority: spec.priority.unwrap_or(0),
            preemption: match spec.preemption_policy.as_deref() {
                Some("Never") => Preemption::Never,
                _ => Preemption::LowerPriority,
            },
            seq: pod.resource_version,
            request: Demand::of(spec),
            node_selector,
            tolerations: spec.tolerations.clone(),
            held: pod.pod_status().map(|status| status.devices.clone()).unwrap_or_default(),
        })
    }

    /// Gives room to pods that wait, as far as there is some.
    pub(super) fn bind_pods(&mut self, now: Timestamp) {
        while let Some(uid) = self.queue.pop() {
            let Some(at) = self.pods_by_uid.get(&uid).cloned() else { continue };
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let Some(spec) = pod.pod_spec() else { continue };
            if self.unsure.remove(&uid)
                && let Some(why) = self.refused_at_start(&pod)
            {
                self.refuse_start(&pod, POD_SECURITY, why, now);
                continue;
            }
            if let Some(why) = self.arrays_refused_at_start(&pod) {
                self.refuse_start(&pod, ARRAY_REFUSED, why, now);
                continue;
            }
            let mut bound = (*pod).clone();
            let mut status = bound_status(spec, now.as_second());
            status.devices = self.queue.devices_of(uid).to_vec();
            bound.status = Status::Pod(Arc::new(status));
            let bound = self.put(bound);
            if bound.array_pod().is_none_or(|pod| pod.index.is_none()) {
                let message = format!("Successfully assigned {}/{} to {NODE_NAME}", pod.namespace, pod.name);
                self.emit(&bound, &PlannedEvent::normal(SCHEDULED, message), now);
            }
            if let Some(mut assignment) = assignment(&bound, self.namespace_mode(&bound.namespace)) {
                assignment.egress = self.open_door(&bound);
                self.command(Command::Start(Box::new(assignment)));
            }
        }
    }

    /// Ends pods of a lower priority where one of a higher finds no room. They have their grace period; a Job's failure
    /// policy sees them as disrupted.
    pub(super) fn preempt_pods(&mut self, now: Timestamp) {
        // Each looks at all pods that run, so the others go on in the next batch.
        self.preempts_on = false;
        for _ in 0..PREEMPTIONS_PER_BATCH {
            let (state, pods_by_uid) = (&self.state, &self.pods_by_uid);
            let is_ending = |uid: Uid| {
                let pod = pods_by_uid.get(&uid).and_then(|at| state.maps[Resource::Pod as usize].get(at));
                pod.is_some_and(|pod| pod.deletion.is_some())
            };
            let Some((preemptor, victims)) = self.queue.preempt(is_ending) else { return };
            if !self.end_for(preemptor, victims, now) {
                return;
            }
        }
        self.preempts_on = true;
    }

    /// Whether there was one of them.
    fn end_for(&mut self, preemptor: Uid, victims: Vec<Uid>, now: Timestamp) -> bool {
        let mut is_any = false;
        for uid in victims {
            let Some(at) = self.pods_by_uid.get(&uid).cloned() else { continue };
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let about = self.voice_of(&pod);
            let message = format!("Preempted by pod {preemptor} on node {NODE_NAME}");
            self.emit(&about, &PlannedEvent::normal(PREEMPTED, message), now);
            let pod = self.disrupt(&pod, PREEMPTION);
            self.delete_pod(&pod, None, StopCause::Preempted, now);
            is_any = true;
        }
        is_any
    }

    /// The node learns what a client changed of a pod that it has.
    pub(super) fn tell_spec(&mut self, old: &Stored, new: &Stored) {
        if let Some(spec) = new.pod_spec().filter(|_| has_node(new) && old.pod_spec() != new.pod_spec()) {
            self.command(Command::ChangeSpec { uid: new.uid, spec: spec.clone() });
        }
    }

    /// Pods that joined the queue and found no room are told why, in the transaction that made them. It is not told again
    /// while they wait: of a hundred thousand that wait none is written twice.
    pub(super) fn tell_who_waits(&mut self, now: Timestamp) {
        let mut told: HashSet<Uid> = HashSet::new();
        for at in std::mem::take(&mut self.queued) {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let (Some(status), Some(spec)) = (pod.pod_status(), pod.pod_spec()) else { continue };
            if status.scheduled_at.is_some() || status.phase.is_terminal() {
                continue;
            }
            let (reason, message) = if spec.scheduling_gates.is_empty() {
                let held = self.claim_obstacle(&pod).map(|why| format!("0/1 nodes are available: {why}."));
                match held.or_else(|| self.queue.reason(pod.uid)) {
                    Some(message) => (UNSCHEDULABLE, message),
                    None => continue,
                }
            } else {
                (SCHEDULING_GATED, "Scheduling is blocked due to non-empty scheduling gates".to_owned())
            };
            if status.message.as_deref() == Some(&message) {
                continue;
            }
            let mut status = status.clone();
            status.reason = Some(reason.into());
            status.message = Some(message.as_str().into());
            let mut next = (*pod).clone();
            next.status = Status::Pod(Arc::new(status));
            let next = self.put(next);
            // An array has one event for all its pods of this pass.
            let about = self.voice_of(&next);
            if reason == UNSCHEDULABLE && told.insert(about.uid) {
                self.emit(&about, &PlannedEvent::warning(FAILED_SCHEDULING, message), now);
            }
        }
    }

    /// All pods that the node must know of after a restart, then the word that these are all.
    pub fn node_sync(&self) -> Vec<Command> {
        // First: by which key an array is had is known before a pod wants it.
        let mut commands = self.arrays_to_keep();
        let mut made = Made::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let Some(status) = pod.pod_status() else { continue };
            if status.phase.is_terminal() || status.scheduled_at.is_none() {
                continue;
            }
            let Some(assignment) = self.state.assignment_by(pod, &mut made) else { continue };
            commands.push(Command::Start(Box::new(assignment)));
            if let Some(deletion) = pod.deletion {
                commands.push(Command::Stop {
                    uid: pod.uid,
                    grace_seconds: deletion.grace_seconds,
                    cause: StopCause::Deleted,
                });
            }
        }
        commands.extend(self.volumes_to_remove());
        commands.push(Command::Synced);
        commands
    }
}

impl Snapshot {
    /// A pod as the node gets it once it is bound.
    pub fn assignment(&self, pod: &Stored) -> Option<Assignment> {
        self.assignment_by(pod, &mut Made::new())
    }

    fn assignment_by(&self, pod: &Stored, made: &mut Made) -> Option<Assignment> {
        let assignment = assignment(pod, self.namespace_mode(&pod.namespace))?;
        Some(Assignment { egress: self.egress_wire(pod, made), ..assignment })
    }

    /// The same of a pod that is not stored.
    pub fn assignment_of(&self, pod: Value) -> Result<Assignment, String> {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let uid = text("uid").parse().unwrap_or_default();
        let annotations = Arc::new(string_map(pod["metadata"].get("annotations")));
        let head = JsonHead::from_value(Resource::Pod, pod)?;
        let spec = head.facts.pod().ok_or("it is no pod")?.clone();
        let egress = self.egress_by(&namespace, &spec, |selector| selector.matches(&head.labels));
        Ok(Assignment {
            uid,
            labels: Arc::new(head.labels.clone()),
            annotations,
            hostname: spec.hostname.as_deref().unwrap_or_else(|| hostname(&name)).into(),
            spec,
            job: None,
            index: None,
            attempt: 0,
            log: None,
            private_tmp: self.namespace_mode(&namespace) == Mode::Strict,
            arrays: None,
            egress: egress.map(|egress| egress.to_wire().into()),
            status: PodStatus::default(),
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    pub(super) fn namespace_mode(&self, namespace: &str) -> Mode {
        Mode::of(&self.pod_policy(namespace))
    }
}

/// A bound pod as the node needs it, but for where it may connect to. `mode` is that of its namespace.
fn assignment(pod: &Stored, mode: Mode) -> Option<Assignment> {
    let status = pod.pod_status()?.clone();
    let spec = pod.pod_spec()?.clone();
    Some(match &pod.head {
        Head::ArrayPod(array) => {
            let template = &array.template;
            let (labels, annotations) = match &array.own {
                Some(own) => (Arc::new(own.labels.clone()), annotations(pod)),
                None => (template.shared_labels_of(array), template.shared_annotations_of(array)),
            };
            Assignment {
                uid: pod.uid,
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                arrays: arrays_of(pod, template.arrays.as_ref(), &annotations),
                labels,
                annotations,
                spec,
                hostname: template.hostname(array, &pod.name),
                job: Some((template.job_uid, template.job_name.clone())),
                index: array.index,
                attempt: array.attempt,
                log: pod.job_log(),
                private_tmp: template.mode == Mode::Strict,
                egress: None,
                status,
            }
        }
        Head::Json(head) => {
            let annotations = annotations(pod);
            Assignment {
                uid: pod.uid,
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                labels: Arc::new(head.labels.clone()),
                arrays: arrays_of(pod, None, &annotations),
                annotations,
                hostname: spec.hostname.as_deref().unwrap_or_else(|| hostname(&pod.name)).into(),
                spec,
                job: None,
                index: None,
                attempt: 0,
                log: pod.job_log(),
                private_tmp: mode == Mode::Strict,
                egress: None,
                status,
            }
        }
    })
}

/// For what a pod uses arrays: its Job's run, or one of its own.
fn arrays_of(
    pod: &Stored,
    job: Option<&Arc<ArrayRun>>,
    annotations: &BTreeMap<String, String>,
) -> Option<Arc<ArrayRun>> {
    annotations.contains_key(ARRAY).then(|| match job {
        Some(run) => run.clone(),
        None => Arc::new(ArrayRun {
            run: pod.uid,
            job: pod.uid,
            job_name: pod.name.clone(),
            completions: 1,
            user: "".into(),
            draft_of: None,
        }),
    })
}

/// The name of a pod, or as much of it as fits into a host name.
fn hostname(name: &str) -> &str {
    name[..name.floor_char_boundary(HOSTNAME_BYTES_MAX)].trim_end_matches(['-', '.'])
}

fn annotations(pod: &Stored) -> Arc<BTreeMap<String, String>> {
    Arc::new(string_map(pod.render()["metadata"].get("annotations")))
}
