//! The audit trail as a transparency log: what was asked of the server and what became of each run, in an order that
//! cannot be changed afterwards without showing.
//!
//! ```text
//!  the journal's commit                          beside it, behind it                      whoever checks
//!  entries (JSON) ── leaf hashes ── Edge ──▶ root ──▶ Checkpoint, signed ─────────────▶ Note, VerifierKey
//!     │                                          │   (tlog-checkpoint, signed-note)        (tlog-cosignature)
//!     └── the journal's rows ──▶ LogWriter ──────┘
//!                                  │   tile/entries/…  tile/0/…  tile/1/…  checkpoint    (tlog-tiles)
//!                                  ▼
//!                               DIR/audit ──▶ Log: entries, TlogProof (tlog-proof), Growth (tlog-witness)
//!                                         └─▶ verify: every file, every entry, every hash
//! ```
//!
//! The formats are C2SP's, the hashing is that of RFC 6962, section 2.1, with SHA-256: other programs read and check all of it.
//! The crate has no clock; it reads and writes the files of a log and knows nothing of the journal that they copy.

mod body;
mod checkpoint;
mod edge;
mod error;
pub mod export;
mod growth;
mod hash;
mod note;
mod place;
mod proof;
mod reader;
mod tile;
mod tlog_proof;
mod verify;
mod writer;

pub use body::{BODY_KEY_BYTES, BodyKey, BodyMatch};
pub use checkpoint::{Checkpoint, decode, encode};
pub use edge::Edge;
pub use error::Error;
pub use growth::Growth;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
pub use note::{MAX_NOTE_BYTES, Note, NoteError, Signature, SignatureKind, SigningKey, VerifierKey};
pub use proof::{includes, is_consistent};
pub use reader::{Log, add_witnessed};
pub use tile::{MAX_ENTRY_BYTES, TILE_WIDTH, Tile, TileKind};
pub use tlog_proof::TlogProof;
pub use verify::{Damage, Journal, JournalLog, JournalRow, Listing, Trust, Verified, VerifiedLog, verify};
pub use writer::LogWriter;
