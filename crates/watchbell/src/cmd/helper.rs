//! `watchbell spawner …`, `watchbell keeper …` and `watchbell tracer …`: the processes that the sandbox starts from this program. Nobody types
//! them, so they are in no help.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// Runs a helper of the sandbox when this process is one.
pub(crate) fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let run = match arguments.next()?.to_str()? {
        "spawner" => watchbell_sandbox::spawner_main,
        "keeper" => watchbell_sandbox::keeper_main,
        "tracer" => watchbell_sandbox::tracer_main,
        _ => return None,
    };
    // Standard error is `run/spawner.log` in the data directory.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    Some(run(arguments))
}
