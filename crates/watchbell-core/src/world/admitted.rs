//! What a Job's template becomes under the rules of the moment: once for each Job and each change of the rules, however
//! many pods are made of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::Resource;

use super::object::{Status, Stored};
use super::shape;
use super::template::JobPods;
use super::{Snapshot, World};
use crate::admission::{self, Mode, PriorityClass, Rules};

/// How often the rules may change a Job's pods: each fill stays in the Job as long as it is there.
const FILLS_MAX: usize = 1_000;

impl Snapshot {
    /// The LimitRanges of a namespace, and the classes of all.
    pub(super) fn rules(&self, namespace: &str) -> Rules {
        let all = |resource, namespace| self.list(resource, namespace, None);
        let ranges = all(Resource::LimitRange, Some(namespace)).filter_map(|o| o.facts().limit_range());
        let runtimes = all(Resource::RuntimeClass, None).filter_map(|o| o.facts().runtime_class());
        let accounts = all(Resource::ServiceAccount, Some(namespace)).filter_map(|o| o.facts().account());
        Rules {
            limit_ranges: ranges.cloned().collect(),
            priority_classes: self.priority_classes(),
            runtime_classes: runtimes.cloned().collect(),
            accounts: accounts.cloned().collect(),
            namespace: namespace.into(),
        }
    }

    /// Those that people made.
    fn priority_classes(&self) -> Vec<Arc<PriorityClass>> {
        let all = self.list(Resource::PriorityClass, None, None);
        let classes = all.filter_map(|object| object.facts().priority_class());
        classes.filter(|class| !class.is_system()).cloned().collect()
    }
}

impl World {
    pub(super) fn rules(&self, namespace: &str) -> Rules {
        self.state.rules(namespace)
    }

    pub(super) fn priority_classes(&self) -> Vec<Arc<PriorityClass>> {
        self.state.priority_classes()
    }

    /// What admits pods changed: templates are judged anew, and who was refused may be let in.
    pub(super) fn index_rule(&mut self, object: &Stored) {
        self.rule_changes += 1;
        match object.resource {
            Resource::LimitRange | Resource::ServiceAccount => {
                self.freed.insert(object.namespace.clone());
            }
            _ => self.freed.extend(self.refused.keys().cloned()),
        }
    }

    /// What new pods of the Job are made of, or why its namespace refuses them.
    pub(super) fn job_template(&mut self, job: &Arc<Stored>, now: Timestamp) -> Result<Arc<JobPods>, String> {
        let policy = self.state.pod_policy(&job.namespace);
        let mode = Mode::of(&policy);
        let known = self.jobs.get(&job.uid).and_then(|runtime| runtime.admitted.as_ref());
        if let Some((as_of, by, template)) = known
            && *as_of == self.rule_changes
            && *by == policy
        {
            return Ok(template.clone());
        }
        let template = self.admit_template(job, mode)?;
        template.refused_by(policy.enforced()).map_or(Ok(()), Err)?;
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return Ok(template) };
        runtime.admitted = Some((self.rule_changes, policy, template.clone()));
        if runtime.template(mode, template.fill).is_none() {
            runtime.templates.push(template.clone());
            self.audit_run(job, "admitted", admission::summary(template.spec()), now);
        }
        Ok(template)
    }

    fn admit_template(&mut self, job: &Arc<Stored>, mode: Mode) -> Result<Arc<JobPods>, String> {
        let facts = job.facts().job().ok_or("the Job has no spec")?;
        let object = job.render();
        let plain = self.pods_of(job, &object, mode, None)?;
        let rules = self.rules(&job.namespace);
        if rules.are_silent(mode, &object["spec"]["template"]["spec"]) {
            return plain.verdict().map(|()| plain);
        }
        let (pod, verdict) =
            shape::effective(&object["spec"]["template"], mode, facts.spec.completion_mode, &rules);
        verdict?;
        if plain.are_like(&pod) {
            return Ok(plain);
        }
        let (number, text) = self.fill_of(job, &pod)?;
        self.pods_of(job, &object, mode, Some((number, &text)))
    }

    fn pods_of(
        &mut self,
        job: &Stored,
        object: &Value,
        mode: Mode,
        fill: Option<(u16, &str)>,
    ) -> Result<Arc<JobPods>, String> {
        let known = self.jobs.get(&job.uid).and_then(|r| r.template(mode, fill.map(|(number, _)| number)));
        if let Some(template) = known {
            return Ok(template.clone());
        }
        let (Some(facts), Status::Job { job_id, .. }) = (job.facts().job(), &job.status) else {
            return Err("the Job has no spec".into());
        };
        JobPods::new(&mut self.shapes, object, job.uid, *job_id, &facts.spec, mode, fill)
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }

    /// The number of a fill among the Job's, which keeps it from now on.
    fn fill_of(&mut self, job: &Stored, pod: &Value) -> Result<(u16, Arc<str>), String> {
        let text: Arc<str> = pod.to_string().into();
        let current = self.get_at(Resource::Job, &job.at()).cloned().ok_or("the Job is gone")?;
        let Status::Job { status, images, fills, job_id } = &current.status else {
            return Err("the Job has no status".into());
        };
        let place = fills.iter().position(|fill| *fill == text).unwrap_or(fills.len());
        let number = u16::try_from(place).ok().filter(|_| place < FILLS_MAX).ok_or(
            "the LimitRanges and classes of its namespace changed too often; delete the Job and create it again",
        )?;
        if place == fills.len() {
            let fills = fills.iter().cloned().chain([text.clone()]).collect();
            let (status, images, job_id) = (status.clone(), images.clone(), *job_id);
            let mut next = (*current).clone();
            next.status = Status::Job { status, images, fills, job_id };
            self.put(next);
        }
        Ok((number, text))
    }
}
