use std::collections::BTreeMap;
use std::path::PathBuf;

use watchbell_image::{BuildSpec, Ownership, Platform, PullOptions, build_scratch};

use super::place::{Place, StoreDir};
use super::pull::show;
use crate::args::{Connect, Output};
use crate::exit::Failure;

/// Builds an image from files: a static binary, or the tree of a root file system
///
/// There is no Dockerfile: what is copied is what the image holds. The same files give the same digest on any machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image, such as train:v1
    #[arg(value_name = "NAME")]
    name: String,
    /// Only `scratch`: an empty image
    #[arg(long, value_name = "IMAGE", default_value = "scratch", value_parser = ["scratch"])]
    from: String,
    /// What to copy, and where to in the image; a directory's content goes below that path
    #[arg(long, value_name = "HOST:IMAGE", required = true)]
    copy: Vec<String>,
    /// Program that the image runs, a word each time
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// Arguments that it is given unless others are, a word each time
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// Environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User that it runs as: a number, uid:gid, or a name in the image's /etc/passwd
    #[arg(long, value_name = "USER", default_value = "65534:65534")]
    user: String,
    /// Working directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    workdir: String,
    /// Label
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Platform that the files are for; else this machine's
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Keep the numbers of the files' owners, as in the tree of a root file system; else all is root's
    #[arg(long)]
    preserve_owner: bool,
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let name = super::reference(&args.name)?;
    let spec = spec(args)?;
    let place = Place::find(&args.store, connect, PullOptions::default())?;
    let answer = place
        .bring(&args.store, |store, _| build_scratch(store, &spec, &name).map(|_| vec![name.clone()]))?;
    show(&[answer], args.output)
}

fn spec(args: &Args) -> Result<BuildSpec, Failure> {
    let copies = args
        .copy
        .iter()
        .map(|word| match word.rsplit_once(':') {
            Some((host, image)) if !host.is_empty() && image.starts_with('/') => {
                Ok((PathBuf::from(host), PathBuf::from(image)))
            }
            _ => Err(Failure::Usage(format!(
                "--copy {word:?} is not HOST:IMAGE with an absolute path in the image"
            ))),
        })
        .collect::<Result<_, _>>()?;
    let labels = args
        .label
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::Usage(format!("--label {word:?} is not KEY=VALUE"))),
        })
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let platform = match &args.platform {
        Some(text) => Platform::parse(text).map_err(Failure::usage)?,
        None => Platform::host(),
    };
    Ok(BuildSpec {
        copies,
        entrypoint: args.entrypoint.clone(),
        cmd: args.cmd.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        labels,
        platform,
        ownership: if args.preserve_owner { Ownership::Preserve } else { Ownership::Root },
        ..BuildSpec::default()
    })
}
