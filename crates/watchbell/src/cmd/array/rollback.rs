use jiff::Timestamp;

use super::signature::{Signature, check};
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
    /// Signs also a snapshot that this key did not sign when it became the head; it must be named by its whole digest
    #[arg(long, requires = "sign_key_file")]
    unsigned_ok: bool,
    /// Of an encrypted array whose older head was put back on purpose, such as from a backup: makes it the one after number N,
    /// which its readers have seen; SNAPSHOT is `head` then
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let array = args.signature.signing(which.open()?)?;
    if let Some(seen) = args.number {
        if args.snapshot != "head" || !array.is_encrypted() {
            return Err(Failure::Usage("--number is for `head` of an encrypted array".to_owned()));
        }
        let number = array.renumber(seen).map_err(|error| which.refused(error))?;
        output::note(&format!("the head of array {} is number {number}", which.shown()));
        return Ok(());
    }
    let to = array.resolve(&args.snapshot).map_err(|error| which.refused(error))?;
    if let Some(key) = args.signature.verifier()?
        && let Err(problem) = check(&array, to, &key)
        && !(args.unsigned_ok && args.snapshot.parse() == Ok(to))
    {
        return Err(which.refused(format!(
            "snapshot {to} is not this key's: {problem}; when it is what you mean, name its whole digest and say --unsigned-ok"
        )));
    }
    let now = Timestamp::now();
    let message = args.message.clone().unwrap_or_else(|| format!("rolled back to {}", to.short()));
    let made = array.rollback(to, &by_hand("rollback", now), &message, now);
    match made.map_err(|error| which.refused(error))? {
        None => output::note(&format!("array {} has that content already", which.shown())),
        Some(made) => output::data(&made.digest.to_string()),
    }
    Ok(())
}
