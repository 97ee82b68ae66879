//! One Job and its pods, held as the world holds them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use watchbell_api::Uid;
use watchbell_api::node::StopCause;
use watchbell_api::types::job::JobSpec;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};

use crate::controller::job::{
    ActivePod, ArraysView, Departure, EndedPod, JobPlan, JobStatus, JobView, NewPod, PublicationStep,
    reconcile,
};
use crate::index_set::IndexSet;

/// How a pod of the bench ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    /// Killed by a node that makes room: `DisruptionTarget`.
    Disrupted,
    /// The object is removed while it runs.
    Removed,
    /// Its owner reference is taken off.
    Released,
}

#[derive(Debug)]
struct Gone {
    pod: ActivePod,
    name: String,
    departure: Departure,
    status: PodStatus,
}

#[derive(Debug)]
pub(super) struct Bench {
    pub now: i64,
    pub spec: JobSpec,
    pub pod_spec: PodSpec,
    pub(super) rerun: Option<IndexSet>,
    pub status: JobStatus,
    pub deleting: bool,
    pub active: BTreeMap<(u32, u32), ActivePod>,
    ended: Vec<Gone>,
    /// Everything that was created, in order.
    pub created: Vec<NewPod>,
    pub deleted: Vec<(Uid, StopCause)>,
    pub events: Vec<String>,
    pub wake_at: Option<i64>,
    pub gone: bool,
    pub(super) arrays: Option<ArraysView>,
    /// Steps of the publication that passes asked for, in order.
    pub(super) steps: Vec<PublicationStep>,
}

pub(super) fn key(index: Option<u32>, attempt: u32) -> (u32, u32) {
    (index.unwrap_or(u32::MAX), attempt)
}

/// A spec from JSON, with the defaults of the API.
pub(super) fn spec(fields: Value) -> JobSpec {
    let mut all = json!({"parallelism": 1});
    for (field, value) in fields.as_object().expect("an object") {
        all[field] = value.clone();
    }
    serde_json::from_value(all).expect("a Job spec")
}

impl Bench {
    /// A Job that nobody has looked at yet, at second 1,000.
    pub(super) fn idle(fields: Value) -> Bench {
        let pod_spec = json!({"restartPolicy": "Never", "containers": [{"name": "main"}], "initContainers": [{"name": "init"}]});
        Bench {
            now: 1_000,
            spec: spec(fields),
            pod_spec: serde_json::from_value(pod_spec).expect("a pod spec"),
            rerun: None,
            status: JobStatus::default(),
            deleting: false,
            active: BTreeMap::new(),
            ended: Vec::new(),
            created: Vec::new(),
            deleted: Vec::new(),
            events: Vec::new(),
            wake_at: None,
            gone: false,
            arrays: None,
            steps: Vec::new(),
        }
    }

    /// The same after its first passes.
    pub(super) fn new(fields: Value) -> Bench {
        let mut bench = Bench::idle(fields);
        bench.settle();
        bench
    }

    /// One pass, and the plan carried out. The status goes through the journal's form.
    pub(super) fn pass(&mut self) -> JobPlan {
        let ended = std::mem::take(&mut self.ended);
        let plan = {
            let ended: Vec<EndedPod<'_>> = ended
                .iter()
                .map(|gone| EndedPod {
                    uid: gone.pod.uid,
                    name: &gone.name,
                    index: gone.pod.index,
                    attempt: gone.pod.attempt,
                    departure: gone.departure,
                    status: &gone.status,
                    spec: &self.pod_spec,
                })
                .collect();
            reconcile(
                &JobView {
                    namespace: "ml",
                    name: "train",
                    uid: Uid(7),
                    created_at: 1_000,
                    deleting: self.deleting,
                    spec: &self.spec,
                    restart_policy: self.pod_spec.restart_policy,
                    rerun: self.rerun.as_ref(),
                    status: &self.status,
                    active: &self.active,
                    ended: &ended,
                    arrays: self.arrays.clone(),
                },
                self.now,
            )
        };
        self.carry_out(&plan);
        plan
    }

    fn carry_out(&mut self, plan: &JobPlan) {
        self.wake_at = plan.wake_at;
        if plan.delete_job {
            self.gone = true;
            return;
        }
        if let Some(status) = &plan.status {
            let bytes = postcard::to_allocvec(status).expect("encodes");
            self.status = postcard::from_bytes(&bytes).expect("decodes");
            assert_eq!(self.status, *status, "the journal's form keeps all");
        }
        for &(uid, cause) in &plan.delete {
            self.deleted.push((uid, cause));
            let at = *self.active.iter().find(|(_, pod)| pod.uid == uid).expect("deletes what is there").0;
            self.delete(at);
        }
        for &pod in &plan.create {
            let pod_of = ActivePod {
                uid: Uid(u128::from(pod.index.unwrap_or(u32::MAX)) << 32 | u128::from(pod.attempt)),
                index: pod.index,
                attempt: pod.attempt,
                phase: Phase::Pending,
                scheduled: false,
                ready: false,
                deleting: false,
                created_at: self.now,
                restarts: 0,
            };
            assert!(
                !self.created.iter().any(|old| (old.index, old.attempt) == (pod.index, pod.attempt)),
                "{pod:?} twice"
            );
            self.active.insert(key(pod.index, pod.attempt), pod_of);
            self.created.push(pod);
        }
        self.steps.extend(plan.publication);
        for event in &plan.events {
            self.events.push(format!("{:?} {} {}", event.kind, event.reason, event.message));
        }
    }

