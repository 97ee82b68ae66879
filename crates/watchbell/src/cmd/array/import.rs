use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use watchbell_array::{Array, Bucket, Error, Import, Imported, Kind, OnMove};

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
    /// What to do when somebody else has published while the import was at work, such as a Job: to fail, or to let the snapshot hold
    /// what was imported and nothing of what was published since
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnConflict::Fail)]
    on_conflict: OnConflict,
    #[command(flatten)]
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnConflict {
    Fail,
    Replace,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    // Whatever can be found wrong before there is an array: one that is made here is in the clear, and in the way of another.
    let signature = args.signature.signer()?;
    let bucket = bucket::of(&args.dir)?;
    let (array, is_made) = match Array::open(&which.dir()?, watchbell_array::Disk::default()) {
        Err(Error::NoArray(_)) => (create::make(which, Kind::Zarr, None)?, true),
        array => {
            let array = which.as_required(array.map_err(|error| which.refused(error))?)?;
            (which.unlocked(array)?, false)
        }
    };
    let array = match signature {
        Some(signer) => array.signing(signer),
        None => array,
    };
    let bar = bar();
    let imported = import(args, &array, bucket.as_ref(), &bar);
    bar.finish_and_clear();
    let imported = match imported {
        // Nothing was staged with which the import would go on.
        Err(failure) if is_made => {
            array.delete_unused().map_err(|error| which.refused(format!("{failure}; and then: {error}")))?;
            return Err(failure);
        }
        imported => imported?,
    };
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

fn import(
    args: &Args,
    array: &Array,
    bucket: Option<&Bucket>,
    bar: &ProgressBar,
) -> Result<Imported, Failure> {
    let which = &args.which;
    let dir = match bucket {
        Some(_) => args.dir.clone(),
        None => std::path::absolute(&args.dir).map_err(Failure::usage)?,
    };
    let now = Timestamp::now();
    let import = Import {
        by: &by_hand(&format!("import of {}", dir.display()), now),
        quota_bytes: array.quota_bytes().map_err(|error| which.refused(error))?,
        message: &args.message,
        now,
        on_move: match args.on_conflict {
            OnConflict::Fail => OnMove::Fail,
            OnConflict::Replace => OnMove::Replace,
        },
    };
    let progress = &mut |keys, bytes| {
        bar.set_message(format!("{keys} keys"));
        bar.set_position(bytes);
    };
    let imported = match bucket {
        Some(bucket) => import.bucket(array, bucket, progress),
        None => import.directory(array, &dir, progress),
    };
    imported.map_err(|error| which.refused(error))
}

/// Drawn on standard error, when that is a terminal.
pub(super) fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {bytes} ({bytes_per_sec})") {
        bar.set_style(style);
    }
    bar
}
