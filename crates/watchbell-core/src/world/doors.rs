//! What policies of networks mean to pods: where each may connect to when it starts, and from when on that is something else.
//!
//! ```text
//!   a pod is bound ──────▶ what the policies that select it open ──▶ Assignment::egress    (without one: no door)
//!   a policy, or labels ─▶ the namespace's running pods, once a batch ──▶ Command::ChangeEgress where it is something else
//! ```
//!
//! Policies are listed by namespace. Pods that the same policies select share what is made of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::network::{
    ConnectionAt, ConnectionEnd, ConnectionNews, DESTINATIONS_MAX, EgressWire, NETWORK_POLICIES_MAX, Reached,
    Traffic,
};
use watchbell_api::node::Command;
use watchbell_api::selector::Labels;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{ApiError, Resource, Uid};

use super::object::Stored;
use super::{Snapshot, World};
use crate::controller::event::PlannedEvent;
use crate::egress::{Egress, EgressPolicy, WIRE_BYTES_MAX, Weight};

/// The event of pods that are selected for the first time while they run.
const NO_DOOR: &str = "NoWayOut";

/// Of what is made for pods, so many are kept.
const MADE_MAX: usize = 256;
/// Of a text in an entry.
const TEXT_CHARS_MAX: usize = 1024;

/// What was made, by the versions of the policies that it is made of.
pub(super) type Made = HashMap<Box<[u64]>, EgressWire>;

#[derive(Debug, Default)]
pub(super) struct Doors {
    /// Of pods that may have a door.
    told: HashMap<Uid, Told>,
    made: Made,
    /// Where policies changed, or labels of pods that have a door.
    changed: BTreeSet<Arc<str>>,
}

/// What a pod was told last.
#[derive(Debug)]
enum Told {
    /// By an earlier life of the server, or by a batch that was not committed.
    Unknown,
    Said(Option<EgressWire>),
}

impl Snapshot {
    /// The policies of a namespace that say something of egress and select what `is_chosen` says.
    fn selecting<'a>(
        &'a self,
        namespace: &'a str,
        spec: &PodSpec,
        is_chosen: impl Fn(&Labels) -> bool + 'a,
    ) -> impl Iterator<Item = (u64, &'a EgressPolicy)> {
        // It has the machine's network.
        let policies =
            (!spec.host_network).then(|| self.list(Resource::NetworkPolicy, Some(namespace), None));
        let of =
            |object: &'a Arc<Stored>| Some((object.resource_version, &**object.facts().egress_policy()?));
        policies.into_iter().flatten().filter_map(of).filter(move |(_, policy)| is_chosen(&policy.pods))
    }

    /// Where a pod with this spec may connect to. `None`: no policy with egress selects it.
    pub(super) fn egress_by(
        &self,
        namespace: &str,
        spec: &PodSpec,
        is_chosen: impl Fn(&Labels) -> bool,
    ) -> Option<Egress> {
        let mut policies = self.selecting(namespace, spec, is_chosen).peekable();
        policies.peek()?;
        Some(Egress { rules: policies.flat_map(|(_, policy)| policy.rules.iter().cloned()).collect() })
    }

    /// Where a pod may connect to. `None`: no policy with egress selects it, or it has the machine's network.
    pub fn egress(&self, pod: &Stored) -> Option<Egress> {
        self.egress_by(&pod.namespace, pod.pod_spec()?, |selector| pod.is_chosen(selector))
    }

    /// The same on its way to the gate.
    pub(super) fn egress_wire(&self, pod: &Stored, made: &mut Made) -> Option<EgressWire> {
        let spec = pod.pod_spec()?;
        let policies: Vec<(u64, &EgressPolicy)> =
            self.selecting(&pod.namespace, spec, |selector| pod.is_chosen(selector)).collect();
        if policies.is_empty() {
            return None;
        }
        let versions: Box<[u64]> = policies.iter().map(|(version, _)| *version).collect();
        if let Some(wire) = made.get(&versions) {
            return Some(wire.clone());
        }
        let rules = policies.iter().flat_map(|(_, policy)| policy.rules.iter().cloned()).collect();
        let wire: EgressWire = Egress { rules }.to_wire().into();
        if made.len() >= MADE_MAX {
            made.clear();
        }
        made.insert(versions, wire.clone());
        Some(wire)
    }
}

impl World {
    /// A pod starts: where it may connect to, if it gets a door at all.
    pub(super) fn open_door(&mut self, pod: &Stored) -> Option<EgressWire> {
        let wire = self.state.egress_wire(pod, &mut self.doors.made)?;
        self.doors.told.insert(pod.uid, Told::Said(Some(wire.clone())));
        Some(wire)
    }

    pub(super) fn index_network_policy(&mut self, policy: &Stored) {
        self.doors.changed.insert(policy.namespace.clone());
    }

