//! The queue: who waits, who runs, who is next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::node::Capacity;
use watchbell_api::types::pod::Toleration;

use super::demand::{Amounts, Demand};
use super::devices::{Devices, Pools};
use super::line::Level;
use super::preempt::{self, Candidate};
use super::reason;
use super::taint::Taint;

/// How often a pod that does not fit is overtaken by pods of its priority or below before room is kept for it.
pub const OVERTAKES_MAX: u32 = 32;

/// At most this many groups of like pods are looked at for one that fits, so that one call stays cheap even when every
/// pod asks for something else.
const GROUPS_LOOKED_AT: usize = 512;

/// A pod that waits for room, or has it.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub uid: Uid,
    pub namespace: Arc<str>,
    /// Of its PriorityClass; higher goes first.
    pub priority: i32,
    pub preemption: Preemption,
    /// Order of creation within the namespace.
    pub seq: u64,
    pub request: Demand,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    /// The devices that it holds, once it runs.
    pub held: Vec<Arc<str>>,
}

/// Whether a pod may end others for its room (`preemptionPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    LowerPriority,
    Never,
}

/// All pods of the machine. Each call costs the logarithm of their number (and the number of priorities that wait).
#[derive(Debug)]
pub struct Queue {
    machine: Amounts,
    devices: Devices,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    used: Amounts,
    waiting: HashMap<Uid, Waiting>,
    running: HashMap<Uid, Waiting>,
    /// What the running pods of each namespace use.
    used_by: HashMap<Arc<str>, Amounts>,
    levels: BTreeMap<Reverse<i32>, Level>,
    overtaken: Option<Overtaken>,
    /// How many pods run at each priority.
    priorities: BTreeMap<i32, usize>,
    /// The pod for which others were told to end. What becomes free is for it, or for one of a higher priority.
    preempting: Option<Overtaken>,
    /// Nobody's end would help one that waits: until a pod comes or goes.
    is_preemption_settled: bool,
}

/// A pod that others overtake because it does not fit yet.
#[derive(Debug, Clone, Copy)]
struct Overtaken {
    uid: Uid,
    priority: i32,
    times: u32,
}

