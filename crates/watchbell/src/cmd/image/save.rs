use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use watchbell_image::{Store, export};

use super::place::StoreDir;
use crate::exit::Failure;
use crate::{datadir, output};

/// Writes images to one OCI archive, which this and other programs import
///
/// It only reads the store, so it works beside a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// File to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    store: StoreDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let names = args.images.iter().map(|name| super::reference(name)).collect::<Result<Vec<_>, _>>()?;
    let dir = &args.store.path();
    datadir::require(dir)?;
    let store = Store::open(dir).map_err(Failure::refused)?;
    if args.output.as_os_str() == "-" {
        return export(&store, &names, BufWriter::new(io::stdout().lock())).map_err(Failure::refused);
    }
    let unwritable = |e: io::Error| Failure::Refused(format!("cannot write {}: {e}", args.output.display()));
    // Written under another name first: a file of the final name is whole.
    let mut partial = args.output.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = File::create(&partial).map_err(unwritable)?;
    let written = export(&store, &names, BufWriter::new(&mut file))
        .map_err(Failure::refused)
        .and_then(|()| file.flush().and_then(|()| file.sync_all()).map_err(unwritable))
        .and_then(|()| fs::rename(&partial, &args.output).map_err(unwritable));
    if written.is_err()
        && let Err(left) = fs::remove_file(&partial)
    {
        output::note(&format!("warning: {} stays behind: {left}", partial.display()));
    }
    written
}
