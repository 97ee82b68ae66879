//! Who gave a pod which of its fields: admission is played step by step, and what a step adds is that step's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::defaults;

use super::{LimitRange, Mode, PriorityClass, RuntimeClass, fill_unsaid, priority, runtime_class};

/// Who gave a field its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Giver {
    /// Its author, in what is named here.
    Author(String),
    /// The defaults of the API.
    Default,
    /// The Job controller: what it gives each pod of its own.
    JobController,
    LimitRange(String),
    /// A class by its name; `None`: no class is the default, so the priority is 0.
    PriorityClass(Option<String>),
    RuntimeClass(String),
    /// The strict value of a namespace without a level.
    Strict,
    /// What admission gave it when it was made, and would not give it today.
    Earlier,
}

impl Giver {
    /// In a word, with the object's name.
    pub fn name(&self) -> String {
        match self {
            Giver::Author(source) => source.clone(),
            Giver::Default => "API default".into(),
            Giver::JobController => "Job controller".into(),
            Giver::LimitRange(name) => format!("LimitRange {name}"),
            Giver::PriorityClass(Some(name)) => format!("PriorityClass {name}"),
            Giver::PriorityClass(None) => "no PriorityClass".into(),
            Giver::RuntimeClass(name) => format!("RuntimeClass {name}"),
            Giver::Strict => "strict namespace".into(),
            Giver::Earlier => "when it was made".into(),
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Giver::Author(_) => "it was asked for",
            Giver::Default => "Kubernetes' default of a field that says nothing",
            Giver::JobController => "each pod of a Job is told which it is",
            Giver::LimitRange(_) => "the namespace gives it to containers that ask for nothing",
            Giver::PriorityClass(Some(_)) => "its class decides who waits and who makes room",
            Giver::PriorityClass(None) => "no class is named and none is the default",
            Giver::RuntimeClass(_) => "its class says what a start costs and where it may run",
            Giver::Strict => {
                "the namespace has no label pod-security.kubernetes.io/enforce: what is unsaid is strict"
            }
            Giver::Earlier => "the rules have changed since",
        }
    }
}

/// A field without fields of its own, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `spec.containers[0].image`
    pub path: String,
    pub value: Value,
    pub giver: Giver,
}

/// What has a say in a pod, with the names of the LimitRanges.
#[derive(Debug, Clone)]
pub struct Steps {
    pub mode: Mode,
    pub limit_ranges: Vec<(Arc<str>, Arc<LimitRange>)>,
    pub priority_classes: Vec<Arc<PriorityClass>>,
    pub runtime_classes: Vec<Arc<RuntimeClass>>,
}

/// A pod as admission makes it, and who gave it what.
#[derive(Debug, Clone)]
pub struct Told {
    /// `metadata.annotations` and `spec`.
    pub pod: Value,
    pub origins: Vec<Origin>,
    /// Why LimitRanges and classes refuse it.
    pub refusals: Vec<String>,
}

/// Plays admission of a pod that says `written` (its `metadata.annotations` and `spec`) in `source`. `of_job` is what a Job's
/// controller does to the spec, between the defaults and the rest.
pub fn origins(written: &Value, source: &str, steps: &Steps, of_job: impl Fn(&mut Value)) -> Told {
    let mut pod = json!({"metadata": {}, "spec": written["spec"]});
    if written["metadata"]["annotations"].is_object() {
        pod["metadata"]["annotations"] = written["metadata"]["annotations"].clone();
    }
    let mut given: BTreeMap<String, (Value, Giver)> = BTreeMap::new();
    let mut refusals = Vec::new();
    note(&mut given, &pod, &Giver::Author(source.to_owned()));
    defaults::apply_to_pod_spec(&mut pod["spec"]);
    note(&mut given, &pod, &Giver::Default);
    of_job(&mut pod["spec"]);
    note(&mut given, &pod, &Giver::JobController);
    for (name, range) in &steps.limit_ranges {
        range.fill_in(&mut pod);
        note(&mut given, &pod, &Giver::LimitRange(name.to_string()));
    }
    refusals.extend(priority::fill(&mut pod["spec"], &steps.priority_classes).err());
    let class = |pod: &Value, field: &str| {
        pod["spec"][field].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    note(&mut given, &pod, &Giver::PriorityClass(class(&pod, "priorityClassName")));
    refusals.extend(runtime_class::fill(&mut pod["spec"], &steps.runtime_classes).err());
    note(&mut given, &pod, &Giver::RuntimeClass(class(&pod, "runtimeClassName").unwrap_or_default()));
    fill_unsaid(steps.mode, &mut pod["spec"]);
    note(&mut given, &pod, &Giver::Strict);
    for (_, range) in &steps.limit_ranges {
        refusals.extend(range.check_pod(&pod["spec"]));
    }
    let origins = listed(&pod, &given);
    Told { pod, origins, refusals }
}

/// The same of a pod that is stored: where it is not what admission would make of it today, it was made so then.
pub fn origins_of_stored(told: &Told, stored: &Value) -> Vec<Origin> {
    let mut given: BTreeMap<String, (Value, Giver)> = BTreeMap::new();
    for Origin { path, value, giver } in &told.origins {
        given.insert(path.clone(), (value.clone(), giver.clone()));
    }
    let pod = json!({"metadata": {"annotations": stored["metadata"]["annotations"]}, "spec": stored["spec"]});
    note(&mut given, &pod, &Giver::Earlier);
    listed(&pod, &given)
}

/// What is new or other than before is the giver's.
fn note(given: &mut BTreeMap<String, (Value, Giver)>, pod: &Value, giver: &Giver) {
    each_leaf(pod, &mut |path, value| {
        if given.get(path).is_none_or(|(known, _)| known != value) {
            given.insert(path.to_owned(), (value.clone(), giver.clone()));
        }
    });
}

/// In the order of the pod.
fn listed(pod: &Value, given: &BTreeMap<String, (Value, Giver)>) -> Vec<Origin> {
    let mut list = Vec::new();
    each_leaf(pod, &mut |path, value| {
        if let Some((_, giver)) = given.get(path) {
            list.push(Origin { path: path.to_owned(), value: value.clone(), giver: giver.clone() });
        }
    });
    list
}

fn each_leaf(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    fn walk(value: &Value, path: &mut String, visit: &mut impl FnMut(&str, &Value)) {
        let length = path.len();
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    match (key.contains(['.', '/', '[']), path.is_empty()) {
                        (true, _) => path.push_str(&format!("[{key}]")),
                        (false, true) => path.push_str(key),
                        (false, false) => path.push_str(&format!(".{key}")),
                    }
                    walk(value, path, visit);
                    path.truncate(length);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (i, value) in items.iter().enumerate() {
                    path.push_str(&format!("[{i}]"));
                    walk(value, path, visit);
                    path.truncate(length);
                }
            }
            Value::Null => {}
            leaf => visit(path, leaf),
        }
    }
    walk(value, &mut String::new(), visit);
}

