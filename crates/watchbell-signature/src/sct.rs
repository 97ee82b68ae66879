//! Signed certificate timestamps inside a certificate (RFC 6962, sections 3.2 and 3.3): that a certificate transparency log
//! has seen it, so that an authority cannot issue one in secret.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate::SCT_LIST;
use crate::der::{self, Tag};
use crate::key::{Hash, KeyKind};
use crate::refused::{Reason, SctFault};
use crate::trust_root::Log;

const COUNT_MAX: usize = 16;

/// Whether every timestamp in the certificate was signed by a log of `logs`; there must be one at least.
pub(crate) fn verify(certificate: &[u8], issuer_spki: &[u8], logs: &[Log]) -> Result<(), Reason> {
    let malformed =
        || Reason::malformed("certificate", "its certificate transparency timestamps cannot be read");
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| malformed())?;
    let Some(extension) = parsed.iter_extensions().find(|e| e.oid.to_id_string() == SCT_LIST) else {
        return Err(Reason::SctMissing);
    };
    let ParsedExtension::SCT(timestamps) = extension.parsed_extension() else { return Err(malformed()) };
    if timestamps.is_empty() {
        return Err(Reason::SctMissing);
    }
    if timestamps.len() > COUNT_MAX {
        return Err(malformed());
    }
    let precertificate = without_timestamps(parsed.tbs_certificate.as_ref()).ok_or_else(malformed)?;
    let length = u32::try_from(precertificate.len()).ok().filter(|l| *l < 1 << 24).ok_or_else(malformed)?;
    for timestamp in timestamps {
        let at = i64::try_from(timestamp.timestamp)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .ok_or_else(malformed)?;
        let log = logs
            .iter()
            .find(|log| log.id == timestamp.id.key_id)
            .ok_or(Reason::SctWrong(SctFault::LogUnknown))?;
        if !log.validity.holds(at) {
            return Err(Reason::SctWrong(SctFault::LogTime));
        }
        let key = log.key.as_ref().map_err(|e| Reason::from(e.clone()))?;
        // struct digitally-signed: version 1, certificate_timestamp, the time, precert_entry, …
        let mut signed = vec![timestamp.version.0, 0];
        signed.extend_from_slice(&timestamp.timestamp.to_be_bytes());
        signed.extend_from_slice(&1u16.to_be_bytes());
        signed.extend_from_slice(&Sha256::digest(issuer_spki));
        signed.extend_from_slice(&length.to_be_bytes()[1..]);
        signed.extend_from_slice(&precertificate);
        let extensions = timestamp.extensions.0;
        signed.extend_from_slice(&u16::try_from(extensions.len()).map_err(|_| malformed())?.to_be_bytes());
        signed.extend_from_slice(extensions);
        // The pair of algorithms of TLS 1.2: SHA-256 with RSA or ECDSA, and the key's own.
        let fits = match (timestamp.signature.hash_alg_id, timestamp.signature.sign_alg_id, key.kind()) {
            (4, 1, kind) => kind == KeyKind::Rsa,
            (4, 3, kind) => matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384),
            _ => false,
        };
        let is_signed =
            fits && key.verifies_with(Hash::Sha256, &signed, timestamp.signature.data) == Some(true);
        if !is_signed || timestamp.version.0 != 0 {
            return Err(Reason::SctWrong(SctFault::SignatureWrong));
        }
    }
    Ok(())
}

/// The part of the certificate that the log signed: the authority's part without the extension of the timestamps.
fn without_timestamps(tbs: &[u8]) -> Option<Vec<u8>> {
    let mut fields = der::inside(der::only(tbs, der::SEQUENCE)?);
    let mut content = Vec::with_capacity(tbs.len());
    while let Some(field) = fields.next() {
        if field.tag != Tag::Context(3) {
            content.extend_from_slice(field.whole);
            continue;
        }
        let mut extensions = der::inside(der::only(field.content, der::SEQUENCE)?);
        let mut kept = Vec::new();
        while let Some(extension) = extensions.next() {
            let oid = der::inside(extension).expect(der::OID)?;
            if !is_timestamps(oid.content) {
                kept.extend_from_slice(extension.whole);
            }
        }
        if !extensions.is_at_end() {
            return None;
        }
        content.extend_from_slice(&der::write(0xa3, &der::write(0x30, &kept)));
    }
    fields.is_at_end().then(|| der::write(0x30, &content))
}

/// 1.3.6.1.4.1.11129.2.4.2, encoded.
fn is_timestamps(oid: &[u8]) -> bool {
    oid == [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02]
}
