//! How many values a document may have. A value of two bytes takes some hundred of them once it is read, so the length of a
//! body does not bound what becomes of it.

use std::cell::Cell;

/// So many values one request may have. The largest objects that are anybody's honest work have some thousand.
pub const NODES_MAX: usize = 100_000;

/// How many values may still be read.
#[derive(Debug)]
pub struct Nodes {
    left: Cell<usize>,
    max: usize,
}

/// There are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has more than {0} values: split it, or keep its data elsewhere")]
pub struct TooMany(pub usize);

impl Nodes {
    pub fn new(max: usize) -> Nodes {
        Nodes { left: Cell::new(max), max }
    }

    /// As many as a request may have.
    pub fn of_request() -> Nodes {
        Nodes::new(NODES_MAX)
    }

    pub(crate) fn take(&self, count: usize) -> Result<(), TooMany> {
        self.left.set(self.left.get().checked_sub(count).ok_or(TooMany(self.max))?);
        Ok(())
    }

    /// How many were read.
    pub fn taken(&self) -> usize {
        self.max - self.left.get()
    }
}
