//! What pods take of the disk: looked at now and then, and a pod that took more than it may is evicted, as kubelet does it.
//!
//! ```text
//!   every 10 s: Measure ─▶ emptyDirs, logs, claims, free space ─▶ Measured ─▶ excess · pressure ─▶ evict, or say so
//!                           └─ too little is free ─▶ images, logs of pods that have ended
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use watchbell_api::Uid;

use super::arrays;
use super::claim::Bound;
use super::effect::{Disk, Measured, Watched, What};
use super::plan::{Plan, VolumePlan};
use super::pod::Pod;
use super::spec::{MESSAGES, container_at, has_messages};
use super::{Agent, Effect, Now};
use crate::measure::{Use, amount};
use crate::place::{LogPlace, folder, volumes_dir};

/// Kubelet's eviction manager looks as often.
const PERIOD: Duration = Duration::from_secs(10);

/// Of a termination message 4 KiB are ever read. Its file lies on the disk, where a write has no bound of its own.
const MESSAGES_MOST: Use = Use { bytes: 16 << 20, inodes: u64::MAX };

/// Whoever gives back less than this, and less than the disk lacks, is not evicted for it: that may be anybody, while what fills the
/// disk is no pod's.
const FREED_LEAST: u64 = 1 << 20;

/// The disk, and the pods whose directories are watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pods: BTreeSet<Uid>,
    /// `None`: nothing was asked yet.
    next_at: Option<Duration>,
    /// One look at a time, however long it takes.
    is_looking: bool,
    /// Claims that hold more than was asked for, which was said.
    over: BTreeSet<String>,
}

impl Watch {
    pub(super) fn begin(&mut self, pod: &Pod) {
        if pod.plan.uses_disk() || has_messages(&pod.assignment) || arrays::uses_disk(pod) {
            self.pods.insert(pod.assignment.uid);
        }
    }

    pub(super) fn end(&mut self, uid: Uid) {
        self.pods.remove(&uid);
    }

    /// When to look next, unless a look is under way.
    fn due_at(&self) -> Option<Duration> {
        self.next_at.filter(|_| !self.is_looking)
    }
}

impl Agent {
    /// When something may be written that has to be looked at: every pod has logs. While there is none, the disk is looked at
    /// whenever something else happens.
    pub(super) fn look_at(&self) -> Option<Duration> {
        self.watch.due_at().filter(|_| !self.pods.is_empty())
    }

    pub(super) fn look_at_sizes(&mut self, now: Now) {
        self.watch.next_at.get_or_insert(now.mono + PERIOD);
        if self.watch.due_at().is_none_or(|at| at > now.mono) {
            return;
        }
        let mut watched = Vec::new();
        let mut claims = BTreeSet::new();
        for pod in self.watch.pods.iter().filter_map(|uid| self.pods.get(uid)).filter(|pod| !pod.is_over) {
            self.watched_of(pod, &mut claims, &mut watched);
        }
        self.watch.next_at = Some(now.mono + PERIOD);
        self.watch.is_looking = true;
        self.effects.push(Effect::Measure(watched));
    }

