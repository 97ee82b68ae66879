use super::Which;
use crate::exit::Failure;
use crate::output;

/// Lists an array's tags, or gives a snapshot a name, which also keeps it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Name of the tag; without one, all are listed
    #[arg(value_name = "TAG")]
    tag: Option<String>,
    /// Snapshot: head, another tag, a digest or its beginning
    #[arg(value_name = "SNAPSHOT", default_value = "head")]
    snapshot: String,
    /// Takes the tag away
    #[arg(short, long, requires = "tag")]
    delete: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let array = which.open()?;
    let Some(tag) = &args.tag else {
        for (name, digest) in array.tags().map_err(|error| which.refused(error))? {
            output::data(&format!("{name} {digest}"));
        }
        return Ok(());
    };
    if args.delete {
        array.remove_tag(tag).map_err(|error| which.refused(error))?;
        output::note(&format!("tag {tag} of array {} deleted", which.shown()));
        return Ok(());
    }
    let digest = array.resolve(&args.snapshot).map_err(|error| which.refused(error))?;
    array.tag(tag, digest).map_err(|error| which.refused(error))?;
    output::note(&format!("tag {tag} of array {} is {}", which.shown(), digest.short()));
    Ok(())
}
