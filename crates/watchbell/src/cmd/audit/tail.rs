use std::time::Duration;

use super::entries::Entries;
use super::line::{self, Format};
use crate::datadir::DataDir;
use crate::exit::Failure;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Shows the newest entries of the audit log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u64,
    /// Go on with those that come
    #[arg(short, long)]
    follow: bool,
    /// json: one object a line
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let entries = Entries::open(&args.data_dir.data_dir)?;
    let mut print = |entry: &super::entries::Entry<'_>| {
        line::print(entry, &line::parse(entry.body), args.output);
        Ok(())
    };
    let mut position = entries.last(args.lines, &mut print)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK);
        position = entries.after(position.as_ref(), &mut print)?;
    }
}
