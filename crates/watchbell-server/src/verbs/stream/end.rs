//! How a session ended, for the client and for the audit journal.

use serde_json::{Value, json};
use watchbell_api::ApiError;
use watchbell_api::node::SessionEnd;

/// The end of a session.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The process that was started ended.
    Ended(SessionEnd),
    /// The container ended that was attached to.
    Detached,
    /// It could not be started, or not be followed to its end; or who opened it is no longer known, or no longer may.
    Failed(ApiError),
    /// The client went away; a process that was started for it is ended.
    ClientGone,
    /// Nothing was said for a long time.
    Idle,
    ServerEnds,
}

impl Outcome {
    /// What a shell would say: 128 and more for a signal.
    pub(crate) fn exit_code(&self) -> Option<u16> {
        match self {
            Outcome::Ended(SessionEnd::Exited(code)) => Some(u16::from(*code)),
            Outcome::Ended(SessionEnd::Signalled(signal)) => Some(128 + u16::from(*signal)),
            Outcome::Detached
            | Outcome::Failed(_)
            | Outcome::ClientGone
            | Outcome::Idle
            | Outcome::ServerEnds => None,
        }
    }

    /// A few words on it.
    pub(crate) fn words(&self) -> String {
        match self {
            Outcome::Ended(SessionEnd::Exited(code)) => format!("exited with {code}"),
            Outcome::Ended(SessionEnd::Signalled(signal)) => format!("ended by signal {signal}"),
            Outcome::Detached => "the container ended".into(),
            Outcome::Failed(error) => error.to_keep().chars().take(1024).collect(),
            Outcome::ClientGone => "the client went away".into(),
            Outcome::Idle => "idle for too long".into(),
            Outcome::ServerEnds => "the server ended".into(),
        }
    }

    /// The `Status` of the error channel.
    pub(super) fn status(&self) -> Value {
        match (self.exit_code(), self) {
            (Some(0), _) | (None, Outcome::Detached) => json!({"metadata": {}, "status": "Success"}),
            (Some(code), _) => json!({
                "metadata": {}, "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            (None, Outcome::Failed(error)) => error.to_status(),
            (None, _) => json!({
                "metadata": {}, "status": "Failure", "reason": "Timeout", "code": 504,
                "message": format!("the session was ended: {}", self.words()),
            }),
        }
    }

    /// What the oldest protocols say instead: nothing when all went well.
    pub(super) fn complaint(&self) -> Option<String> {
        let status = self.status();
        (status["status"] != "Success").then(|| status["message"].as_str().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_exit_code_where_kubernetes_puts_it() {
        let check = |outcome: Outcome, expect: Option<&str>| {
            let status = outcome.status();
            assert_eq!(status["details"]["causes"][0]["message"].as_str(), expect, "{status}");
            assert_eq!(status["status"] == "Success", outcome.complaint().is_none(), "{status}");
            if expect.is_some() {
                assert_eq!(
                    (&status["reason"], &status["details"]["causes"][0]["reason"]),
                    (&json!("NonZeroExitCode"), &json!("ExitCode"))
                );
            }
        };
        check(Outcome::Ended(SessionEnd::Exited(0)), None);
        check(Outcome::Ended(SessionEnd::Exited(255)), Some("255"));
        check(Outcome::Ended(SessionEnd::Signalled(9)), Some("137"));
        check(Outcome::Detached, None);
        check(Outcome::Failed(ApiError::bad_request("no such program")), None);
        check(Outcome::ServerEnds, None);
    }
}
