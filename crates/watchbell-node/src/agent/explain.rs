//! How a pod's containers are started, told and not done: by the same functions that starts are made with.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::ApiError;
use watchbell_api::node::Assignment;
use watchbell_sandbox::{PodEnvironment, UidRanges, explain};

use super::plan::Plan;
use super::spec::{Site, Which, container_at};
use crate::image::{FetchError, Prepared};

impl Site {
    /// A document for all containers of the pod, init containers first. What keeps one from being started is said in its place.
    pub(crate) fn explain(
        &self,
        pod: &Assignment,
        ranges: UidRanges,
        image: impl Fn(&str) -> Result<Prepared, FetchError>,
    ) -> Result<Value, ApiError> {
        let plan = Plan::new(&pod.spec, &self.machine);
        if let Some((reason, message)) = &plan.refusal {
            return Err(ApiError::bad_request(format!("the node would not run it: {reason}: {message}")));
        }
        let (mut environment, _) = self
            // A plan needs no token.
            .pod_environment(pod, &plan, &|_| Ok(String::new()))
            .map_err(|e| ApiError::bad_request(format!("the pod could not begin: {e}")))?;
        let arrays = super::arrays::explained(self, pod, &mut environment).map_err(ApiError::bad_request)?;
        let environment = Arc::new(environment);
        let containers: Vec<Value> = (0..plan.containers.len())
            .map(|ordinal| {
                let container = container_at(&pod.spec, ordinal);
                let mut told = json!({
                    "name": container.name, "image": container.image,
                    "isInit": ordinal < pod.spec.init_containers.len(),
                });
                let which = Which { ordinal, attempt: 0, arrays: &arrays };
                match self.explain_one(pod, &plan, &environment, which, ranges, &image) {
                    Ok((image_id, explanation)) => {
                        told["imageID"] = image_id.into();
                        if let (Value::Object(told), Value::Object(explanation)) = (&mut told, explanation) {
                            told.extend(explanation);
                        }
                    }
                    Err(problem) => told["problem"] = problem.into(),
                }
                told
            })
            .collect();
        Ok(json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "SandboxPlan",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace},
            "containers": containers,
        }))
    }

    fn explain_one(
        &self,
        pod: &Assignment,
        plan: &Plan,
        environment: &Arc<PodEnvironment>,
        which: Which<'_>,
        ranges: UidRanges,
        image: impl Fn(&str) -> Result<Prepared, FetchError>,
    ) -> Result<(String, Value), String> {
        let ordinal = which.ordinal;
        let prepared = image(&container_at(&pod.spec, ordinal).image).map_err(|e| e.message)?;
        let mut spec =
            self.run_spec(pod, plan, environment.clone(), which, &prepared).map_err(|e| e.to_string())?;
        let runtime = self.runtime(pod).map_err(|e| e.to_string())?;
        let profile = self.seccomp_profile(pod, plan, ordinal, runtime.as_deref());
        (spec.extras.seccomp, spec.extras.runtime) = (profile.map_err(|e| e.to_string())?, runtime);
        let explanation = serde_json::to_value(explain(&spec, ranges)).map_err(|e| e.to_string())?;
        Ok((prepared.image_id.to_string(), explanation))
    }
}
