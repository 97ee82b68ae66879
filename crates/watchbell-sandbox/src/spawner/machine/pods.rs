//! The pods of the machine: what their runs share, and their end.

use std::sync::Arc;

use super::{Effect, Input, Machine, Run};
use crate::{ContainerId, PodEnvironment, PodVolume, Sharing, UnixNanos, VolumeSource};

/// Pods that are not released.
pub(crate) const PODS_MAX: usize = 1 << 16;
/// All their surroundings together, in their wire form.
pub(crate) const PODS_BYTES_MAX: u64 = 2 << 30;

const SIGKILL: i32 = 9;

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) environment: Arc<PodEnvironment>,
    /// Runs that are not over.
    pub(super) bytes: u64,
    pub(super) active: u32,
    /// A run was begun, so something may be held for it.
    pub(super) used: bool,
    pub(super) releasing: bool,
    /// What it may reach now; its environment has what it began with.
    egress: Option<Arc<[u8]>>,
}

impl Machine {
    pub(crate) fn pod(&self, uid: u128) -> Option<&Arc<PodEnvironment>> {
        self.pods.get(&uid).map(|pod| &pod.environment)
    }

    /// Holds a pod's surroundings. What is held already stays: starts use what is there.
    pub(crate) fn add_pod(&mut self, environment: Arc<PodEnvironment>, bytes: u64) {
        let uid = environment.uid;
        let room = self.pods.len() < PODS_MAX && self.pod_bytes.saturating_add(bytes) <= PODS_BYTES_MAX;
        if room && !self.pods.contains_key(&uid) {
            self.pod_bytes += bytes;
            self.pods.insert(
                uid,
                Pod { environment, bytes, active: 0, used: false, releasing: false, egress: None },
            );
        }
    }

    /// What a pod may reach. Its environment learns of it as long as nothing began: only then a door is made.
    pub(crate) fn set_egress(&mut self, uid: u128, egress: Arc<[u8]>) {
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        if !pod.used
            && let Some(environment) = Arc::get_mut(&mut pod.environment)
        {
            environment.egress = Some(Arc::clone(&egress));
        }
        pod.egress = Some(egress);
    }

    pub(crate) fn egress(&self, uid: u128) -> Option<&[u8]> {
        self.pods.get(&uid)?.egress.as_deref()
    }

    /// Whether a pod may still be started above this memory.
    pub(crate) fn uses_memory(&self, memory: u64) -> bool {
        let is_it =
            |v: &PodVolume| matches!(&v.source, VolumeSource::LayeredMemory(of) if of.memory == memory);
        self.pods.values().any(|pod| pod.environment.volumes.iter().any(is_it))
    }

    pub(super) fn remove_pod(&mut self, uid: u128) {
        if let Some(pod) = self.pods.remove(&uid) {
            self.pod_bytes = self.pod_bytes.saturating_sub(pod.bytes);
        }
    }

    /// A pod is between two of its containers, or has ended and is not released: what was left for whoever comes next would be
    /// lost.
    pub(crate) fn holds_scratch(&self) -> bool {
        self.pods.values().any(|pod| {
            let shared = pod.environment.sharing == Sharing::Shared;
            let scratch = |v: &PodVolume| match &v.source {
                VolumeSource::Tmpfs { .. } => true,
                // Who asks for it may still come.
                source => source.layer().flatten().is_some(),
            };
            pod.used && (shared || pod.environment.volumes.iter().any(scratch))
        })
    }

    pub(crate) fn kill_pod(&mut self, uid: u128, now: UnixNanos, out: &mut Vec<Effect>) {
        let first = ContainerId { pod_uid: uid, container: 0, attempt: 0 };
        let last = ContainerId { pod_uid: uid, container: u16::MAX, attempt: u32::MAX };
        let runs: Vec<ContainerId> = self.runs.range(first..=last).map(|(id, _)| *id).collect();
        for id in runs {
            match self.runs.get(&id) {
                Some(Run::Queued | Run::Starting { .. }) => {
                    self.run(id, Input::Signal(SIGKILL), now, out);
                }
                Some(Run::Running { .. } | Run::Ending(_) | Run::Failing { .. }) => {
                    out.push(Effect::Kill(id));
                }
                Some(Run::Failed(_) | Run::Exited(_)) | None => {}
            }
        }
    }

    pub(crate) fn release_pod(&mut self, uid: u128, now: UnixNanos, out: &mut Vec<Effect>) {
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        if pod.active == 0 {
            self.remove_pod(uid);
            out.push(Effect::ReleasePod(uid));
        } else if !pod.releasing {
            pod.releasing = true;
            self.kill_pod(uid, now, out);
        }
    }

    /// Ends everything: the state directory is gone, so nobody can ever ask again.
    pub(crate) fn release_all(&mut self, now: UnixNanos, out: &mut Vec<Effect>) {
        let pods: Vec<u128> = self.pods.keys().copied().collect();
        for uid in pods {
            self.release_pod(uid, now, out);
        }
    }

    /// Pods that never had a run hold nothing; without their client nobody releases them.
    pub(crate) fn forget_unused_pods(&mut self) {
        self.pods.retain(|_, pod| pod.used);
        self.pod_bytes = self.pods.values().map(|pod| pod.bytes).sum();
    }
}
