//! Server-side apply.

use std::collections::BTreeMap;

use serde_json::Value;

use super::entry::{Entry, Operation};
use super::set::{FieldSet, PathElement, shown};
use super::walk::{self, Difference, Rule};
use super::{BEFORE_APPLY, Writer, owned, rule, settle, update};
use crate::schema::{self, Prune};
use crate::{ApiError, Cause, Reason, Resource};

/// Where client-side apply keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that may take over from client-side apply, and keeps the annotation up to date for a way back.
const KUBECTL: &str = "kubectl";

/// Whether fields of others are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// What comes of an application.
#[derive(Debug)]
pub struct Applied {
    /// Before defaults and validation.
    pub object: Value,
    pub managed: Vec<Entry>,
}

/// A field that another manager has set to another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-client-side-apply" using batch/v1`
    pub manager: String,
    pub path: Vec<PathElement>,
}

#[derive(Debug)]
pub enum ApplyError {
    Conflicts(Vec<Conflict>),
    /// The configuration is none.
    Refused(String),
}

/// Applies a configuration to an object, or to none. Neither holds `managedFields`.
pub fn apply(
    resource: Resource,
    live: Option<&Value>,
    config: &Value,
    mut managed: Vec<Entry>,
    by: Writer<'_>,
    force: Force,
) -> Result<Applied, ApplyError> {
    check(resource, config).map_err(ApplyError::Refused)?;
    if managed.is_empty()
        && let Some(live) = live
    {
        managed = update(resource, None, live, managed, Writer { manager: BEFORE_APPLY, ..by });
    }
    let blank = Value::Object(serde_json::Map::new());
    let step = Step { rule: rule(resource), resource, live: live.unwrap_or(&blank), config, managed, by };
    let applied = match step.run(force) {
        Err(ApplyError::Conflicts(conflicts)) if by.manager == KUBECTL => {
            let allowed = step.left_by_client_side_apply();
            let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !allowed.contains(&c.path)).collect();
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            step.run(Force::Yes)?
        }
        done => done?,
    };
    Ok(step.remember(applied))
}

/// The configuration must have the schema's fields, and lists whose items can be told apart.
fn check(resource: Resource, config: &Value) -> Result<(), String> {
    let report = schema::check(resource, &mut config.clone(), Prune::Nothing);
    if let Some(error) = report.type_errors.first() {
        return Err(format!(".{}: {error}", error.field));
    }
    if let Some(path) = report.unknown.first() {
        return Err(format!(".{path}: field not declared in schema"));
    }
    walk::check_items(rule(resource), config, &mut Vec::new())
        .map_err(|e| format!("{}: {}", shown(&e.path), e.problem))
}

struct Step<'a> {
    rule: Rule<'static>,
    resource: Resource,
    live: &'a Value,
    config: &'a Value,
    managed: Vec<Entry>,
    by: Writer<'a>,
}

