use serde_json::Value;
use watchbell_api::node::ImageRequest;
use watchbell_image::PullOptions;

use super::place::{Place, StoreDir};
use crate::args::{Connect, Output};
use crate::exit::Failure;
use crate::output::{self, Format};

/// Shows what an image is made of and how it runs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    for image in &args.images {
        super::reference(image)?;
    }
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    let ask = |name: &String| place.ask(&ImageRequest::Inspect { name: name.clone() });
    let images = args.images.iter().map(ask).collect::<Result<Vec<Value>, Failure>>()?;
    let format = match args.output.output {
        None | Some(Format::Wide) => Format::Yaml,
        Some(Format::Name) => {
            for image in &images {
                output::data(&output::plain(image["name"].as_str().unwrap_or_default()));
            }
            return Ok(());
        }
        Some(format) => format,
    };
    match images.as_slice() {
        [one] => output::object(one, format),
        several => output::object(&Value::from(several.to_vec()), format),
    }
}
