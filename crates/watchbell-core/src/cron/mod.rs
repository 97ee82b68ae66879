//! When a schedule fires: Kubernetes' cron dialect, in a time zone, without a clock.
//!
//! ```text
//!   "30 2 * * 1-5" ──parse──▶ Schedule ─────────┐ bit sets, 32 bytes, Copy
//!   "America/New_York" ──time_zone──▶ TimeZone ─┼─▶ next_after · prev_at_or_before · matches · explain
//!                                  an instant ──┘
//! ```
//!
//! The dialect is what Kubernetes' parser (robfig/cron v3, `ParseStandard`) accepts: five fields or a descriptor. A
//! schedule's slots are the instants whose wall clock in the zone matches all fields, with second 0. So a wall time that
//! a clock change leaves out has no slot, and one that it repeats has two. `@every` has no wall clock: its slots are
//! counted from the last one.
//!
//! A search never steps through time: it jumps field by field in the civil calendar and from one change of the zone's
//! offset to the next, so its cost does not grow with the distance to the slot.

mod calendar;
mod every;
mod explain;
mod fields;
mod parse;
mod schedule;
mod search;
mod zone;

#[cfg(test)]
mod tests;

pub use every::DurationError;
pub use explain::{ClockChange, Effect, Explanation, Pass, Slot, explain};
pub use parse::{Field, FieldError, ParseError};
pub use schedule::Schedule;
pub use zone::{TimeZoneError, time_zone};
