use std::io::Read;
use std::path::{Path, PathBuf};

use watchbell_core::world::{BODY_HASH, COMMAND_HASH};
use watchbell_store::{BodyMatch, Store};

use super::line;
use crate::datadir::{self, DataDir, Holder};
use crate::exit::Failure;
use crate::output;

/// A server takes less.
const BYTES_MAX: u64 = 16 << 20;

/// Says whether a file is the body of a request in the audit log, byte by byte
///
/// Bodies are not kept: the entry of a request that had one has a salted hash of it, but for kinds that may hold secrets. That of
/// a command in a container has one of the command, as a list in JSON without spaces. Exit code 0 only when the
/// file is the body, or the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The entry's index, as `search` and `tail` show it
    #[arg(value_name = "INDEX", required_unless_present = "forget")]
    index: Option<u64>,
    /// What somebody says was the body
    #[arg(value_name = "FILE", required_unless_present = "forget")]
    file: Option<PathBuf>,
    /// A closed log, of before a restore or a new key: the name of its directory, such as epoch-1
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    /// Destroy the key of the salts, while no server runs: then no hash so far says anything of its body to anybody
    #[arg(long, conflicts_with_all = ["index", "file", "log"])]
    forget: bool,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    match (args.index, &args.file) {
        (Some(index), Some(file)) => compare(dir, args.log.as_deref(), index, file),
        _ => forget(dir),
    }
}

fn compare(dir: &Path, log: Option<&str>, index: u64, file: &Path) -> Result<(), Failure> {
    let entry = super::log(dir, log)?.entry(index).map_err(Failure::refused)?;
    let entry = line::parse(&entry);
    let annotation = |key: &str| entry["annotations"][key].as_str();
    let hash = annotation(BODY_HASH).or_else(|| annotation(COMMAND_HASH));
    let (Some(hash), Some(audit_id)) = (hash, entry["auditID"].as_str()) else {
        return Err(Failure::Refused(format!(
            "entry {index} has no hash of a body: it is of no request that had one, or of a kind that may hold secrets"
        )));
    };
    let body = read(file)?;
    let key = Store::body_key_in(dir).map_err(Failure::refused)?;
    let says = key.map_or(BodyMatch::OtherKey, |key| key.compare(audit_id, &body, hash));
    match says {
        BodyMatch::Same => {
            output::data(&format!("{} is the body of entry {index}", file.display()));
            Ok(())
        }
        BodyMatch::Other => {
            Err(Failure::Refused(format!("{} is not the body of entry {index}", file.display())))
        }
        BodyMatch::OtherKey => Err(Failure::Refused(format!(
            "nothing can be said of the body of entry {index}: the key of its salt is not here, or was destroyed"
        ))),
        BodyMatch::Unreadable => Err(Failure::Refused(format!(
            "the hash in entry {index} is of a form that this program does not know"
        ))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |e| Failure::Usage(format!("cannot read {}: {e}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{} is larger than any body that a server takes",
            path.display()
        )));
    }
    Ok(bytes)
}

fn forget(dir: &Path) -> Result<(), Failure> {
    if datadir::holder(dir)? == Holder::Server {
        return Err(Failure::Refused(format!("a server runs on {}; stop it before", dir.display())));
    }
    if !dir.join("journal.db").exists() {
        return Err(Failure::Usage(format!(
            "there is no journal in {}; name its directory with --data-dir",
            dir.display()
        )));
    }
    Store::forget_bodies(dir).map_err(Failure::refused)?;
    output::data("the key of the salts is destroyed; the next start makes another for what follows");
    Ok(())
}
