//! ResourceQuota: what the objects of a namespace may take together.
//!
//! ```text
//!   object ──▶ Cost: amounts by the names that quotas use, while it stands and (a pod) while it has not ended
//!   quota  ──▶ covers(cost)? ── missing(cost) ── exceeded(used, cost) ──▶ Kubernetes' words, or admitted
//! ```
//!
//! The sums are kept by the world, in the transaction that changes an object; nothing is counted anew to admit one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use watchbell_api::Resource;
use watchbell_api::quantity::{Format, Quantity};
use watchbell_api::types::pod::{Container, PodSpec};

use crate::pod::{Qos, qos};

/// Amounts by the names of `spec.hard`.
type Amounts = BTreeMap<String, Quantity>;

/// Resources that every container must ask for, or be limited in, under a quota of them. Kubernetes keeps this list for
/// compatibility; a quota of anything else counts what is said.
const TO_BE_SAID: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// `spec` of a ResourceQuota.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Quota {
    pub hard: BTreeMap<String, Quantity>,
    scopes: Vec<Scope>,
}

/// One of `spec.scopes`, or of `spec.scopeSelector.matchExpressions`.
#[derive(Debug, Clone, PartialEq)]
struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

/// What an object takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cost {
    /// As long as the object is there.
    standing: Amounts,
    /// Of a pod that has not ended.
    running: Amounts,
    pod: Option<PodTraits>,
    /// The VolumeAttributesClass of a claim; empty: none.
    claim_class: Option<String>,
}

/// What scopes ask about a pod.
#[derive(Debug, Clone, PartialEq)]
struct PodTraits {
    has_deadline: bool,
    is_best_effort: bool,
    priority_class: String,
    /// Each container with those of [`TO_BE_SAID`] that it leaves out.
    unsaid: Vec<(String, BTreeSet<&'static str>)>,
}

/// Whether a pod still takes what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Lives,
    /// Succeeded or Failed: it counts as an object alone.
    Ended,
}

/// What is used of a quota: exact sums, whatever was added before what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Used(BTreeMap<String, Sum>);

#[derive(Debug, Clone, Copy)]
struct Sum {
    nanos: i128,
    format: Format,
}

/// By value alone: the format follows what was added first.
impl PartialEq for Sum {
    fn eq(&self, other: &Sum) -> bool {
        self.nanos == other.nanos
    }
}

impl Quota {
    /// Of an object that passed validation.
    pub fn read(object: &Value) -> Quota {
        let spec = &object["spec"];
        let hard = spec["hard"].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let exists = |name: &Value| Scope { name: text(name), operator: "Exists".into(), values: Vec::new() };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut scopes: Vec<Scope> = list(&spec["scopes"]).iter().map(exists).collect();
        scopes.extend(list(&spec["scopeSelector"]["matchExpressions"]).iter().map(|term| Scope {
            name: text(&term["scopeName"]),
            operator: text(&term["operator"]),
            values: list(&term["values"]).iter().map(text).collect(),
        }));
        Quota {
            hard: hard.filter_map(|(k, v)| Some((k.clone(), Quantity::from_value(v).ok()?))).collect(),
            scopes,
        }
    }

    /// Whether the quota is about such objects. One with scopes is about pods alone, or about claims.
    pub fn covers(&self, cost: &Cost) -> bool {
        self.scopes.iter().all(|scope| match (&cost.pod, &cost.claim_class) {
            (Some(pod), _) => scope.matches(pod),
            (None, Some(class)) => scope.name == "VolumeAttributesClass" && scope.chooses(class),
            (None, None) => false,
        })
    }

