//! The effective spec of a pod template. All Jobs of a CronJob have the same one, so it is kept once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchbell_api::defaults;
use watchbell_api::types::job::CompletionMode;
use watchbell_api::types::pod::PodSpec;

use super::template::{COMPLETION_INDEX, TemplateError};
use crate::admission::{Cost, Mode, Rules};

/// Where the pod's spec stands in a Job.
const TEMPLATE_SPEC: &str = "spec.template.spec";
/// Shapes that nobody uses are looked for when there are twice as many entries as last time, and at least so many.
const SWEEP_AT_LEAST: usize = 1_024;

/// A pod spec with defaults, the completion index and what admission fills in.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) json: Value,
    pub(super) spec: Arc<PodSpec>,
    /// Whether classes admit such pods where nobody made one. Pod Security is asked elsewhere: its labels change.
    pub(super) verdict: Result<(), String>,
    /// What such a pod takes of quotas.
    cost: OnceLock<Arc<Cost>>,
    /// `json` as text without its closing brace, made when the first pod is shown.
    open_text: OnceLock<Box<[u8]>>,
}

impl Shape {
    fn new(json: Value, verdict: Result<(), String>) -> Result<Shape, TemplateError> {
        let spec = PodSpec::deserialize(&json).map_err(|e| TemplateError(format!("{TEMPLATE_SPEC}: {e}")))?;
        Ok(Shape { json, spec: Arc::new(spec), verdict, cost: OnceLock::new(), open_text: OnceLock::new() })
    }

    /// The spec as compact JSON, to which fields can be added. `None` where what a pod adds is there already: it is replaced
    /// in its place.
    pub(super) fn open_text(&self) -> Option<&[u8]> {
        if self.json.get("hostname").is_some() || self.json.get("nodeName").is_some() {
            return None;
        }
        let text = self.open_text.get_or_init(|| {
            let mut text = self.json.to_string().into_bytes();
            text.pop();
            text.into()
        });
        Some(text)
    }

    pub(super) fn cost(&self) -> &Arc<Cost> {
        self.cost.get_or_init(|| Arc::new(Cost::of_pod(&self.spec)))
    }
}

/// The pod that a template makes under these rules (`metadata.annotations` and `spec`), and why they refuse it.
pub(super) fn effective(
    template: &Value,
    mode: Mode,
    completion_mode: CompletionMode,
    rules: &Rules,
) -> (Value, Result<(), String>) {
    let mut pod = json!({"metadata": {}, "spec": template["spec"]});
    if template["metadata"]["annotations"].is_object() {
        pod["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
    }
    defaults::apply_to_pod_spec(&mut pod["spec"]);
    if completion_mode == CompletionMode::Indexed {
        add_completion_index_env(&mut pod["spec"]);
    }
    let verdict = rules.fill_in(mode, &mut pod).and_then(|()| rules.check(&pod["spec"]));
    (pod, verdict)
}

/// The shapes in use, by what they were made from.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: HashMap<[u8; 32], Weak<Shape>>,
    sweep_at: usize,
}

impl Shapes {
    /// Of a template under no rules but its namespace's mode.
    pub(super) fn of(
        &mut self,
        source: &Value,
        mode: Mode,
        completion_mode: CompletionMode,
    ) -> Result<Arc<Shape>, TemplateError> {
        self.shared(key(source, mode, completion_mode), || {
            let template = json!({"spec": source});
            let (mut pod, verdict) = effective(&template, mode, completion_mode, &Rules::default());
            (pod["spec"].take(), verdict)
        })
    }

    /// Of a spec to which nothing is to be added.
    pub(super) fn of_effective(&mut self, spec: &Value) -> Result<Arc<Shape>, TemplateError> {
        let key = Sha256::new().chain_update("effective ").chain_update(spec.to_string()).finalize().into();
        self.shared(key, || (spec.clone(), Ok(())))
    }

    fn shared(
        &mut self,
        key: [u8; 32],
        make: impl FnOnce() -> (Value, Result<(), String>),
    ) -> Result<Arc<Shape>, TemplateError> {
        if let Some(shape) = self.known.get(&key).and_then(Weak::upgrade) {
            return Ok(shape);
        }
        if self.known.len() >= self.sweep_at.max(SWEEP_AT_LEAST) {
            self.known.retain(|_, shape| shape.strong_count() > 0);
            self.sweep_at = self.known.len() * 2;
        }
        let (json, verdict) = make();
        let shape = Arc::new(Shape::new(json, verdict)?);
        self.known.insert(key, Arc::downgrade(&shape));
        Ok(shape)
    }
}

fn key(source: &Value, mode: Mode, completion_mode: CompletionMode) -> [u8; 32] {
    let text = source.to_string();
    Sha256::new().chain_update(format!("{mode:?} {completion_mode:?} ")).chain_update(text).finalize().into()
}

/// `JOB_COMPLETION_INDEX` in every container, from the pod's label, unless the author set it (KEP-2214).
pub(super) fn add_completion_index_env(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let env = container.entry("env").or_insert_with(|| json!([]));
            let Some(env) = env.as_array_mut() else { continue };
            if env.iter().any(|v| v["name"] == "JOB_COMPLETION_INDEX") {
                continue;
            }
            env.push(json!({
                "name": "JOB_COMPLETION_INDEX",
                "valueFrom": {"fieldRef": {
                    "apiVersion": "v1",
                    "fieldPath": format!("metadata.labels['{COMPLETION_INDEX}']"),
                }},
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CompletionMode, Mode, Shapes, json};

    #[test]
    fn like_templates_share_one_shape_while_it_is_used() {
        let mut shapes = Shapes::default();
        let source = |image: &str| json!({"containers": [{"name": "a", "image": image}]});
        let strict = shapes.of(&source("x"), Mode::Strict, CompletionMode::Indexed).expect("a shape");
        let again = shapes.of(&source("x"), Mode::Strict, CompletionMode::Indexed).expect("a shape");
        assert!(std::sync::Arc::ptr_eq(&strict, &again));
        let plain = shapes.of(&source("x"), Mode::Strict, CompletionMode::NonIndexed).expect("a shape");
        assert_ne!(plain.json, strict.json);
        for i in 0..10_000 {
            shapes.of(&source(&i.to_string()), Mode::Strict, CompletionMode::Indexed).expect("a shape");
        }
        assert!(shapes.known.len() <= super::SWEEP_AT_LEAST, "{}", shapes.known.len());
        let kept = shapes.of(&source("x"), Mode::Strict, CompletionMode::Indexed).expect("a shape");
        assert!(std::sync::Arc::ptr_eq(&strict, &kept));
    }
}
