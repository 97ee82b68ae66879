//! Random lives: whatever happens, a pod that is told to end ends, and nothing runs once it is over.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use watchbell_api::node::StopCause;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{PodStatus, Terminated, TerminatedReason};

use super::spec;
use crate::pod::{Action, Life, State};

fn pods() -> impl Strategy<Value = PodSpec> {
    let inits = prop::collection::vec(any::<bool>(), 0..4);
    (inits, 1usize..4, 0usize..3, prop::option::of(1i64..500)).prop_map(|(inits, mains, policy, deadline)| {
        let inits: Vec<_> = inits
            .into_iter()
            .enumerate()
            .map(|(i, is_sidecar)| {
                let mut c = json!({"name": format!("i{i}")});
                if is_sidecar {
                    c["restartPolicy"] = "Always".into();
                }
                c
            })
            .collect();
        let mains: Vec<_> = (0..mains).map(|i| json!({"name": format!("m{i}")})).collect();
        let policy = ["Always", "OnFailure", "Never"][policy];
        spec(json!({
            "restartPolicy": policy,
            "initContainers": inits, "containers": mains,
            "activeDeadlineSeconds": deadline, "terminationGracePeriodSeconds": 10,
        }))
    })
}

fn terminated(exit_code: i32, has_run: bool) -> Terminated {
    Terminated {
        exit_code,
        signal: None,
        reason: TerminatedReason::Error,
        message: None,
        started_at: has_run.then_some(1),
        finished_at: 2,
    }
}

proptest! {
    #[test]
    fn every_life_ends_when_it_is_stopped(spec in pods(), dice in prop::collection::vec((0usize..8, 0u8..6, 0u64..40), 0..80)) {
        let mut now = Duration::from_secs(100);
        let mut life = Life::new(&spec, &PodStatus::default(), |_| None, 1000, now);
        let count = life.containers.len();
        let (mut is_over, mut was_killed) = (false, false);
        for (which, what, wait) in dice {
            now += Duration::from_secs(wait);
            let step = life.step(&spec, now);
            for action in &step.actions {
                if let Action::Create { container } = action {
                    prop_assert_eq!(&life.containers[*container].state, &State::Preparing);
                }
            }
            let alive = life.containers.iter().any(|c| matches!(c.state, State::Starting | State::Running { .. }));
            prop_assert!(!(step.is_over && alive), "over, and something runs");
            prop_assert!(!is_over || step.actions.is_empty(), "something is done after the end");
            is_over = step.is_over;
            was_killed |= step.actions.contains(&Action::Kill);
            // Where nothing is under way there is a time to look again.
            let under_way = life.containers.iter().any(|c| {
                matches!(c.state, State::Starting | State::Running { .. } | State::Preparing)
            });
            prop_assert!(is_over || under_way || step.wake_at.is_some(), "stuck for ever: {:?}", life);
            let i = which % count;
            match (what, &life.containers[i].state) {
                (0 | 1, State::Preparing) => life.starting(i, "x@sha256:1".into()),
                (2, State::Preparing) => life.blocked(i, "ErrImagePull", String::new(), now + Duration::from_secs(10)),
                (0 | 1, State::Starting) => life.running(i, 1),
                (2, State::Starting) => life.ended(i, terminated(128, false), now),
                (3, State::Starting) => life.not_started(i),
                (0..=2, State::Running { .. }) => life.ended(i, terminated(i32::from(what), true), now),
                _ => {}
            }
        }
        life.stop(StopCause::Deleted, Duration::from_secs(5), now);
        for _ in 0..3 * count + 5 {
            let step = life.step(&spec, now);
            prop_assert!(!step.actions.iter().any(|a| matches!(a, Action::Create { .. })), "created while it ends");
            was_killed |= step.actions.contains(&Action::Kill);
            if step.is_over {
                break;
            }
            if let Some(at) = step.wake_at {
                now = now.max(at);
            }
            if was_killed {
                for i in 0..count {
                    life.ended(i, terminated(137, true), now);
                }
            }
        }
        prop_assert!(life.step(&spec, now).is_over);
        prop_assert!(life.status(&spec).phase.is_terminal());
    }
}
