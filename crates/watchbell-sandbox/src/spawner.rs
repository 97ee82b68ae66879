//! The spawner process: `<exe> spawner …`. One thread, one event loop.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the spawner until it has neither task nor server. `args` are those after the word `spawner`, as
/// [`Spawner::connect_or_start`](crate::Spawner::connect_or_start) writes them; the caller has directed `tracing` to
/// standard error, which is the spawner's log.
pub fn spawner_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    drop(args);
    ExitCode::FAILURE
}
