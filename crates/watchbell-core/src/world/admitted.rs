//! What a Job's template becomes under the rules of the moment: once for each Job and each change of the rules, however
//! many pods are made of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::Resource;

use super::index::JobRuntime;
use super::object::{Fills, FillsPlace, Status, Stored};
use super::shape;
use super::template::JobPods;
use super::write::OBJECT_BYTES_MAX;
use super::{Snapshot, World};
use crate::admission::{self, Mode, PriorityClass, Rules};

/// What admission may make of a Job's pods, in all forms that pods of it have.
const FILLS_BYTES_MAX: usize = 2 * OBJECT_BYTES_MAX;

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
    pub(super) fn job_template(&mut self, job: &Arc<Stored>) -> Result<Arc<JobPods>, String> {
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
        template.check_fill()?;
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return Ok(template) };
        runtime.admitted = Some((self.rule_changes, policy, template.clone()));
        Ok(template)
    }

    /// A pod of this kind is about to be made: nothing is kept of what made none.
    pub(super) fn keep_template(&mut self, job: &Arc<Stored>, template: &Arc<JobPods>, now: Timestamp) {
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return };
        if runtime.template(template.mode, template.fill_number()).is_none() {
            runtime.templates.push(template.clone());
            self.audit_run(job, "admitted", admission::summary(template.spec()), now);
        }
        if let Some((number, text)) = &template.fill {
            self.keep_fill(job, *number, text);
        }
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
        let fill = self.fill_of(job, &pod)?;
        self.pods_of(job, &object, mode, Some(fill))
    }

    fn pods_of(
        &mut self,
        job: &Stored,
        object: &Value,
        mode: Mode,
        fill: Option<(u16, Arc<str>)>,
    ) -> Result<Arc<JobPods>, String> {
        let number = fill.as_ref().map(|(number, _)| *number);
        let known = self.jobs.get(&job.uid).and_then(|runtime| runtime.template(mode, number));
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

    /// A fill and the number that it has among the Job's, or gets when a pod of it is made: one that no pod names.
    fn fill_of(&mut self, job: &Stored, pod: &Value) -> Result<(u16, Arc<str>), String> {
        let text: Arc<str> = pod.to_string().into();
        let current = self.get_at(Resource::Job, &job.at()).ok_or("the Job is gone")?;
        let Status::Job { fills, .. } = &current.status else {
            return Err("the Job has no status".into());
        };
        let fills = fills.clone();
        let JobRuntime { fills: used, templates, .. } =
            self.jobs.get_mut(&job.uid).ok_or("the Job is gone")?;
        templates.retain(|made| made.fill_number().is_none_or(|number| used.contains_key(&number)));
        let is_it = |number: &&u16| fills.texts.get(usize::from(**number)) == Some(&text);
        if let Some(number) = used.keys().find(is_it) {
            return Ok((*number, text));
        }
        let lengths =
            used.keys().filter_map(|number| fills.texts.get(usize::from(*number)).map(|fill| fill.len()));
        let bytes = lengths.sum::<usize>() + text.len();
        let free = (0..=u16::MAX).find(|number| !used.contains_key(number));
        let number = free.filter(|_| bytes <= FILLS_BYTES_MAX).ok_or_else(|| {
            format!(
                "the LimitRanges, classes and accounts of its namespace make it differ too much from the Job's other pods: all \
                 forms of them would come to {bytes} bytes, and the limit is {FILLS_BYTES_MAX}; delete pods of it that have \
                 ended, or create the Job again"
            )
        })?;
        Ok((number, text))
    }

    /// Writes a fill under its number, and forgets those that no pod names.
    fn keep_fill(&mut self, job: &Stored, number: u16, text: &Arc<str>) {
        let Some(current) = self.get_at(Resource::Job, &job.at()).cloned() else { return };
        let Status::Job { status, images, fills, job_id } = &current.status else { return };
        if fills.texts.get(usize::from(number)) == Some(text) {
            return;
        }
        let Some(JobRuntime { fills: used, .. }) = self.jobs.get(&job.uid) else { return };
        let last = used.last_key_value().map_or(number, |(last, _)| number.max(*last));
        let kept = |at: u16| match fills.texts.get(usize::from(at)) {
            _ if at == number => text.clone(),
            Some(fill) if used.contains_key(&at) => fill.clone(),
            _ => Arc::default(),
        };
        let fills = Fills { texts: (0..=last).map(kept).collect(), place: FillsPlace::Head };
        let (status, images, job_id) = (status.clone(), images.clone(), *job_id);
        let mut next = (*current).clone();
        next.status = Status::Job { status, images, fills: Arc::new(fills), job_id };
        self.put(next);
    }
}