impl Queue {
    pub fn new(capacity: Capacity) -> Queue {
        Queue {
            machine: Amounts::of_machine(&capacity),
            devices: Devices::default(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            used: Amounts::default(),
            waiting: HashMap::new(),
            running: HashMap::new(),
            used_by: HashMap::new(),
            levels: BTreeMap::new(),
            overtaken: None,
            priorities: BTreeMap::new(),
            preempting: None,
            is_preemption_settled: false,
        }
    }

    /// The labels that node selectors are compared with, and the taints that pods have to tolerate.
    pub fn node(&self) -> (&BTreeMap<String, String>, &[Taint]) {
        (&self.labels, &self.taints)
    }

    /// Gives the node other labels or taints. Returns the pods that wait and may be looked at otherwise now.
    pub fn change_node(&mut self, labels: BTreeMap<String, String>, taints: Vec<Taint>) -> Vec<Uid> {
        let is_tainted_otherwise = self.taints != taints;
        let concerned: Vec<Waiting> = self
            .waiting
            .values()
            .filter(|pod| is_tainted_otherwise || !pod.node_selector.is_empty())
            .cloned()
            .collect();
        let uids = concerned.iter().map(|pod| pod.uid).collect();
        for pod in &concerned {
            self.remove(pod.uid);
        }
        (self.labels, self.taints) = (labels, taints);
        for pod in concerned {
            self.push(pod);
        }
        uids
    }

    /// Other devices are there. Who holds one keeps it, even if it is gone. Returns the pods that wait and may be looked at
    /// otherwise now.
    pub fn change_devices(&mut self, pools: &Pools) -> Vec<Uid> {
        let asks = |pod: &&Waiting| !pod.request.devices.is_empty();
        let waiting: Vec<Waiting> = self.waiting.values().filter(asks).cloned().collect();
        let running: Vec<Waiting> = self.running.values().filter(asks).cloned().collect();
        for pod in waiting.iter().chain(&running) {
            self.remove(pod.uid);
        }
        self.devices.set(pools);
        self.machine.devices = self.devices.count();
        for pod in running {
            self.started(pod);
        }
        let uids = waiting.iter().map(|pod| pod.uid).collect();
        for pod in waiting {
            self.push(pod);
        }
        uids
    }

    /// The devices that a running pod holds.
    pub fn devices_of(&self, uid: Uid) -> &[Arc<str>] {
        self.devices.held_by(uid)
    }

    /// A pod that waits from now on.
    pub fn push(&mut self, pod: Waiting) {
        self.remove(pod.uid);
        self.is_preemption_settled = false;
        if self.could_ever_run(&pod) {
            let (share, asks) = (self.share(&pod.namespace), self.asks(&pod));
            let level = self.levels.entry(Reverse(pod.priority)).or_default();
            level.insert(&pod.namespace, share, pod.seq, pod.uid, asks);
        }
        self.waiting.insert(pod.uid, pod);
    }

    /// A pod that runs already (after a restart of the server): it takes its room whether there is any or not.
    pub fn started(&mut self, pod: Waiting) {
        self.remove(pod.uid);
        self.devices.hold(pod.uid, &pod.held);
        let amounts = self.asks(&pod);
        self.used = self.used.plus(amounts);
        let used_by = self.used_by.entry(pod.namespace.clone()).or_default();
        *used_by = used_by.plus(amounts);
        self.reorder(&pod.namespace);
        *self.priorities.entry(pod.priority).or_default() += 1;
        self.is_preemption_settled = false;
        let priority = pod.priority;
        self.running.insert(pod.uid, pod);
        // One of a higher priority took of the room that was made. What will never be enough is not kept.
        if let Some(preempting) = self.preempting.filter(|preempting| preempting.priority < priority) {
            let asks = self.waiting.get(&preempting.uid).map(|pod| self.asks(pod));
            let reach = Reach::of(self, |_| false).at(preempting.priority);
            self.preempting = self.preempting.filter(|_| asks.is_some_and(|asks| asks.fits_in(&reach)));
        }
    }

    /// The pod ended, or waits no more. Unknown pods are none of ours.
    pub fn remove(&mut self, uid: Uid) {
        if let Some(pod) = self.waiting.remove(&uid) {
            self.leave_line(&pod);
            self.is_preemption_settled = false;
        }
        if let Some(pod) = self.running.remove(&uid) {
            if let Some(count) = self.priorities.get_mut(&pod.priority) {
                *count -= 1;
                if *count == 0 {
                    self.priorities.remove(&pod.priority);
                }
            }
            self.is_preemption_settled = false;
            self.devices.release(uid);
            let amounts = self.asks(&pod);
            self.used = self.used.minus(amounts);
            if let Some(used_by) = self.used_by.get_mut(&pod.namespace) {
                *used_by = used_by.minus(amounts);
                if used_by.pods == 0 {
                    self.used_by.remove(&pod.namespace);
                }
            }
            self.reorder(&pod.namespace);
        }
    }

    /// The next pod to start, which counts as running from now on. `None`: nothing that waits may start.
    pub fn pop(&mut self) -> Option<Uid> {
        let uid = self.choose()?;
        let mut pod = self.waiting.get(&uid)?.clone();
        pod.held = self.devices.choose(&pod.request.devices);
        self.started(pod);
        Some(uid)
    }

    fn choose(&mut self) -> Option<Uid> {
        let room = self.room();
        let mut blocked: Option<Overtaken> = None;
        let mut groups_left = GROUPS_LOOKED_AT;
        let mut chosen = None;
        for (&Reverse(priority), level) in &mut self.levels {
            // They waited longest, or room was made for them: before their like, they are asked first.
            for first in asked_first(self.overtaken, self.preempting, priority) {
                let asks = self.waiting.get(&first.uid).map(|pod| asks(&self.devices, pod));
                if asks.is_some_and(|asks| asks.fits_in(&room)) {
                    if self.overtaken.is_none_or(|overtaken| overtaken.uid != first.uid) {
                        self.note_overtaking(blocked, first.priority);
                    }
                    return Some(first.uid);
                }
                if first.times >= OVERTAKES_MAX {
                    return None;
                }
            }
            let search = level.search(&room, groups_left);
            groups_left -= search.groups_seen;
            blocked = blocked.or(level.blocked(&room).map(|uid| Overtaken { uid, priority, times: 0 }));
            if let Some(found) = search.fits {
                chosen = Some((found.uid, priority));
                break;
            }
        }
        let (uid, priority) = chosen?;
        self.note_overtaking(blocked, priority);
        Some(uid)
    }

    /// A pod of this priority starts before `blocked`, which does not fit.
    fn note_overtaking(&mut self, blocked: Option<Overtaken>, priority: i32) {
        // The one that is overtaken stays so until it starts, unless one of a higher priority cannot start either.
        let more_urgent =
            blocked.filter(|b| self.overtaken.is_none_or(|overtaken| b.priority > overtaken.priority));
        if more_urgent.is_some() {
            self.overtaken = more_urgent;
        }
        if let Some(overtaken) = &mut self.overtaken
            && priority <= overtaken.priority
        {
            overtaken.times += 1;
        }
    }

    /// Pods that must end so that one of a higher priority starts, and that one. Asked when nothing more can start. Pods
    /// that end anyway are waited for, and no others are named for its priority or below while those that were named end.
    /// Who would end nobody, or could not have room even so, keeps no other from it.
    pub fn preempt(&mut self, is_ending: impl Fn(Uid) -> bool) -> Option<(Uid, Vec<Uid>)> {
        let lowest = *self.priorities.keys().next()?;
        let Reverse(highest) = *self.levels.keys().next()?;
        if highest <= lowest || self.is_preemption_settled {
            return None;
        }
        let reach = Reach::of(self, &is_ending);
        let Some((preemptor, asks)) = self.preemptor(lowest, &reach) else {
            self.is_preemption_settled = true;
            return None;
        };
        let may_end = |pod: &&Waiting| pod.priority < preemptor.priority && !is_ending(pod.uid);
        let candidates = self.running.values().filter(may_end).map(|pod| Candidate {
            uid: pod.uid,
            priority: pod.priority,
            seq: pod.seq,
            amounts: self.freed_by(pod),
        });
        let victims = preempt::victims(&asks, reach.coming, candidates.collect())?;
        self.preempting = Some(preemptor);
        Some((preemptor.uid, victims))
    }

    /// The first for which others may be told to end, and what it asks for.
    fn preemptor(&self, lowest: i32, reach: &Reach) -> Option<(Overtaken, Amounts)> {
        let room = self.room();
        let mut groups_left = GROUPS_LOOKED_AT;
        for (&Reverse(priority), level) in self.levels.iter().take_while(|(p, _)| p.0 > lowest) {
            let within = reach.at(priority);
            let may_preempt = |uid: Uid, asks: &Amounts| {
                let pod = self.waiting.get(&uid);
                !asks.fits_in(&room)
                    && asks.fits_in(&within)
                    && pod.is_some_and(|pod| pod.preemption == Preemption::LowerPriority)
            };
            let preemptor = |uid| Overtaken { uid, priority, times: OVERTAKES_MAX };
            let mut kept = asked_first(self.overtaken, self.preempting, priority)
                .filter(|first| first.times >= OVERTAKES_MAX);
            if let Some(kept) = kept.next() {
                // Nothing of this priority or below starts before it.
                if reach.some_end && self.preempting.is_some_and(|preempting| preempting.uid == kept.uid) {
                    return None;
                }
                let asks = self.asks(self.waiting.get(&kept.uid)?);
                return may_preempt(kept.uid, &asks).then_some((preemptor(kept.uid), asks));
            }
            for head in level.by_age().take(groups_left) {
                groups_left -= 1;
                if may_preempt(head.uid, &head.asks) {
                    return Some((preemptor(head.uid), head.asks));
                }
            }
        }
        None
    }

    /// Whether the pod waits for room.
    pub fn is_waiting(&self, uid: Uid) -> bool {
        self.waiting.contains_key(&uid)
    }

    /// Whether the pod has room.
    pub fn is_running(&self, uid: Uid) -> bool {
        self.running.contains_key(&uid)
    }

    /// The pods that have room, in no order.
    pub fn running(&self) -> impl Iterator<Item = Uid> + '_ {
        self.running.keys().copied()
    }

