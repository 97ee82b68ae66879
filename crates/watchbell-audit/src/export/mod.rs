//! Export of the audit trail: what an entry becomes elsewhere, and when it is sent. Nothing here touches a file, a socket or
//! a clock; `watchbell-server` does that around it.
//!
//! ```text
//!  entry ──▶ ecs ──┬──▶ a line of a file (rotation says when the next file begins)
//!                  ├──▶ bulk ─┐  bodies, and what the answers mean
//!                  └──▶ otlp ─┤
//!                             ▼
//!                         shipper   what to do next: read, send, wait, bury, note how far it came (cursor)
//! ```

pub mod backoff;
pub mod bulk;
pub mod cursor;
pub mod ecs;
mod entry;
pub mod fields;
mod logs;
pub mod otlp;
pub mod rotation;
pub mod shipper;
pub mod template;

pub use entry::{Entry, EpochId, epoch_of, hex, place_of};
pub use logs::{LogPlace, Logs};
