//! The store of one data array: its chunks by content, its snapshots, and how a job array makes the next one.
//!
//! ```text
//!  <array>/objects/ab/…     chunks and documents by BLAKE3, read-only, shared by all snapshots
//!  <array>/objects/packs/…  the same, small ones that were written at once in one file
//!  <array>/manifests/…      key → object, size, who wrote it; one file a snapshot's content
//!  <array>/snapshots/…      a small record: parent, manifest, when, by whom
//!  <array>/refs/head        one line, replaced by rename: what readers see
//!  <array>/refs/next        there while several arrays get new heads at once
//!  <array>/../.publications/… one file a publication of several arrays: with it all their heads have moved
//!  <array>/refs/signatures/… signed notes of heads, where a signer was given
//!  <array>/refs/tags/…      names that keep a snapshot
//!  <array>/views/<boot>/…   a manifest as a directory of hard links: the lower of every index; of this boot, never synced
//!  <array>/published/…      an empty file for each run that published, by its uid
//!  <array>/unpacked/…       objects of packs as files that views link to; of this boot, never synced
//!  <array>/drafts/<run>/…   what the indices of a run have committed, and nobody sees yet
//!  <array>/leases/…         what a run or a reader still needs
//!  <array>/uploads/…        large objects of which an export has written parts to a bucket
//!
//!  upper of an attempt ──walk, judge, copy and hash──▶ drafts/<run>/objects, indices/<n>   (durable: the index is committed)
//!    (of several arrays: indices/<n>.due in each first)
//!  all indices ──▶ objects into place ──▶ manifest ──▶ snapshot ──▶ refs/head              (durable: the run is published)
//! ```
//!
//! Readers of `refs/head` see the old snapshot or the new one whole. What a file's name promises is on the disk before the
//! name is: content is synced before it is renamed, and the rename before the next step relies on it. Everything from an
//! upper directory or a foreign directory is hostile: it is opened without following links, and copied, never adopted.

mod cipher;
mod commit;
mod digest;
mod disk;
mod draft;
mod error;
mod export;
pub mod foreign;
mod import;
mod lease;
mod manifest;
mod mend;
mod meter;
mod object;
mod pack;
mod parallel;
mod publish;
mod refs;
mod retention;
mod s3;
mod secret_view;
mod snapshot;
mod store;
mod sweep;
mod together;
mod tree;
mod verify;
mod view;
mod walk;

pub use cipher::{KeptSource, Key, KeySource};
pub use commit::IndexCommit;
pub use digest::Digest;
pub use disk::{Disk, Step};
pub use draft::{Attempt, Committed, Completeness, Draft, Progress};
pub use error::{Error, Name};
pub use export::{Exported, export, export_to_bucket};
pub use import::{Import, Imported, OnMove, import};
pub use lease::{Lease, LeaseKind};
pub use manifest::{Entry, Manifest, Run, Writer};
pub use meter::Limits;
pub use publish::{Conflict, Publication};
pub use retention::{Kept, Retention, kept};
pub use s3::{Bucket, S3Config, S3Credentials};
pub use secret_view::Decrypted;
pub use snapshot::{Change, Snapshot};
pub use store::{Array, Kind, Signer, valid_name};
pub use sweep::{Swept, sweep};
pub use together::{Part, Refused, finish_publications, publish_together};
pub use tree::{Difference, difference};
pub use verify::{Damage, Verified, verify};
pub use walk::MAX_ENTRIES;
