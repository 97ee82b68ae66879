//! The spawner process: `<exe> spawner …`. One thread, one event loop.
//!
//! ```text
//!  client socket ─┐                        ┌─▶ table file (before any effect)
//!  status pipes ──┼─▶ Input ─▶ Machine ─▶ Effect ─▶ host: begin, kill, empty, release
//!  pidfds ────────┤          (pure)        ├─▶ keeper: watch, finish
//!  keeper socket ─┤                        ├─▶ gate: doors
//!  gate socket ───┘                        └─▶ client: events
//! ```

mod args;
mod ceiling;
mod client_link;
mod devices;
mod event_loop;
mod gate_link;
mod keeper_link;
mod live;
mod machine;
mod record;
mod sessions;
mod setup;
mod table_file;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use args::SpawnerArgs;
pub(crate) use ceiling::{Guard, shared_ceiling};
pub(crate) use setup::socket_address;

/// Runs the spawner until it has neither task nor server. `args` are those after the word `spawner`, as
/// [`Spawner::connect_or_start`](crate::Spawner::connect_or_start) writes them; the caller has directed `tracing` to
/// standard error, which is the spawner's log.
pub fn spawner_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match setup::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("the spawner ends: {reason}");
            ExitCode::FAILURE
        }
    }
}
