//! The log of a process that runs on: lines on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

/// A line that cannot be written, to a disk that is full or to a reader that went away, is dropped. No process may end for it: by
/// itself the subscriber tells of it on standard error too, which then panics, and with the spawner all tasks would end.
pub(crate) fn to_stderr(
    filter: EnvFilter,
    is_coloured: bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_coloured)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .try_init()
}
