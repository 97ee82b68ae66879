use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use watchbell_api::Resource;

use super::{name, text};
use crate::args::Connect;
use crate::client::{Client, path};
use crate::exit::Failure;
use crate::kubeconfig::{self, Proof, Way};
use crate::output;

/// Takes back what was given: it no longer counts, at once, on open connections too
///
/// Of a user all certificates and tokens; or one token or certificate by its name; or the certificate in a file, such as a
/// kubeconfig that was lost. Revoking is for ever.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A user's name, or the name of one token or certificate
    #[arg(value_name = "USER|NAME", required_unless_present = "certificate", conflicts_with = "certificate")]
    what: Option<String>,
    /// A certificate in PEM, or a kubeconfig with one
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    if let Some(file) = &args.certificate {
        return revoke(&client, &serial_number(file)?, None, &args.reason);
    }
    let what = args.what.as_deref().unwrap_or_default();
    let tokens = super::all(&client, Resource::UserToken)?;
    let certificates = super::all(&client, Resource::UserCertificate)?;
    let (tokens, certificates) = (chosen(&tokens, what)?, chosen(&certificates, what)?);
    let now = Timestamp::now();
    let is_over = |object: &Value| {
        text(&object["status"], "expirationTimestamp").parse::<Timestamp>().is_ok_and(|ends| ends <= now)
    };
    if tokens.is_empty() && certificates.is_empty() {
        return Err(Failure::Refused(format!(
            "no token or certificate was given to a user {what:?}, and none has that name; a certificate that was not made \
             by `watchbell user add` is revoked by --certificate FILE"
        )));
    }
    for token in tokens {
        client.delete(&path(Resource::UserToken, "", name(token)), &Value::Null)?;
        output::data(&format!("usertoken.watchbell.dev/{} revoked", output::plain(name(token))));
    }
    // What has ended needs no record.
    for certificate in certificates.into_iter().filter(|certificate| !is_over(certificate)) {
        revoke(&client, text(&certificate["status"], "serialNumber"), Some(certificate), &args.reason)?;
    }
    Ok(())
}

/// The objects that a word means: one by its name, or all of a user.
fn chosen<'a>(objects: &'a [Value], what: &str) -> Result<Vec<&'a Value>, Failure> {
    let of_user: Vec<&Value> = objects.iter().filter(|o| text(&o["spec"], "user") == what).collect();
    match objects.iter().find(|object| name(object) == what) {
        Some(_) if !of_user.is_empty() => Err(Failure::Usage(format!(
            "{what:?} is a user as well as the name of one token or certificate: delete the one with `watchbell delete`"
        ))),
        Some(one) => Ok(vec![one]),
        None => Ok(of_user),
    }
}

/// Records that a certificate is no longer taken.
fn revoke(client: &Client, serial: &str, record: Option<&Value>, reason: &str) -> Result<(), Failure> {
    let info = Resource::CertificateRevocation.info();
    let mut spec = json!({});
    if let Some(record) = record {
        spec["user"] = text(&record["spec"], "user").into();
        spec["expirationTimestamp"] = text(&record["status"], "expirationTimestamp").into();
    }
    if !reason.is_empty() {
        spec["reason"] = reason.into();
    }
    let object = json!({
        "apiVersion": info.api_version(), "kind": info.kind, "metadata": {"name": serial}, "spec": spec,
    });
    match super::create(client, Resource::CertificateRevocation, &object) {
        // It was revoked before.
        Err(Failure::Refused(message)) if message.contains("already exists") => {}
        other => drop(other?),
    }
    output::data(&format!("certificaterevocation.watchbell.dev/{} created", output::plain(serial)));
    Ok(())
}

/// Of the certificate in a file.
fn serial_number(file: &Path) -> Result<String, Failure> {
    let wrong = |cause: &str| Failure::Usage(format!("cannot use {}: {cause}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| wrong(&e.to_string()))?;
    let pem = if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        bytes
    } else {
        match kubeconfig::read(file)?.way {
            Way::Tls { proof: Proof::Certificate { certificate_pem, .. }, .. } => certificate_pem,
            _ => return Err(wrong("its user has no client certificate; a token is revoked by its name")),
        }
    };
    let der = CertificateDer::from_pem_slice(&pem).map_err(|e| wrong(&e.to_string()))?;
    watchbell_identity::serial_number_of(&der).ok_or_else(|| wrong("it holds no certificate"))
}
