//! Client certificates: who a connection belongs to.
//!
//! The handshake asks for a certificate and takes any whose key the client proves to hold; whether our authority signed
//! it is judged with each request. So a stranger gets a `401` in words instead of a broken connection, and a certificate
//! that ends while its connection is open ends its rights with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use watchbell_core::request::User;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IdentityError;
use crate::{AUTHENTICATED, CREDENTIAL_ID, Refusal};

/// A client certificate that our authority signed and whose time is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's common name, its organisations as groups.
    pub user: User,
    /// In lower-case hexadecimal digits, as revocations are named.
    pub serial_number: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// Which certificate it was, as Kubernetes puts it into `extra` (KEP-4193).
fn credential(certificate: &CertificateDer<'_>) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([(CREDENTIAL_ID.into(), vec![format!("X509SHA256={}", fingerprint(certificate))])])
}

/// SHA-256 over a certificate in DER, in lower-case hexadecimal digits.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The serial number of a certificate in DER, as revocations are named; `None`: it is none.
pub fn serial_number_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(serial_number(certificate.raw_serial()))
}

/// Whether an authority signed a certificate, both in DER.
pub fn is_signed_by(certificate: &CertificateDer<'_>, authority: &CertificateDer<'_>) -> bool {
    let parsed = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
    match (parsed(certificate), parsed(authority)) {
        (Ok(certificate), Ok(authority)) => {
            certificate.verify_signature(Some(authority.public_key())).is_ok()
        }
        _ => false,
    }
}

/// A serial number as revocations name it: whole bytes without the zero that keeps a number positive.
pub(super) fn serial_number(raw: &[u8]) -> String {
    let bytes = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The judge of client certificates.
#[derive(Debug)]
pub struct ClientCheck {
    strict: Arc<dyn ClientCertVerifier>,
}

impl ClientCheck {
    pub(super) fn new(
        ca: &CertificateDer<'static>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientCheck, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|e| IdentityError::Make { what: "client checks", cause: e.to_string() })?;
        Ok(ClientCheck { strict })
    }

    /// Whose certificate this chain begins with, at this moment. Whether it was revoked is not known here.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<ClientCertificate, Refusal> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Refusal::Nothing)?;
        self.strict
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map_err(|e| Refusal::Certificate(e.to_string()))?;
        let (_, certificate) =
            X509Certificate::from_der(end_entity).map_err(|e| Refusal::Certificate(e.to_string()))?;
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .filter(|name| !name.is_empty())
            .ok_or(Refusal::Nameless)?;
        let mut groups: Vec<String> =
            subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        groups.push(AUTHENTICATED.into());
        Ok(ClientCertificate {
            user: User { name: name.into(), groups, extra: credential(end_entity), ..User::default() },
            serial_number: serial_number(certificate.raw_serial()),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

impl ClientCertVerifier for ClientCheck {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Judged in `identify`, with each request.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
