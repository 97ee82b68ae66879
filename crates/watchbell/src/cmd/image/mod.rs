//! `watchbell image …`: on the store itself when no server holds the data directory, else through that server.

pub(crate) mod bars;
mod build;
mod import;
mod inspect;
mod list;
pub(crate) mod place;
mod prune;
mod pull;
pub(crate) mod registry;
mod remove;
mod save;
mod sbom;
mod sign;
mod target;
mod verify;

use crate::args::Connect;
use crate::exit::Failure;

/// Images in watchbell's own store
///
/// The store in --data-dir is worked on directly while no server runs on it, and through that server otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Taken as by every command; images belong to the machine, so it plays no part
    #[arg(short, long, value_name = "NAME", global = true)]
    namespace: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Pull(pull::Args),
    Import(import::Args),
    Build(build::Args),
    #[command(alias = "list")]
    Ls(list::Args),
    #[command(alias = "remove")]
    Rm(remove::Args),
    Inspect(inspect::Args),
    Prune(prune::Args),
    Save(save::Args),
    Verify(verify::Args),
    Sign(sign::Args),
    Sbom(sbom::Args),
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    if let Some(namespace) = &args.namespace {
        tracing::debug!(namespace, "images belong to the machine");
    }
    match &args.verb {
        Verb::Pull(args) => pull::run(args, connect),
        Verb::Import(args) => import::run(args, connect),
        Verb::Build(args) => build::run(args, connect),
        Verb::Ls(args) => list::run(args, connect),
        Verb::Rm(args) => remove::run(args, connect),
        Verb::Inspect(args) => inspect::run(args, connect),
        Verb::Prune(args) => prune::run(args, connect),
        Verb::Save(args) => save::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Sign(args) => sign::run(args),
        Verb::Sbom(args) => sbom::run(args),
    }
}

/// A name as a person writes it.
fn reference(text: &str) -> Result<watchbell_image::Reference, Failure> {
    watchbell_image::Reference::parse(text).map_err(Failure::usage)
}
