use serde_json::Value;
use watchbell_api::node::ImageRequest;
use watchbell_image::PullOptions;

use super::bars::{short, size};
use super::place::{Place, StoreDir};
use crate::args::{Connect, Output};
use crate::exit::Failure;
use crate::output::{self, Format};

/// Lists the images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    let images = place.ask(&ImageRequest::List)?;
    let list = images.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = |image: &Value| -> Vec<String> {
        let names: Vec<String> = image["names"].as_array().into_iter().flatten().map(text).collect();
        if names.is_empty() { vec!["<none>".into()] } else { names }
    };
    match args.output.output {
        Some(Format::Name) => {
            for name in list.iter().flat_map(names) {
                output::data(&output::plain(&name));
            }
        }
        Some(format @ (Format::Json | Format::Yaml)) => output::object(&images, format)?,
        None | Some(Format::Wide) => {
            let wide = args.output.output == Some(Format::Wide);
            let mut rows =
                vec![["NAME", "DIGEST", "PLATFORM", "SIZE", "CREATED"].map(str::to_owned).to_vec()];
            for image in list {
                let digest = text(&image["digest"]);
                for name in names(image) {
                    rows.push(vec![
                        name,
                        if wide { digest.clone() } else { short(&digest) },
                        text(&image["platform"]),
                        size(image["size"].as_u64().unwrap_or(0)),
                        text(&image["created"]),
                    ]);
                }
            }
            output::columns_of(&rows, &[]);
        }
    }
    Ok(())
}
