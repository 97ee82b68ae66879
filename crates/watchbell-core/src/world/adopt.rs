//! A Job takes in pods that fit its selector and have no controller, and lets go those that fit no more.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::types::job::CompletionMode;
use watchbell_api::{Resource, Uid};

use super::World;
use super::index::CONTROLLER_UID;
use super::object::{ArrayPod, Head, JsonHead, NsName, Status, Stored};
use super::row::NO_INDEX;
use super::template::{COMPLETION_INDEX, JobPods};
use crate::controller::job::is_foreign;

/// Attempts from here on are those of adopted pods: a Job does not count that far by itself.
pub(super) const ADOPTED: u32 = 1 << 31;

impl World {
    /// Brings a Job's pods in line with its selector.
    pub(super) fn claim_pods(&mut self, job: &Arc<Stored>) {
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return };
        let suspects = std::mem::take(&mut runtime.suspects);
        let strays = std::mem::take(&mut runtime.strays);
        for seat in suspects {
            let at = self.jobs.get(&job.uid).and_then(|runtime| runtime.pods.get(&seat)).cloned();
            let Some(pod) = at.and_then(|at| self.get_at(Resource::Pod, &at)).cloned() else { continue };
            if !selects(job, &pod) {
                self.release_pod(&pod);
            }
        }
        let finished = job.job_status().is_some_and(|status| status.is_finished().is_some());
        // Another controller has ways of its own to find the pods of the Jobs that it manages.
        let is_foreign = job.facts().job().is_some_and(|facts| is_foreign(&facts.spec));
        if job.deletion.is_some() || finished || is_foreign {
            return;
        }
        for at in strays {
            // Another Job may have been faster.
            if self.loose_pods.contains(&at)
                && let Some(pod) = self.get_at(Resource::Pod, &at).cloned()
                && selects(job, &pod)
                && self.adopt(job, &pod).is_none()
                && let Some(runtime) = self.jobs.get_mut(&job.uid)
            {
                runtime.strays.insert(at);
            }
        }
    }

    /// A Job with a selector of its own looks at all pods of its namespace that have no controller, once. Those that come
    /// later are shown to it as they come; so are to the others the pods that name them.
    pub(super) fn show_strays(&mut self, job: &Stored) {
        let first = NsName { namespace: job.namespace.clone(), name: "".into() };
        let loose = self.loose_pods.range(first..).take_while(|at| at.namespace == job.namespace);
        if let Some(runtime) = self.jobs.get_mut(&job.uid) {
            runtime.strays.extend(loose.cloned());
        }
    }

    /// `None`: the Job cannot take in a pod as it is.
    fn adopt(&mut self, job: &Stored, pod: &Stored) -> Option<()> {
        let mut value = pod.render();
        let owner = json!({
            "apiVersion": "batch/v1", "kind": "Job", "name": &*job.name, "uid": job.uid.to_string(),
            "controller": true, "blockOwnerDeletion": true,
        });
        match value["metadata"]["ownerReferences"].as_array_mut() {
            Some(list) => list.push(owner),
            None => value["metadata"]["ownerReferences"] = json!([owner]),
        }
        let (Some(facts), Status::Job { job_id, .. }) = (job.facts().job(), &job.status) else { return None };
        // To a Job without indexes the annotation of another's is an annotation like any.
        let index = match facts.spec.completion_mode {
            CompletionMode::NonIndexed => None,
            CompletionMode::Indexed => {
                value["metadata"]["annotations"][COMPLETION_INDEX].as_str().and_then(|i| i.parse().ok())
            }
        };
        let mode = self.namespace_mode(&job.namespace);
        // Only the Job's identity is taken from this template, so it need not be fit to make pods.
        let made = JobPods::new(&mut self.shapes, &job.render(), job.uid, *job_id, &facts.spec, mode, None);
        let template = made.ok()?;
        let own = JsonHead::from_value(Resource::Pod, value).ok()?;
        let row = index.unwrap_or(NO_INDEX);
        let attempt = self
            .jobs
            .get(&job.uid)
            .and_then(|runtime| runtime.pods.range((row, ADOPTED)..=(row, u32::MAX)).next_back())
            .map_or(ADOPTED, |(&(_, last), _)| last.saturating_add(1));
        let mut adopted = pod.clone();
        adopted.head = Head::ArrayPod(Box::new(ArrayPod {
            template: Arc::new(template),
            index,
            attempt,
            failure_count: 0,
            ignored_failure_count: 0,
            salt: 0,
            own: Some(Arc::new(own)),
        }));
        self.put(adopted);
        Some(())
    }

    /// The pod's labels fit its Job no more: it stands alone.
    fn release_pod(&mut self, pod: &Arc<Stored>) {
        if let Some(job) = pod.controller() {
            self.stand_alone(pod, Some(job));
        }
    }

    /// The pod leaves its Job's rows: its whole head becomes its own. Without `released` its owners stay as they are.
    pub(super) fn stand_alone(&mut self, pod: &Stored, released: Option<Uid>) {
        let mut value = pod.render();
        if let Some(owner) = released {
            drop_owner(&mut value, owner);
        }
        let head = JsonHead::from_value(Resource::Pod, value).expect("a pod that was rendered can be read");
        let mut stored = pod.clone();
        stored.head = Head::Json(Arc::new(head));
        self.put(stored);
    }
}

/// Takes an owner out of an object's references.
pub(super) fn drop_owner(object: &mut Value, owner: Uid) {
    let owner = owner.to_string();
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if let Some(list) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        list.retain(|o| o["uid"] != owner.as_str());
        if list.is_empty() {
            metadata.shift_remove("ownerReferences");
        }
    }
}

fn selects(job: &Stored, pod: &Stored) -> bool {
    if *job.namespace != *pod.namespace {
        return false;
    }
    let labels = pod.labels();
    match job.facts().job().and_then(|facts| facts.selector.as_ref()) {
        Some(selector) => selector.matches(&labels),
        None => labels.get(CONTROLLER_UID).is_some_and(|uid| *uid == job.uid.to_string()),
    }
}
