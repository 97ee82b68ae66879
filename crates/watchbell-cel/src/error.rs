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
    Cancelled(&'static str),
}

impl EvalError {
    pub(crate) fn failed(why: impl Into<Box<str>>) -> EvalError {
        EvalError::Failed(why.into())
    }

    pub(crate) fn no_overload() -> EvalError {
        EvalError::failed("no such overload")
    }

    pub(crate) fn no_key(key: &str) -> EvalError {
        EvalError::failed(format!("no such key: {key}"))
    }
}
