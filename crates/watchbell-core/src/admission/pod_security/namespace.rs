//! A namespace whose level changes: the pods that are there stay, and who changes it is told which of them would not come in
//! any more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use watchbell_api::Uid;

use super::{LevelVersion, Policy, judge, reasons};
use crate::admission::Level;

/// How many pods are judged for one change of labels.
pub const EXISTING_PODS_MAX: usize = 3_000;

/// Whether pods that are there may break what a namespace enforces from now on.
pub fn has_tightened(before: &Policy, after: &Policy) -> Option<LevelVersion> {
    let (old, new) = (before.enforced(), after.enforced());
    let is_relaxed = new.version == old.version && new.level <= old.level;
    (old != new && new.level != Level::Privileged && !is_relaxed).then_some(new)
}

/// A pod of the namespace.
pub struct ExistingPod<P> {
    pub name: std::sync::Arc<str>,
    /// Pods of one controller are alike: the first of them is judged before the others of all.
    pub controller: Option<Uid>,
    pub pod: P,
}

/// The warnings about pods that break a new level. `pods` come in the order of their names; `render` is asked for at most
/// [`EXISTING_PODS_MAX`] of them.
pub fn existing_pods<P>(
    namespace: &str,
    enforce: LevelVersion,
    pods: Vec<ExistingPod<P>>,
    render: impl Fn(&P) -> Value,
) -> Vec<String> {
    let total = pods.len();
    let mut controllers: BTreeSet<Uid> = BTreeSet::new();
    let (first, others): (Vec<_>, Vec<_>) =
        pods.into_iter().partition(|pod| pod.controller.is_none_or(|uid| controllers.insert(uid)));
    let mut found: BTreeMap<String, (std::sync::Arc<str>, usize)> = BTreeMap::new();
    for pod in first.iter().chain(&others).take(EXISTING_PODS_MAX) {
        let object = render(&pod.pod);
        let violations = judge(enforce, &object["metadata"]["annotations"], &object["spec"]);
        if violations.is_empty() {
            continue;
        }
        let (name, count) = found.entry(reasons(&violations)).or_insert_with(|| (pod.name.clone(), 0));
        *count += 1;
        if pod.name < *name {
            *name = pod.name.clone();
        }
    }
    let mut warnings = Vec::new();
    if total > EXISTING_PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {EXISTING_PODS_MAX} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort();
    warnings.append(&mut lines);
    warnings
}
