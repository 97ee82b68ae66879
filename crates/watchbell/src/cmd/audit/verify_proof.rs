use std::path::PathBuf;

use serde_json::json;
use watchbell_audit::{Checkpoint, Growth, TlogProof, encode};

use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Checks a proof that `watchbell audit prove` (or another program) printed, without the log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The proof
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The log's key, itself or a file that holds it. Take it from where the log's owner cannot change it
    #[arg(long, value_name = "VKEY")]
    key: String,
    /// The entry that a proof is about; else the one that the proof holds
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// The old checkpoint, for a proof of growth
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let key = super::key(&args.key)?;
    let text = super::read_text(&args.proof)?;
    let wrong = |e: watchbell_audit::NoteError| Failure::Refused(format!("{}: {e}", args.proof.display()));
    if text.starts_with("old ") {
        let Some(since) = &args.since else {
            return Err(Failure::Usage(
                "this is a proof of growth: give the old checkpoint with --since".into(),
            ));
        };
        let old = super::read_note(since)?;
        old.verify(&key).map_err(Failure::refused)?;
        let old = Checkpoint::parse(&old.text).map_err(Failure::usage)?;
        let new = Growth::parse(&text).and_then(|proof| proof.verify(&old, &key)).map_err(wrong)?;
        return print(args, &new, json!({"grewFrom": old.size}), &format!("grew from {} entries", old.size));
    }
    let proof = TlogProof::parse(&text).map_err(wrong)?;
    let entry = match (&args.entry, &proof.extra) {
        (Some(path), _) => {
            std::fs::read(path).map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))?
        }
        (None, Some(entry)) => entry.clone(),
        (None, None) => return Err(Failure::Usage("the proof holds no entry: give it with --entry".into())),
    };
    let checkpoint = proof.verify(&entry, &key).map_err(wrong)?;
    let shown = String::from_utf8_lossy(&entry).into_owned();
    let details = json!({"index": proof.index, "entry": shown});
    print(args, &checkpoint, details, &format!("has as entry {}: {}", proof.index, output::plain(&shown)))
}

fn print(
    args: &Args,
    checkpoint: &Checkpoint,
    details: serde_json::Value,
    text: &str,
) -> Result<(), Failure> {
    match args.output.output {
        Some(format) => {
            let mut object = json!({
                "verified": true, "origin": checkpoint.origin, "entries": checkpoint.size, "root": encode(&checkpoint.root),
            });
            for (name, value) in details.as_object().into_iter().flatten() {
                object[name] = value.clone();
            }
            output::whole(&object, format)
        }
        None => {
            output::data(&output::plain(&format!(
                "verified: the log {} with {} entries {text}",
                checkpoint.origin, checkpoint.size
            )));
            Ok(())
        }
    }
}
