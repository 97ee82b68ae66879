//! `watchbell audit …`: the audit trail.

mod export;

use crate::exit::Failure;

/// The audit trail: who asked for what, and what became of each run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Export(export::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Export(args) => export::run(args),
    }
}
