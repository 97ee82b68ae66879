use std::path::PathBuf;

use serde_json::json;
use watchbell_store::Kept;

use crate::args::Output;
use crate::datadir::{self, DataDir, Holder};
use crate::exit::Failure;
use crate::output;

/// Puts a backup in the place of the journal; what was there is kept aside
///
/// It begins a new epoch: versions of objects jump ahead, so that no watcher takes the old for the new, and tasks that
/// the restored journal does not know are ended when the server starts. On another machine what a backup does not hold is
/// missing: see `watchbell backup --help`.
///
/// What users had is taken from them all the same: certificates that were revoked since the backup stay revoked, and tokens
/// that were deleted stay deleted, as far as the journal that is replaced can be read. All else is as the backup has it: roles and
/// bindings too, and the service accounts that tokens are of.
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
                "kept": report.kept.as_ref().map(|kept| json!({
                    "revocations": kept.revocations, "certificates": kept.certificates, "deletedTokens": kept.tokens,
                })),
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
    tell_of_users(report.kept.as_ref());
    Ok(())
}

/// What was taken from users since the backup, and what of it may be theirs again.
fn tell_of_users(kept: Option<&Kept>) {
    const AGAIN: &str = "look at `watchbell audit search --verb create` and `--verb delete` for what was revoked and deleted since, \
                         and take it back once more";
    let Some(Kept { revocations, tokens, .. }) = kept else {
        return output::note(&format!(
            "no journal that can be read says what was taken from users since the backup: certificates that were revoked and \
             tokens that were deleted count again; {AGAIN}, or move pki away before the server starts, for a new authority that \
             knows no certificate of before"
        ));
    };
    if !revocations.is_empty() {
        output::note(&format!("certificates that stay revoked: {}", revocations.join(", ")));
    }
    match tokens {
        Some(tokens) if tokens.is_empty() => {}
        Some(tokens) => output::note(&format!("tokens of users that stay deleted: {}", tokens.join(", "))),
        None => output::note(&format!(
            "the journal that was here did not go on from this backup: tokens of users that were deleted since count again; {AGAIN}"
        )),
    }
}
