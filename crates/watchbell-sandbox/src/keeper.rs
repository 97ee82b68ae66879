//! The keeper process: `<exe> keeper …`. Reads what tasks print and writes it to their logs, without privileges.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the keeper until the spawner is gone and every pipe is read to its end. `args` are those after the word
/// `keeper`; the caller has directed `tracing` to standard error.
pub fn keeper_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    drop(args);
    ExitCode::FAILURE
}
