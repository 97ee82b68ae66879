//! What is asked of a container that runs, and what comes of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The streams that a client wants. With a terminal, standard output stands for the one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFailure {
    pub kind: SessionFailureKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionFailureKind {
    /// The container has not begun, has ended, or was never there.
    NotRunning,
    /// As many sessions as there may be at once are open.
    TooMany,
    CommandNotFound,
    CommandNotExecutable,
    /// What is asked is outside its bounds, or the spawner is older than the question.
    Refused,
    /// A step of the sandbox failed; nothing weaker was started.
    Sandbox,
    /// The spawner did not answer.
    Connection,
}

impl SessionFailure {
    pub(crate) fn new(kind: SessionFailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for SessionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SessionFailure {}
