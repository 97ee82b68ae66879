use std::path::{Path, PathBuf};

use serde_json::json;
use watchbell_audit::{Journal, Listing, Trust, Verified, encode, verify};
use watchbell_store::LogReader;

use crate::args::Output;
use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output::{self, Format};

/// Checks the whole audit trail: every file, every entry, every hash, and the journal beside them
///
/// Exit code 0 only when all is right; else each finding is told and nothing is changed. Whoever holds the key and can
/// write the directory could have made all of it anew: only a checkpoint kept elsewhere (--since), a key kept elsewhere
/// (--key) or a witness (--witness) shows that.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A checkpoint that was kept elsewhere: the log must begin with what it stood for (may be given several times)
    #[arg(long, value_name = "FILE")]
    since: Vec<PathBuf>,
    /// The key that must have signed the log, itself or a file that holds it (may be given several times)
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// The key of a witness who must have signed the newest witnessed checkpoint (may be given several times)
    #[arg(long, value_name = "VKEY")]
    witness: Vec<String>,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let trust = Trust {
        keys: super::keys(&args.key)?,
        held: args.since.iter().map(|path| super::read_note(path)).collect::<Result<_, _>>()?,
        witnesses: super::keys(&args.witness)?,
    };
    let found = check(&args.data_dir.data_dir, &trust)?;
    match args.output.output {
        Some(format) => print_object(&found, format)?,
        None => print(&found),
    }
    if found.is_whole() {
        return Ok(());
    }
    let count = found.damage.len() as u64 + found.more_damage;
    Err(Failure::Refused(format!("the audit trail is damaged: {count} findings")))
}

fn check(data_dir: &Path, trust: &Trust) -> Result<Verified, Failure> {
    // In this order: each is at least as new as the one before it.
    let listing = Listing::read(&super::audit_dir(data_dir)).map_err(Failure::refused)?;
    let journal = data_dir.join("journal.db");
    if !journal.exists() {
        output::note(&format!("{} is not there: only the audit directory is checked", journal.display()));
        return verify(listing, None, trust).map_err(Failure::refused);
    }
    let reader = LogReader::open(data_dir).map_err(Failure::refused)?;
    let heads = reader.heads().map_err(Failure::refused)?;
    let journal = Journal {
        logs: heads.logs,
        current: heads.current,
        rows: Box::new(|range, each| reader.rows(range, each).map_err(|e| e.to_string())),
    };
    verify(listing, Some(journal), trust).map_err(Failure::refused)
}

fn print(found: &Verified) {
    for log in &found.logs {
        let place = if log.dir.is_empty() { "audit".to_owned() } else { format!("audit/{}", log.dir) };
        output::data(&output::plain(&format!(
            "{place}: {} entries ({} published), root {}, signed by {}",
            log.entries,
            log.published,
            encode(&log.root),
            log.verifier
        )));
    }
    for damage in &found.damage {
        output::data(&output::plain(&format!("DAMAGED {}: {}", damage.at, damage.what)));
    }
    if found.more_damage > 0 {
        output::data(&format!("DAMAGED and {} findings more", found.more_damage));
    }
    if found.is_whole() {
        output::data(&format!("verified {} files", found.files));
    }
    for (count, what) in [
        (
            found.left_over,
            "partial tiles are there beside their full ones: a crash came before they were removed, or the server is about to; \
             they were checked, and may be deleted",
        ),
        (
            found.ahead,
            "files go on behind the checkpoint, which is older than they are: nothing signs what they hold there, and it was \
             not checked",
        ),
        (found.unchecked, "files lie behind a place where the log is missing, and could not be checked"),
    ] {
        if count > 0 {
            output::note(&format!("{count} {what}"));
        }
    }
}

fn print_object(found: &Verified, format: Format) -> Result<(), Failure> {
    let logs: Vec<_> = found
        .logs
        .iter()
        .map(|log| {
            json!({
                "directory": log.dir, "origin": log.verifier.name(), "verifier": log.verifier.to_string(),
                "entries": log.entries, "published": log.published, "root": encode(&log.root),
            })
        })
        .collect();
    let damage: Vec<_> = found.damage.iter().map(|d| json!({"at": d.at, "what": d.what})).collect();
    let object = json!({
        "verified": found.is_whole(), "files": found.files, "logs": logs, "damage": damage,
        "moreDamage": found.more_damage, "leftOver": found.left_over, "ahead": found.ahead,
        "unchecked": found.unchecked,
    });
    output::whole(&object, format)
}
