//! Client certificates: who a connection belongs to.
//!
//! The handshake asks for a certificate and takes any whose key the client proves to hold; whether our authority signed
//! it is judged with each request. So a stranger gets a `401` in words instead of a broken connection, and a certificate
//! that ends while its connection is open ends its rights with it.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use watchbell_core::request::User;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IdentityError;

/// Why a connection belongs to nobody; for the server's own log, a client hears only that it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error("no client certificate")]
    NoCertificate,
    #[error("the client certificate is not valid here: {0}")]
    Foreign(String),
    #[error("the client certificate has no common name")]
    NoName,
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

    /// The user of a certificate chain at this moment: the subject's common name, its organisations as groups.
    pub fn user(&self, chain: &[CertificateDer<'_>]) -> Result<User, Unauthenticated> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Unauthenticated::NoCertificate)?;
        self.strict
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map_err(|e| Unauthenticated::Foreign(e.to_string()))?;
        let (_, certificate) =
            X509Certificate::from_der(end_entity).map_err(|e| Unauthenticated::Foreign(e.to_string()))?;
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .filter(|name| !name.is_empty())
            .ok_or(Unauthenticated::NoName)?;
        let mut groups: Vec<String> =
            subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        groups.push("system:authenticated".into());
        Ok(User { name: name.into(), groups, ..User::default() })
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
        // Judged in `user`, with each request.
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
