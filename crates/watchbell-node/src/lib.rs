//! Runs the pods that the server assigns to this machine.
//!
//! ```text
//!  Command ──▶ agent ── image by digest ── volumes ── RunSpec ──▶ spawner ──▶ container
//!  Report  ◀── agent ◀─────────────────── Event ────────────────────┘           │
//!  LogQuery ──▶ logs ◀── data dir/logs ◀── keeper ◀── stdout, stderr ────────────┘
//! ```
//!
//! What happens next to a pod is decided in `watchbell_core::pod`; this crate carries it out. It starts nothing whose
//! image it did not verify by digest.

mod capacity;
mod error;
mod options;

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use watchbell_api::node::{Command, Images, LogSource, Lookup, Report};

pub use capacity::capacity;
pub use error::Error;
pub use options::{LogLimits, NodeOptions};

/// The running node. It ends when the sender of its commands is gone; containers go on without it.
pub struct Node {
    logs: Arc<dyn LogSource>,
    images: Arc<dyn Images>,
}

impl Node {
    /// Takes over what still runs and begins to follow commands. `report` is called from the node's own thread.
    pub fn start(
        options: NodeOptions,
        lookup: Lookup,
        commands: Receiver<Command>,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Node, Error> {
        let _ = (options, lookup, commands, report);
        unimplemented!("bodies follow")
    }

    pub fn logs(&self) -> Arc<dyn LogSource> {
        self.logs.clone()
    }

    pub fn images(&self) -> Arc<dyn Images> {
        self.images.clone()
    }

    /// Waits until the node has ended, after its last command.
    pub fn join(self) {
        unimplemented!("bodies follow")
    }
}
