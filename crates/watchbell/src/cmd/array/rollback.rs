use jiff::Timestamp;

use super::signature::Signature;
use super::{Which, by_hand};
use crate::exit::Failure;
use crate::output;

/// Makes an older snapshot's content the newest: a snapshot of its own, so that nothing is lost
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Snapshot: a tag, a digest or its beginning
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// What the log is to say of it
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    signature: Signature,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let array = args.signature.signing(which.open()?)?;
    let to = array.resolve(&args.snapshot).map_err(|error| which.refused(error))?;
    let now = Timestamp::now();
    let message = args.message.clone().unwrap_or_else(|| format!("rolled back to {}", to.short()));
    let made = array.rollback(to, &by_hand("rollback", now), &message, now);
    match made.map_err(|error| which.refused(error))? {
        None => output::note(&format!("array {} has that content already", which.shown())),
        Some(made) => output::data(&made.digest.to_string()),
    }
    Ok(())
}
