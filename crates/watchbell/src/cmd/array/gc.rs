use watchbell_array::{Retention, sweep};

use super::Which;
use crate::exit::Failure;
use crate::output;

/// Removes what no kept snapshot needs
///
/// The head, tagged snapshots and those that a run or a reader uses are always kept. Without one of --keep-last, --keep-daily and
/// --keep-weekly all snapshots are kept, and only what a crash or an abandoned run left is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Keep the newest N snapshots
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the newest snapshot of each of N days (UTC) that have one
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep the newest snapshot of each of N weeks (UTC) that have one
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open()?;
    let is_asked = [args.keep_last, args.keep_daily, args.keep_weekly].iter().any(Option::is_some);
    let retention = Retention {
        last: args.keep_last.unwrap_or(0),
        daily: args.keep_daily.unwrap_or(0),
        weekly: args.keep_weekly.unwrap_or(0),
    };
    let swept = sweep(&array, is_asked.then_some(&retention)).map_err(|error| args.which.refused(error))?;
    output::note(&format!(
        "removed {} snapshots, {} objects of {} bytes, {} views, {} unfinished drafts and imports",
        swept.snapshots, swept.objects, swept.bytes, swept.views, swept.staged
    ));
    Ok(())
}
