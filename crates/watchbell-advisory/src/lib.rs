//! What is known to be wrong with which version of which package: advisories read from their publishers' files, kept in one
//! index, and asked by package.

mod ecosystem;

pub use ecosystem::{Ecosystem, Query};
