//! What admission makes of a pod, and why: `pods/admission`.

use serde_json::{Map, Value, json};
use watchbell_api::{ApiError, Resource, Uid, schema};

use super::Snapshot;
use super::create::check_new;
use super::object::Stored;
use super::shape::add_completion_index_env;
use super::template::COMPLETION_INDEX;
use crate::admission::Mode;
use crate::admission::origin::{Origin, Steps, Told, origins, origins_of_stored};
use crate::admission::pod_security::{LevelVersion, Policy, judge};
use crate::arrays::Uses;
use crate::service_account::account_named;

/// What kubectl keeps of what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Snapshot {
    /// Explains a pod that is stored.
    pub fn explain_pod(&self, pod: &Stored) -> Value {
        let object = pod.render();
        let (written, source) = self.source_of(pod, &object);
        let is_indexed = object["metadata"]["labels"][COMPLETION_INDEX].is_string();
        let told = self.play(&pod.namespace, &written, &source, is_indexed);
        let list = origins_of_stored(&told, &object);
        let mut told = self.told(&pod.namespace, &pod.name, &object, &list, told.refusals);
        if let Some(Ok(uses)) = Uses::of(&object["metadata"]["annotations"]) {
            let (completions, index) = match pod.array_pod() {
                Some(array) => (array.template.arrays.as_ref().map_or(1, |run| run.completions), array.index),
                None => (1, None),
            };
            let only = index.or(Some(0));
            let account = account_named(&object["spec"]);
            told["arrays"] = self.explain_arrays(&pod.namespace, account, &uses, completions, only);
        }
        told
    }

    /// Explains a pod that is not there, as it would be made.
    ///
    /// # Errors
    /// It has another type than a pod.
    pub fn explain_sent(&self, namespace: &str, mut pod: Value) -> Result<Value, ApiError> {
        let report = schema::check(Resource::Pod, &mut pod, schema::Prune::Unknown);
        if let Some(error) = report.type_errors.first() {
            return Err(ApiError::bad_request(error.to_string()));
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut told = self.play(namespace, &pod, "manifest", false);
        let mut whole = pod;
        whole["metadata"]["namespace"] = namespace.into();
        whole["spec"] = told.pod["spec"].clone();
        if let Err(errors) = check_new(Resource::Pod, &mut whole, &name, Uid::default()) {
            told.refusals.extend(errors.iter().map(ToString::to_string));
        }
        Ok(self.told(namespace, &name, &told.pod, &told.origins, told.refusals))
    }

    fn play(&self, namespace: &str, written: &Value, source: &str, is_indexed: bool) -> Told {
        let ranges = self.list(Resource::LimitRange, Some(namespace), None);
        let rules = self.rules(namespace);
        let steps = Steps {
            mode: Mode::of(&self.pod_policy(namespace)),
            limit_ranges: ranges
                .filter_map(|range| Some((range.name.clone(), range.facts().limit_range()?.clone())))
                .collect(),
            priority_classes: rules.priority_classes,
            runtime_classes: rules.runtime_classes,
        };
        origins(written, source, &steps, |spec| {
            if is_indexed {
                add_completion_index_env(spec);
            }
        })
    }

    /// What the author of a stored pod said, as far as it is known, and where.
    fn source_of(&self, pod: &Stored, object: &Value) -> (Value, String) {
        let owner = pod.array_pod().map(|array| &array.template.job_name);
        if let Some(name) = owner
            && let Some(job) = self.get(Resource::Job, &pod.namespace, name)
        {
            return (job.render()["spec"]["template"].take(), format!("template of Job {name}"));
        }
        let applied = object["metadata"]["annotations"][LAST_APPLIED].as_str();
        if let Some(applied) = applied.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            return (applied, "manifest".into());
        }
        let mut fields = Map::new();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            merge(&mut fields, entry["fieldsV1"].as_object());
        }
        let mut written = json!({"metadata": {}, "spec": object["spec"]});
        prune(&mut written["spec"], &fields["f:spec"]);
        (written, "manifest or API default".into())
    }

    fn told(
        &self,
        namespace: &str,
        name: &str,
        pod: &Value,
        origins: &[Origin],
        refusals: Vec<String>,
    ) -> Value {
        let policy = self.pod_policy(namespace);
        let fields: Vec<Value> = origins
            .iter()
            .map(|origin| {
                json!({
                    "path": origin.path, "value": origin.value, "from": origin.giver.name(),
                    "why": origin.giver.why(),
                })
            })
            .collect();
        let (annotations, spec) = (&pod["metadata"]["annotations"], &pod["spec"]);
        let violations = |level: LevelVersion| -> Vec<Value> {
            let list = judge(level, annotations, spec).into_iter().map(|violation| {
                json!({
                    "check": violation.check.id, "reason": violation.reason, "detail": violation.detail,
                    "fields": violation.fields, "why": violation.check.why, "wayOut": violation.check.way_out,
                })
            });
            list.collect()
        };
        let enforced = violations(policy.enforced());
        json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "PodAdmission",
            "metadata": {"namespace": namespace, "name": name},
            "isAdmitted": enforced.is_empty() && refusals.is_empty(),
            "namespace": named(&policy),
            "refusals": refusals, "violations": enforced,
            "wouldWarn": violations(policy.warn), "wouldNote": violations(policy.audit),
            "fields": fields,
        })
    }
}

