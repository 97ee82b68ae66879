use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use watchbell_api::{Resource, table};

use super::{name, text};
use crate::args::{Connect, Output};
use crate::exit::Failure;
use crate::output::{self, Format};

/// Lists the certificates and tokens that users were given
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    let certificates = super::all(&client, Resource::UserCertificate)?;
    let tokens = super::all(&client, Resource::UserToken)?;
    let revoked: BTreeSet<String> = super::all(&client, Resource::CertificateRevocation)?
        .iter()
        .map(|revocation| name(revocation).to_owned())
        .collect();
    let is_wide = match args.output.output {
        None => false,
        Some(Format::Wide) => true,
        Some(format) => {
            let items: Vec<Value> = certificates.into_iter().chain(tokens).collect();
            return output::object(&json!({"apiVersion": "v1", "kind": "List", "items": items}), format);
        }
    };
    let authorities = super::authorities(&client);
    let now = Timestamp::now().as_second();
    let mut head = vec!["KIND", "NAME", "USER", "GROUPS", "STATE", "CREATED-BY"];
    if is_wide {
        head.extend(["SERIAL", "DESCRIPTION"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<String>>()];
    for (kind, object) in
        certificates.iter().map(|c| ("certificate", c)).chain(tokens.iter().map(|t| ("token", t)))
    {
        let (spec, status) = (&object["spec"], &object["status"]);
        let groups: Vec<&str> =
            spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let serial = text(status, "serialNumber");
        let state = if revoked.contains(serial) {
            "revoked".to_owned()
        } else {
            state(text(status, "expirationTimestamp"), now, is_ours(status, &authorities))
        };
        let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
        let mut row = vec![
            kind.to_owned(),
            name(object).to_owned(),
            text(spec, "user").to_owned(),
            or_none(&groups.join(",")),
            state,
            text(status, "createdBy").to_owned(),
        ];
        if is_wide {
            row.extend([or_none(serial), or_none(text(spec, "description"))]);
        }
        rows.push(row);
    }
    output::columns_of(&rows, &[]);
    Ok(())
}

/// Whether the server's authority signed what a record holds. Another one did before a backup was restored elsewhere.
fn is_ours(status: &Value, authorities: &[CertificateDer<'_>]) -> bool {
    let pem = BASE64_STANDARD.decode(text(status, "certificate")).unwrap_or_default();
    // A token has no certificate.
    let Ok(certificate) = CertificateDer::from_pem_slice(&pem) else { return true };
    authorities.is_empty()
        || authorities.iter().any(|authority| watchbell_identity::is_signed_by(&certificate, authority))
}

fn state(ends: &str, now: i64, is_ours: bool) -> String {
    match ends.parse::<Timestamp>() {
        Ok(at) if at.as_second() <= now => "ended".into(),
        _ if !is_ours => "other authority".into(),
        Ok(at) => format!("{} left", table::human_duration(at.as_second() - now)),
        Err(_) => "<unknown>".into(),
    }
}
