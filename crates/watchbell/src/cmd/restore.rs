use std::path::PathBuf;

use serde_json::json;

use crate::args::Output;
use crate::datadir::{self, DataDir, Holder};
use crate::exit::Failure;
use crate::output;

/// Puts a backup in the place of the journal; what was there is kept aside
///
/// It begins a new epoch: versions of objects jump ahead, so that no watcher takes the old for the new, and tasks that
/// the restored journal does not know are ended when the server starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory that `watchbell backup` made
    #[arg(value_name = "FROM")]
    from: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    if datadir::holder(dir)? == Holder::Server {
        return Err(Failure::Refused(format!(
            "a server runs on {}; stop it before a restore",
            dir.display()
        )));
    }
    let report = watchbell_store::Store::restore(&args.from, dir).map_err(Failure::refused)?;
    match args.output.output {
        Some(format) => output::object(
            &json!({
                "epoch": report.epoch.number, "firstResourceVersion": report.epoch.first_resource_version.to_string(),
                "migratedFrom": report.migrated_from, "replaced": report.replaced,
            }),
            format,
        )?,
        None => {
            output::data(&format!("restored {} as epoch {}", dir.display(), report.epoch.number));
            if let Some(replaced) = report.replaced {
                output::note(&format!("what was there before is in {}", replaced.display()));
            }
        }
    }
    Ok(())
}
