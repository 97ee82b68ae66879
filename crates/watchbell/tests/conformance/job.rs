//! `[sig-apps] Job`

mod completion;
mod failure_policy;
mod indexed;
mod lifecycle;
mod managed;
mod restart_rules;
mod success_policy;
mod suspension;

use crate::space::{Space, is_left_out};

/// The namespace of a test; `None` where containers cannot run.
fn space() -> Option<Space> {
    (!is_left_out()).then(|| Space::new("job", "privileged"))
}
