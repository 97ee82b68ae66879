use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use watchbell_array::{Array, Disk, Kind};

use super::Which;
use crate::exit::Failure;
use crate::output;

/// Makes an empty array, for an import to fill
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Makes a store of artifacts: files of any kind, below a directory for each index (mode artifacts)
    #[arg(long)]
    artifacts: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    make(&args.which, if args.artifacts { Kind::Artifacts } else { Kind::Zarr })?;
    output::note(&format!("array {} created", args.which.shown()));
    Ok(())
}

pub(super) fn make(which: &Which, kind: Kind) -> Result<Array, Failure> {
    let dir = which.dir()?;
    if let Some(parent) = dir.parent() {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(parent);
        made.map_err(|e| Failure::Refused(format!("cannot make the directory {}: {e}", parent.display())))?;
    }
    Array::create_of(&dir, Disk::default(), kind).map_err(|error| which.refused(error))
}
