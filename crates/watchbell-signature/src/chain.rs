//! From a certificate up to an authority of the trust root, at one instant.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::refused::{CertificateFault, Reason};
use crate::trust_root::Authority;

const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 8] = [
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// The use is judged where the certificate is read: webpki asks the same of authorities, which need not say theirs.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Finds the authority among those valid at `at` that issued `leaf`, all certificates between included and valid then too.
/// Returns the SubjectPublicKeyInfo of the issuer.
pub(crate) fn issuer(leaf: &[u8], authorities: &[Authority], at: Timestamp) -> Result<Vec<u8>, Reason> {
    let mut furthest = Reason::CertificateUntrusted("none was in use then".into());
    for authority in authorities.iter().filter(|a| a.validity.holds(at)) {
        match issued_by(leaf, &authority.chain, at) {
            Ok(spki) => return Ok(spki),
            Err(reason) => furthest = furthest.max(reason),
        }
    }
    Err(furthest)
}

/// The same with one chain, its root last.
pub(crate) fn issued_by(leaf: &[u8], chain: &[Vec<u8>], at: Timestamp) -> Result<Vec<u8>, Reason> {
    let untrusted = |error: Error| match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
            Reason::OutsideCertificate { at: at.to_string() }
        }
        Error::CaUsedAsEndEntity => Reason::CertificateUnfit(CertificateFault::Authority),
        other => Reason::CertificateUntrusted(other.to_string()),
    };
    let Some((root, between)) = chain.split_last() else {
        return Err(Reason::CertificateUntrusted("it has no certificate".into()));
    };
    let seconds =
        u64::try_from(at.as_second()).map_err(|_| Reason::OutsideCertificate { at: at.to_string() })?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let root_der = CertificateDer::from(root.as_slice());
    let anchors: [TrustAnchor<'_>; 1] = [anchor_from_trusted_cert(&root_der).map_err(untrusted)?];
    let between_der: Vec<CertificateDer<'_>> = between.iter().map(|der| der.as_slice().into()).collect();
    let leaf = CertificateDer::from(leaf);
    let end = EndEntityCert::try_from(&leaf).map_err(untrusted)?;
    let path = end
        .verify_for_usage(&ALGORITHMS, &anchors, &between_der, time, AnyUse, None, None)
        .map_err(untrusted)?;
    let issuer =
        path.intermediate_certificates().next().map_or_else(|| root.clone(), |cert| cert.der().to_vec());
    // webpki takes an anchor as it is; its time counts here as that of the others.
    let malformed = |_| Reason::CertificateUntrusted("the authority's certificate cannot be read".into());
    let (_, root) = X509Certificate::from_der(root).map_err(malformed)?;
    let validity = root.validity();
    if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&at.as_second()) {
        return Err(Reason::CertificateUntrusted("the root was not valid then".into()));
    }
    let (_, issuer) = X509Certificate::from_der(&issuer).map_err(malformed)?;
    Ok(issuer.public_key().raw.to_vec())
}