/// A policy as people name it.
fn named(policy: &Policy) -> Value {
    let enforce = policy.enforce.map_or("strict".to_owned(), |enforce| enforce.to_string());
    json!({
        "enforce": enforce, "judgedBy": policy.enforced().to_string(),
        "warn": policy.warn.to_string(), "audit": policy.audit.to_string(),
    })
}

/// Adds the fields that one manager owns to those of the others.
fn merge(into: &mut Map<String, Value>, more: Option<&Map<String, Value>>) {
    for (key, value) in more.into_iter().flatten() {
        let slot = into.entry(key).or_insert_with(|| json!({}));
        if let Some(slot) = slot.as_object_mut() {
            merge(slot, value.as_object());
        }
    }
}

/// Takes out of a value what nobody owns: admission gave it. `owned` is of `fieldsV1`; without fields in it, the whole is
/// owned.
fn prune(value: &mut Value, owned: &Value) {
    let Some(owned) = owned.as_object().filter(|_| !is_empty(owned)) else { return };
    match value {
        Value::Object(map) => {
            map.retain(|key, value| match owned.get(&format!("f:{key}")) {
                // It was sent empty; what is in it now is from admission.
                Some(inside) if is_empty(inside) && FILLED.contains(&key.as_str()) => {
                    *value = json!({});
                    true
                }
                Some(inside) => {
                    prune(value, inside);
                    true
                }
                None => false,
            });
        }
        Value::Array(items) => items.retain_mut(|item| {
            let inside = owned.iter().find(|(key, _)| is_item(key, item));
            if let Some((_, inside)) = inside {
                prune(item, inside);
            }
            inside.is_some()
        }),
        _ => {}
    }
}

/// Objects that admission fills in field by field.
const FILLED: [&str; 5] = ["resources", "limits", "requests", "securityContext", "capabilities"];

/// Whether nothing inside is owned by itself.
fn is_empty(owned: &Value) -> bool {
    owned.as_object().is_none_or(|owned| owned.keys().all(|key| key == "."))
}

/// Whether `k:{"name":"a"}` or `v:"x"` names an item.
fn is_item(key: &str, item: &Value) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    match key.split_once(':') {
        Some(("k", keys)) => {
            let keys = read(keys);
            let mut keys = keys.iter().filter_map(Value::as_object).flatten();
            keys.all(|(key, value)| item[key] == *value)
        }
        Some(("v", value)) => read(value).is_some_and(|value| value == *item),
        _ => false,
    }
}
