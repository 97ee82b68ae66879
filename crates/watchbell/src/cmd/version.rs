use serde_json::json;

use crate::args::{Connect, Output};
use crate::client::Client;
use crate::exit::Failure;
use crate::{kubeconfig, output};

/// Prints the version of this program, and of the server when there is one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this program; no server is asked
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let mut versions = json!({"clientVersion": {"version": env!("CARGO_PKG_VERSION")}});
    let mut unreachable = None;
    let is_known = kubeconfig::find(connect.kubeconfig()).is_ok();
    if !args.client && !is_known {
        output::note("no kubeconfig names a server, so none is asked for its version");
    }
    if !args.client && is_known {
        match Client::connect(connect.kubeconfig(), connect.namespace.as_deref())
            .and_then(|client| client.get("/version"))
        {
            Ok(server) => versions["serverVersion"] = server,
            Err(error) => unreachable = Some(error),
        }
    }
    match args.output.output {
        Some(format) => output::object(&versions, format)?,
        None => {
            output::data(&format!("watchbell {}", env!("CARGO_PKG_VERSION")));
            if let Some(version) = versions["serverVersion"]["gitVersion"].as_str() {
                output::data(&format!("server {version}"));
            }
        }
    }
    // Without --client the server's version was asked for as well.
    unreachable.map_or(Ok(()), |error| Err(error.into()))
}
