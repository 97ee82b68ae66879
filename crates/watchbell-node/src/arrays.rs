//! Data arrays of pods: what a run reads and writes, made on threads of its own.
//!
//! ```text
//!  agent ── Work ──▶ threads ─┬─ prepare: draft, plan, view, lease ───────────▶ News::Prepared ──▶ agent
//!                             ├─ commit: spawner's upper, judged, into the draft ─▶ News::Committed ──▶ agent
//!                             ├─ publish, abandon, keep, remove, roll back ──▶ Report ──▶ server
//!                             └─ sweep, on a thread that yields to all others
//!  DIR/arrays ── inotify ──▶ facts of each array ───────────────────────────▶ Report::Array ──▶ server
//! ```
//!
//! A draft is held by one program at a time, and here by one `Held` for all pods of its run.

mod facts;
mod held;
mod memory;
mod queue;
mod stores;
mod watch;
mod work;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::Uid;
use watchbell_api::array::{ArrayRun, DataArraySpec};
use watchbell_api::node::Report;
use watchbell_zarr::{Plan, Use};

pub(crate) use facts::Teller;
#[cfg(test)]
pub(crate) use memory::MemoryView;
pub(crate) use memory::{MemoryDir, Room, View};
pub(crate) use queue::Arrays;
pub(crate) use stores::Stores;
pub(crate) use watch::watch;

/// Gives what a pod's containers wrote into a volume.
pub(crate) type Uppers = Arc<dyn Fn(Uid, u16) -> Result<OwnedFd, String> + Send + Sync>;
type Reports = Arc<dyn Fn(Report) + Send + Sync>;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// An answer carries the number.
    Prepare(u64, Wanted),
    Commit(Upper),
    Publish {
        namespace: Arc<str>,
        run: Arc<ArrayRun>,
        uses: Arc<Value>,
    },
    Abandon {
        namespace: Arc<str>,
        run: Uid,
    },
    Keep {
        namespace: Arc<str>,
        name: Arc<str>,
        spec: Arc<DataArraySpec>,
        head_number: u64,
        /// Where it is not there.
        make: bool,
    },
    Remove {
        namespace: Arc<str>,
        name: Arc<str>,
        /// They are over: what they keep goes first.
        runs: Arc<[Uid]>,
    },
    RollBack {
        namespace: Arc<str>,
        name: Arc<str>,
        to: Arc<str>,
        user: Arc<str>,
        /// Also one that this server did not sign.
        unsigned_ok: bool,
    },
    /// No pod of the run is here: let go of what is only held for speed.
    Rest {
        namespace: Arc<str>,
        run: Uid,
    },
}

/// What the pods of a run need before they start.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub namespace: Arc<str>,
    pub run: Arc<ArrayRun>,
    pub uses: Arc<[Use]>,
    /// The image that writes, by digest.
    pub image: Arc<str>,
    /// Of a pod that sees its own chunks alone: whose and which index.
    pub own: Option<(Uid, u32)>,
}

/// In the order of the uses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub arrays: Vec<PreparedArray>,
}

impl Prepared {
    /// Whether something of it goes with the connection to the spawner.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.arrays.iter().any(|array| matches!(array.view, View::Memory(_)))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PreparedArray {
    /// The digest of the snapshot that is read.
    pub snapshot: Arc<str>,
    /// What pods see: theirs is the lower of an overlay, or this alone.
    pub view: View,
    /// Of a use with a split.
    pub plan: Option<Arc<Plan>>,
}

/// What an index wrote, held by the spawner.
#[derive(Debug, Clone)]
pub(crate) struct Upper {
    pub pod: Uid,
    pub namespace: Arc<str>,
    pub run: Arc<ArrayRun>,
    pub uses: Arc<[Use]>,
    pub index: u32,
    pub attempt: u32,
    /// Of all its containers, which have the directory together.
    pub image: Arc<str>,
    /// The volume of the first use; the others follow it.
    pub first_volume: u16,
    /// Bytes that may be in it, for each use.
    pub bounds: Vec<u64>,
}

/// What the agent is told.
#[derive(Debug)]
pub(crate) enum News {
    Prepared(u64, Result<Arc<Prepared>, Trouble>),
    Committed(Uid, Result<Vec<Taken>, String>),
}

/// What of an index is in the draft now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub array: Arc<str>,
    /// Of the pod that wrote it: perhaps one before this.
    pub attempt: u32,
    pub keys: u64,
    pub bytes: u64,
}

/// Why a run has no arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something is missing, or failed: tried again.
    Passing(String),
    /// What was asked for cannot be: no pod of the run will ever start.
    Lasting(String),
    /// Somebody else has an array locked. The threads come back to it by themselves, and nobody is told.
    Busy { array: Arc<str>, why: String },
}
