//! A small witness, and what witnesses signed.

use std::fs::TryLockError;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use watchbell_audit::{Checkpoint, Growth, Note, NoteError, SignatureKind, SigningKey, add_witnessed};

use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

/// Witnesses of the audit log: who keeps what he saw, and signs only what grew from it
///
/// A witness runs on another machine. He makes a key (new), signs proofs of growth that he is sent (sign), and his
/// signature is added to the log (add); `watchbell audit verify --witness` then demands it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    New(New),
    Sign(Sign),
    Add(Add),
}

/// Makes a witness's key, and prints the key that verifies its signatures
#[derive(Debug, clap::Args)]
struct New {
    /// File to make; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the witness, such as witness.example/w1
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Signs a checkpoint that grew from the one signed before, and prints it with the signature
#[derive(Debug, clap::Args)]
struct Sign {
    /// What `watchbell audit prove --since` printed; the first time a checkpoint alone
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The witness's key
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Name of the witness
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The key of the log, itself or a file that holds it
    #[arg(long, value_name = "VKEY")]
    log_key: String,
    /// Where the witness keeps the checkpoint that it signed last
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

/// Adds a checkpoint that a witness signed to the log
#[derive(Debug, clap::Args)]
struct Add {
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,
    /// The key of the witness, itself or a file that holds it
    #[arg(long, value_name = "VKEY")]
    key: String,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::New(args) => new(args),
        Verb::Sign(args) => sign(args),
        Verb::Add(args) => add(args),
    }
}

fn new(args: &New) -> Result<(), Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Failure::refused)?;
    let key = SigningKey::from_seed(&seed);
    let verifier = key.verifier(&args.name, SignatureKind::CosignatureV1).map_err(Failure::usage)?;
    let failed = |e| Failure::Refused(format!("cannot make {}: {e}", args.file.display()));
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .and_then(|mut file| file.write_all(&seed).and_then(|()| file.sync_all()))
        .map_err(failed)?;
    output::data(&verifier.to_string());
    Ok(())
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes =
        std::fs::read(path).map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))?;
    let seed = <[u8; 32]>::try_from(bytes)
        .map_err(|_| Failure::Usage(format!("{} is no witness's key: it has 32 bytes", path.display())))?;
    Ok(SigningKey::from_seed(&seed))
}

fn sign(args: &Sign) -> Result<(), Failure> {
    let key = read_key(&args.key_file)?;
    let verifier = key.verifier(&args.name, SignatureKind::CosignatureV1).map_err(Failure::usage)?;
    let log_key = super::key(&args.log_key)?;
    let text = super::read_text(&args.proof)?;
    let wrong = |e: NoteError| Failure::Refused(format!("{} is not signed: {e}", args.proof.display()));
    // From here on one at a time: two who read the same state would each sign what grew from it, and the two need not be one log.
    let _lock = lock(&args.state)?;
    let mut note = match signed_before(&args.state)? {
        Some(old) => {
            old.verify(&log_key).map_err(Failure::refused)?;
            let old = Checkpoint::parse(&old.text).map_err(Failure::refused)?;
            let proof = Growth::parse(&text).map_err(wrong)?;
            proof.verify(&old, &log_key).map_err(wrong)?;
            proof.checkpoint
        }
        None => {
            let note = Note::parse(text.as_bytes()).map_err(wrong)?;
            Checkpoint::open(text.as_bytes(), &log_key).map_err(wrong)?;
            note
        }
    };
    note.signatures.retain(|signature| signature.name != verifier.name());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Failure::refused)?.as_secs();
    let signature = key.cosign(&verifier, &note.text, now);
    // What is signed is kept before anybody sees the signature.
    keep(&args.state, &note)?;
    note.signatures.push(signature);
    output::raw(note.to_string().as_bytes());
    Ok(())
}

/// Held until the signature is out. The file beside the state stays: removing it would let two lock two files of one name.
fn lock(state: &Path) -> Result<std::fs::File, Failure> {
    let mut name = state.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |e: &dyn std::fmt::Display| {
        Failure::Refused(format!("nothing is signed: cannot lock {}: {e}", path.display()))
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(&"another signature is being made; try again")),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
    }
}

/// What the witness signed last. `None` is the first time, and only a file that is not there says so: a witness who forgets signs
/// anything.
fn signed_before(state: &Path) -> Result<Option<Note>, Failure> {
    match state.symlink_metadata() {
        Ok(_) => super::read_note(state).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::Refused(format!("nothing is signed: cannot read {}: {e}", state.display()))),
    }
}

fn keep(path: &Path, note: &Note) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let draft = PathBuf::from(name);
    let write = || {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(note.to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    };
    write().map_err(|e| Failure::Refused(format!("nothing is signed: cannot keep {}: {e}", path.display())))
}

fn add(args: &Add) -> Result<(), Failure> {
    let key = super::key(&args.key)?;
    let note = super::read_note(&args.checkpoint)?;
    let log = super::log(&args.data_dir.data_dir, None)?;
    let checkpoint = add_witnessed(&log, &note, &key).map_err(Failure::refused)?;
    output::data(&format!("{} signed the log at {} entries", output::plain(key.name()), checkpoint.size));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_args(dir: &Path, key: &SigningKey, size: u64) -> Sign {
        let log_key = key.verifier("log.example/1", SignatureKind::Ed25519).unwrap();
        let checkpoint = Checkpoint { origin: log_key.name().into(), size, root: [size as u8; 32] };
        std::fs::write(dir.join("proof"), checkpoint.sign(key, &log_key).to_string()).unwrap();
        Sign {
            proof: dir.join("proof"),
            key_file: dir.join("w.key"),
            name: "witness.example/w1".into(),
            log_key: log_key.to_string(),
            state: dir.join("state"),
        }
    }

    fn refused(args: &Sign, says: &str) {
        match sign(args) {
            Err(Failure::Refused(text) | Failure::Usage(text)) => assert!(text.contains(says), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_one_signs_at_a_time_and_only_what_is_not_there_is_the_first_time() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("w.key"), [7; 32]).unwrap();
        let key = SigningKey::from_seed(&[3; 32]);
        let args = sign_args(dir, &key, 5);
        let held = lock(&args.state).unwrap();
        refused(&args, "another signature is being made");
        assert!(!args.state.exists());
        drop(held);
        // A link that leads nowhere, a directory on the way that is none, an empty file: no first time.
        std::os::unix::fs::symlink("nowhere", &args.state).unwrap();
        refused(&args, "cannot read");
        std::fs::remove_file(&args.state).unwrap();
        std::fs::write(&args.state, "").unwrap();
        refused(&args, "cannot read");
        std::fs::remove_file(&args.state).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        assert!(signed_before(&dir.join("file/state")).is_err());
        sign(&args).unwrap();
        // From now on only what grew from it.
        let other = sign_args(dir, &key, 6);
        refused(&other, "is not signed");
        assert!(std::fs::read_to_string(&args.state).unwrap().contains("\n5\n"));
    }
}