    pub(super) fn index_door(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        match new {
            Some(new) if is_with_node(new) => match old {
                None => drop(self.doors.told.insert(new.uid, Told::Unknown)),
                Some(old) if self.doors.told.contains_key(&new.uid) && !has_same_labels(old, new) => {
                    self.doors.changed.insert(new.namespace.clone());
                }
                Some(_) => {}
            },
            _ => drop(self.doors.told.remove(&object.uid)),
        }
    }

    /// What is there at a load is told with the pods.
    pub(super) fn forget_door_changes(&mut self) {
        self.doors.changed.clear();
    }

    /// What was told of late may not have gone out.
    pub(super) fn doubt_doors(&mut self) {
        let pods = self.doors.told.keys().filter_map(|uid| self.pods_by_uid.get(uid));
        self.doors.changed = pods.map(|at| at.namespace.clone()).collect();
    }

    /// Pods that have a door are told what is something else for them from now on.
    pub(super) fn tell_doors(&mut self, now: Timestamp) {
        let changed = std::mem::take(&mut self.doors.changed);
        let mut spoken: HashSet<Uid> = HashSet::new();
        for pod in self.change_doors(&changed) {
            let about = self.voice_of(&pod);
            if spoken.insert(about.uid) {
                let message = "a NetworkPolicy allows it to connect to others, but it was started before one with egress \
                               selected it: it has no way out until it is started again";
                self.emit(&about, &PlannedEvent::warning(NO_DOOR, message.to_owned()), now);
            }
        }
    }

    /// The same without an event, for which a full disk has no room: what was deleted counts for pods with the deletion.
    /// Who has no door hears of it at the next [`World::settle`].
    pub fn tell_doors_alone(&mut self) {
        let changed = self.doors.changed.clone();
        self.change_doors(&changed);
    }

    /// Gives the pods that might connect to others, had they a door.
    fn change_doors(&mut self, changed: &BTreeSet<Arc<str>>) -> Vec<Arc<Stored>> {
        let mut doorless = Vec::new();
        if changed.is_empty() {
            return doorless;
        }
        let mut running: Vec<Uid> = self.queue.running().collect();
        running.sort();
        for uid in running {
            let Some(pod) = self.pod_of(uid).filter(|pod| changed.contains(&pod.namespace)) else { continue };
            let egress = self.state.egress_wire(&pod, &mut self.doors.made);
            match self.doors.told.get(&uid) {
                Some(Told::Said(told)) if *told == egress => {}
                Some(_) => {
                    self.doors.told.insert(uid, Told::Said(egress.clone()));
                    self.command(Command::ChangeEgress { uid, egress });
                }
                None if egress.is_some() => doorless.push(pod),
                None => {}
            }
        }
        doorless
    }

    /// Refuses what would make the policies of a namespace more than a connection is judged by.
    pub(super) fn bound_network_policies(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &Value,
    ) -> Result<(), ApiError> {
        if resource != Resource::NetworkPolicy {
            return Ok(());
        }
        let refuse = |detail: &str| Err(ApiError::forbidden(resource, name, detail));
        let own = || self.state.list(resource, Some(namespace), None).filter(|policy| &*policy.name != name);
        if own().take(NETWORK_POLICIES_MAX).count() >= NETWORK_POLICIES_MAX {
            return refuse(&format!(
                "the namespace {namespace} has {NETWORK_POLICIES_MAX} already: put its rules into one of them, or delete one"
            ));
        }
        let this = EgressPolicy::read(object).map_err(ApiError::internal)?.map(|policy| policy.weight());
        let others = own().filter_map(|policy| Some(policy.facts().egress_policy()?.weight()));
        let all = others.chain(this).fold(Weight::default(), |all, one| Weight {
            destinations: all.destinations + one.destinations,
            bytes: all.bytes + one.bytes,
        });
        if this.is_some() && (all.destinations > DESTINATIONS_MAX || all.bytes > WIRE_BYTES_MAX) {
            return refuse(&format!(
                "with it the policies of the namespace {namespace} would open {} destinations in {} bytes, and a connection is \
                 judged by at most {DESTINATIONS_MAX} in {WIRE_BYTES_MAX}: use larger blocks, ranges of ports, or `*.` names",
                all.destinations, all.bytes
            ));
        }
        Ok(())
    }

    /// What the gate says of a pod's connections is an entry each.
    pub(super) fn report_connection(&mut self, uid: Uid, news: &ConnectionNews, now: Timestamp) {
        let (action, details) = entry(uid, news);
        match self.pod_of(uid) {
            Some(pod) => {
                let mut details = details;
                if let Some(job) = pod.array_pod().map(|pod| pod.template.job_name.clone()) {
                    details.insert("job".into(), (*job).into());
                }
                self.audit_run(&pod, action, Value::Object(details), now);
            }
            // The pod was removed meanwhile; what it did stays said.
            None => self.audit_of_gone(Resource::Pod, uid, action, Value::Object(details), now),
        }
    }
}

