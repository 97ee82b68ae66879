//! The Common Expression Language as Kubernetes' admission policies use it, with every cost bounded.
//!
//! ```text
//!   text ── parser ──▶ Tree ── check (types, functions) ──▶ Program ── eval (Host, Budget) ──▶ Value, cost
//!            │                   │                                        │
//!            nesting, size       one table of functions                   cost, work and memory
//! ```
//!
//! An expression is foreign: whoever may write a policy hands it to the one task that changes anything here. So nothing in it
//! is unbounded: its length and nesting while it is read, its cost while it runs (counted as cel-go counts it, so that what
//! runs in a cluster runs here), and what cel-go's measure does not see (deep comparisons, joined lists, long texts) by a
//! second measure of work and one of memory.
//!
//! What is not in the table of functions does not compile: no function is ever passed over in silence.
//!
//! Sources: the language definition of CEL, cel-go (operators, macros, extension libraries, cost) and Kubernetes'
//! `apiserver/pkg/cel` (libraries, cost, limits).

mod budget;
mod check;
mod error;
mod eval;
mod functions;
mod lexer;
mod parser;
mod source;
mod tree;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use budget::{Allowance, EXPRESSION_COST_MAX};
pub use check::{Declarations, PATTERN_BYTES_MAX, Program, compile, compile_within};
pub use error::{CompileError, EvalError, Limit};
pub use eval::{Evaluation, Evaluator, Host, Verdict};
pub use functions::authorizer::{Check, Subject};
pub use functions::names as function_names;
pub use parser::{EXPRESSION_LENGTH_MAX, NESTING_MAX, is_identifier};
pub use types::{ObjectType, Type};
pub use value::{Authorizer, List, Map, Opaque, Text, Value};
