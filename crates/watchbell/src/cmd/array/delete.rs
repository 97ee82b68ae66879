use super::Which;
use crate::exit::Failure;
use crate::output;

/// Removes an array with all its snapshots
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Says that it is meant: what is removed cannot be had back
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.locked()?;
    if !args.yes {
        let shown = args.which.shown();
        return Err(Failure::Usage(format!("array {shown} with all its snapshots would be gone; say --yes")));
    }
    array.delete().map_err(|error| args.which.refused(error))?;
    output::note(&format!("array {} deleted", args.which.shown()));
    Ok(())
}
