//! What a signer's certificate says: the key, the identity, who vouched for it.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::der::{self, Tag};
use crate::key::PublicKey;
use crate::refused::{CertificateFault, Reason};

const BYTES_MAX: usize = 64 << 10;
/// Fulcio's extension for a user name (`SAN.otherName`).
const OTHER_NAME: &str = "1.3.6.1.4.1.57264.1.7";
/// Who vouched for the identity: as a UTF8String, and as bare bytes before that.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
const ISSUER_OLD: &str = "1.3.6.1.4.1.57264.1.1";
pub(crate) const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// A signer's certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) key: PublicKey,
    /// Every name of the subject.
    pub(crate) identities: Vec<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) fault: Option<CertificateFault>,
}

impl Certificate {
    /// Reads it; its chain, its times and its use are not judged yet.
    pub(crate) fn parse(der: &[u8]) -> Result<Certificate, Reason> {
        let malformed = |reason: &str| Reason::malformed("certificate", reason);
        if der.len() > BYTES_MAX {
            return Err(malformed("it is larger than 64 KiB"));
        }
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| malformed(&e.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("something follows it"));
        }
        let mut seen = Vec::new();
        let (mut identities, mut issuer, mut old_issuer) = (Vec::new(), None, None);
        let (mut is_authority, mut signs, mut is_for_code) = (false, false, false);
        for extension in certificate.iter_extensions() {
            let oid = extension.oid.to_id_string();
            if seen.contains(&oid) {
                return Err(malformed("it has an extension twice"));
            }
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => {
                    return Err(malformed("one of its extensions cannot be read"));
                }
                ParsedExtension::BasicConstraints(constraints) => is_authority = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    signs = usage.digital_signature();
                    is_authority |= usage.key_cert_sign();
                }
                ParsedExtension::ExtendedKeyUsage(usage) => is_for_code = usage.code_signing,
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        identities.push(
                            identity(name).ok_or_else(|| malformed("a name of it is of no known kind"))?,
                        );
                    }
                }
                _ => {}
            }
            let no_text = || malformed("its issuer is no text");
            if oid == ISSUER {
                issuer = Some(utf8_string(extension.value).ok_or_else(no_text)?);
            } else if oid == ISSUER_OLD {
                old_issuer = Some(std::str::from_utf8(extension.value).map_err(|_| no_text())?.to_owned());
            }
            seen.push(oid);
        }
        let fault = if is_authority {
            Some(CertificateFault::Authority)
        } else if !signs {
            Some(CertificateFault::NotForSigning)
        } else if !is_for_code {
            Some(CertificateFault::NotForCode)
        } else if issuer.is_none() && old_issuer.is_none() {
            Some(CertificateFault::WithoutIssuer)
        } else if issuer.is_some() && old_issuer.is_some() && issuer != old_issuer {
            Some(CertificateFault::IssuersDiffer)
        } else {
            None
        };
        Ok(Certificate {
            key: PublicKey::from_spki(certificate.public_key().raw)?,
            der: der.to_vec(),
            identities,
            issuer: issuer.or(old_issuer),
            fault,
        })
    }
}

fn identity(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::OtherName(oid, value) if oid.to_id_string() == OTHER_NAME => {
            // The value with its explicit tag, or without.
            let value = der::only(value, Tag::Context(0)).map_or(*value, |tagged| tagged.content);
            utf8_string(value)
        }
        _ => None,
    }
}

fn utf8_string(der: &[u8]) -> Option<String> {
    let text = der::only(der, der::UTF8_STRING)?;
    String::from_utf8(text.content.to_vec()).ok()
}
