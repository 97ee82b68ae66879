//! Certificates of users: signed for a key that never leaves the user's machine.
//!
//! The request is a PKCS #10 (RFC 2986) of which the key counts, and the signature that shows that the client holds it.
//! Whose certificate it becomes the server says. The certificate is put together here (RFC 5280, section 4.1), as a subject
//! with several organisations, which are the groups, is more than rcgen writes.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use super::client::serial_number;

/// Clocks differ a little.
const BACKDATED_SECONDS: i64 = 300;
/// `id-at-commonName` and `id-at-organizationName`.
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];
const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];

/// Whose certificate it becomes.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The common name.
    pub user: &'a str,
    /// The organisations.
    pub groups: &'a [String],
    /// How long it holds.
    pub seconds: i64,
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCertificate {
    pub pem: String,
    /// Lower-case hexadecimal digits.
    pub serial_number: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// A request that cannot be signed, or an authority that cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("it is no PKCS #10 certificate request in PEM")]
    Form,
    #[error("its signature does not show that the client holds its key")]
    Proof,
    #[error("the authority cannot sign: {0}")]
    Authority(String),
}

/// Signs a request. `serial` is random.
pub(super) fn sign(
    (ca, ca_key): (&CertificateDer<'_>, &KeyPair),
    request_pem: &[u8],
    subject: Subject<'_>,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<SignedCertificate, SignError> {
    let request = CertificateSigningRequestDer::from_pem_slice(request_pem).map_err(|_| SignError::Form)?;
    let (rest, request) = X509CertificationRequest::from_der(&request).map_err(|_| SignError::Form)?;
    if !rest.is_empty() {
        return Err(SignError::Form);
    }
    request.verify_signature().map_err(|_| SignError::Proof)?;
    let (_, authority) = X509Certificate::from_der(ca).map_err(|e| SignError::Authority(e.to_string()))?;
    if ca_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(SignError::Authority("its key (ca.key) is not of the curve P-256".into()));
    }
    let mut serial = serial;
    // Positive (RFC 5280, section 4.1.2.2), and as long as it looks.
    serial[0] = serial[0] & 0x3F | 0x40;
    let not_after = now.as_second().saturating_add(subject.seconds);
    let signed = yasna::construct_der(|w| {
        w.write_sequence(|w| {
            w.next().write_tagged(Tag::context(0), |w| w.write_u8(2));
            w.next().write_bigint_bytes(&serial, true);
            algorithm(w.next());
            w.next().write_der(authority.subject().as_raw());
            w.next().write_sequence(|w| {
                time(w.next(), now.as_second().saturating_sub(BACKDATED_SECONDS));
                time(w.next(), not_after);
            });
            name(w.next(), subject);
            w.next().write_der(request.certification_request_info.subject_pki.raw);
            w.next().write_tagged(Tag::context(3), |w| extensions(w, &authority));
        });
    });
    let signature = ca_key.sign(&signed).map_err(|e| SignError::Authority(e.to_string()))?;
    let der = yasna::construct_der(|w| {
        w.write_sequence(|w| {
            w.next().write_der(&signed);
            algorithm(w.next());
            w.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    });
    Ok(SignedCertificate { pem: pem(&der), serial_number: serial_number(&serial), not_after })
}

fn oid(parts: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(parts)
}

fn algorithm(w: DERWriter<'_>) {
    w.write_sequence(|w| w.next().write_oid(&oid(ECDSA_WITH_SHA256)));
}

fn name(w: DERWriter<'_>, subject: Subject<'_>) {
    w.write_sequence(|w| {
        let groups = subject.groups.iter().map(|group| (ORGANIZATION, group.as_str()));
        for (kind, text) in groups.chain([(COMMON_NAME, subject.user)]) {
            w.next().write_set(|w| {
                w.next().write_sequence(|w| {
                    w.next().write_oid(&oid(kind));
                    w.next().write_utf8_string(text);
                });
            });
        }
    });
}

/// `UTCTime` up to 2049, then `GeneralizedTime` (RFC 5280, section 4.1.2.5).
fn time(w: DERWriter<'_>, seconds: i64) {
    let at = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX));
    let (tag, text) = if (1950..2050).contains(&at.year()) {
        (23u8, at.strftime("%y%m%d%H%M%SZ").to_string())
    } else {
        (24, at.strftime("%Y%m%d%H%M%SZ").to_string())
    };
    let mut der = vec![tag, text.len() as u8];
    der.extend_from_slice(text.as_bytes());
    w.write_der(&der);
}

fn extensions(w: DERWriter<'_>, authority: &X509Certificate<'_>) {
    w.write_sequence(|w| {
        let mut add = |id: &[u64], is_critical: Critical, value: Vec<u8>| {
            w.next().write_sequence(|w| {
                w.next().write_oid(&oid(id));
                if is_critical == Critical::Yes {
                    w.next().write_bool(true);
                }
                w.next().write_bytes(&value);
            });
        };
        // Not an authority itself.
        add(BASIC_CONSTRAINTS, Critical::Yes, yasna::construct_der(|w| w.write_sequence(|_| {})));
        // digitalSignature is the first bit.
        add(KEY_USAGE, Critical::Yes, yasna::construct_der(|w| w.write_bitvec_bytes(&[0x80], 1)));
        let usage = yasna::construct_der(|w| w.write_sequence(|w| w.next().write_oid(&oid(CLIENT_AUTH))));
        add(EXTENDED_KEY_USAGE, Critical::No, usage);
        if let Some(key) = super::certificate::key_identifier(authority) {
            let value = yasna::construct_der(|w| {
                w.write_sequence(|w| {
                    w.next().write_tagged_implicit(Tag::context(0), |w| w.write_bytes(key));
                });
            });
            add(AUTHORITY_KEY_IDENTIFIER, Critical::No, value);
        }
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Critical {
    Yes,
    No,
}

/// RFC 7468, in lines of 64.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// A new key of a user, and the request for a certificate that goes with it. Made where the key is to stay.
pub struct ClientKey {
    pub key_pem: String,
    /// PKCS #10.
    pub request_pem: String,
}

impl ClientKey {
    /// # Errors
    /// Where no key can be made.
    pub fn generate() -> Result<ClientKey, String> {
        let made = || -> Result<ClientKey, rcgen::Error> {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let request = CertificateParams::new(Vec::new())?.serialize_request(&pair)?;
            Ok(ClientKey { key_pem: pair.serialize_pem(), request_pem: request.pem()? })
        };
        made().map_err(|e| e.to_string())
    }
}
