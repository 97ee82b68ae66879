use jiff::Timestamp;

use super::entries::Entries;
use super::filter;
use super::line::{self, Format};
use crate::datadir::DataDir;
use crate::exit::Failure;

/// Shows the entries of the audit log that fit, the oldest first
///
/// Closed logs, of before a restore or a new key, are searched too.
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
    entries.all(&mut |entry| {
        if filter.may_fit(entry.body) {
            let body = line::parse(entry.body);
            if filter.fits(&body) {
                line::print(entry, &body, args.output);
            }
        }
        Ok(())
    })?;
    Ok(())
}
