//! The keeper process: `<exe> keeper …`. Reads what tasks print and writes it to their logs, without privileges.
//!
//! ```text
//!  spawner ── Watch(target, 2 pipes) · Finish ──▶ keeper ── CRI lines ──▶ <log dir>/<path>, .1, .2 …
//!          ◀── Complete(summary) ───────────────
//! ```
//!
//! What the disk refuses is counted as dropped and told, never waited for. One turn reads at most 64 KiB of each stream, so
//! that a flood of one task does not starve the others; and who prints faster than its rate waits at its own pipe.

mod bucket;
mod confine;
mod cri;
mod event_loop;
mod log_file;
#[cfg(test)]
mod tests;
mod viewer;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use confine::{KeeperArgs, confine_in};
pub(crate) use cri::{Records, Stamp, Stream, StreamName};
pub(crate) use log_file::LogFile;

/// Runs the keeper until the spawner is gone and every pipe is read to its end. `args` are those after the word
/// `keeper`; the caller has directed `tracing` to standard error.
pub fn keeper_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let run = || {
        let args = KeeperArgs::parse(args)?;
        let (root, socket) = confine::confine(&args)?;
        event_loop::Keeper::new(root, socket, args.log_rate)?.run()
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the keeper ends: {error}");
            ExitCode::FAILURE
        }
    }
}
