use jiff::Timestamp;

use super::entries::{Entries, Entry};
use super::filter;
use super::line::{self, Format};
use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

/// Shows the entries of the audit log that fit, the oldest first
///
/// Closed logs, of before a restore or a new key, are searched too. One that cannot be read is told, and the exit code is 1
/// then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: filter::Wanted,
    /// json: one object a line
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut filter = args.filter.read(Timestamp::now())?;
    let entries = Entries::open(&args.data_dir.data_dir)?;
    let mut each = |entry: &Entry<'_>| {
        if filter.may_fit(entry.body) {
            let body = line::parse(entry.body);
            if filter.fits(&body) {
                line::print(entry, &body, args.output);
            }
        }
        Ok(())
    };
    let mut unreadable = Vec::new();
    entries.all(&mut each, &mut |name, cause| {
        output::note(&format!("the closed log {name} is not searched to its end: {cause}"));
        unreadable.push(name.to_owned());
    })?;
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "not all was searched: {} cannot be read; `watchbell audit verify` tells the damage",
        unreadable.join(", ")
    )))
}
