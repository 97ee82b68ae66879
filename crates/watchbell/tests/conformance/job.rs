//! `[sig-apps] Job`

mod completion;
mod failure_policy;
mod indexed;
mod lifecycle;
mod managed;
mod restart_rules;
mod success_policy;
mod suspension;

use serde_json::Value;

use crate::space::{Space, is_left_out};

/// Nothing of the Job runs any more.
#[track_caller]
fn check_at_rest(job: &Value) {
    let status = &job["status"];
    assert_eq!(status["active"].as_u64().unwrap_or_default(), 0, "{status:#}");
    assert_eq!((status["terminating"].as_u64(), status["ready"].as_u64()), (Some(0), Some(0)), "{status:#}");
}

/// The namespace of a test; `None` where containers cannot run.
fn space() -> Option<Space> {
    (!is_left_out()).then(|| Space::new("job", "privileged"))
}
