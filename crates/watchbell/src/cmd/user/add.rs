use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use watchbell_api::Resource;
use watchbell_identity::{ClientKey, Proof};

use super::Grant;
use crate::args::Connect;
use crate::exit::Failure;

/// Gives a user a client certificate, in a kubeconfig
///
/// The key is made here and does not go to the server. The kubeconfig goes to standard output, or to a new file.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    grant: Grant,
    /// Write the kubeconfig to this new file, which only its owner may read
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(super) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    super::refuse_existing(args.save.as_deref())?;
    let client = connect.client()?;
    let key = ClientKey::generate().map_err(|e| Failure::Refused(format!("cannot make a key: {e}")))?;
    let mut object = args.grant.object(Resource::UserCertificate);
    object["spec"]["request"] = BASE64_STANDARD.encode(&key.request_pem).into();
    let made = super::create(&client, Resource::UserCertificate, &object)?;
    let certificate = BASE64_STANDARD
        .decode(super::text(&made["status"], "certificate"))
        .ok()
        .and_then(|pem| String::from_utf8(pem).ok())
        .ok_or_else(|| Failure::Refused("the server's answer holds no certificate".into()))?;
    let proof = Proof::Certificate { certificate_pem: &certificate, key_pem: &key.key_pem };
    let config = super::kubeconfig(&client, &args.grant.user, proof)?;
    super::hand_over(&config, args.save.as_deref())?;
    super::tell_made(&made, "usercertificate")
}