    /// The pods that wait, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = Uid> + '_ {
        self.waiting.keys().copied()
    }

    /// Why a pod waits, in Kubernetes' words; `None` when it does not wait.
    pub fn reason(&self, uid: Uid) -> Option<String> {
        let pod = self.waiting.get(&uid)?;
        let asks = self.asks(pod);
        let room = self.room();
        let of_kind = |kind: &str| self.devices.of_kind(kind);
        Some(if !self.is_selected_by(pod) {
            reason::not_selected()
        } else if let Some(taint) = self.taints.iter().find(|taint| !taint.is_tolerated_by(&pod.tolerations))
        {
            reason::not_tolerated(taint)
        } else if !self.could_ever_run(pod) {
            reason::too_large(&pod.request, &self.machine, of_kind)
        } else if !asks.fits_in(&room) {
            reason::no_room(&pod.request, &room, &self.machine, of_kind)
        } else if self.keeps_room_before(pod) {
            reason::room_is_kept(OVERTAKES_MAX)
        } else {
            reason::not_its_turn()
        })
    }

    /// Room is kept for another pod, which this one may not overtake.
    fn keeps_room_before(&self, pod: &Waiting) -> bool {
        asked_first(self.overtaken, self.preempting, pod.priority)
            .any(|first| first.uid != pod.uid && first.times >= OVERTAKES_MAX)
    }

    fn leave_line(&mut self, pod: &Waiting) {
        if self.preempting.is_some_and(|preempting| preempting.uid == pod.uid) {
            self.preempting = None;
        }
        if self.overtaken.is_some_and(|overtaken| overtaken.uid == pod.uid) {
            self.overtaken = None;
        }
        let asks = self.asks(pod);
        if let Some(level) = self.levels.get_mut(&Reverse(pod.priority)) {
            level.remove(&pod.namespace, pod.seq, pod.uid, asks);
            if level.is_empty() {
                self.levels.remove(&Reverse(pod.priority));
            }
        }
    }

    fn could_ever_run(&self, pod: &Waiting) -> bool {
        let fits = pod.request.missing.is_none() && self.asks(pod).fits_in(&self.machine);
        let has_kinds =
            pod.request.devices.iter().all(|(kind, count)| *count <= self.devices.of_kind(kind).0);
        fits && has_kinds
            && self.is_selected_by(pod)
            && self.taints.iter().all(|taint| taint.is_tolerated_by(&pod.tolerations))
    }

    fn is_selected_by(&self, pod: &Waiting) -> bool {
        pod.node_selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    fn asks(&self, pod: &Waiting) -> Amounts {
        asks(&self.devices, pod)
    }

    /// What becomes free when a running pod ends. A device that has vanished does not.
    fn freed_by(&self, running: &Waiting) -> Amounts {
        Amounts { devices: self.devices.freed_by(running.uid), ..self.asks(running) }
    }

    fn room(&self) -> Amounts {
        // A device that has vanished is nobody's room, whoever held it.
        Amounts { devices: self.devices.free(), ..self.machine.minus(self.used) }
    }

    fn share(&self, namespace: &Arc<str>) -> u64 {
        self.used_by.get(namespace).map_or(0, |used| used.dominant_share(&self.machine))
    }

    fn reorder(&mut self, namespace: &Arc<str>) {
        let share = self.share(namespace);
        for level in self.levels.values_mut() {
            level.reorder(namespace, share);
        }
    }
}

