use crate::datadir::{self, DataDir, Holder};
use crate::exit::Failure;
use crate::output;

/// Gives the audit log a new key, while no server runs
///
/// The old key signs an entry that names the new one; then a new log begins, whose first entry holds the last checkpoint
/// of the old one. As after a restore, versions of objects jump ahead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    if datadir::holder(dir)? == Holder::Server {
        return Err(Failure::Refused(format!("a server runs on {}; stop it before", dir.display())));
    }
    if !dir.join("journal.db").exists() {
        return Err(Failure::Usage(format!(
            "there is no journal in {}; name its directory with --data-dir",
            dir.display()
        )));
    }
    let report = watchbell_store::Store::rotate_log_key(dir).map_err(Failure::refused)?;
    output::data(&format!("a new log begins, of epoch {}", report.epoch.number));
    if let Some(replaced) = report.replaced {
        output::note(&format!(
            "the old key is in {}: destroy it when it may be known to others",
            replaced.display()
        ));
    }
    Ok(())
}