    /// What the pod must say and does not: `must specify limits.cpu for: main`.
    pub fn missing(&self, cost: &Cost) -> Option<String> {
        let pod = cost.pod.as_ref()?;
        let mut unsaid: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (container, names) in &pod.unsaid {
            for name in names.iter().filter(|name| self.hard.contains_key(**name)) {
                unsaid.entry(name).or_default().insert(container);
            }
        }
        let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(",");
        let parts: Vec<String> =
            unsaid.into_iter().map(|(name, names)| format!("{name} for: {}", list(names))).collect();
        (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
    }

    /// Why the object does not fit beside what is used: `requested: pods=1, used: pods=2, limited: pods=2`. `old` is what
    /// it takes already.
    pub fn exceeded(&self, used: &Used, old: Option<&Cost>, new: &Cost) -> Option<String> {
        let (mut asked, mut before, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (name, hard) in &self.hard {
            let Some(amount) = new.amount(name, Stage::Lives) else { continue };
            let taken = old.and_then(|old| old.amount(name, Stage::Lives));
            let more = taken.map_or(amount, |taken| amount.minus(taken));
            if taken.is_some() && (more.is_zero() || more.is_negative()) {
                continue;
            }
            let sum = used.get(name);
            if used.nanos(name) + more.as_nanos() > hard.as_nanos() {
                asked.push(format!("{name}={more}"));
                before.push(format!("{name}={sum}"));
                limited.push(format!("{name}={hard}"));
            }
        }
        (!asked.is_empty()).then(|| {
            format!(
                "requested: {}, used: {}, limited: {}",
                asked.join(","),
                before.join(","),
                limited.join(",")
            )
        })
    }
}

impl Scope {
    fn matches(&self, pod: &PodTraits) -> bool {
        match self.name.as_str() {
            "Terminating" => pod.has_deadline,
            "NotTerminating" => !pod.has_deadline,
            "BestEffort" => pod.is_best_effort,
            "NotBestEffort" => !pod.is_best_effort,
            "PriorityClass" => self.chooses(&pod.priority_class),
            // Affinity between pods has no meaning on one machine, so no pod has any that counts.
            _ => false,
        }
    }

    /// Whether the operator and its values choose a class by its name; empty: none.
    fn chooses(&self, class: &str) -> bool {
        let is_named = || self.values.iter().any(|value| value == class);
        match self.operator.as_str() {
            "Exists" => !class.is_empty(),
            "DoesNotExist" => class.is_empty(),
            "In" => is_named(),
            "NotIn" => !is_named(),
            _ => false,
        }
    }
}

impl Cost {
    /// Of an object that is no pod. `None`: no quota counts it.
    pub fn of_object(resource: Resource, object: impl FnOnce() -> Value) -> Option<Cost> {
        let info = resource.info();
        if !resource.is_namespaced() || resource == Resource::Event {
            return None;
        }
        let mut standing = Amounts::from([(format!("count/{}", info.qualified()), one())]);
        if info.group.is_empty() {
            standing.insert(info.plural.to_owned(), one());
        }
        let mut claim_class = None;
        if info.plural == "persistentvolumeclaims" {
            let claim = object();
            claim_class =
                Some(claim["spec"]["volumeAttributesClassName"].as_str().unwrap_or_default().to_owned());
            let class = claim["spec"]["storageClassName"].as_str().filter(|class| !class.is_empty());
            let storage = Quantity::from_value(&claim["spec"]["resources"]["requests"]["storage"]).ok();
            if let Some(storage) = storage {
                standing.insert("requests.storage".into(), storage);
            }
            if let Some(class) = class {
                let name = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
                standing.insert(name("persistentvolumeclaims"), one());
                standing.extend(storage.map(|storage| (name("requests.storage"), storage)));
            }
        }
        Some(Cost { standing, running: Amounts::new(), pod: None, claim_class })
    }

    pub fn of_pod(spec: &PodSpec) -> Cost {
        let mut running = computed(&effective(spec, Side::Requests), &effective(spec, Side::Limits));
        running.insert("pods".into(), one());
        let containers = spec.containers.iter().chain(&spec.init_containers);
        Cost {
            standing: Amounts::from([("count/pods".to_owned(), one())]),
            running,
            pod: Some(PodTraits {
                has_deadline: spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0),
                is_best_effort: qos(spec) == Qos::BestEffort,
                priority_class: spec.priority_class_name.clone().unwrap_or_default(),
                unsaid: containers.map(|c| (c.name.clone(), unsaid(c))).collect(),
            }),
            claim_class: None,
        }
    }

    fn amount(&self, name: &str, stage: Stage) -> Option<Quantity> {
        let running = if stage == Stage::Lives { self.running.get(name) } else { None };
        self.standing.get(name).or(running).copied()
    }
}

impl Used {
    /// Nothing is used of any of a quota's resources.
    pub fn nothing_of(quota: &Quota) -> Used {
        let zero =
            |(name, hard): (&String, &Quantity)| (name.clone(), Sum { nanos: 0, format: hard.format() });
        Used(quota.hard.iter().map(zero).collect())
    }

