//! Data arrays: the words that users write, and what the server and the node say to each other about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Uid;

/// Of a pod template: which arrays its pods use, one use or a list. `watchbell_zarr::uses` reads it.
pub const ARRAY: &str = "watchbell.dev/array";
/// Of a Job, with the value `auto`: its completions follow the plan.
pub const ARRAY_COMPLETIONS: &str = "watchbell.dev/array-completions";
/// Of a Job: the CronJob from which the Job that looks at the draft is made.
pub const ARRAY_GATE: &str = "watchbell.dev/array-gate";

/// Reasons why a run does not publish; they become the Job's.
pub const ARRAY_CONFLICT: &str = "ArrayConflict";
pub const ARRAY_COMMIT_FAILED: &str = "ArrayCommitFailed";
pub const ARRAY_GATE_FAILED: &str = "ArrayGateFailed";

/// Documents of one array that the node tells the server; of a larger hierarchy the node alone makes the plan.
pub const ARRAY_DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// For what a pod uses arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayRun {
    /// Whose draft it is: the first Job of a chain of reruns; of a pod alone its own uid.
    pub run: Uid,
    pub job: Uid,
    pub job_name: Arc<str>,
    /// As many indices commit before the run is published. Of a rerun it is still the whole array's.
    pub completions: u32,
    /// Who made the Job, or its CronJob.
    pub user: Arc<str>,
    /// Of a gate: it reads the draft of that run, and writes nothing.
    pub draft_of: Option<Uid>,
}

/// What an object asks of its store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataArraySpec {
    /// Bytes of all objects; nothing without a bound.
    pub quota_bytes: Option<u64>,
    /// Nothing: all snapshots are kept.
    pub retention: Option<ArrayRetention>,
    /// The name of the key that it is encrypted with.
    pub key: Option<Arc<str>>,
    /// Files of any kind, and no Zarr hierarchy; nothing: whatever the store holds, and a new one holds a hierarchy.
    pub is_artifacts: Option<bool>,
}

/// Whether a key of arrays may be called so. It stands in the store.
pub fn is_key_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| is_plain(b) || matches!(b, b'-' | b'_' | b'.'))
        && name.bytes().next().is_some_and(is_plain)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArrayRetention {
    pub keep_last: u32,
    pub keep_daily: u32,
    pub keep_weekly: u32,
}

/// What is known of an array's store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArrayFacts {
    /// `zarr v3`, `zarr v2`, `artifacts`; `encrypted` where the key is not known; empty before the first snapshot.
    pub format: Arc<str>,
    /// The digest of the snapshot that readers see.
    pub head: Option<Arc<str>>,
    /// When that was made; Unix seconds.
    pub head_at: Option<i64>,
    /// `zarr.json` and the like of the head, by key. None where they are more than [`ARRAY_DOCUMENT_BYTES_MAX`].
    pub documents: Option<Arc<BTreeMap<String, Vec<u8>>>>,
    /// How many snapshots there are, without those whose content was swept.
    pub snapshots: u64,
    /// Bytes and keys of the head.
    pub bytes: u64,
    pub keys: u64,
    /// A line for each node of the head's hierarchy, bounded: `/t float32 [24, 180, 360] in chunks of [1, 180, 360]`.
    pub nodes: Vec<Box<str>>,
    pub quota_bytes: Option<u64>,
    pub tags: BTreeMap<Box<str>, Box<str>>,
    /// Runs that have drafts, or keep a snapshot.
    pub drafts: Vec<Uid>,
    /// How many have drafts.
    pub draft_runs: u64,
    /// Who made the head: `ml/train` with a uid, or what was imported without one.
    pub published_by: Option<(Box<str>, Option<Uid>)>,
    /// When it is encrypted.
    pub encryption: Option<ArrayEncryption>,
    /// The public key by which the server signs the heads that it moves.
    pub signing_key: Option<Arc<str>>,
    /// Of a head, where there is such a key.
    pub signature: HeadSignature,
}

/// By whom a head is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HeadSignature {
    #[default]
    Unsigned,
    Server,
    /// Not by the server's key, with what is wrong with the signature.
    Other(Box<str>),
}

/// Of an encrypted store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArrayEncryption {
    /// The name of the key that it was made with; nothing of one that the command line made.
    pub key: Option<Arc<str>>,
    /// How often the head moved.
    pub head_number: u64,
    /// Whether it was read without its key: nobody has authenticated what is told of it.
    pub is_locked: bool,
}

/// A snapshot that a run published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedArray {
    pub name: Box<str>,
    pub snapshot: Box<str>,
    /// On which it lies.
    pub base: Box<str>,
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
}

/// Why a run was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayRefusal {
    /// [`ARRAY_CONFLICT`] or [`ARRAY_COMMIT_FAILED`].
    pub reason: &'static str,
    pub message: Box<str>,
    /// Arrays of the run that were published before that was found.
    pub published: Vec<PublishedArray>,
}

/// What became of a rollback: the digests of the head before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    pub before: Box<str>,
    pub after: Box<str>,
}
