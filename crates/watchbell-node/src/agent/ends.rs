//! How a run ended, in Kubernetes' words.

use watchbell_api::types::pod_status::{Terminated, TerminatedReason};
use watchbell_sandbox::{ExitRecord, ExitStatus, StartFailure, StartFailureKind, UnixNanos};

/// SIGTERM, where the image names no other stop signal.
pub(super) const SIGTERM: i32 = 15;

/// Whole seconds, rounded down.
pub(super) fn seconds(at: UnixNanos) -> i64 {
    at.div_euclid(1_000_000_000)
}

pub(super) fn of_exit(record: &ExitRecord) -> Terminated {
    let exit_code = record.status.code();
    let (reason, message) = match record.status {
        ExitStatus::Lost => (
            TerminatedReason::ContainerStatusUnknown,
            Some("the spawner that ran the container died; how the container ended is unknown"),
        ),
        // A child that was killed while the program itself went on to succeed is the program's own affair.
        _ if record.oom_killed && exit_code != 0 => (TerminatedReason::OomKilled, None),
        ExitStatus::Code(0) => (TerminatedReason::Completed, None),
        ExitStatus::Code(_) | ExitStatus::Signal(_) => (TerminatedReason::Error, None),
    };
    Terminated {
        exit_code,
        signal: match record.status {
            ExitStatus::Signal(signal) => Some(signal),
            ExitStatus::Code(_) | ExitStatus::Lost => None,
        },
        reason,
        message: message.map(Into::into),
        started_at: Some(seconds(record.started_at)),
        finished_at: seconds(record.finished_at),
    }
}

pub(super) fn of_failure(failure: &StartFailure) -> Terminated {
    let (exit_code, reason) = match failure.kind {
        StartFailureKind::CommandNotFound => (127, TerminatedReason::ContainerCannotRun),
        StartFailureKind::CommandNotExecutable => (126, TerminatedReason::ContainerCannotRun),
        StartFailureKind::Refused | StartFailureKind::Sandbox => (128, TerminatedReason::StartError),
        // Ended before its program ran, as by SIGKILL.
        StartFailureKind::Cancelled => (137, TerminatedReason::Error),
    };
    Terminated {
        exit_code,
        signal: None,
        reason,
        message: Some(failure.message.as_str().into()),
        started_at: None,
        finished_at: seconds(failure.at),
    }
}

/// An image's `StopSignal`: a name with or without `SIG`, or a number.
pub(super) fn stop_signal(text: &str) -> i32 {
    /// The numbers are the same on every architecture that is served.
    const NAMES: [(&str, i32); 17] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    const RTMIN: i32 = 34;
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) if name == "RTMIN" => Some(RTMIN),
        Err(_) => match name.strip_prefix("RTMIN+") {
            Some(above) => above.parse::<i32>().ok().and_then(|n| RTMIN.checked_add(n)),
            None => NAMES.iter().find(|(known, _)| *known == name).map(|(_, n)| *n),
        },
    };
    number.filter(|n| (1..=64).contains(n)).unwrap_or(SIGTERM)
}
