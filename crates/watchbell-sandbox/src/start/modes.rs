//! The modes of files that the spawner makes for tasks.

use rustix::fs::Mode;

/// While it lives, files get the modes that are asked for: the spawner's own umask is for its own files.
pub(super) struct ExactModes(Mode);

impl ExactModes {
    pub(super) fn begin() -> Self {
        Self(rustix::process::umask(Mode::empty()))
    }
}

impl Drop for ExactModes {
    fn drop(&mut self) {
        rustix::process::umask(self.0);
    }
}