#[cfg(test)]
mod tests {
    use super::{Giver, Steps, Value, json, origins, origins_of_stored};
    use crate::admission::{Level, LimitRange, Mode, PriorityClass, RuntimeClass};
    use std::sync::Arc;

    fn steps(mode: Mode) -> Steps {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "1Gi"}}]}});
        Steps {
            mode,
            limit_ranges: vec![("small".into(), Arc::new(LimitRange::read(&range)))],
            priority_classes: vec![Arc::new(PriorityClass::read(
                &json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true}),
            ))],
            runtime_classes: vec![Arc::new(RuntimeClass::read(&json!({
                "metadata": {"name": "vm"}, "handler": "h", "overhead": {"podFixed": {"cpu": "1"}},
            })))],
        }
    }

    fn written() -> Value {
        json!({"spec": {
            "runtimeClassName": "vm",
            "containers": [{"name": "a", "image": "x", "securityContext": {"runAsUser": 7}}],
        }})
    }

    fn check(list: &[super::Origin], path: &str, value: &Value, giver: &Giver) {
        let found =
            list.iter().find(|origin| origin.path == path).unwrap_or_else(|| panic!("no {path}: {list:#?}"));
        assert_eq!((&found.value, &found.giver), (value, giver), "{path}");
    }

    #[test]
    fn each_step_gives_what_it_adds() {
        let told = origins(&written(), "manifest", &steps(Mode::Strict), |_| {});
        let check = |path, value: Value, giver| check(&told.origins, path, &value, &giver);
        check("spec.containers[0].image", json!("x"), Giver::Author("manifest".into()));
        check("spec.containers[0].securityContext.runAsUser", json!(7), Giver::Author("manifest".into()));
        check("spec.restartPolicy", json!("Always"), Giver::Default);
        check("spec.containers[0].resources.limits.memory", json!("1Gi"), Giver::LimitRange("small".into()));
        check("spec.priority", json!(7), Giver::PriorityClass(Some("usual".into())));
        check("spec.overhead.cpu", json!("1"), Giver::RuntimeClass("vm".into()));
        check("spec.securityContext.runAsNonRoot", json!(true), Giver::Strict);
        check("spec.containers[0].securityContext.capabilities.drop[0]", json!("ALL"), Giver::Strict);
        assert_eq!(told.refusals, Vec::<String>::new());
        assert_eq!(told.pod["spec"]["containers"][0]["securityContext"]["runAsUser"], 7);
    }

    #[test]
    fn a_labelled_namespace_gives_nothing_strict() {
        let told = origins(&written(), "manifest", &steps(Mode::Labelled(Level::Baseline)), |_| {});
        assert!(told.origins.iter().all(|origin| origin.giver != Giver::Strict), "{:#?}", told.origins);
        let mut unknown = written();
        unknown["spec"]["runtimeClassName"] = "other".into();
        let told = origins(&unknown, "manifest", &steps(Mode::Strict), |_| {});
        assert_eq!(told.refusals, ["pod rejected: RuntimeClass \"other\" not found"]);
    }

    #[test]
    fn what_is_stored_and_would_not_be_made_today_is_from_then() {
        let told = origins(&written(), "manifest", &steps(Mode::Labelled(Level::Privileged)), |_| {});
        let mut stored = told.pod.clone();
        stored["spec"]["securityContext"] = json!({"runAsNonRoot": true});
        let list = origins_of_stored(&told, &stored);
        check(&list, "spec.securityContext.runAsNonRoot", &json!(true), &Giver::Earlier);
        check(&list, "spec.priority", &json!(7), &Giver::PriorityClass(Some("usual".into())));
    }
}
