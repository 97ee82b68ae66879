use watchbell_api::node::ImageRequest;
use watchbell_image::PullOptions;

use super::bars::size;
use super::place::{Place, StoreDir};
use crate::args::{Connect, Output};
use crate::exit::Failure;
use crate::output::{self, Format};

/// Deletes images that have no name and that no pod uses, and what is left of broken transfers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    let report = place.ask_to_remove(&args.store, &ImageRequest::Prune)?;
    if let Some(format @ (Format::Json | Format::Yaml)) = args.output.output {
        return output::object(&report, format);
    }
    for image in report["images"].as_array().into_iter().flatten() {
        output::data(&output::plain(image.as_str().unwrap_or_default()));
    }
    output::note(&format!(
        "{} freed in {} blobs and {} unpacked layers",
        size(report["bytes"].as_u64().unwrap_or(0)),
        report["blobs"],
        report["layers"]
    ));
    if report["deferred"] == true {
        output::note("an image is being brought in: what it may need was left for the next prune");
    }
    Ok(())
}
