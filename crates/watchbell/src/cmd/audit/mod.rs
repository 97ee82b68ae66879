//! `watchbell audit …`: on the files of a data directory, beside a running server and without one. Nothing here changes a log
//! but for `witness add` and `rotate-key`; `body --forget` destroys a key.

mod body;
mod checkpoint;
mod entries;
mod export;
mod filter;
mod line;
mod prove;
mod rotate_key;
mod search;
mod tail;
mod verify;
mod verify_proof;
mod witness;

use std::path::{Path, PathBuf};

use watchbell_audit::{Log, Note, VerifierKey};

use crate::exit::Failure;

/// The audit trail: a transparency log of every request and of every run
///
/// It lies in DIR/audit, in the formats of C2SP (tlog-tiles, tlog-checkpoint, signed-note), so that other programs can
/// check it too. To read it one needs the right to read the data directory; no server is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Tail(tail::Args),
    Search(search::Args),
    Verify(verify::Args),
    Prove(prove::Args),
    VerifyProof(verify_proof::Args),
    Checkpoint(checkpoint::Args),
    Witness(witness::Args),
    RotateKey(rotate_key::Args),
    Body(body::Args),
    Export(export::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Export(args) => export::run(args),
        Verb::Tail(args) => tail::run(args),
        Verb::Body(args) => body::run(args),
        Verb::Search(args) => search::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Prove(args) => prove::run(args),
        Verb::VerifyProof(args) => verify_proof::run(args),
        Verb::Checkpoint(args) => checkpoint::run(args),
        Verb::Witness(args) => witness::run(args),
        Verb::RotateKey(args) => rotate_key::run(args),
    }
}

/// The audit directory of a data directory.
fn audit_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("audit")
}

/// The log that is written now, or a closed one by the name of its directory (`epoch-1`).
fn log(data_dir: &Path, closed: Option<&str>) -> Result<Log, Failure> {
    let mut dir = audit_dir(data_dir);
    if let Some(name) = closed {
        if name.contains('/') || name.starts_with('.') {
            return Err(Failure::Usage(format!(
                "--log {name:?} is no directory of a closed log, such as epoch-1"
            )));
        }
        dir.push(name);
    }
    Log::open(&dir).map_err(Failure::refused)
}

/// A file that somebody gives: a checkpoint, a proof.
fn read_text(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    /// A proof holds an entry, in base64.
    const BYTES_MAX: u64 = 256 << 10;
    let failed = |e| Failure::Usage(format!("cannot read {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::Usage(format!("{} is larger than any proof or checkpoint", path.display())));
    }
    Ok(text)
}

fn read_note(path: &Path) -> Result<Note, Failure> {
    Note::parse(read_text(path)?.as_bytes())
        .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))
}

/// A key as it is given: itself, or the file that holds it.
pub(crate) fn key(text: &str) -> Result<VerifierKey, Failure> {
    let parsed = match text.parse() {
        Err(_) if Path::new(text).is_file() => read_text(Path::new(text))?.trim_end_matches('\n').parse(),
        parsed => parsed,
    };
    parsed.map_err(|e| Failure::Usage(format!("cannot use the key {text:?}: {e}")))
}

fn keys(texts: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    texts.iter().map(|text| key(text)).collect()
}
