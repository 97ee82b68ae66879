//! What an expression may use up.
//!
//! The cost is cel-go's measure and Kubernetes' limit. It leaves out what the size of a value hides: comparing two large
//! objects costs 1 there, joining two lists too. So each elementary step that is not paid for counts as work, and each byte
//! that is made counts as memory; both have a limit of their own, far above what a sensible expression needs.

use crate::error::EvalError;

/// What one evaluation of one expression may cost. Source: `PerCallLimit` of Kubernetes' `apiserver/pkg/apis/cel`.
pub const EXPRESSION_COST_MAX: u64 = 1_000_000;

/// Elementary steps (a character looked at, an element compared or copied) that the cost does not count.
const WORK_MAX: u64 = 5_000_000;
/// Bytes of the values made, whether they are still there or not.
const MEMORY_MAX: u64 = 16 << 20;
/// How deep evaluations lie in each other, those of variables included.
pub(crate) const DEPTH_MAX: usize = 300;

/// What is left to an evaluator: cost of the expression at hand, work and memory of all its expressions together.
#[derive(Debug, Clone)]
pub struct Budget {
    cost: u64,
    cost_max: u64,
    work: u64,
    memory: u64,
}

impl Budget {
    /// Of an expression that may cost `cost_max`.
    pub fn new(cost_max: u64) -> Budget {
        Budget { cost: 0, cost_max, work: 0, memory: 0 }
    }

    /// What the expression at hand has cost.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Begins with the next expression; gives what stood there before.
    pub(crate) fn exchange_cost(&mut self, cost: u64) -> u64 {
        std::mem::replace(&mut self.cost, cost)
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        match self.cost <= self.cost_max {
            true => Ok(()),
            false => Err(EvalError::Cancelled("actual cost limit exceeded")),
        }
    }

    pub(crate) fn work(&mut self, steps: usize) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(steps as u64);
        match self.work <= WORK_MAX {
            true => Ok(()),
            false => Err(EvalError::Cancelled("the expression compares or copies too much")),
        }
    }

    /// To be asked before the bytes are taken.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.memory = self.memory.saturating_add(bytes as u64);
        match self.memory <= MEMORY_MAX {
            true => Ok(()),
            false => Err(EvalError::Cancelled("the expression makes values that are too large")),
        }
    }
}
