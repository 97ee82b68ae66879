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
    /// The pods for which others were told to end, the highest priority first. They stand in no level: what becomes free is for
    /// them, or for pods of a higher priority.
    nominated: Vec<Nominated>,
    /// Nobody's end would help one that waits: until a pod comes or goes.
    is_preemption_settled: bool,
}

/// A pod for which others were told to end.
#[derive(Debug, Clone, Copy)]
struct Nominated {
    uid: Uid,
    priority: i32,
    asks: Amounts,
}

/// Who is asked before the pods of a level.
enum Turn {
    Starts(Uid),
    /// Room is kept, and is not enough yet.
    Nobodys,
    TheLevels,
}

/// The pod that others overtake because it does not fit yet.
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
            nominated: Vec::new(),
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
        self.join_line(&pod);
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
        // It may have taken of the room that was made for one of a lower priority.
        if self.nominated.last().is_some_and(|nominated| nominated.priority < priority) {
            self.let_go_of_hopeless();
        }
    }

    /// What will never be enough is not kept.
    fn let_go_of_hopeless(&mut self) {
        let reach = Reach::of(self, |_| false);
        loop {
            let reserved = self.reserved();
            // The last first: its room may be what the others lack.
            let hopeless = self.nominated.iter().rposition(|pod| !reserved.may_suffice(pod, &reach));
            let Some(place) = hopeless else { return };
            let nominated = self.nominated.remove(place);
            if let Some(pod) = self.waiting.get(&nominated.uid).cloned() {
                self.join_line(&pod);
            }
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
        let (waiting, devices) = (&self.waiting, &self.devices);
        let fits = |uid: Uid| waiting.get(&uid).is_some_and(|pod| asks(devices, pod).fits_in(&room));
        for (&Reverse(priority), level) in &mut self.levels {
            match turn(self.overtaken, &self.nominated, priority, &fits) {
                Turn::Starts(uid) => {
                    self.note_start_of(uid, blocked);
                    return Some(uid);
                }
                Turn::Nobodys => return None,
                Turn::TheLevels => {}
            }
            let search = level.search(&room, groups_left);
            groups_left -= search.groups_seen;
            blocked = blocked.or(level.blocked(&room).map(|uid| Overtaken { uid, priority, times: 0 }));
            if let Some(found) = search.fits {
                chosen = Some((found.uid, priority));
                break;
            }
        }
        let Some((uid, priority)) = chosen else {
            // Below all levels.
            let Turn::Starts(uid) = turn(self.overtaken, &self.nominated, i32::MIN, &fits) else {
                return None;
            };
            self.note_start_of(uid, blocked);
            return Some(uid);
        };
        self.note_overtaking(blocked, priority);
        Some(uid)
    }

    /// A pod starts that was asked before its like. Where room was made for it, it may overtake another.
    fn note_start_of(&mut self, uid: Uid, blocked: Option<Overtaken>) {
        if let Some(nominated) = self.nominated.iter().find(|nominated| nominated.uid == uid).copied() {
            self.note_overtaking(blocked, nominated.priority);
        }
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

    /// Pods that must end so that one of a higher priority starts, and that one. Asked when nothing more can start, and again
    /// until it names nobody. Pods that end anyway are waited for, and their room is counted once. Who would end nobody, or
    /// could not have room even so, keeps no other from it.
    pub fn preempt(&mut self, is_ending: impl Fn(Uid) -> bool) -> Option<(Uid, Vec<Uid>)> {
        let lowest = *self.priorities.keys().next()?;
        let level = self.levels.keys().next().map(|priority| priority.0);
        let highest = self.nominated.first().map(|nominated| nominated.priority).max(level)?;
        if highest <= lowest || self.is_preemption_settled {
            return None;
        }
        let reach = Reach::of(self, &is_ending);
        let Some(preemptor) = self.preemptor(lowest, &reach) else {
            self.is_preemption_settled = true;
            return None;
        };
        let may_end = |pod: &&Waiting| pod.priority < preemptor.priority && !is_ending(pod.uid);
        let candidate = |pod: &Waiting| Candidate {
            uid: pod.uid,
            priority: pod.priority,
            seq: pod.seq,
            amounts: self.freed_by(pod),
        };
        let candidates: Vec<Candidate> = self.running.values().filter(may_end).map(candidate).collect();
        // It may be one of those for which room is made already.
        self.nominated.retain(|nominated| nominated.uid != preemptor.uid);
        let coming = reach.coming.minus(self.reserved().at(preemptor.priority));
        let victims = preempt::victims(&preemptor.asks, coming, candidates);
        self.nominate(preemptor);
        Some((preemptor.uid, victims?))
    }

    fn nominate(&mut self, preemptor: Nominated) {
        if let Some(pod) = self.waiting.get(&preemptor.uid).cloned() {
            self.leave_line(&pod);
        }
        let place = self.nominated.partition_point(|nominated| nominated.priority >= preemptor.priority);
        self.nominated.insert(place, preemptor);
    }

    /// The first for which others may be told to end.
    fn preemptor(&self, lowest: i32, reach: &Reach) -> Option<Nominated> {
        let kept = self.overtaken.filter(|overtaken| overtaken.times >= OVERTAKES_MAX);
        let is_kept_for_another = |pod: &Nominated| kept.is_some_and(|kept| kept.priority > pod.priority);
        let reserved = self.reserved();
        // One that has not enough coming any more, because one of a higher priority took of it, names others.
        let mut nominated = self.nominated.iter().copied().peekable();
        let mut next_nominated = |from: i32| -> Option<Nominated> {
            while let Some(pod) = nominated.next_if(|pod| pod.priority >= from) {
                if reserved.lacks(&pod, reach) && !is_kept_for_another(&pod) {
                    return Some(pod);
                }
            }
            None
        };
        let room = self.room();
        let mut groups_left = GROUPS_LOOKED_AT;
        for (&Reverse(priority), level) in self.levels.iter().take_while(|(p, _)| p.0 > lowest) {
            if let Some(pod) = next_nominated(priority) {
                return Some(pod);
            }
            let made = reserved.at(priority);
            let (free, within) = (room.minus(made), reach.at(priority).minus(made));
            let may_preempt = |uid: Uid, asks: &Amounts| {
                !asks.fits_in(&free)
                    && asks.fits_in(&within)
                    && self.waiting.get(&uid).is_some_and(|pod| pod.preemption == Preemption::LowerPriority)
            };
            if let Some(kept) = kept.filter(|kept| kept.priority >= priority) {
                // Nothing of this priority or below starts before it.
                let asks = self.asks(self.waiting.get(&kept.uid)?);
                let (uid, priority) = (kept.uid, kept.priority);
                return may_preempt(uid, &asks).then_some(Nominated { uid, priority, asks });
            }
            for head in level.by_age().take(groups_left) {
                groups_left -= 1;
                if may_preempt(head.uid, &head.asks) {
                    return Some(Nominated { uid: head.uid, priority, asks: head.asks });
                }
            }
        }
        next_nominated(lowest.saturating_add(1))
    }

    /// What is made free for those of each priority and above.
    fn reserved(&self) -> Reserved {
        let mut sum = Amounts::default();
        let sums = self.nominated.iter().map(|pod| {
            sum = sum.plus(pod.asks);
            (pod.priority, sum)
        });
        Reserved(sums.collect())
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
        let is_nominated = |nominated: &Nominated| nominated.uid == pod.uid;
        let is_made = self.nominated.first().is_some_and(|first| first.priority >= pod.priority)
            && !self.nominated.iter().any(is_nominated);
        is_made
            || self.overtaken.is_some_and(|overtaken| {
                overtaken.uid != pod.uid
                    && overtaken.times >= OVERTAKES_MAX
                    && pod.priority <= overtaken.priority
            })
    }

    fn join_line(&mut self, pod: &Waiting) {
        if self.could_ever_run(pod) {
            let (share, asks) = (self.share(&pod.namespace), self.asks(pod));
            let level = self.levels.entry(Reverse(pod.priority)).or_default();
            level.insert(&pod.namespace, share, pod.seq, pod.uid, asks);
        }
    }

    fn leave_line(&mut self, pod: &Waiting) {
        self.nominated.retain(|nominated| nominated.uid != pod.uid);
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

/// Whose turn it is before the pods of a priority. Of those for which room was made the highest priority comes first, and its
/// pods in any order: it is counted for each of them. The others wait until these have started, as what was made free for these
/// is room for those too.
fn turn(
    overtaken: Option<Overtaken>,
    nominated: &[Nominated],
    priority: i32,
    fits: &impl Fn(Uid) -> bool,
) -> Turn {
    let leader = nominated.first().filter(|nominated| nominated.priority >= priority);
    let is_ahead = |overtaken: &Overtaken| leader.is_none_or(|leader| leader.priority < overtaken.priority);
    if let Some(overtaken) = overtaken.filter(|o| o.priority >= priority && is_ahead(o)) {
        // It waited longest: before its like, it is asked first.
        if fits(overtaken.uid) {
            return Turn::Starts(overtaken.uid);
        }
        if overtaken.times >= OVERTAKES_MAX {
            return Turn::Nobodys;
        }
    }
    match leader {
        None => Turn::TheLevels,
        Some(leader) => {
            let mut first = nominated.iter().take_while(|nominated| nominated.priority == leader.priority);
            first.find(|nominated| fits(nominated.uid)).map_or(Turn::Nobodys, |n| Turn::Starts(n.uid))
        }
    }
}

/// What is made free for the pods of a priority and above, by priority.
struct Reserved(BTreeMap<i32, Amounts>);

impl Reserved {
    fn at(&self, priority: i32) -> Amounts {
        self.0.range(priority..).next().map_or(Amounts::default(), |(_, sum)| *sum)
    }

    /// For all but one that is among them.
    fn beside(&self, pod: &Nominated) -> Amounts {
        self.at(pod.priority).minus(pod.asks)
    }

    /// Whether a pod for which others were told to end needs the end of more, and that would help.
    fn lacks(&self, pod: &Nominated, reach: &Reach) -> bool {
        !pod.asks.fits_in(&reach.coming.minus(self.beside(pod))) && self.may_suffice(pod, reach)
    }

    fn may_suffice(&self, pod: &Nominated, reach: &Reach) -> bool {
        pod.asks.fits_in(&reach.at(pod.priority).minus(self.beside(pod)))
    }
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
