use std::path::PathBuf;

use watchbell_api::Resource;
use watchbell_identity::Proof;

use super::Grant;
use crate::args::Connect;
use crate::exit::Failure;
use crate::output;

/// Gives a user a bearer token, which is shown this once
///
/// The server keeps a hash alone. The token goes to standard output; with --save, into a kubeconfig.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    grant: Grant,
    /// Write a kubeconfig with the token to this new file, which only its owner may read
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(super) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    super::refuse_existing(args.save.as_deref())?;
    let client = connect.client()?;
    let made = super::create(&client, Resource::UserToken, &args.grant.object(Resource::UserToken))?;
    let token = super::text(&made["status"], "token");
    if token.is_empty() {
        return Err(Failure::Refused("the server's answer holds no token".into()));
    }
    match &args.save {
        Some(file) => {
            let config = super::kubeconfig(&client, &args.grant.user, Proof::Token(token))?;
            super::hand_over(&config, Some(file))?;
        }
        None => output::data(token),
    }
    super::tell_made(&made, "usertoken")
}
