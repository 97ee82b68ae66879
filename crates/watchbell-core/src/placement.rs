//! Which waiting pod starts next on this one machine, and why the others wait.
//!
//! ```text
//!   push ──▶ levels by priority, highest first
//!              └─ namespaces, lowest dominant share first
//!                   └─ pods that ask for the same, oldest first ── pop ───▶ running ── remove ──▶ room again
//! ```
//!
//! * Priority comes first. Within one priority the namespace goes first whose dominant share (the largest part that its
//!   running pods take of any resource) is lowest; within a namespace the oldest pod.
//! * What does not fit is passed over, so that the machine is used; but the pod that waits longest only
//!   [`OVERTAKES_MAX`] times, by whichever namespace. Then room is kept for it: nothing of its priority or below starts
//!   until it does. Higher priorities still go first.
//! * Where pods find no room and pods of a lower priority run, those are named that must end for them
//!   ([`Queue::preempt`]), and room is kept until they start. One for which nobody may end or nobody's end is enough is
//!   passed over, and overtaken like any other.
//! * Devices are counted like any other resource, and leased one by one: no two pods ever hold the same.
//! * A pod that could not even have the empty machine is set aside with its reason.

mod demand;
mod devices;
mod line;
mod preempt;
mod queue;
mod reason;
mod taint;

#[cfg(test)]
mod tests;

pub use demand::Demand;
pub use devices::{KINDS_MAX, Pools};
pub use queue::{OVERTAKES_MAX, Preemption, Queue, Waiting};
pub use taint::Taint;
