use std::path::{Path, PathBuf};

use watchbell_array::{export, export_to_bucket};

use super::import::bar;
use super::{Which, bucket};
use crate::exit::Failure;
use crate::output;

/// Writes an array as a plain directory that any Zarr library opens
///
/// The directory is made if it is not there; an export that was interrupted goes on. A directory with anything else in it is
/// refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Directory to write, or s3://BUCKET/PREFIX (see `watchbell array import --help`)
    #[arg(value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Snapshot: head, a tag, a digest or its beginning
    #[arg(long, value_name = "SNAPSHOT", default_value = "head")]
    snapshot: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckoutArgs {
    #[command(flatten)]
    which: Which,
    /// Snapshot: head, a tag, a digest or its beginning
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Directory to write, or s3://BUCKET/PREFIX (see `watchbell array import --help`)
    #[arg(value_name = "DIRECTORY")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    write(&args.which, &args.snapshot, &args.dir)
}

pub(crate) fn checkout(args: &CheckoutArgs) -> Result<(), Failure> {
    write(&args.which, &args.snapshot, &args.dir)
}

fn write(which: &Which, snapshot: &str, dir: &Path) -> Result<(), Failure> {
    let array = which.open()?;
    let digest = array.resolve(snapshot).map_err(|error| which.refused(error))?;
    let bucket = bucket::of(dir)?;
    let bar = bar();
    let progress = &mut |keys, bytes| {
        bar.set_message(format!("{keys} keys"));
        bar.set_position(bytes);
    };
    let exported = match &bucket {
        Some(bucket) => export_to_bucket(&array, digest, bucket, progress),
        None => export(&array, digest, dir, progress),
    };
    let exported = exported.map_err(|error| which.refused(error))?;
    bar.finish_and_clear();
    output::note(&format!(
        "snapshot {} of array {}: {} keys, {} bytes, {} written now",
        digest.short(),
        which.shown(),
        exported.keys,
        exported.bytes,
        exported.written
    ));
    Ok(())
}