fn asks(devices: &Devices, pod: &Waiting) -> Amounts {
    Amounts { devices: devices.asked(&pod.request.devices), ..pod.request.amounts() }
}

/// The pods that go before all others of a priority, in order.
fn asked_first(
    overtaken: Option<Overtaken>,
    preempting: Option<Overtaken>,
    priority: i32,
) -> impl Iterator<Item = Overtaken> {
    let is_below = |a: Option<Overtaken>, b: Option<Overtaken>| a.map(|a| a.priority) < b.map(|b| b.priority);
    let order =
        if is_below(overtaken, preempting) { [preempting, overtaken] } else { [overtaken, preempting] };
    order.into_iter().flatten().filter(move |first| first.priority >= priority)
}

/// What could become free.
struct Reach {
    /// What is free, or will be once the pods have ended that end anyway.
    coming: Amounts,
    some_end: bool,
    /// What the other running pods hold, by priority.
    held: BTreeMap<i32, Amounts>,
}

impl Reach {
    fn of(queue: &Queue, is_ending: impl Fn(Uid) -> bool) -> Reach {
        let mut reach = Reach { coming: queue.room(), some_end: false, held: BTreeMap::new() };
        for running in queue.running.values() {
            let amounts = queue.freed_by(running);
            if is_ending(running.uid) {
                reach.some_end = true;
                reach.coming = reach.coming.plus(amounts);
            } else {
                let held = reach.held.entry(running.priority).or_default();
                *held = held.plus(amounts);
            }
        }
        reach
    }

    /// All the room that a pod of a priority could have.
    fn at(&self, priority: i32) -> Amounts {
        self.held.range(..priority).fold(self.coming, |sum, (_, held)| sum.plus(*held))
    }
}