impl Step<'_> {
    fn run(&self, force: Force) -> Result<Applied, ApplyError> {
        let mut own = self.by.entry(self.resource, Operation::Apply);
        own.fields = owned(walk::fields(self.rule, self.config), self.by.subresource);
        let former = self.managed.iter().find(|entry| entry.is_of(&own));
        let (former_fields, former_time) =
            former.map_or_else(Default::default, |former| (former.fields.clone(), former.time));
        let others: Vec<&Entry> = self.managed.iter().filter(|entry| !entry.is_of(&own)).collect();

        let merged = walk::merge(self.rule, Some(self.live), self.config);
        let mut object = self.prune(merged, &former_fields, &own.fields, &others);
        // Both in the form in which objects are stored, so that another spelling of a quantity is no change.
        let _ = schema::check(self.resource, &mut object, Prune::Unknown);
        let difference = Difference::between(self.rule, self.live, &object);
        let changed = owned(difference.changed(), self.by.subresource);
        let removed = owned(difference.removed, self.by.subresource);

        let mut conflicts = Vec::new();
        let mut managed = Vec::new();
        for other in others {
            let taken = other.fields.intersection(&changed);
            for path in taken.paths() {
                conflicts.push(Conflict { manager: other.shown(), path });
            }
            let fields = other.fields.difference(&taken).difference(&removed);
            managed.push(Entry { fields, ..other.clone() });
        }
        if force == Force::No && !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
        if changed.is_empty() && removed.is_empty() && own.fields == former_fields {
            own.time = former_time;
        }
        managed.push(own);
        Ok(Applied { object, managed: settle(managed) })
    }

    /// Takes away what this manager applied before, does not any more, and nobody else owns.
    fn prune(&self, merged: Value, former: &FieldSet, own: &FieldSet, others: &[&Entry]) -> Value {
        if former.is_empty() {
            return merged;
        }
        let rule = self.rule;
        let former = walk::with_parents(rule, former);
        let all = walk::with_parents(rule, &walk::fields(rule, &merged));
        // First without all of it, then again with what has an owner, then again with what was never this manager's.
        let pruned = walk::remove(rule, &merged, &former);
        let mut kept = walk::with_parents(rule, &walk::fields(rule, &pruned));
        kept = kept.union(&walk::with_parents(rule, own));
        for other in others {
            kept = kept.union(&walk::with_parents(rule, &other.fields));
        }
        let pruned = walk::remove(rule, &merged, &all.difference(&kept));
        let left = walk::with_parents(rule, &walk::fields(rule, &pruned));
        walk::remove(rule, &merged, &all.difference(&left).intersection(&former))
    }

    /// The fields that client-side apply set and that are still as it left them: kubectl may take them over.
    fn left_by_client_side_apply(&self) -> FieldSet {
        let annotation = &self.live["metadata"]["annotations"][LAST_APPLIED];
        let Some(mut last) = annotation.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
        else {
            return FieldSet::default();
        };
        let _ = schema::check(self.resource, &mut last, Prune::Unknown);
        let difference = Difference::between(self.rule, &last, self.live);
        walk::fields(self.rule, &last).difference(&difference.changed()).difference(&difference.removed)
    }

    /// kubectl's server-side apply keeps the annotation of its client-side apply, where there is one.
    fn remember(&self, mut applied: Applied) -> Applied {
        if self.by.manager != KUBECTL || !self.by.subresource.is_empty() {
            return applied;
        }
        if let Some(text) =
            applied.object.pointer_mut(&format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1")))
        {
            let mut said = self.config.clone();
            if let Some(annotations) =
                said.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
            {
                annotations.shift_remove(LAST_APPLIED);
            }
            said.sort_all_objects();
            *text = format!("{said}\n").into();
        }
        applied
    }
}

impl ApplyError {
    /// As Kubernetes words it.
    pub fn into_api(self, resource: Resource, namespace: &str, name: &str) -> ApiError {
        match self {
            ApplyError::Refused(problem) => {
                let info = resource.info();
                ApiError::bad_request(format!(
                    "failed to create typed patch object ({namespace}/{name}; {}/{}, Kind={}): {problem}",
                    info.group, info.version, info.kind
                ))
            }
            ApplyError::Conflicts(conflicts) => {
                let mut error = ApiError::new(Reason::Conflict, conflict_message(&conflicts));
                error.causes = conflicts
                    .iter()
                    .map(|conflict| Cause {
                        reason: "FieldManagerConflict".into(),
                        message: format!("conflict with {}", conflict.manager),
                        field: shown(&conflict.path),
                    })
                    .collect();
                error
            }
        }
    }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, shown(&one.path));
    }
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for conflict in conflicts {
        by_manager.entry(&conflict.manager).or_default().push(format!("- {}", shown(&conflict.path)));
    }
    let parts: Vec<String> = by_manager
        .iter()
        .map(|(manager, paths)| format!("conflicts with {manager}:\n{}", paths.join("\n")))
        .collect();
    format!("Apply failed with {} conflicts: {}", conflicts.len(), parts.join("\n"))
}
