//! How the processes talk: frames on a stream socket, descriptors beside them.
//!
//! ```text
//!  server ── Request ──▶ spawner ── Order ──▶ keeper
//!  server ◀── Reply ──── spawner ◀── Notice ─ keeper
//!  server ◀─ SessionReply ─ spawner                     a socket a session
//!                           spawner ── gate::Order ──▶ gate
//!                           spawner ◀─ gate::Notice ── gate
//! ```
//!
//! A frame is its length and its number of descriptors (u32, little endian, each), then a message in postcard's form.
//! Descriptors travel no later than the first byte of their frame and in its order. Many frames share one system call.

mod frame;
mod message;
#[cfg(test)]
pub(crate) mod tests;

pub use frame::{Filled, Frame, Inbox, Outbox, WireError};
pub use message::decode;
pub(crate) use message::{
    BOUNDS_SINCE, CHANGING_SINCE, DOORS_SINCE, EXEC_SINCE, EXTRAS_SINCE, GATE_LOST_SINCE, Hello, IMAGE_SINCE,
    LAYERED_SINCE, MAPPED_SINCE, MEMORY_SINCE, MemoryReply, Notice, OLDEST, Order, POD_BYTES_MAX, Part,
    Reply, Request, SessionAsk, SessionReply, Settings, TROUBLE_SINCE, UpperReply, VERSION, Welcome,
    blank_pod,
};
