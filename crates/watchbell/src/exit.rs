//! Exit codes: scripts rely on them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | the thing asked for was done |
//! | 1 | it was not done: the server refused, the object is not there, a Job failed, `lint` found something |
//! | 2 | the command line or a manifest is wrong; nothing was tried |
//! | 3 | the server cannot be reached |
//!
//! A reader of standard output that goes away (`| head`) changes none of that: what is asked for is done to its end, unless it only
//! prints (`logs`, `get -w`, `audit tail`, `audit search`), which then ends with 0; `exec`, `image save -o -`, and `user add` and `user token`,
//! whose secret reached nobody, end with 1. Where standard output cannot be written for
//! another reason, such as a full disk, a command that did its work ends with 1.
//!
//! There are two exceptions: `exec` ends with the code of a command that ran, and `trace` that a signal ended with 128 and the
//! signal's number.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::output;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 1
    #[error("{0}")]
    Refused(String),
    /// 2
    #[error("{0}")]
    Usage(String),
    /// 3
    #[error("{0}")]
    Unreachable(String),
    /// 1: what was found is the answer, and was printed.
    #[error("something was found")]
    Found,
    /// The command's own.
    #[error("command terminated with exit code {0}")]
    Remote(u8),
}

impl Failure {
    pub(crate) fn refused(error: impl std::fmt::Display) -> Failure {
        Failure::Refused(error.to_string())
    }

    pub(crate) fn usage(error: impl std::fmt::Display) -> Failure {
        Failure::Usage(error.to_string())
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) | Failure::Found => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Unreachable(_) => ExitCode::from(3),
            Failure::Remote(code) => ExitCode::from(*code),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused { .. } => Failure::Refused(error.to_string()),
            ClientError::Config(_) => Failure::Usage(error.to_string()),
            ClientError::Unreachable { .. } | ClientError::Broken(_) => {
                Failure::Unreachable(error.to_string())
            }
        }
    }
}

/// What the server refused of several things that were asked for: it hides none of the others.
#[derive(Debug, Default)]
pub(crate) struct Refused(Vec<String>);

impl Refused {
    /// The answer, or nothing where the server refused it.
    pub(crate) fn but<T>(&mut self, asked: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match asked {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Refused(message)) => {
                self.0.push(message);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each is told, the last of them as what the command came to.
    pub(crate) fn outcome(mut self) -> Result<(), Failure> {
        let Some(last) = self.0.pop() else { return Ok(()) };
        for message in self.0 {
            output::note(&format!("error: {message}"));
        }
        Err(Failure::Refused(last))
    }
}
