//! The audit trail as a transparency log: what was asked of the server and what became of each run, in an order that
//! cannot be changed afterwards without showing.
//!
//! ```text
//!  entries (JSON) ── leaf hashes ── Edge ── root ── checkpoint, signed     C2SP tlog-checkpoint, signed-note
//!     │                  │
//!     ▼                  ▼
//!  tile/entries/…     tile/0/…, tile/1/…                                   C2SP tlog-tiles
//! ```
//!
//! Hashing is that of RFC 6962, section 2.1, with SHA-256.

mod edge;
pub mod export;
mod hash;

pub use edge::Edge;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
