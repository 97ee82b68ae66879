//! The sandbox without a server: the spawner, asked by this process. The driver is that of the sandbox's own bench.

use std::path::Path;

use super::Took;
use crate::stand::parts_of;

#[path = "../../../watchbell-sandbox/benches/start/sandbox.rs"]
mod sandbox;

/// What the driver fills in; a part of it is of use here.
#[expect(dead_code, reason = "the sandbox's own bench prints the others")]
pub(crate) struct Batch {
    count: usize,
    wall_ms: f64,
    cpu_ms: f64,
    machine_ms: f64,
    to_exec: Vec<f64>,
    to_end: Vec<f64>,
    note: String,
}

pub(crate) struct Alone {
    sandbox: sandbox::Sandbox,
    dir: tempfile::TempDir,
}

impl Alone {
    pub(crate) fn launch(program: &Path) -> Alone {
        let dir = tempfile::tempdir().unwrap();
        Alone { sandbox: sandbox::Sandbox::launch(dir.path(), program), dir }
    }

    /// The spawner and the keeper.
    pub(crate) fn pids(&self) -> Vec<u32> {
        parts_of(self.dir.path()).into_iter().map(|(_, pid)| pid).collect()
    }

    pub(crate) fn run(&mut self, count: usize, at_once: usize) -> Took {
        let batch = self.sandbox.run(count, at_once);
        Took { wall_ms: Some(batch.wall_ms), cpu_ms: batch.cpu_ms }
    }
}
