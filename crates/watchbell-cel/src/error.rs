//! Why an expression is not taken, and why one came to no value.

use crate::source;

/// An expression that cannot be run: what is wrong with it, at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    pub(crate) issues: Vec<Issue>,
    pub(crate) text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    pub offset: usize,
    pub message: String,
}

/// As cel-go words it: one `ERROR:` an issue, with the line and the place in it.
impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, issue) in self.issues.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&source::show(&self.text, issue.offset, &issue.message))?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileError {}

/// Why an evaluation has no value. Worded as cel-go words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Of the values: another part of the expression may make up for it (`false && …`).
    #[error("{0}")]
    Failed(Box<str>),
    /// A bound was reached: nothing makes up for it.
    #[error("operation cancelled: {0}")]
    Cancelled(Limit),
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Kubernetes' own: the same expression comes to no value in a cluster.
    #[error("actual cost limit exceeded")]
    Cost,
    /// One that a cluster does not have.
    #[error("{0}")]
    Own(&'static str),
}

/// How much of a key is shown.
const SHOWN_MAX: usize = 256;
/// How long an error may come to, which variables that need each other add to.
const MESSAGE_MAX: usize = 4 << 10;

impl EvalError {
    pub(crate) fn failed(why: impl Into<Box<str>>) -> EvalError {
        let why = why.into();
        match why.len() <= MESSAGE_MAX {
            true => EvalError::Failed(why),
            false => EvalError::Failed(why[..why.floor_char_boundary(MESSAGE_MAX)].into()),
        }
    }

    pub(crate) fn own(limit: &'static str) -> EvalError {
        EvalError::Cancelled(Limit::Own(limit))
    }

    pub(crate) fn no_overload() -> EvalError {
        EvalError::failed("no such overload")
    }

    pub(crate) fn no_key(key: &str) -> EvalError {
        EvalError::failed(format!("no such key: {}", shown(key)))
    }

    pub(crate) fn key_exists(key: &str) -> EvalError {
        EvalError::failed(format!("insert failed: key {} already exists", shown(key)))
    }
}

fn shown(key: &str) -> &str {
    &key[..key.floor_char_boundary(SHOWN_MAX)]
}
