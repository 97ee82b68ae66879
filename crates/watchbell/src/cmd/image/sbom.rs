//! `watchbell image sbom …`

mod push;
mod show;

use std::path::{Path, PathBuf};

use watchbell_image::{ImageContent, Limits, Platform, PullOptions, Reference, Silent, Store, pull};
use watchbell_scan::{BillForm, Inventory, Subject, catalog};

use super::place::StoreDir;
use crate::datadir;
use crate::exit::Failure;

/// The bill of materials of an image: which packages are in it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Show(show::Args),
    Push(push::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Show(args) => show::run(args),
        Verb::Push(args) => push::run(args),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Cyclonedx,
    Spdx,
}

impl Form {
    fn bill(self) -> BillForm {
        match self {
            Form::Cyclonedx => BillForm::CycloneDx,
            Form::Spdx => BillForm::Spdx,
        }
    }
}

/// Where an image lies.
enum Source {
    Store(Reference),
    /// A folder that is an OCI layout, and the tag in it.
    Layout(PathBuf, Option<String>),
    Archive(PathBuf),
}

impl Source {
    fn parse(text: &str) -> Result<Source, Failure> {
        if let Some(path) = text.strip_prefix("docker-archive:") {
            return Ok(Source::Archive(path.into()));
        }
        let Some(rest) = text.strip_prefix("oci:") else { return super::reference(text).map(Source::Store) };
        // What follows the last colon is a tag unless it is part of a path.
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') && !tag.is_empty() => (dir, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if dir.is_empty() {
            return Err(Failure::Usage(format!("\"{text}\" names no folder; write oci:DIR:TAG")));
        }
        Ok(Source::Layout(dir.into(), tag))
    }

    /// The image; one that is not in the store is pulled into it.
    fn open(&self, store: &StoreDir, options: &PullOptions) -> Result<ImageContent, Failure> {
        let open = |path: &Path, tag: Option<&str>| {
            ImageContent::open(path, tag, &Platform::host(), &Limits::default()).map_err(Failure::refused)
        };
        match self {
            Source::Archive(path) => open(path, None),
            Source::Layout(dir, tag) => open(dir, tag.as_deref()),
            Source::Store(reference) => {
                let dir = &store.path();
                datadir::require(dir)?;
                let store = Store::open(dir).map_err(Failure::refused)?;
                let image = match store.resolve(reference).map_err(Failure::refused)? {
                    Some(image) => image,
                    None => pull(&store, reference, options, &Silent).map_err(Failure::refused)?,
                };
                Ok(store.content(image, Some(reference.clone())))
            }
        }
    }
}

/// What is in it, and what the bill says it is of.
fn bill(content: &ImageContent, name: &str) -> Result<(Inventory, Subject), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let inventory = catalog(content, threads).map_err(Failure::refused)?;
    let name = content.reference.as_ref().map_or_else(|| name.to_owned(), ToString::to_string);
    Ok((inventory, Subject::of_image(&name, &content.image)))
}