    fn watched_of(&self, pod: &Pod, claims: &mut BTreeSet<String>, out: &mut Vec<Watched>) {
        let (uid, plan) = (pod.assignment.uid, &pod.plan);
        for (volume, planned) in plan.spec.volumes.iter().zip(&plan.volumes) {
            match planned {
                VolumePlan::Dir { bound, .. } => out.push(Watched {
                    pod: uid,
                    what: What::EmptyDir(volume.name.clone()),
                    path: volumes_dir(&self.site.data_dir, uid).join(&volume.name),
                    most: *bound,
                }),
                VolumePlan::Claim { claim, read_only: false } => {
                    let namespace = &pod.assignment.namespace;
                    let Ok(Bound::Folder(name)) = self.site.bound_to(namespace, claim) else { continue };
                    // Pods that share it are not the worse for it.
                    if claims.insert(name.clone()) {
                        out.push(Watched {
                            pod: uid,
                            what: What::Claim(claim.clone()),
                            path: folder(&self.site.data_dir, &name),
                            most: Use { inodes: u64::MAX, bytes: self.site.asked_by(namespace, claim) },
                        });
                    }
                }
                _ => {}
            }
        }
        arrays::watched(&self.site, pod, out);
        if has_messages(&pod.assignment) {
            let path = volumes_dir(&self.site.data_dir, uid).join(MESSAGES);
            out.push(Watched { pod: uid, what: What::Messages, path, most: MESSAGES_MOST });
        }
        if plan.limits_disk() {
            for ordinal in 0..plan.containers.len() {
                let attempt = pod.id(ordinal).attempt;
                // The run before this one is kept too.
                for attempt in attempt.saturating_sub(1)..=attempt {
                    let log = LogPlace::of(&pod.assignment).file(ordinal as u16, attempt);
                    out.push(Watched { pod: uid, what: What::Log(ordinal), path: log, most: Use::MAX });
                }
            }
        }
    }

    pub(super) fn measured(&mut self, measured: Measured, now: Now) {
        self.watch.is_looking = false;
        let mut pods: BTreeMap<Uid, Vec<(What, Use)>> = BTreeMap::new();
        for (uid, what, used) in measured.sizes {
            pods.entry(uid).or_default().push((what, used));
        }
        for (uid, sizes) in &pods {
            let Some(pod) = self.pods.get(uid).filter(|pod| !pod.life.is_ending()) else { continue };
            let excess = excess(&pod.plan, sizes);
            self.note_claims(*uid, sizes);
            if let Some(message) = excess {
                self.evict(*uid, message, now);
            }
        }
        let reserve = self.site.machine.disk_reserve_bytes;
        if let Some(disk) = measured.disk.filter(|disk| disk.lacking(reserve) != Use::default()) {
            self.make_room(&pods, disk, now);
        }
    }

    fn evict(&mut self, uid: Uid, message: String, now: Now) {
        let Some(mut pod) = self.pods.remove(&uid) else { return };
        if !pod.life.is_ending() {
            pod.life.evict(&message, now.mono);
            self.tell(&pod, true, "Evicted", || message);
        }
        self.pods.insert(uid, pod);
        self.touch(uid);
    }

    /// A claim has no bound on the disk: that it holds more than was asked for is said, once until it is less again.
    fn note_claims(&mut self, uid: Uid, sizes: &[(What, Use)]) {
        let Some(pod) = self.pods.get(&uid) else { return };
        for (what, used) in sizes {
            let What::Claim(claim) = what else { continue };
            let key = format!("{}/{claim}", pod.assignment.namespace);
            let asked = self.site.asked_by(&pod.assignment.namespace, claim);
            if used.bytes <= asked {
                self.watch.over.remove(&key);
            } else if self.watch.over.insert(key) {
                let message = format!(
                    "The volume of claim {claim:?} holds more than the {} that were asked for; nothing is refused for \
                     it while the disk has room",
                    amount(asked)
                );
                self.effects.push(pod.event(true, "VolumeOverCapacity", message));
            }
        }
    }

    /// The disk is nearly full, and nothing is left that nobody uses: the journal and the images need what is free. The pod goes
    /// whose end gives most back.
    fn make_room(&mut self, pods: &BTreeMap<Uid, Vec<(What, Use)>>, disk: Disk, now: Now) {
        let reserve = self.site.machine.disk_reserve_bytes;
        let lacking = disk.lacking(reserve).bytes;
        let lacks_bytes = lacking > 0;
        let least = if lacks_bytes { lacking.min(FREED_LEAST) } else { 1 };
        let most = pods
            .iter()
            .filter(|(uid, _)| self.pods.get(uid).is_some_and(|p| !p.life.is_ending()))
            .map(|(uid, sizes)| (*uid, if lacks_bytes { freed(sizes).bytes } else { freed_inodes(sizes) }))
            .filter(|(_, freed)| *freed >= least)
            .max_by_key(|(_, freed)| *freed);
        let Some((uid, freed)) = most else { return };
        let message = if lacks_bytes {
            format!(
                "The node was low on resource: ephemeral-storage. Threshold quantity: {}, available: {}. The pod was using \
                 {}, the most of all. ",
                amount(reserve),
                amount(disk.free_bytes),
                amount(freed)
            )
        } else {
            format!(
                "The node was low on resource: inodes. Threshold quantity: {}, available: {}. The pod was using {freed}, the \
                 most of all. ",
                disk.inodes_reserve(),
                disk.free_inodes
            )
        };
        self.evict(uid, message, now);
    }
}

