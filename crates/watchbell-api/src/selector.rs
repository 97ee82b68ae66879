//! Label selectors (equality and set-based) and the field selectors that Kubernetes supports for each kind.
//!
//! ```text
//!   app=web,tier in (a, b),!canary   ──Labels::parse──▶ every requirement must hold
//!   status.phase!=Running            ──Fields::parse──▶ every term must hold
//! ```

mod fields;
mod labels;
mod lexer;
#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use labels::Labels;

/// The longest selector that is read. A URL holds far less; a body (`deletecollection`) could hold more.
const LENGTH_MAX: usize = 64 * 1024;
