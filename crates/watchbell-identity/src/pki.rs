//! Who the server is and how it knows its clients: its own authority, and what that signs.
//!
//! ```text
//!  DATA_DIR/pki/        mode 0700
//!    ca.crt ca.key      signs everything below; ten years
//!    server.crt .key    the listener; renewed when it nears its end or the names change
//!    admin.crt .key     O=system:masters, CN=kubernetes-admin
//!    service-account-keys.json   the keys of service accounts' tokens
//!  DATA_DIR/admin.kubeconfig   mode 0600: the admin's certificate and key, with the address
//! ```

mod certificate;
mod client;
mod kubeconfig;
mod user;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rcgen::{Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use watchbell_core::service_account::TokenIssuer;

use crate::files;
use crate::token_keys::TokenKeys;
use certificate::{Issued, Role};
pub use client::{ClientCertificate, ClientCheck, is_signed_by, serial_number_of};
pub use kubeconfig::{Kubeconfig, Proof};
pub use user::{ClientKey, SignError, SignedCertificate, Subject};

/// The user in `admin.kubeconfig`.
const ADMIN: &str = "kubernetes-admin";

/// What went wrong with the certificates.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot {step} {}: {source}", path.display())]
    File { step: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot use {}: {cause}; move {} away to have all certificates made anew", path.display(),
        path.parent().unwrap_or(path).display())]
    Unusable { path: PathBuf, cause: String },
    #[error("cannot make the certificate of {what}: {cause}")]
    Make { what: &'static str, cause: String },
    #[error("cannot use {}: {cause}; move it away to have the keys made anew, which ends every token of a service account",
        path.display())]
    TokenKeys { path: PathBuf, cause: String },
    #[error(
        "16 keys that were retired within a day still verify tokens: wait until the first of them is over, or end all tokens by \
         `watchbell service-account rotate-key --revoke`"
    )]
    TooManyTokenKeys,
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificates of a data directory.
pub struct Identity {
    data_dir: PathBuf,
    pki: PathBuf,
    names: Vec<String>,
    ca_pem: String,
    ca_key: KeyPair,
    served: Arc<Served>,
    tls: Arc<ServerConfig>,
    clients: Arc<ClientCheck>,
    tokens: TokenKeys,
    issuer: TokenIssuer,
}

impl Identity {
    /// Reads the certificates under `data_dir`, and makes those that are missing, near their end or for other names.
    /// `hostname` is the machine's.
    pub fn open(data_dir: &Path, listen: SocketAddr, hostname: &str) -> Result<Identity, IdentityError> {
        let now = Timestamp::now();
        let pki = data_dir.join("pki");
        files::private_dir(&pki)?;
        let (ca_pem, ca_key) = certificate::authority(&pki, now)?;
        let tokens = TokenKeys::open(&pki, now)?;
        let ca_der = parse_one(&pki.join("ca.crt"), ca_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = Arc::new(ClientCheck::new(&ca_der, &provider)?);
        let names = certificate::names(listen.ip(), hostname);
        let issuer = certificate::issuer(&ca_key)?;
        let issued = certificate::current(&pki, &issuer, Role::Server { names: &names }, &ca_der, now)?;
        let served = Arc::new(Served(ArcSwap::from(certified(&pki.join("server.crt"), &issued, &provider)?)));
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(clients.clone())
            .with_cert_resolver(served.clone());
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Identity {
            data_dir: data_dir.to_path_buf(),
            pki,
            names,
            ca_pem,
            ca_key,
            served,
            tls: Arc::new(tls),
            clients,
            tokens,
            issuer: TokenIssuer::new(TokenIssuer::DEFAULT_URL),
        })
    }

    /// Has tokens of service accounts be issued by this issuer.
    pub fn with_issuer(self, issuer: TokenIssuer) -> Identity {
        Identity { issuer, ..self }
    }

    /// Who signs the tokens of service accounts.
    pub fn issuer(&self) -> &TokenIssuer {
        &self.issuer
    }

    /// The keys of service accounts' tokens.
    pub fn tokens(&self) -> &TokenKeys {
        &self.tokens
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The authority's certificate: what clients need to know this server.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The judge of client certificates, which also stands in [`Identity::tls`].
    pub fn clients(&self) -> Arc<ClientCheck> {
        self.clients.clone()
    }

    /// TLS of the listener; it shows what [`Identity::renew`] renewed to new connections.
    pub fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }

