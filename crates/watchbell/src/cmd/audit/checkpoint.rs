use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

/// Prints the log's signed checkpoint: keep it where the machine's owner cannot change it
///
/// Who holds an old checkpoint finds any later change of what it stood for, by `watchbell audit verify --since`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the key that verifies it instead (a vkey of C2SP signed-note)
    #[arg(long)]
    key: bool,
    /// The newest checkpoint that witnesses signed, with their signatures
    #[arg(long, conflicts_with = "key")]
    witnessed: bool,
    /// A closed log, of before a restore or a new key: the name of its directory, such as epoch-1
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let log = super::log(&args.data_dir.data_dir, args.log.as_deref())?;
    if args.key {
        output::data(&log.verifier.to_string());
    } else if args.witnessed {
        let note = log.witnessed().map_err(Failure::refused)?;
        let note =
            note.ok_or_else(|| Failure::Refused("no witness has signed a checkpoint of this log".into()))?;
        output::raw(note.to_string().as_bytes());
    } else {
        output::raw(log.note.to_string().as_bytes());
    }
    Ok(())
}
