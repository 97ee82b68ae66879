//! LimitRange: what a container gets that says nothing, and between which bounds it may ask (Kubernetes' LimitRanger).
//!
//! ```text
//!   pod ── fill_in ──▶ requests and limits of every LimitRange of the namespace, where the pod has none
//!       ── check ────▶ min, max and ratio of a container, and of all containers of a pod together
//!   claim ── check ──▶ min and max of its requests
//! ```
//!
//! A pod is judged when it is created, a claim also when it is changed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use watchbell_api::quantity::Quantity;

/// Says on a pod what was filled in.
pub const LIMIT_RANGER: &str = "kubernetes.io/limit-ranger";

const CONTAINER: &str = "Container";
const POD: &str = "Pod";
const CLAIM: &str = "PersistentVolumeClaim";

type Amounts = BTreeMap<String, Quantity>;

/// The bounds of one LimitRange object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LimitRange {
    limits: Vec<Limit>,
}

/// One item of `spec.limits`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Limit {
    kind: String,
    default: Amounts,
    default_request: Amounts,
    min: Amounts,
    max: Amounts,
    ratio: Amounts,
}

/// What is asked for and what is allowed, of a container or of something larger.
#[derive(Debug, Clone, Default)]
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl LimitRange {
    /// Of an object that passed validation.
    pub fn read(object: &Value) -> LimitRange {
        let items = object["spec"]["limits"].as_array();
        let limits = items.into_iter().flatten().map(|item| Limit {
            kind: item["type"].as_str().unwrap_or_default().to_owned(),
            default: amounts(&item["default"]),
            default_request: amounts(&item["defaultRequest"]),
            min: amounts(&item["min"]),
            max: amounts(&item["max"]),
            ratio: amounts(&item["maxLimitRequestRatio"]),
        });
        LimitRange { limits: limits.collect() }
    }

    /// Gives the containers of a pod what they do not ask for, and says so in an annotation.
    pub fn fill_in(&self, pod: &mut Value) {
        let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
        for limit in self.limits.iter().filter(|limit| limit.kind == CONTAINER) {
            requests.extend(limit.default_request.iter().map(|(name, amount)| (name.clone(), *amount)));
            limits.extend(limit.default.iter().map(|(name, amount)| (name.clone(), *amount)));
        }
        let mut told: Vec<String> = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let name = container["name"].as_str().unwrap_or_default().to_owned();
                for (field, defaults, word) in
                    [("requests", &requests, "request"), ("limits", &limits, "limit")]
                {
                    let given = add_missing(container, field, defaults);
                    if !given.is_empty() {
                        told.push(format!("{} {word} for {what} {name}", given.join(", ")));
                    }
                }
            }
        }
        if !told.is_empty() {
            if !pod["metadata"]["annotations"].is_object() {
                pod["metadata"]["annotations"] = json!({});
            }
            let text = format!("LimitRanger plugin set: {}", told.join("; "));
            pod["metadata"]["annotations"][LIMIT_RANGER] = text.into();
        }
    }

    /// What a pod breaks, in Kubernetes' words; empty: nothing.
    pub fn check_pod(&self, spec: &Value) -> Vec<String> {
        let mut broken = Vec::new();
        for limit in &self.limits {
            match limit.kind.as_str() {
                CONTAINER => {
                    for container in containers(spec, "containers").chain(containers(spec, "initContainers"))
                    {
                        limit.check(&Asked::of(container), &mut broken);
                    }
                }
                POD => limit.check(&Asked::of_pod(spec), &mut broken),
                _ => {}
            }
        }
        broken
    }

    /// What a PersistentVolumeClaim breaks.
    pub fn check_claim(&self, claim: &Value) -> Vec<String> {
        let mut broken = Vec::new();
        let asked = Asked::of(&claim["spec"]);
        for limit in self.limits.iter().filter(|limit| limit.kind == CLAIM) {
            for (name, min) in &limit.min {
                broken.extend(limit.below_min(name, min, &asked));
            }
            for (name, max) in &limit.max {
                broken.extend(match asked.requests.get(name) {
                    None => Some(format!("{}  No request is specified", limit.bound("maximum", name, max))),
                    Some(request) if request > max => Some(format!(
                        "{}, but request is {request}",
                        limit.bound("maximum", name, max).trim_end_matches('.')
                    )),
                    Some(_) => None,
                });
            }
        }
        broken
    }
}

