//! What docs/attacks.md lists, tried: a program in a container that asked for nothing, hostile images and manifests, and a
//! look at the host before and after. Needs root.
//!
//! ```text
//!   program/*.c ──cc──▶ image attack:1 ──Job──▶ its log ─┐
//!        └──▶ the same as root on the host (control) ────┴─▶ outcomes.txt: what is expected of each attempt
//! ```
//!
//! A refusal counts only beside a control run that got through: what this kernel does not have at all is said to be absent.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what was left out or absent is said")]

mod calls;
mod exhaust;
mod host;
mod profiles;
mod program;
mod requests;
mod runtimes;
#[path = "../e2e/stand.rs"]
#[expect(dead_code, reason = "what the other tests need of it")]
mod stand;
mod traps;
