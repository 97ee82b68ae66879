//! What the objects of a namespace take of its ResourceQuotas: counters that every put and remove moves, and that stand in
//! `status.used` in the same transaction.
//!
//! ```text
//!   put, remove ──▶ cost before, cost after ──▶ used ± ──▶ changed ──▶ status of the quota, when the stage is taken
//!                                                 └─ less is used ──▶ Jobs and CronJobs that were refused look again
//! ```

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::World;
use super::object::{Head, Key, NsName, Status, Stored};
use crate::admission::{Cost, PodStage, Quota, Used};

/// How many Jobs and CronJobs that wait for room look again when some becomes free. Those that still do not fit go to the
/// end of the line, and all look again after a minute.
const WOKEN_AT_ONCE: usize = 32;

/// The quotas of a namespace, by name.
pub(super) type Ledger = BTreeMap<Arc<str>, Held>;

/// A ResourceQuota with what is used of it.
#[derive(Debug)]
pub(super) struct Held {
    quota: Quota,
    used: Used,
}

/// Jobs of a namespace that were refused pods and CronJobs that were refused a Job, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Refused {
    line: VecDeque<Key>,
    known: HashSet<Key>,
}

impl Refused {
    fn join(&mut self, key: Key) {
        if self.known.insert(key.clone()) {
            self.line.push_back(key);
        }
    }

    fn leave(&mut self) -> Option<Key> {
        let key = self.line.pop_front()?;
        self.known.remove(&key);
        Some(key)
    }
}

/// What an object takes, and how far its life has come.
fn cost_of(object: &Stored) -> Option<(Arc<Cost>, PodStage)> {
    let Some(status) = object.pod_status() else {
        let cost = Cost::of_object(object.resource, || object.render())?;
        return Some((Arc::new(cost), PodStage::Lives));
    };
    let cost = match &object.head {
        Head::ArrayPod(pod) if pod.own.is_none() => pod.template.cost().clone(),
        _ => Arc::new(Cost::of_pod(object.pod_spec()?)),
    };
    Some((cost, if status.phase.is_terminal() { PodStage::Ended } else { PodStage::Lives }))
}

/// Whether two versions of an object take the same; said without looking closely.
fn takes_the_same(old: &Stored, new: &Stored) -> bool {
    let stage = |object: &Stored| object.pod_status().map(|status| status.phase.is_terminal());
    let same_head = match (&old.head, &new.head) {
        (Head::Json(old), Head::Json(new)) => Arc::ptr_eq(old, new),
        (Head::ArrayPod(old), Head::ArrayPod(new)) => {
            Arc::ptr_eq(&old.template, &new.template)
                && match (&old.own, &new.own) {
                    (None, None) => true,
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                    _ => false,
                }
        }
        _ => false,
    };
    same_head && stage(old) == stage(new)
}

impl World {
    /// Moves the counters of an object's namespace.
    pub(super) fn index_use(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        if self.quotas.is_empty() && object.resource != Resource::ResourceQuota {
            return;
        }
        if let Some(ledger) = self.quotas.get_mut(&object.namespace)
            && !matches!((old, new), (Some(old), Some(new)) if takes_the_same(old, new))
        {
            let (before, after) = (old.and_then(|o| cost_of(o)), new.and_then(|n| cost_of(n)));
            let mut is_less = false;
            for (name, held) in ledger {
                let used = held.used.clone();
                if let Some((cost, stage)) = before.as_ref().filter(|(cost, _)| held.quota.covers(cost)) {
                    held.used.take(cost, *stage);
                }
                if let Some((cost, stage)) = after.as_ref().filter(|(cost, _)| held.quota.covers(cost)) {
                    held.used.add(cost, *stage);
                }
                if held.used != used {
                    is_less |= held.used.is_less_somewhere(&used);
                    let at = NsName { namespace: object.namespace.clone(), name: name.clone() };
                    self.quota_news.insert(at);
                }
            }
            if is_less {
                self.freed.insert(object.namespace.clone());
            }
        }
        if object.resource == Resource::ResourceQuota {
            self.index_quota(old, new);
        }
    }

    /// A quota appears, says something else, or goes: its use is counted once, from the objects there are.
    fn index_quota(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        if matches!((old, new), (Some(old), Some(new)) if takes_the_same(old, new)) {
            return;
        }
        self.freed.insert(object.namespace.clone());
        let Some(new) = new else {
            if let Some(ledger) = self.quotas.get_mut(&object.namespace) {
                ledger.remove(&object.name);
                if ledger.is_empty() {
                    self.quotas.remove(&object.namespace);
                }
            }
            return;
        };
        let quota = Quota::read(&new.render());
        let used = self.count_use(&quota, &new.namespace);
        if new.render()["status"] != status(&quota, &used) {
            self.quota_news.insert(new.at());
        }
        let held = Held { quota, used };
        self.quotas.entry(new.namespace.clone()).or_default().insert(new.name.clone(), held);
    }