    /// Passes until nothing is left to do now. A further pass must then plan nothing.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let plan = self.pass();
            let again = plan.wake_at.is_some_and(|at| at <= self.now) || !self.ended.is_empty();
            let idle = plan.status.is_none() && plan.create.is_empty() && plan.delete.is_empty();
            if plan.delete_job || (idle && !again) {
                assert!(plan.events.is_empty(), "an idle pass says nothing: {:?}", plan.events);
                return;
            }
        }
        panic!("never settles: {self:?}");
    }

    /// As the API server deletes a pod: gone at once when the node does not have it.
    pub(super) fn delete(&mut self, at: (u32, u32)) {
        let pod = self.active.get_mut(&at).expect("an active pod");
        if pod.scheduled {
            pod.deleting = true;
        } else {
            self.leave(at, End::Removed);
        }
    }

    /// Starts every pod that waits.
    pub(super) fn run(&mut self) -> &mut Bench {
        for pod in self.active.values_mut() {
            pod.scheduled = true;
            pod.phase = Phase::Running;
            pod.ready = true;
        }
        self.settle();
        self
    }

    /// Ends a pod without a look at the Job.
    pub(super) fn leave(&mut self, at: (u32, u32), end: End) {
        let pod = self.active.remove(&at).expect("an active pod");
        let terminated = |exit_code| {
            ContainerState::Terminated(Terminated {
                exit_code,
                signal: None,
                reason: if exit_code == 0 { TerminatedReason::Completed } else { TerminatedReason::Error },
                message: None,
                started_at: Some(pod.created_at),
                finished_at: self.now,
            })
        };
        let container =
            |state| ContainerStatus { state, last_terminated: None, restart_count: 0, image_id: None };
        let (departure, phase, exit_code) = match end {
            End::Exit(0) => (Departure::Ended, Phase::Succeeded, 0),
            End::Exit(code) => (Departure::Ended, Phase::Failed, code),
            End::Disrupted => (Departure::Ended, Phase::Failed, 137),
            End::Removed => (Departure::Removed, pod.phase, 0),
            End::Released => (Departure::Released, pod.phase, 0),
        };
        let ended = departure == Departure::Ended;
        let status = PodStatus {
            phase,
            scheduled_at: pod.scheduled.then_some(pod.created_at),
            finished_at: ended.then_some(self.now),
            disruption: (end == End::Disrupted).then(|| "EvictionByEvictionAPI".into()),
            init_containers: if ended { vec![container(terminated(0))] } else { Vec::new() },
            containers: if ended { vec![container(terminated(exit_code))] } else { Vec::new() },
            ..PodStatus::default()
        };
        let name = match pod.index {
            Some(index) => format!("train-{index}-{}", pod.attempt),
            None => format!("train-{}", pod.attempt),
        };
        self.ended.push(Gone { pod, name, departure, status });
    }

    /// Ends the running pod of an index (or the oldest without one), and lets the controller look.
    pub(super) fn end(&mut self, index: Option<u32>, end: End) -> &mut Bench {
        let at = *self
            .active
            .iter()
            .find(|(_, pod)| pod.index == index && !pod.deleting)
            .unwrap_or_else(|| panic!("no pod for {index:?}: {self:?}"))
            .0;
        self.leave(at, end);
        self.settle();
        self
    }

    pub(super) fn exit(&mut self, index: u32, code: i32) -> &mut Bench {
        self.end(Some(index), End::Exit(code))
    }

    /// Ends the pods that are being deleted, as the node does after SIGTERM.
    pub(super) fn end_deleting(&mut self) -> &mut Bench {
        let deleting: Vec<_> =
            self.active.iter().filter(|(_, pod)| pod.deleting).map(|(&at, _)| at).collect();
        for at in deleting {
            self.leave(at, End::Exit(143));
        }
        self.settle();
        self
    }

    pub(super) fn after(&mut self, seconds: i64) -> &mut Bench {
        self.now += seconds;
        self.settle();
        self
    }

    /// Lets the clock reach the time the controller asked for.
    pub(super) fn sleep(&mut self) -> i64 {
        let at = self.wake_at.expect("asked to be woken");
        assert!(at > self.now);
        let slept = at - self.now;
        self.after(slept);
        slept
    }

    /// Indexes (or attempts, without indexes) of the pods that run and are not being deleted.
    pub(super) fn running(&self) -> Vec<u32> {
        let kept = self.active.values().filter(|pod| !pod.deleting);
        kept.map(|pod| pod.index.unwrap_or(pod.attempt)).collect()
    }

    /// Type and reason of the conditions that are true.
    pub(super) fn conditions(&self) -> Vec<String> {
        let rendered = self.status.render(&self.spec);
        let list = rendered["conditions"].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter(|c| c["status"] == "True")
            .map(|c| format!("{}: {}", c["type"].as_str().unwrap_or(""), c["reason"].as_str().unwrap_or("")))
            .collect()
    }

    /// `active succeeded failed terminating`
    pub(super) fn counts(&self) -> (u32, u32, u32, u32) {
        let s = &self.status;
        (s.active, s.succeeded, s.failed, s.terminating)
    }
}
