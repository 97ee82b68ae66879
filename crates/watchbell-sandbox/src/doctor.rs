//! What a host offers, and whether it keeps what Watchbell promises.
//!
//! ```text
//!  host ── probe (tries each thing in a child, start/probe.rs) ──▶ Facts ── judge (pure) ──▶ Report: a check a line
//! ```
//!
//! The spawner does not start where a check that is required fails; `watchbell doctor` shows all of them beforehand.

mod facts;
mod judge;

pub use facts::{
    Caller, CgroupVersion, ControlGroups, DeviceSpecs, Facts, Feature, Listen, Outcome, Runtime, Storage,
};
pub use judge::{Check, Report, Verdict, judge};

pub use crate::start::probe;
