use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use watchbell_array::{Array, Error, Kind, import, import_from_bucket};

use super::signature::Signature;
use super::{Which, bucket, by_hand, create, when};
use crate::exit::Failure;
use crate::output;

/// Makes a plain directory with a Zarr hierarchy the next snapshot of an array
///
/// The array is made if it is not there. The snapshot holds what the directory holds, and nothing else; a file that is neither a
/// document nor a chunk of the hierarchy is refused (a store of artifacts takes any file). An import that was interrupted goes on where it was.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Directory of the hierarchy, of Zarr v2 or v3; or s3://BUCKET/PREFIX, with what the variables AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, AWS_CA_BUNDLE and AWS_ALLOW_HTTP say
    #[arg(value_name = "DIRECTORY")]
    dir: PathBuf,
    /// What the log is to say of it
    #[arg(short, long, value_name = "TEXT", default_value = "imported")]
    message: String,
    #[command(flatten)]
    signature: Signature,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let array = match Array::open(&which.dir()?, watchbell_array::Disk::default()) {
        Err(Error::NoArray(_)) => create::make(which, Kind::Zarr, None)?,
        array => which.unlocked(array.map_err(|error| which.refused(error))?)?,
    };
    let array = args.signature.signing(array)?;
    let bucket = bucket::of(&args.dir)?;
    let dir = match bucket {
        Some(_) => args.dir.clone(),
        None => std::path::absolute(&args.dir).map_err(Failure::usage)?,
    };
    let quota = array.quota_bytes().map_err(|error| which.refused(error))?;
    let now = Timestamp::now();
    let by = by_hand(&format!("import of {}", dir.display()), now);
    let bar = bar();
    let progress = &mut |keys, bytes| {
        bar.set_message(format!("{keys} keys"));
        bar.set_position(bytes);
    };
    let imported = match &bucket {
        Some(bucket) => import_from_bucket(&array, bucket, &by, quota, &args.message, now, progress),
        None => import(&array, &dir, &by, quota, &args.message, now, progress),
    };
    let imported = imported.map_err(|error| which.refused(error))?;
    bar.finish_and_clear();
    for key in &imported.mended {
        output::note(&format!("mended {key}: its object was damaged or missing"));
    }
    match imported.publication {
        None => output::note(&format!("array {} has this content already", which.shown())),
        Some(made) => {
            let change = made.snapshot.change;
            output::note(&format!(
                "{} keys: {} added, {} changed, {} removed, at {}",
                imported.keys,
                change.added,
                change.changed,
                change.removed,
                when(made.snapshot.created_at)
            ));
            output::data(&made.digest.to_string());
        }
    }
    Ok(())
}

/// Drawn on standard error, when that is a terminal.
pub(super) fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {bytes} ({bytes_per_sec})") {
        bar.set_style(style);
    }
    bar
}
