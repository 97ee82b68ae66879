//! Users: who they are is said by certificates and tokens that the server gives out, records and takes back.

mod add;
mod list;
mod revoke;
mod token;

use std::time::Duration;

use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use watchbell_api::Resource;
use watchbell_identity::{Kubeconfig, Proof};

use crate::args::Connect;
use crate::client::{Client, path};
use crate::exit::Failure;
use crate::kubeconfig::{self, Way};
use crate::{datadir, duration, output};

/// Gives users a way in, lists those that were given, and takes them back
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Add(add::Args),
    Token(token::Args),
    List(list::Args),
    Revoke(revoke::Args),
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    match &args.what {
        What::Add(args) => add::run(args, connect),
        What::Token(args) => token::run(args, connect),
        What::List(args) => list::run(args, connect),
        What::Revoke(args) => revoke::run(args, connect),
    }
}

/// Who a user is, and for how long what he gets is taken.
#[derive(Debug, clap::Args)]
struct Grant {
    /// The user's name
    user: String,
    /// A group of the user; several with further --group. `system:masters` may do everything
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long it is taken: 10 minutes to 366 days
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration::parse)]
    expires: Duration,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

impl Grant {
    /// The object that asks for it, of a kind whose spec begins as all of these do.
    fn object(&self, resource: Resource) -> Value {
        let info = resource.info();
        let mut spec = json!({
            "user": self.user, "groups": self.groups,
            "expirationSeconds": i64::try_from(self.expires.as_secs()).unwrap_or(i64::MAX),
        });
        if !self.description.is_empty() {
            spec["description"] = self.description.clone().into();
        }
        json!({
            "apiVersion": info.api_version(), "kind": info.kind,
            "metadata": {"generateName": stem(&self.user)}, "spec": spec,
        })
    }
}

/// What an object's name begins with: as much of the user's as names may hold.
fn stem(user: &str) -> String {
    const LENGTH_MAX: usize = 40;
    let word: String = user
        .chars()
        .take(LENGTH_MAX)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    match word.trim_matches('-') {
        "" => "user-".into(),
        word => format!("{word}-"),
    }
}

/// Creates what is asked for.
fn create(client: &Client, resource: Resource, object: &Value) -> Result<Value, Failure> {
    let url = format!("{}?fieldManager=watchbell&fieldValidation=Strict", path(resource, "", ""));
    Ok(client.post(&url, object)?)
}

/// Everything of a kind.
fn all(client: &Client, resource: Resource) -> Result<Vec<Value>, Failure> {
    let list = client.get(&path(resource, "", ""))?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(&object["metadata"], "name")
}

/// A kubeconfig for a user of the server that a client is connected to.
fn kubeconfig(client: &Client, user: &str, proof: Proof<'_>) -> Result<String, Failure> {
    let connection = client.connection();
    // A socket leads nobody else anywhere: beside it lies how the server is reached from outside.
    let outside;
    let connection = match &connection.way {
        Way::Tls { .. } => connection,
        Way::Socket(path) => {
            outside = kubeconfig::read(&path.with_file_name(datadir::ADMIN_KUBECONFIG))?;
            &outside
        }
    };
    let Way::Tls { ca_pem, .. } = &connection.way else {
        return Err(Failure::Usage("the kubeconfig beside the socket names no server".into()));
    };
    let ca_pem = std::str::from_utf8(ca_pem).map_err(Failure::usage)?;
    Ok(Kubeconfig { server: &connection.server, ca_pem, user, proof }.render())
}

/// Who signs the server's certificate, and those of its users. By the socket it is known to who may read the kubeconfig beside it.
fn authorities(client: &Client) -> Vec<CertificateDer<'static>> {
    let beside;
    let way = match &client.connection().way {
        Way::Socket(path) => match kubeconfig::read(&path.with_file_name(datadir::ADMIN_KUBECONFIG)) {
            Ok(connection) => {
                beside = connection;
                &beside.way
            }
            Err(_) => return Vec::new(),
        },
        way => way,
    };
    match way {
        Way::Tls { ca_pem, .. } => CertificateDer::pem_slice_iter(ca_pem).flatten().collect(),
        Way::Socket(_) => Vec::new(),
    }
}

/// Hands a secret over: into a new file that only its owner may read, or to standard output.
fn hand_over(content: &str, file: Option<&std::path::Path>) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(path) = file else {
        output::raw(content.as_bytes());
        return Ok(());
    };
    let failed = |e: std::io::Error| {
        Failure::Refused(format!(
            "cannot write {}: {e}; what was made is recorded and can be revoked (`watchbell user list`)",
            path.display()
        ))
    };
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Tells what was made, and whether the secret that belongs to it reached anybody: it is shown once.
fn tell_made(made: &Value, kind: &str) -> Result<(), Failure> {
    let name = name(made);
    output::note(&format!(
        "{kind}.watchbell.dev/{name} created; it ends {}",
        text(&made["status"], "expirationTimestamp")
    ));
    if output::is_lost() {
        return Err(Failure::Refused(format!(
            "what was made could not be handed over on standard output: take it back with `watchbell user revoke {name}`"
        )));
    }
    Ok(())
}

/// Before anything is made: a file that is there is not overwritten.
fn refuse_existing(file: Option<&std::path::Path>) -> Result<(), Failure> {
    match file {
        Some(path) if path.exists() => {
            Err(Failure::Usage(format!("{} is there already: name another file", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn a_name_begins_as_the_users() {
        let check = |user: &str, expect: &str| assert_eq!(stem(user), expect);
        check("ada", "ada-");
        check("Ada.Lovelace@example.com", "ada-lovelace-example-com-");
        check("--é--", "user-");
        check(&"x".repeat(300), &format!("{}-", "x".repeat(40)));
    }
}