    /// The serial number of the administrator's certificate; `None`: there is none that can be read.
    pub fn admin_serial_number(&self) -> Option<String> {
        let path = self.pki.join("admin.crt");
        let pem = files::read(&path).ok()??;
        client::serial_number_of(&parse_one(&path, pem.as_bytes()).ok()?)
    }

    /// Gives the administrator another certificate, as the one he has was revoked.
    pub fn replace_admin(&self, address: SocketAddr, now: Timestamp) -> Result<PathBuf, IdentityError> {
        files::remove(&self.pki.join("admin.crt"))?;
        self.write_admin(address, now)
    }

    /// Signs a user's request (PKCS #10 in PEM) for the subject that is given. `serial` is random.
    pub fn sign_user(
        &self,
        request_pem: &[u8],
        subject: Subject<'_>,
        serial: [u8; 16],
        now: Timestamp,
    ) -> Result<SignedCertificate, SignError> {
        let ca = parse_one(&self.pki.join("ca.crt"), self.ca_pem.as_bytes())
            .map_err(|e| SignError::Authority(e.to_string()))?;
        user::sign((&ca, &self.ca_key), request_pem, subject, serial, now)
    }

    /// Renews what nears its end, while the server runs.
    pub fn renew(&self, address: SocketAddr, now: Timestamp) -> Result<(), IdentityError> {
        let ca_der = parse_one(&self.pki.join("ca.crt"), self.ca_pem.as_bytes())?;
        let issuer = certificate::issuer(&self.ca_key)?;
        let issued =
            certificate::current(&self.pki, &issuer, Role::Server { names: &self.names }, &ca_der, now)?;
        let key = certified(&self.pki.join("server.crt"), &issued, self.tls.crypto_provider())?;
        self.served.0.store(key);
        self.tokens.tend(now)?;
        self.write_admin(address, now).map(drop)
    }

    /// The keys and certificates that count now, by what names them to anybody who sees them: for the audit journal, which so
    /// shows each change.
    pub fn keys_in_use(&self) -> Result<Value, IdentityError> {
        let of_file = |name: &str| -> Result<Value, IdentityError> {
            let path = self.pki.join(name);
            let Some(pem) = files::read(&path)? else { return Ok(Value::Null) };
            let certificate = parse_one(&path, pem.as_bytes())?;
            Ok(json!({"sha256": client::fingerprint(&certificate), "serial": serial_number_of(&certificate)}))
        };
        let (signing, retired) = self.tokens.thumbprints();
        Ok(json!({
            "authority": of_file("ca.crt")?, "server": of_file("server.crt")?, "admin": of_file("admin.crt")?,
            "serviceAccountTokens": {"signing": signing, "retired": retired},
        }))
    }

    /// Writes `DATA_DIR/admin.kubeconfig` for a server that listens at `address`.
    pub fn write_admin(&self, address: SocketAddr, now: Timestamp) -> Result<PathBuf, IdentityError> {
        let ca_der = parse_one(&self.pki.join("ca.crt"), self.ca_pem.as_bytes())?;
        let issuer = certificate::issuer(&self.ca_key)?;
        let admin = certificate::current(&self.pki, &issuer, Role::Admin, &ca_der, now)?;
        let path = self.data_dir.join("admin.kubeconfig");
        let config = Kubeconfig {
            server: &kubeconfig::server_url(address),
            ca_pem: &self.ca_pem,
            user: ADMIN,
            proof: Proof::Certificate { certificate_pem: &admin.certificate_pem, key_pem: &admin.key_pem },
        };
        let text = config.render();
        // A start on a full disk must not fail for a file that is right already.
        if files::read(&path)?.as_deref() != Some(&text) || !files::is_private(&path)? {
            files::replace(&path, text.as_bytes())?;
        }
        Ok(path)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("pki", &self.pki).field("names", &self.names).finish_non_exhaustive()
    }
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Served(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn parse_one(path: &Path, pem: &[u8]) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem)
        .map_err(|e| IdentityError::Unusable { path: path.into(), cause: e.to_string() })
}

fn certified(
    path: &Path,
    issued: &Issued,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())
        .map_err(|e| IdentityError::Unusable { path: path.into(), cause: e.to_string() })?;
    let chain = vec![parse_one(path, issued.certificate_pem.as_bytes())?];
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

fn issuer_error(what: &'static str) -> impl Fn(rcgen::Error) -> IdentityError {
    move |e| IdentityError::Make { what, cause: e.to_string() }
}

/// The authority as rcgen signs with it.
type Authority<'a> = Issuer<'a, &'a KeyPair>;

#[cfg(test)]
mod tests;
