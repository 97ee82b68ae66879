use std::path::PathBuf;

use watchbell_audit::Checkpoint;

use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

/// Prints a proof that an entry is in the log, or that the log only grew since a checkpoint
///
/// The proof of an entry is a C2SP tlog-proof file that holds the entry itself; that of growth is the request to a C2SP
/// tlog-witness. Both are checked anywhere by `watchbell audit verify-proof`, or by other programs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The entry's index, as `search` and `tail` show it
    #[arg(value_name = "INDEX", required_unless_present = "since", conflicts_with = "since")]
    index: Option<u64>,
    /// A checkpoint that was kept: prove that the log begins with what it stood for
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// A closed log, of before a restore or a new key: the name of its directory, such as epoch-1
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let log = super::log(&args.data_dir.data_dir, args.log.as_deref())?;
    let proof = match (args.index, &args.since) {
        (Some(index), _) => log.prove_inclusion(index).map_err(Failure::refused)?.to_string(),
        (None, Some(since)) => {
            let old = super::read_note(since)?;
            old.verify(&log.verifier).map_err(Failure::refused)?;
            let old = Checkpoint::parse(&old.text).map_err(Failure::usage)?;
            log.prove_growth(&old).map_err(Failure::refused)?.to_string()
        }
        (None, None) => {
            return Err(Failure::Usage("name the entry's index, or a checkpoint with --since".into()));
        }
    };
    output::raw(proof.as_bytes());
    Ok(())
}
