//! `watchbell spawner …`, `watchbell keeper …`, `watchbell tracer …` and `watchbell gate …`, the processes that the sandbox starts from this
//! program; `watchbell unpacker …`, which unpacks one layer of an image; `watchbell scanner …`, which reads
//! what is in one. Nobody types them, so they are in no help.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use watchbell_sandbox::{Confinement, Directory, confined};

use crate::{log, output};

/// Runs a helper of the sandbox when this process is one.
pub(crate) fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let run = match arguments.next()?.to_str()? {
        "spawner" => watchbell_sandbox::spawner_main,
        "keeper" => watchbell_sandbox::keeper_main,
        "tracer" => watchbell_sandbox::tracer_main,
        "gate" => watchbell_gate::gate_main,
        "unpacker" => return Some(alone(arguments, Directory::ToFill, watchbell_image::unpacker_main)),
        "scanner" => return Some(alone(arguments, Directory::ToRead, watchbell_node::scanner_main)),
        _ => return None,
    };
    // Standard error is `run/spawner.log` in the data directory.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    if let Err(error) = log::to_stderr(filter, false) {
        output::note(&format!("cannot log: {error}"));
        return Some(ExitCode::FAILURE);
    }
    Some(run(arguments))
}

/// Does its work with nothing but its directory. What it says on standard error is told by whoever started it.
fn alone(
    arguments: impl Iterator<Item = OsString>,
    directory: Directory,
    work: fn(OwnedFd) -> ExitCode,
) -> ExitCode {
    let Some(confinement) = Confinement::parse(arguments) else {
        output::note("this is started by other processes of the program alone");
        return ExitCode::FAILURE;
    };
    confined(&confinement, directory, work).unwrap_or_else(|error| {
        output::note(&error.to_string());
        ExitCode::FAILURE
    })
}