impl World {
    /// The node keeps what it told until it is durable, which it is when commands go out.
    pub(super) fn report_told(&mut self, serial: u64, lost: u64, now: Timestamp) {
        if lost > 0 {
            let place = json!({"name": super::NODE_NAME});
            self.audit_event(Resource::Node, place, "connections-lost", json!({"count": lost}), now);
        }
        self.command(Command::ConnectionsHeard { serial });
    }

    /// Connections that were open then have no end in the trail, and what was counted last is missing.
    pub(super) fn report_gate_lost(&mut self, from: i64, until: i64, now: Timestamp) {
        let mut details = Map::new();
        for (key, nanos) in [("from", from), ("until", until)] {
            if let Ok(time) = Timestamp::from_nanosecond(nanos.into()) {
                details.insert(key.to_owned(), time.to_string().into());
            }
        }
        let place = json!({"name": super::NODE_NAME});
        self.audit_event(Resource::Node, place, "gate-lost", Value::Object(details), now);
    }
}

/// The action and the details of an entry.
fn entry(uid: Uid, news: &ConnectionNews) -> (&'static str, Map<String, Value>) {
    let mut details = Map::new();
    let mut add = |key: &str, value: Value| {
        details.insert(key.to_owned(), value);
    };
    add("uid", uid.to_string().into());
    let action = match news {
        ConnectionNews::Allowed { policy, .. } => {
            add("policy", cut(policy).into());
            "connection-allowed"
        }
        ConnectionNews::Refused { reason, why, .. } => {
            add("reason", cut(reason).into());
            add("why", cut(why).into());
            "connection-refused"
        }
        ConnectionNews::Ended { how, traffic, nanos, .. } => {
            let (how, why) = told(how);
            add("how", how.into());
            if let Some(why) = why {
                add("why", cut(why).into());
            }
            add("nanoseconds", (*nanos).into());
            add_traffic(&mut add, *traffic);
            "connection-ended"
        }
        ConnectionNews::Counted { allowed, refused, ended, traffic, reached, others } => {
            if !reached.is_empty() {
                add("reached", reached.iter().map(place).collect());
            }
            if *others > 0 {
                add("others", (*others).into());
            }
            for (key, count) in [("allowed", allowed), ("refused", refused), ("ended", ended)] {
                add(key, (*count).into());
            }
            add_traffic(&mut add, *traffic);
            "connections-counted"
        }
    };
    match news {
        ConnectionNews::Allowed { at, .. }
        | ConnectionNews::Refused { at, .. }
        | ConnectionNews::Ended { at, .. } => add_place(&mut add, at),
        ConnectionNews::Counted { .. } => {}
    }
    (action, details)
}

/// Where counted connections went.
fn place(reached: &Reached) -> Value {
    let mut place = Map::new();
    if let Some(name) = &reached.name {
        place.insert("name".to_owned(), cut(name).into());
    } else if let Some(address) = reached.address {
        place.insert("address".to_owned(), address.to_string().into());
    }
    if let Some(port) = reached.port {
        place.insert("port".to_owned(), port.into());
    }
    place.insert("count".to_owned(), reached.count.into());
    Value::Object(place)
}

fn add_place(add: &mut impl FnMut(&str, Value), at: &ConnectionAt) {
    if let Ok(time) = Timestamp::from_nanosecond(at.unix_nanos.into()) {
        add("at", time.to_string().into());
    }
    add("connection", at.connection.into());
    if let Some(name) = &at.name {
        add("name", cut(name).into());
    }
    if let Some(address) = at.address {
        add("address", address.to_string().into());
    }
    if let Some(port) = at.port {
        add("port", port.into());
    }
}

fn add_traffic(add: &mut impl FnMut(&str, Value), traffic: Traffic) {
    add("sent", traffic.sent.into());
    add("received", traffic.received.into());
}

fn told(how: &ConnectionEnd) -> (&'static str, Option<&str>) {
    match how {
        ConnectionEnd::Closed => ("Closed", None),
        ConnectionEnd::ByPod => ("ByPod", None),
        ConnectionEnd::ByPeer => ("ByPeer", None),
        ConnectionEnd::NotReached(why) => ("NotReached", Some(why)),
        ConnectionEnd::Withdrawn => ("Withdrawn", None),
        ConnectionEnd::PodEnded => ("PodEnded", None),
    }
}

/// As much of a text as an entry takes.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// The node has it, and it has not ended.
fn is_with_node(pod: &Stored) -> bool {
    pod.pod_status().is_some_and(|status| status.scheduled_at.is_some() && !status.phase.is_terminal())
}

fn has_same_labels(old: &Stored, new: &Stored) -> bool {
    match (old.own_head(), new.own_head()) {
        (None, None) => true,
        (Some(old), Some(new)) if std::ptr::eq(old, new) => true,
        _ => old.labels() == new.labels(),
    }
}
