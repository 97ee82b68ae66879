//! Certificates: reads what is there, makes what is missing or no longer fits.

use std::net::IpAddr;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authority, IdentityError, issuer_error};
use crate::files;

/// The authority lives ten years, what it signs one.
const AUTHORITY_YEARS: i64 = 10;
const SIGNED_YEARS: i64 = 1;
/// Made anew when less than this is left.
const RENEW_DAYS: i64 = 90;

/// A certificate with its key, both PEM.
pub(super) struct Issued {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// Whose certificate it is.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    Server { names: &'a [String] },
    Admin,
}

impl Role<'_> {
    fn file(self) -> &'static str {
        match self {
            Role::Server { .. } => "server",
            Role::Admin => "admin",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Role::Server { .. } => "the server",
            Role::Admin => "the administrator",
        }
    }
}

/// The names and addresses by which clients reach the server, in a fixed order.
pub(super) fn names(listen: IpAddr, hostname: &str) -> Vec<String> {
    let mut names: Vec<String> = ["127.0.0.1", "::1", "localhost"].map(str::to_owned).into();
    // The names under which pods and client libraries know the API server of a cluster.
    names.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned));
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    // A host name is whatever the machine's owner set; one that no certificate can carry is left out.
    let fits = !hostname.is_empty()
        && hostname.len() <= 253
        && hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if fits {
        names.push(hostname.to_ascii_lowercase());
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The authority of this data directory.
pub(super) fn authority(pki: &Path, now: Timestamp) -> Result<(String, KeyPair), IdentityError> {
    let (crt, key) = (pki.join("ca.crt"), pki.join("ca.key"));
    let found = files::read(&key)?;
    let key_pair = match &found {
        Some(pem) => KeyPair::from_pem(pem)
            .map_err(|e| IdentityError::Unusable { path: key.clone(), cause: e.to_string() })?,
        None => {
            let pair =
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issuer_error("the authority"))?;
            files::replace(&key, pair.serialize_pem().as_bytes())?;
            pair
        }
    };
    if found.is_some()
        && let Some(pem) = files::read(&crt)?
    {
        let unusable = |cause: String| IdentityError::Unusable { path: crt.clone(), cause };
        let der = super::parse_one(&crt, pem.as_bytes())?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|e| unusable(e.to_string()))?;
        if parsed.public_key().raw != key_pair.subject_public_key_info() {
            return Err(unusable("it does not belong to the key beside it (ca.key)".into()));
        }
        // The same key signs a longer certificate for itself: what it signed before stays valid.
        if parsed.validity().not_after.timestamp()
            > now.as_second() + (SIGNED_YEARS * 366 + RENEW_DAYS) * 86_400
        {
            return Ok((pem, key_pair));
        }
    }
    let params = authority_params(now).map_err(issuer_error("the authority"))?;
    let pem = params.self_signed(&key_pair).map_err(issuer_error("the authority"))?.pem();
    files::replace(&crt, pem.as_bytes())?;
    Ok((pem, key_pair))
}

fn authority_params(now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "watchbell-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, AUTHORITY_YEARS);
    Ok(params)
}

/// The authority as one who signs. Its name is fixed, so the key is all that must be kept.
pub(super) fn issuer(key: &KeyPair) -> Result<Authority<'_>, IdentityError> {
    let params = authority_params(Timestamp::UNIX_EPOCH).map_err(issuer_error("the authority"))?;
    Ok(Issuer::new(params, key))
}

/// The certificate of a role: the one that is there, if it fits; else a new one with a new key.
pub(super) fn current(
    pki: &Path,
    issuer: &Authority<'_>,
    role: Role<'_>,
    ca: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<Issued, IdentityError> {
    let crt = pki.join(format!("{}.crt", role.file()));
    let key = pki.join(format!("{}.key", role.file()));
    if let (Some(certificate_pem), Some(key_pem)) = (files::read(&crt)?, files::read(&key)?)
        && fits(&certificate_pem, &key_pem, role, ca, now)
    {
        return Ok(Issued { certificate_pem, key_pem });
    }
    let failed = issuer_error(role.what());
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
    let certificate =
        params(role, now).and_then(|params| params.signed_by(&pair, issuer)).map_err(&failed)?;
    let issued = Issued { certificate_pem: certificate.pem(), key_pem: pair.serialize_pem() };
    files::replace(&key, issued.key_pem.as_bytes())?;
    files::replace(&crt, issued.certificate_pem.as_bytes())?;
    Ok(issued)
}

fn params(role: Role<'_>, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let names = match role {
        Role::Server { names } => names.to_vec(),
        Role::Admin => Vec::new(),
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, SIGNED_YEARS);
    match role {
        Role::Server { .. } => {
            params.distinguished_name.push(DnType::CommonName, "watchbell");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        Role::Admin => {
            params.distinguished_name.push(DnType::OrganizationName, "system:masters");
            params.distinguished_name.push(DnType::CommonName, super::ADMIN);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
    }
    Ok(params)
}

/// From yesterday (clocks differ a little) for so many years.
fn set_validity(params: &mut CertificateParams, now: Timestamp, years: i64) {
    let today = TimeZone::UTC.to_datetime(now).date();
    let date =
        |d: jiff::civil::Date| rcgen::date_time_ymd(i32::from(d.year()), d.month() as u8, d.day() as u8);
    params.not_before = date(today.checked_sub(1.day()).unwrap_or(today));
    params.not_after = date(today.checked_add(years.years()).unwrap_or(today));
}

fn fits(
    certificate_pem: &str,
    key_pem: &str,
    role: Role<'_>,
    ca: &CertificateDer<'_>,
    now: Timestamp,
) -> bool {
    let Ok(der) = super::parse_one(Path::new(""), certificate_pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let Ok((_, authority)) = X509Certificate::from_der(ca) else { return false };
    let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
    let left = certificate.validity().not_after.timestamp() - now.as_second();
    certificate.public_key().raw == key.subject_public_key_info()
        && left > RENEW_DAYS * 86_400
        && certificate.validity().not_before.timestamp() <= now.as_second()
        && signed_by_key_of(&certificate, &authority)
        && match role {
            Role::Server { names } => names_of(&certificate) == names,
            Role::Admin => true,
        }
}

/// Whether the certificate names the authority's key as its signer's.
fn signed_by_key_of(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    let own = key_identifier(authority);
    let signer = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    own.is_some() && own == signer
}

/// What the authority calls its key.
pub(super) fn key_identifier<'a>(authority: &X509Certificate<'a>) -> Option<&'a [u8]> {
    authority.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The subject alternative names, as [`names`] writes them.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}
