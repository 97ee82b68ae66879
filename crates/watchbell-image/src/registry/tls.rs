//! Whom a registry's certificate must come from.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::Error;

/// The bundles that distributions keep; an operator's own authority is installed there.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Trusts the system's authorities, or Mozilla's where the system has none, or, when `ca` is given, those in it and no
/// others.
pub(super) fn config(ca: Option<&Path>) -> Result<TlsConfig, Error> {
    let roots = match ca {
        Some(path) => {
            let certificates = read(path)?;
            if certificates.is_empty() {
                return Err(Error::io("read certificates from", path)(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "it holds no certificate in PEM form",
                )));
            }
            RootCerts::new_with_certs(&certificates)
        }
        None => {
            let system = system_authorities();
            system.map_or(RootCerts::WebPki, |pem| RootCerts::new_with_certs(&certificates(&pem)))
        }
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    Ok(certificates(&std::fs::read(path).map_err(Error::io("read", path))?))
}

/// The authorities that this machine trusts, in PEM; `None`: it has none.
pub fn system_authorities() -> Option<Vec<u8>> {
    SYSTEM_BUNDLES
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .find(|pem| !certificates(pem).is_empty())
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(Result::ok)
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect()
}
