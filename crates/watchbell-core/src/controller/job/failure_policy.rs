//! `spec.podFailurePolicy`: what a failed pod means to its Job (KEP-3329, KEP-3850).

use watchbell_api::types::job::{
    OnExitCodes, OnExitCodesOperator, OnPodCondition, PodFailurePolicy, PodFailurePolicyAction,
};
use watchbell_api::types::pod::Container;
use watchbell_api::types::pod_status::{ContainerStatus, Phase, PodStatus};

use super::EndedPod;

/// What the first rule that matches says; without one the failure counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Count,
    Ignore,
    FailIndex,
    /// With the message of the Job's condition.
    FailJob(String),
}

/// Judges a failed pod. Rules are tried in order.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, namespace: &str, pod: &EndedPod<'_>) -> Judgement {
    for (number, rule) in policy.iter().flat_map(|policy| policy.rules.iter().enumerate()) {
        let found = match &rule.on_exit_codes {
            Some(codes) => matching_container(pod, codes).map(|(name, exit_code)| {
                format!("Container {name} for pod {namespace}/{} failed with exit code {exit_code}", pod.name)
            }),
            None => matching_condition(pod.status, &rule.on_pod_conditions)
                .map(|kind| format!("Pod {namespace}/{} has condition {kind}", pod.name)),
        };
        let Some(found) = found else { continue };
        return match rule.action {
            PodFailurePolicyAction::Count => Judgement::Count,
            PodFailurePolicyAction::Ignore => Judgement::Ignore,
            PodFailurePolicyAction::FailIndex => Judgement::FailIndex,
            PodFailurePolicyAction::FailJob => {
                Judgement::FailJob(format!("{found} matching FailJob rule at index {number}"))
            }
        };
    }
    Judgement::Count
}

/// The first container that ended with a code the rule names; init containers come after the others.
fn matching_container<'a>(pod: &EndedPod<'a>, codes: &OnExitCodes) -> Option<(&'a str, i32)> {
    let pairs = |containers: &'a [Container], states: &'a [ContainerStatus]| containers.iter().zip(states);
    pairs(&pod.spec.containers, &pod.status.containers)
        .chain(pairs(&pod.spec.init_containers, &pod.status.init_containers))
        .filter(|(container, _)| codes.container_name.as_ref().is_none_or(|name| *name == container.name))
        .filter_map(|(container, state)| Some((container.name.as_str(), state.terminated()?.exit_code)))
        .find(|&(_, code)| {
            let listed = codes.values.contains(&code);
            // Success is no failure, even where a rule says `NotIn`.
            code != 0
                && match codes.operator {
                    OnExitCodesOperator::In => listed,
                    OnExitCodesOperator::NotIn => !listed,
                }
        })
}

fn matching_condition<'a>(status: &PodStatus, patterns: &'a [OnPodCondition]) -> Option<&'a str> {
    let pattern =
        patterns.iter().find(|pattern| condition(status, &pattern.kind) == Some(pattern.status.as_str()))?;
    Some(&pattern.kind)
}

/// The value of a failed pod's condition; `None` when it has no such condition.
fn condition(status: &PodStatus, kind: &str) -> Option<&'static str> {
    let truth = |yes: bool| if yes { "True" } else { "False" };
    match kind {
        "DisruptionTarget" => status.disruption.as_ref().map(|_| "True"),
        "PodScheduled" => Some(truth(status.scheduled_at.is_some())),
        "Ready" | "ContainersReady" => status.scheduled_at.map(|_| truth(status.phase == Phase::Running)),
        "Initialized" => {
            let done = |c: &ContainerStatus| c.terminated().is_some_and(|end| end.exit_code == 0);
            status.scheduled_at.map(|_| truth(status.init_containers.iter().all(done)))
        }
        "PodReadyToStartContainers" => status.scheduled_at.map(|_| truth(!status.phase.is_terminal())),
        _ => None,
    }
}
