//! The durable journal: what the control plane knows, and who asked for what, in one SQLite file.
//!
//! ```text
//!  writing task ── Batch{puts, deletes, audit} ──▶ Store::commit ── one transaction, one fsync ──▶ answer
//!                                                      │
//!  DIR/                                                ▼
//!   ├ lock           flock, holds the pid      journal.db + journal.db-wal
//!   ├ secrets.key    32 bytes, mode 0600         object      one row an object: its head (all but the status)
//!   ├ bodies.key     the same, outside backups
//!   ├ arrays.key     the same, outside backups
//!   ├ audit.key      the same                    status      the object's status, so that a status write is small
//!   ├ reserve        room for deletes when       array_pod   (job, index, attempt): about a hundred bytes
//!   │                the disk is full            audit       append only, contiguous, held so by triggers
//!   ├ backups/       made before a migration     epoch       one row a life of the log: a restore starts the next
//!   │                and of what a restore       closed_log  how the audit logs of earlier epochs ended
//!   │                replaced                    journal     last resource version, boots, key check; the audit log's
//!   └ audit/         the audit log's files                   head: its tree's right edge and the signed checkpoint
//!
//!  start ── Store::open ──▶ OpenReport ── load_objects, load_array_pods ──▶ state in memory (a scan, no log to re-run)
//!  idle  ── Store::checkpoint, or Maintenance::checkpoint and ::backup on a thread of their own
//!  export ── AuditReader::read by sequence number, on threads of their own, behind the writer
//!  behind the commits ── Publisher::publish, on a thread of its own: audit rows ──▶ tiles, then the checkpoint
//! ```
//!
//! The store knows nothing of Kubernetes: rows have names and opaque bytes. It is synchronous; one thread owns it.
//!
//! # What holds
//! - **All or nothing**: a batch is one transaction; after a crash each batch is there whole or not at all.
//! - **Durable on return**: when [`Store::commit`] returns `Ok`, the batch survives a power cut (WAL, `synchronous=FULL`).
//! - **A failed sync is never retried**: after [`Error::Fatal`] the process must end and replay, because the kernel may have
//!   dropped the dirty pages and a second fsync would report a success that never was. The store refuses all further work, and
//!   the next open writes the WAL anew before it replays it.
//! - **The audit sequence is contiguous and is never changed**; SQLite itself refuses it, whoever opens the file.
//! - **Change, audit entry and signed tree head are one transaction** (C2SP tlog-checkpoint; see `watchbell-audit`): the files
//!   below `audit/` are a copy, written behind. A restore closes the log and begins the next; nothing is ever taken back.
//! - **Secrets are sealed from the first commit**, with the row's name as associated data, so that a blob moved to another
//!   row does not open. Not covered: someone who can write the file can put back an older blob of the *same* row.
//!
//! # Format versions
//! `PRAGMA application_id` says whose file it is, `PRAGMA user_version` which format ([`FORMAT_VERSION`]).
//!
//! | | meets an older file | meets a newer file |
//! |---|---|---|
//! | **new program** | copies it to `DIR/backups/`, then migrates it step by step in one transaction | |
//! | **old program** | | refuses with [`Error::NewerFormat`] and touches nothing; the way back is `restore` of the copy |
//!
//! There is no reading of an older format in place and no writing of one: after a migration the old program needs the copy.
//! The blobs inside rows carry their own versions, which are the caller's business; a caller whose old versions cannot read
//! the new blobs raises the format version here with a step that changes nothing else.

mod array_key;
mod audit_reader;
mod backup;
mod batch;
mod body_key;
mod commit;
mod connection;
mod directory;
mod error;
mod format;
mod log;
mod log_reader;
mod maintenance;
mod open;
mod publisher;
mod replay;
mod reserve;
mod restore;
mod seal;
mod store;

pub use watchbell_audit::{BodyKey, BodyMatch};

pub use audit_reader::{AuditNews, AuditReader, Until};
pub use backup::BackupReport;
pub use batch::{
    AuditEntry, Batch, InvalidBatch, MAX_AUDIT_BODY_BYTES, MAX_BLOB_BYTES, MAX_NAME_BYTES,
    MAX_RESOURCE_VERSION, Put, RowKey, Seal,
};
pub use error::Error;
pub use format::FORMAT_VERSION;
pub use log_reader::{LogHeads, LogReader};
pub use maintenance::Maintenance;
pub use open::{Boot, Epoch, OpenReport};
pub use publisher::Publisher;
pub use replay::{ArrayPodRow, AuditRow, ObjectRow};
pub use reserve::ReserveState;
pub use restore::{Kept, RestoreReport};
pub use store::{CheckpointReport, Committed, Options, Size, Store};