/// What the end of a pod gives back: a claim outlives it. Its logs may go then, before another pod has to; those that are looked
/// at by themselves are among all of them.
fn freed(sizes: &[(What, Use)]) -> Use {
    let own = sizes.iter().filter(|(what, _)| !matches!(what, What::Claim(_) | What::Log(_)));
    own.fold(Use::default(), |sum, (_, used)| sum.plus(*used))
}

/// The same of inodes. Each pod has a few for its logs and its messages.
fn freed_inodes(sizes: &[(What, Use)]) -> u64 {
    let own = sizes.iter().filter(|(what, _)| matches!(what, What::EmptyDir(_) | What::Upper(..)));
    own.fold(0, |sum, (_, used)| sum.saturating_add(used.inodes))
}

/// Why a pod has taken more than it may, in kubelet's words where it has them.
fn excess(plan: &Plan, sizes: &[(What, Use)]) -> Option<String> {
    let (mut total, mut logs) = (0u64, BTreeMap::<usize, u64>::new());
    for (what, used) in sizes {
        match what {
            What::EmptyDir(name) => {
                total = total.saturating_add(used.bytes);
                let position = plan.spec.volumes.iter().position(|v| v.name == *name);
                if let Some(VolumePlan::Dir { bound, limit }) = position.map(|p| &plan.volumes[p]) {
                    if used.bytes > bound.bytes {
                        let limit = match limit {
                            Some(said) => format!("{:?}", said.to_string()),
                            None => format!(
                                "{:?} of one without a sizeLimit (serve --empty-dir-size)",
                                amount(bound.bytes)
                            ),
                        };
                        return Some(format!(
                            "Usage of EmptyDir volume {name:?} exceeds the limit {limit}. "
                        ));
                    }
                    if used.inodes > bound.inodes {
                        return Some(format!(
                            "Usage of EmptyDir volume {name:?} exceeds the limit of {} files. ",
                            bound.inodes
                        ));
                    }
                }
            }
            What::Log(ordinal) => {
                total = total.saturating_add(used.bytes);
                *logs.entry(*ordinal).or_default() += used.bytes;
            }
            What::Messages => {
                if used.bytes > MESSAGES_MOST.bytes {
                    return Some(format!(
                        "Usage of the files at terminationMessagePath exceeds the limit {:?}. ",
                        amount(MESSAGES_MOST.bytes)
                    ));
                }
                total = total.saturating_add(used.bytes);
            }
            What::Upper(array, bound) => {
                total = total.saturating_add(used.bytes);
                if used.bytes > *bound {
                    return Some(format!(
                        "What was written to array {array:?} exceeds the quota {:?}. ",
                        amount(*bound)
                    ));
                }
            }
            What::Claim(_) | What::Logs => {}
        }
    }
    if let Some(limit) = plan.disk_limit.filter(|limit| total > limit.as_bytes()) {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        ));
    }
    logs.iter().find_map(|(ordinal, used)| {
        let limit = plan.containers.get(*ordinal)?.disk_limit.filter(|limit| *used > limit.as_bytes())?;
        let name = &container_at(&plan.spec, *ordinal).name;
        Some(format!("Container {name} exceeded its local ephemeral storage limit {:?}. ", limit.to_string()))
    })
}
