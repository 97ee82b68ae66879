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
use crate::admission::{self, Mode};

/// Where the pod's spec stands in a Job.
const TEMPLATE_SPEC: &str = "spec.template.spec";
/// Shapes that nobody uses are looked for when there are twice as many entries as last time, and at least so many.
const SWEEP_AT_LEAST: usize = 1_024;

/// A pod spec with defaults, the completion index and the strict fill-in.
#[derive(Debug)]
pub(super) struct Shape {
    mode: Mode,
    pub(super) json: Value,
    pub(super) spec: Arc<PodSpec>,
    refusal: OnceLock<Option<String>>,
}

impl Shape {
    fn new(source: &Value, mode: Mode, completion_mode: CompletionMode) -> Result<Shape, TemplateError> {
        let mut json = source.clone();
        defaults::apply_to_pod_spec(&mut json);
        if completion_mode == CompletionMode::Indexed {
            add_completion_index_env(&mut json);
        }
        admission::fill(mode, &mut json);
        let spec = PodSpec::deserialize(&json).map_err(|e| TemplateError(format!("{TEMPLATE_SPEC}: {e}")))?;
        Ok(Shape { mode, json, spec: Arc::new(spec), refusal: OnceLock::new() })
    }

    /// Whether such pods may run in their namespace.
    pub(super) fn admit(&self) -> Result<(), TemplateError> {
        let refusal = self.refusal.get_or_init(|| {
            if let Err(unknown) = admission::check_priority(&self.json) {
                return Some(unknown);
            }
            let refused = admission::judge(self.mode, &self.json, TEMPLATE_SPEC);
            let list: Vec<String> = refused.iter().map(ToString::to_string).collect();
            if list.is_empty() { None } else { Some(list.join(", ")) }
        });
        match refusal {
            None => Ok(()),
            Some(why) => Err(TemplateError(why.clone())),
        }
    }
}

/// The shapes in use, by what they were made from.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: HashMap<[u8; 32], Weak<Shape>>,
    sweep_at: usize,
}

impl Shapes {
    pub(super) fn of(
        &mut self,
        source: &Value,
        mode: Mode,
        completion_mode: CompletionMode,
    ) -> Result<Arc<Shape>, TemplateError> {
        let key = key(source, mode, completion_mode);
        if let Some(shape) = self.known.get(&key).and_then(Weak::upgrade) {
            return Ok(shape);
        }
        if self.known.len() >= self.sweep_at.max(SWEEP_AT_LEAST) {
            self.known.retain(|_, shape| shape.strong_count() > 0);
            self.sweep_at = self.known.len() * 2;
        }
        let shape = Arc::new(Shape::new(source, mode, completion_mode)?);
        self.known.insert(key, Arc::downgrade(&shape));
        Ok(shape)
    }
}

fn key(source: &Value, mode: Mode, completion_mode: CompletionMode) -> [u8; 32] {
    let text = source.to_string();
    Sha256::new().chain_update(format!("{mode:?} {completion_mode:?} ")).chain_update(text).finalize().into()
}

/// `JOB_COMPLETION_INDEX` in every container, from the pod's label, unless the author set it (KEP-2214).
fn add_completion_index_env(spec: &mut Value) {
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