    fn count_use(&self, quota: &Quota, namespace: &str) -> Used {
        let mut used = Used::nothing_of(quota);
        for resource in Resource::all().filter(|r| r.is_namespaced() && *r != Resource::Event) {
            for object in self.state.list(resource, Some(namespace), None) {
                if let Some((cost, stage)) = cost_of(object)
                    && quota.covers(&cost)
                {
                    used.add(&cost, stage);
                }
            }
        }
        used
    }

    /// Whether the quotas of its namespace have room for a new object, or for what an object becomes.
    pub(super) fn check_quota(&self, old: Option<&Stored>, new: &Stored) -> Result<(), String> {
        if !self.quotas.contains_key(&new.namespace) {
            return Ok(());
        }
        let Some((cost, _)) = cost_of(new) else { return Ok(()) };
        let before = old.and_then(cost_of).map(|(cost, _)| cost);
        self.check_cost(&new.namespace, before.as_deref(), &cost)
    }

    pub(super) fn check_cost(&self, namespace: &str, old: Option<&Cost>, new: &Cost) -> Result<(), String> {
        let Some(ledger) = self.quotas.get(namespace) else { return Ok(()) };
        let covering = || ledger.iter().filter(|(_, held)| held.quota.covers(new));
        for (name, held) in covering().filter(|_| old.is_none()) {
            if let Some(missing) = held.quota.missing(new) {
                return Err(format!("failed quota: {name}: {missing}"));
            }
        }
        for (name, held) in covering() {
            // What was another quota's takes nothing of this one yet.
            let old = old.filter(|old| held.quota.covers(old));
            if let Some(exceeded) = held.quota.exceeded(&held.used, old, new) {
                return Err(format!("exceeded quota: {name}, {exceeded}"));
            }
        }
        Ok(())
    }

    /// What a Job or CronJob makes was refused: it looks again when something in its namespace changes that may let it in.
    pub(super) fn wait_for_room(&mut self, key: Key) {
        self.refused.entry(key.at.namespace.clone()).or_default().join(key);
    }

    /// Room became free: those that wait for it look again.
    pub(super) fn wake_refused(&mut self) {
        for namespace in std::mem::take(&mut self.freed) {
            let Some(mut refused) = self.refused.remove(&namespace) else { continue };
            for _ in 0..WOKEN_AT_ONCE {
                let Some(key) = refused.leave() else { break };
                self.mark(key);
            }
            if !refused.line.is_empty() {
                self.refused.insert(namespace, refused);
            }
        }
    }

    /// Writes what changed into the quotas' status, in the transaction that changed it.
    pub(super) fn tell_use(&mut self) {
        for at in std::mem::take(&mut self.quota_news) {
            let Some(held) = self.quotas.get(&at.namespace).and_then(|ledger| ledger.get(&at.name)) else {
                continue;
            };
            let status = Status::Json(Arc::new(status(&held.quota, &held.used)));
            let Some(quota) = self.get_at(Resource::ResourceQuota, &at) else { continue };
            let next = Stored { status, ..(**quota).clone() };
            self.put(next);
        }
    }

    /// For tests: the counters are what counting anew gives, and what the quotas say.
    pub(super) fn check_quotas(&self) -> Result<(), String> {
        let held: usize = self.quotas.values().map(BTreeMap::len).sum();
        if held != self.state.count(Resource::ResourceQuota) {
            return Err("other quotas are held than there are".into());
        }
        for (namespace, ledger) in &self.quotas {
            for (name, held) in ledger {
                let counted = self.count_use(&held.quota, namespace);
                if counted != held.used {
                    return Err(format!("quota {namespace}/{name} holds {:?}, not {counted:?}", held.used));
                }
                let object = self.get(Resource::ResourceQuota, namespace, name);
                let shown = object.map(|object| object.render()["status"].take()).unwrap_or_default();
                if !self.quota_news.contains(&NsName::new(namespace, name))
                    && shown != status(&held.quota, &held.used)
                {
                    return Err(format!("quota {namespace}/{name} says {shown}"));
                }
            }
        }
        Ok(())
    }
}

fn status(quota: &Quota, used: &Used) -> Value {
    let hard: Value =
        quota.hard.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect();
    json!({"hard": hard, "used": used.render()})
}
