use std::path::PathBuf;

use serde_json::json;

use crate::args::Output;
use crate::datadir::{self, DataDir, Holder};
use crate::exit::Failure;
use crate::output;

/// Copies the journal at one instant, also while a server runs on it
///
/// The copy holds every object and the audit journal. With the key that opens its Secrets beside it, it is as
/// sensitive as the data directory itself. Not part of it are the authority that signs certificates of users (pki), the
/// contents of claims, the stores of data arrays and the key that signs their heads, images, logs, and seccomp profiles:
/// docs/backup.md says what becomes of each, and how all of it is copied.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory to make; it must not exist
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Leave the key of the Secrets out of the copy: keep it elsewhere, without it they cannot be restored
    #[arg(long)]
    without_key: bool,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    let journal = dir.join("journal.db");
    if !journal.exists() {
        return Err(Failure::Usage(format!(
            "there is no journal in {}; name its directory with --data-dir",
            dir.display()
        )));
    }
    let report = match (datadir::holder(dir)?, args.without_key) {
        (Holder::Server, false) => watchbell_store::Store::backup_beside(dir, &args.to),
        (Holder::Server, true) => watchbell_store::Store::backup_beside_without_key(dir, &args.to),
        (Holder::Nobody, without_key) => watchbell_store::Store::open(dir).and_then(|(store, _)| {
            if without_key { store.backup_without_key(&args.to) } else { store.backup(&args.to) }
        }),
    }
    .map_err(Failure::refused)?;
    match args.output.output {
        Some(format) => {
            output::object(&json!({"path": report.path, "bytes": report.bytes, "key": report.key}), format)?;
        }
        None => {
            output::data(&report.path.display().to_string());
            match report.key {
                Some(key) => output::note(&format!(
                    "{} bytes; {} opens its Secrets: guard it as you guard the data directory",
                    report.bytes,
                    key.display()
                )),
                None => output::note(&format!("{} bytes, without the key of its Secrets", report.bytes)),
            }
        }
    }
    Ok(())
}
