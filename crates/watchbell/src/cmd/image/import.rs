use std::fs::File;
use std::path::PathBuf;

use watchbell_api::node::ImageRequest;
use watchbell_image::{PullOptions, UPLOADED, import_path};

use super::place::{Place, StoreDir};
use super::pull::show;
use crate::args::{Connect, Output};
use crate::exit::Failure;

/// Imports images from a file: a docker-archive, an oci-archive, or an OCI layout folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive or folder, or - for an archive on standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name the image so, whatever the archive says; it must then hold one image
    #[arg(value_name = "NAME", id = "NAME")]
    positional_name: Option<String>,
    /// The same as NAME
    #[arg(long, value_name = "NAME", conflicts_with = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let name = args.name.as_ref().or(args.positional_name.as_ref());
    let reference = name.map(|name| super::reference(name)).transpose()?;
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    let request = ImageRequest::Import { name: name.cloned() };
    let answer = if args.file.as_os_str() == "-" {
        let fetched = place.fetch(&request, &mut std::io::stdin().lock());
        fetched.map_err(|failure| named(failure, "standard input"))?
    } else if args.file.is_dir() {
        place.bring(&args.store, |store, bars| {
            let imported = import_path(store, &args.file, reference.as_ref(), bars)?;
            let named = imported.into_iter().map(|image| {
                image.reference.ok_or_else(|| watchbell_image::Error::Import {
                    origin: args.file.display().to_string(),
                    reason: "it gives its image no name; give one with --name".into(),
                })
            });
            named.collect()
        })?
    } else {
        let mut file = File::open(&args.file)
            .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", args.file.display())))?;
        place
            .fetch(&request, &mut file)
            .map_err(|failure| named(failure, &args.file.display().to_string()))?
    };
    show(&[answer], args.output)
}

/// The archive by the name that the user knows. The command line was in order: what is wrong is the archive.
fn named(failure: Failure, file: &str) -> Failure {
    match failure {
        Failure::Usage(text) | Failure::Refused(text) => Failure::Refused(text.replace(UPLOADED, file)),
        other => other,
    }
}
