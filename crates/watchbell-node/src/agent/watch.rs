//! `sizeLimit` of an emptyDir on disk: looked at now and then, and a pod that took more is evicted, as kubelet does it.

use std::collections::BTreeSet;
use std::time::Duration;

use watchbell_api::Uid;
use watchbell_api::quantity::Quantity;

use super::effect::Watched;
use super::pod::Pod;
use super::{Agent, Effect, Now};
use crate::place::volumes_dir;

/// Kubelet's eviction manager looks as often.
const PERIOD: Duration = Duration::from_secs(10);

/// The pods whose directories are watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pods: BTreeSet<Uid>,
    next_at: Duration,
    /// One look at a time, however long it takes.
    is_looking: bool,
}

impl Watch {
    pub(super) fn begin(&mut self, pod: &Pod, now: Now) {
        if pod.plan.limited().next().is_some() {
            if self.pods.is_empty() {
                self.next_at = now.mono + PERIOD;
            }
            self.pods.insert(pod.assignment.uid);
        }
    }

    pub(super) fn end(&mut self, uid: Uid) {
        self.pods.remove(&uid);
    }

    /// When to look next, if there is something to look at.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        (!self.pods.is_empty() && !self.is_looking).then_some(self.next_at)
    }
}

impl Agent {
    pub(super) fn look_at_sizes(&mut self, now: Now) {
        if self.watch.wake_at().is_none_or(|at| at > now.mono) {
            return;
        }
        let mut watched = Vec::new();
        for pod in self.watch.pods.iter().filter_map(|uid| self.pods.get(uid)).filter(|pod| !pod.is_over) {
            let uid = pod.assignment.uid;
            for (position, limit_bytes) in pod.plan.limited() {
                let volume = pod.plan.spec.volumes[position].name.clone();
                let path = volumes_dir(&self.site.data_dir, uid).join(&volume);
                watched.push(Watched { pod: uid, volume, path, limit_bytes });
            }
        }
        self.watch.next_at = now.mono + PERIOD;
        if !watched.is_empty() {
            self.watch.is_looking = true;
            self.effects.push(Effect::Measure(watched));
        }
    }

    pub(super) fn measured(&mut self, exceeded: Vec<(Uid, String)>, now: Now) {
        self.watch.is_looking = false;
        for (uid, volume) in exceeded {
            let Some(mut pod) = self.pods.remove(&uid) else { continue };
            if !pod.life.is_ending() {
                let spec = pod.plan.spec.clone();
                let dir = spec.volumes.iter().find(|v| v.name == volume).and_then(|v| v.empty_dir.as_ref());
                let limit =
                    dir.and_then(|dir| dir.size_limit.as_ref()).and_then(|v| Quantity::from_value(v).ok());
                let limit = limit.unwrap_or(Quantity::ZERO);
                let message = format!("Usage of EmptyDir volume {volume:?} exceeds the limit \"{limit}\". ");
                pod.life.evict(&message, now.mono);
                self.tell(&pod, true, "Evicted", || message);
            }
            self.pods.insert(uid, pod);
            self.touch(uid);
        }
    }
}
