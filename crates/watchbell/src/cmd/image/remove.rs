use watchbell_api::node::ImageRequest;
use watchbell_image::PullOptions;

use super::bars::size;
use super::place::{Place, StoreDir};
use crate::args::Connect;
use crate::exit::Failure;
use crate::output;

/// Takes names away, and deletes images that have none left and that no pod uses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    store: StoreDir,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    for image in &args.images {
        super::reference(image)?;
    }
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    for name in &args.images {
        let report = place.ask_to_remove(&args.store, &ImageRequest::Remove { name: name.clone() })?;
        output::data(&format!("{name} removed"));
        output::note(&format!("{} freed", size(report["bytes"].as_u64().unwrap_or(0))));
    }
    Ok(())
}
