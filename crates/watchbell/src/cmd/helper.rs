//! `watchbell spawner …` and `watchbell keeper …`: the processes that the sandbox starts from this program. Nobody types
//! them, so they are in no help.

use std::process::ExitCode;

/// Runs a helper of the sandbox when this process is one.
pub(crate) fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next()?.to_str()? {
        "spawner" => Some(watchbell_sandbox::spawner_main(arguments)),
        "keeper" => Some(watchbell_sandbox::keeper_main(arguments)),
        _ => None,
    }
}
