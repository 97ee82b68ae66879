//! What an expression may use up.
//!
//! The cost is cel-go's measure and Kubernetes' limit. It leaves out what the size of a value hides: comparing two large
//! objects costs 1 there, joining two lists too. So each elementary step that is not paid for counts as work, and each byte
//! that is made counts as memory; both have a limit of their own, far above what a sensible expression needs.

use crate::error::EvalError;

/// What one evaluation of one expression may cost. Source: `PerCallLimit` of Kubernetes' `apiserver/pkg/apis/cel`.
pub const EXPRESSION_COST_MAX: u64 = 1_000_000;

/// Elementary steps (a character looked at, an element compared or copied) that the cost does not count: of one expression.
const WORK_MAX: u64 = 5_000_000;
/// Bytes of the values made, whether they are still there or not: of one expression.
const MEMORY_MAX: u64 = 16 << 20;
/// All expressions of an evaluator together have as many times that; the cost of a policy is bounded likewise.
const TOGETHER: u64 = 10;

/// How deep evaluations lie in each other, those of variables included.
pub(crate) const DEPTH_MAX: usize = 300;

/// What the expressions of an evaluator have used up.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    cost: u64,
    cost_max: u64,
    work: Spent,
    memory: Spent,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    expression: u64,
    together: u64,
}

impl Spent {
    fn add(&mut self, amount: usize, max: u64) -> bool {
        self.expression = self.expression.saturating_add(amount as u64);
        self.together = self.together.saturating_add(amount as u64);
        self.expression <= max && self.together <= max * TOGETHER
    }
}

impl Budget {
    /// Of expressions each of which may cost `cost_max`.
    pub fn new(cost_max: u64) -> Budget {
        Budget { cost_max, ..Budget::default() }
    }

    /// What the expression at hand has cost.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The next expression begins.
    pub(crate) fn begin(&mut self) {
        self.cost = 0;
        self.work.expression = 0;
        self.memory.expression = 0;
    }

    /// Counts the cost of another expression apart; gives what stood there before.
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
        match self.work.add(steps, WORK_MAX) {
            true => Ok(()),
            false => Err(EvalError::Cancelled("the expression compares or copies too much")),
        }
    }

    /// To be asked before the bytes are taken.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<(), EvalError> {
        match self.memory.add(bytes, MEMORY_MAX) {
            true => Ok(()),
            false => Err(EvalError::Cancelled("the expression makes values that are too large")),
        }
    }
}