/// What the refusal of an object says, as Kubernetes joins its errors: each once.
pub fn joined(broken: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for text in broken {
        if !once.contains(&text.as_str()) {
            once.push(text);
        }
    }
    match once.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl Limit {
    fn check(&self, asked: &Asked, broken: &mut Vec<String>) {
        for (name, min) in &self.min {
            broken.extend(self.below_min(name, min, asked));
        }
        for (name, max) in &self.max {
            broken.extend(self.above_max(name, max, asked));
        }
        for (name, ratio) in &self.ratio {
            broken.extend(self.above_ratio(name, ratio, asked));
        }
    }

    fn bound(&self, word: &str, name: &str, amount: &Quantity) -> String {
        format!("{word} {name} usage per {} is {amount}.", self.kind)
    }

    fn below_min(&self, name: &str, min: &Quantity, asked: &Asked) -> Option<String> {
        let bound = self.bound("minimum", name, min);
        let Some(request) = asked.requests.get(name) else {
            return Some(format!("{bound}  No request is specified"));
        };
        let bound = bound.trim_end_matches('.');
        match asked.limits.get(name) {
            _ if request < min => Some(format!("{bound}, but request is {request}")),
            Some(limit) if limit < min => Some(format!("{bound}, but limit is {limit}")),
            _ => None,
        }
    }

    fn above_max(&self, name: &str, max: &Quantity, asked: &Asked) -> Option<String> {
        let bound = self.bound("maximum", name, max);
        let Some(limit) = asked.limits.get(name) else {
            return Some(format!("{bound}  No limit is specified"));
        };
        let bound = bound.trim_end_matches('.');
        match asked.requests.get(name) {
            _ if limit > max => Some(format!("{bound}, but limit is {limit}")),
            Some(request) if request > max => Some(format!("{bound}, but request is {request}")),
            _ => None,
        }
    }

    fn above_ratio(&self, name: &str, ratio: &Quantity, asked: &Asked) -> Option<String> {
        let bound = format!("{name} max limit to request ratio per {} is {ratio}", self.kind);
        let given = |list: &Amounts| list.get(name).filter(|amount| !amount.is_zero()).copied();
        let Some(request) = given(&asked.requests) else {
            return Some(format!("{bound}, but no request is specified or request is 0"));
        };
        let Some(limit) = given(&asked.limits) else {
            return Some(format!("{bound}, but no limit is specified or limit is 0"));
        };
        let provided = limit.as_f64() / request.as_f64();
        (provided > ratio.as_f64()).then(|| format!("{bound}, but provided ratio is {provided:.6}"))
    }
}

impl Asked {
    fn of(container: &Value) -> Asked {
        let resources = &container["resources"];
        Asked { requests: amounts(&resources["requests"]), limits: amounts(&resources["limits"]) }
    }

    /// The containers with the sidecars, or an init container with the sidecars before it, whichever is more.
    fn of_pod(spec: &Value) -> Asked {
        let mut sidecars = Asked::default();
        let mut start = Asked::default();
        for container in containers(spec, "initContainers") {
            let asked = Asked::of(container);
            if container["restartPolicy"] == "Always" {
                sidecars = sidecars.join(&asked, Quantity::plus);
                start = start.join(&sidecars, Ord::max);
            } else {
                start = start.join(&sidecars.clone().join(&asked, Quantity::plus), Ord::max);
            }
        }
        let run =
            containers(spec, "containers").fold(sidecars, |sum, c| sum.join(&Asked::of(c), Quantity::plus));
        run.join(&start, Ord::max)
    }

    fn join(mut self, other: &Asked, join: impl Fn(Quantity, Quantity) -> Quantity) -> Asked {
        for (own, others) in [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)] {
            for (name, amount) in others {
                own.entry(name.clone()).and_modify(|own| *own = join(*own, *amount)).or_insert(*amount);
            }
        }
        self
    }
}

fn containers<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// Adds what is missing to a container's `requests` or `limits`. Returns the names of what was added.
fn add_missing(container: &mut Value, field: &str, defaults: &Amounts) -> Vec<String> {
    let missing: Vec<(&String, &Quantity)> =
        defaults.iter().filter(|(name, _)| container["resources"][field].get(name).is_none()).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    if !container["resources"].is_object() {
        container["resources"] = json!({});
    }
    let list = &mut container["resources"][field];
    if !list.is_object() {
        *list = Value::Object(Map::new());
    }
    missing
        .into_iter()
        .map(|(name, amount)| {
            list[name] = amount.to_string().into();
            name.clone()
        })
        .collect()
}

fn amounts(list: &Value) -> Amounts {
    let read = |(name, value): (&String, &Value)| Some((name.clone(), Quantity::from_value(value).ok()?));
    list.as_object().into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
