//! What an expression may use up.
//!
//! The cost is cel-go's measure and Kubernetes' limit. It leaves out what the size of a value hides: comparing two large
//! objects costs 1 there, joining two lists too. So each elementary step that is not paid for counts as work, and each byte
//! that is made counts as memory; both have a limit of their own, far above what a sensible expression needs.

use crate::error::{EvalError, Limit};

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

/// Work and bytes that several evaluators share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub work: u64,
    pub memory: u64,
}

impl Allowance {
    /// What all expressions of one evaluator may use up, so many times.
    pub fn evaluators(count: u64) -> Allowance {
        Allowance { work: WORK_MAX * TOGETHER * count, memory: MEMORY_MAX * TOGETHER * count }
    }
}

/// What the expressions of an evaluator have used up.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    cost: u64,
    cost_max: u64,
    work: Spent,
    memory: Spent,
}

#[derive(Debug, Clone, Copy)]
struct Spent {
    expression: u64,
    expression_max: u64,
    together: u64,
    together_max: u64,
    /// What is left of what is shared with other evaluators.
    shared: u64,
}

impl Spent {
    fn new(expression_max: u64, shared: u64) -> Spent {
        let together_max = expression_max * TOGETHER;
        Spent { expression: 0, expression_max, together: 0, together_max, shared }
    }

    fn add(&mut self, amount: usize) -> bool {
        self.expression = self.expression.saturating_add(amount as u64);
        self.together = self.together.saturating_add(amount as u64);
        self.expression <= self.expression_max && self.together <= self.together_max.min(self.shared)
    }
}

impl Budget {
    /// Of expressions each of which may cost `cost_max`.
    pub(crate) fn new(cost_max: u64, shared: Allowance) -> Budget {
        Budget {
            cost: 0,
            cost_max,
            work: Spent::new(WORK_MAX, shared.work),
            memory: Spent::new(MEMORY_MAX, shared.memory),
        }
    }

    /// What is left of what is shared.
    pub(crate) fn left(&self) -> Allowance {
        Allowance {
            work: self.work.shared.saturating_sub(self.work.together),
            memory: self.memory.shared.saturating_sub(self.memory.together),
        }
    }

    /// What the expression at hand has cost.
    pub(crate) fn cost(&self) -> u64 {
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
            false => Err(EvalError::Cancelled(Limit::Cost)),
        }
    }

    pub(crate) fn work(&mut self, steps: usize) -> Result<(), EvalError> {
        match self.work.add(steps) {
            true => Ok(()),
            false => Err(EvalError::own("the expression compares or copies too much")),
        }
    }

    /// To be asked before the bytes are taken.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<(), EvalError> {
        match self.memory.add(bytes) {
            true => Ok(()),
            false => Err(EvalError::own("the expression makes values that are too large")),
        }
    }
}