    pub fn add(&mut self, cost: &Cost, stage: Stage) {
        self.shift(cost, stage, 1);
    }

    pub fn take(&mut self, cost: &Cost, stage: Stage) {
        self.shift(cost, stage, -1);
    }

    fn shift(&mut self, cost: &Cost, stage: Stage, sign: i128) {
        for (name, sum) in &mut self.0 {
            let Some(amount) = cost.amount(name, stage) else { continue };
            if sum.nanos == 0 {
                sum.format = amount.format();
            }
            sum.nanos += sign * amount.as_nanos();
        }
    }

    fn nanos(&self, name: &str) -> i128 {
        self.0.get(name).map_or(0, |sum| sum.nanos)
    }

    fn get(&self, name: &str) -> Quantity {
        self.0.get(name).map_or(Quantity::ZERO, |sum| Quantity::from_nanos(sum.nanos, sum.format))
    }

    /// Whether less is used of something than in `before`.
    pub fn is_less_somewhere(&self, before: &Used) -> bool {
        before.0.iter().any(|(name, sum)| self.nanos(name) < sum.nanos)
    }

    /// `status.used`.
    pub fn render(&self) -> Value {
        self.0.keys().map(|name| (name.clone(), Value::String(self.get(name).to_string()))).collect()
    }
}

fn one() -> Quantity {
    Quantity::from_units(1, Format::DecimalSi)
}

/// By the names of quotas, what is requested and what is the limit.
fn computed(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::new();
    for (name, amount) in requests {
        let is_plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if is_plain || name.starts_with("hugepages-") {
            all.insert(name.clone(), *amount);
        }
        all.insert(format!("requests.{name}"), *amount);
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        all.extend(limits.get(name).map(|amount| (format!("limits.{name}"), *amount)));
    }
    all
}

fn read(list: &BTreeMap<String, Value>) -> Amounts {
    list.iter().filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect()
}

fn unsaid(container: &Container) -> BTreeSet<&'static str> {
    let said = computed(&read(&container.resources.requests), &read(&container.resources.limits));
    TO_BE_SAID.into_iter().filter(|name| !said.contains_key(*name)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Limits,
}

/// What a pod asks for as a whole: the containers with the sidecars, or an init container with the sidecars before it,
/// whichever is more, and the overhead.
fn effective(spec: &PodSpec, side: Side) -> Amounts {
    let list = |container: &Container| match side {
        Side::Requests => read(&container.resources.requests),
        Side::Limits => read(&container.resources.limits),
    };
    let join = |mut sum: Amounts, more: &Amounts, join: fn(Quantity, Quantity) -> Quantity| {
        for (name, amount) in more {
            sum.entry(name.clone()).and_modify(|own| *own = join(*own, *amount)).or_insert(*amount);
        }
        sum
    };
    let (mut sidecars, mut start) = (Amounts::new(), Amounts::new());
    for container in &spec.init_containers {
        let asked = list(container);
        if PodSpec::is_sidecar(container) {
            sidecars = join(sidecars, &asked, Quantity::plus);
            start = join(start, &sidecars, Ord::max);
        } else {
            start = join(start, &join(sidecars.clone(), &asked, Quantity::plus), Ord::max);
        }
    }
    let run = spec.containers.iter().fold(sidecars, |sum, c| join(sum, &list(c), Quantity::plus));
    let mut all = join(run, &start, Ord::max);
    for (name, amount) in read(&spec.overhead) {
        // A limit exists only where a container has one.
        if side == Side::Requests || all.get(&name).is_some_and(|limit| !limit.is_zero()) {
            all = join(all, &Amounts::from([(name, amount)]), Quantity::plus);
        }
    }
    all
}

#[cfg(test)]
mod tests;
