use serde_json::{Value, json};
use watchbell_api::node::ImageRequest;
use watchbell_image::{Platform, PullOptions};

use super::bars::size;
use super::place::{Place, StoreDir};
use super::registry::RegistryAccess;
use crate::args::{Connect, Output};
use crate::exit::Failure;
use crate::output;

/// Pulls images from their registries
///
/// Every digest is verified while it streams; a transfer that broke off is resumed. Credentials come from --auth-file,
/// else from Docker's own file (~/.docker/config.json). While a server runs on the data directory it pulls itself,
/// without credentials, unless --auth-file or --ca is given: then the image is pulled here and handed over.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Which platform's image to take, such as linux/arm64; else this machine's
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    #[command(flatten)]
    access: RegistryAccess,
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    for image in &args.images {
        super::reference(image)?;
    }
    let options = options(args)?;
    let place = Place::find(&args.store, connect, options.clone())?;
    let is_own = args.access.auth_file.is_some() || args.access.ca.is_some();
    let mut all = Vec::new();
    for image in &args.images {
        let answer = if is_own && matches!(place, Place::Server(_)) {
            let name = super::reference(image)?;
            place.bring(&args.store, |store, bars| {
                watchbell_image::pull(store, &name, &options, bars).map(|_| vec![name.clone()])
            })?
        } else {
            place.fetch(
                &ImageRequest::Pull {
                    name: image.clone(),
                    platform: args.platform.clone(),
                    plain_http: args.access.plain_http,
                },
                &mut std::io::empty(),
            )?
        };
        all.push(answer);
    }
    show(&all, args.output)
}

fn options(args: &Args) -> Result<PullOptions, Failure> {
    let mut options = args.access.options();
    if let Some(platform) = &args.platform {
        options.platform = Platform::parse(platform).map_err(Failure::usage)?;
    }
    Ok(options)
}

/// Prints what came in: `NAME DIGEST`, one a line.
pub(super) fn show(answers: &[Value], output: Output) -> Result<(), Failure> {
    let flat: Vec<&Value> = answers
        .iter()
        .flat_map(|answer| match answer {
            Value::Array(items) => items.iter().collect::<Vec<_>>(),
            one => vec![one],
        })
        .collect();
    match output.output {
        Some(output::Format::Name) => {
            for image in flat {
                output::data(&output::plain(named(image)));
            }
            Ok(())
        }
        Some(format) => output::object(&json!(flat), format),
        None => {
            for image in flat {
                let digest = image["digest"].as_str().unwrap_or_default();
                output::data(&output::plain(&format!("{} {digest}", named(image))));
                output::note(&size(image["size"].as_u64().unwrap_or(0)));
            }
            Ok(())
        }
    }
}

/// The name, or the digest of an image without one.
fn named(image: &Value) -> &str {
    image["name"].as_str().or(image["digest"].as_str()).unwrap_or_default()
}
