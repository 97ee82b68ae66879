//! The sandbox without a server: the spawner, asked by this process. The driver is that of the sandbox's own bench.

use std::path::Path;

use super::Took;
use crate::stand::parts_of;

#[path = "../../../watchbell-sandbox/benches/start/sandbox.rs"]
#[expect(dead_code, reason = "the sandbox's own bench prints more of a batch")]
mod sandbox;

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
