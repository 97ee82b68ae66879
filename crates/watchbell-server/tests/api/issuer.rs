//! An OpenID Connect issuer: real TLS with an authority of its own on loopback, real keys, and every way to fail.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use watchbell_identity::jwt::{Algorithm, KeySet, SigningKey};
use watchbell_identity::oidc::IssuerConfig;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Its documents are those of another issuer.
    OtherIssuer,
    /// The keys are said to lie where TLS is not.
    PlainKeys,
    /// Each address leads to the next.
    Redirects,
    /// A document that does not end.
    Endless,
    Broken,
}

pub(crate) struct TestIssuer {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    url: String,
    keys: Mutex<Vec<Arc<SigningKey>>>,
    mood: Mutex<Mood>,
    /// Under which name all keys are published, if not under their own.
    name: Mutex<Option<Option<&'static str>>>,
    asked: AtomicUsize,
    ends: AtomicBool,
}

/// An ECDSA key of its own; RSA keys cannot be made by ring, so there is one.
pub(crate) fn key(algorithm: Algorithm) -> Arc<SigningKey> {
    let der = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let text = include_str!("../../../watchbell-identity/src/jwt/rsa_test_key.b64");
            BASE64_STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
        }
        Algorithm::Es384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_der(),
        _ => KeyPair::generate().unwrap().serialize_der(),
    };
    Arc::new(SigningKey::from_pkcs8(algorithm, &der).unwrap())
}

impl TestIssuer {
    pub(crate) fn start(keys: Vec<Arc<SigningKey>>) -> TestIssuer {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let own = own.signed_by(&own_key, &rcgen::Issuer::new(ca, &ca_key)).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::try_from(own_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://{address}");
        let shared = Arc::new(Shared {
            url: url.clone(),
            keys: Mutex::new(keys),
            mood: Mutex::new(Mood::Well),
            name: Mutex::default(),
            asked: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.serve(&listener, &Arc::new(tls))
        });
        TestIssuer { url, ca_pem, shared, address, thread: Some(thread) }
    }

    /// As a server trusts it.
    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig {
            audiences: vec!["watchbell".into()],
            authority: Some(self.ca_pem.as_bytes().to_vec()),
            ..IssuerConfig::new(&self.url)
        }
    }

    pub(crate) fn set_keys(&self, keys: Vec<Arc<SigningKey>>) {
        *self.shared.keys.lock().unwrap() = keys;
    }

    /// Publishes all keys under this name, or under none.
    pub(crate) fn name_keys(&self, name: Option<&'static str>) {
        *self.shared.name.lock().unwrap() = Some(name);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// How many documents it was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Claims of a token that is taken, with others in their place.
    pub(crate) fn claims(&self, others: Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": "watchbell", "sub": "ada", "iat": now, "exp": now + 3600, "groups": ["ml"],
        });
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = std::net::TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener, tls: &Arc<ServerConfig>) {
        for stream in listener.incoming() {
            if self.ends.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { return };
            let connection = ServerConnection::new(tls.clone()).unwrap();
            // A client that does not trust it goes away.
            let _ = self.answer(StreamOwned::new(connection, stream));
        }
    }

    fn answer(&self, stream: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        let mut stream = reader.into_inner();
        let head = |code: &str, more: &str| format!("HTTP/1.1 {code}\r\nConnection: close\r\n{more}\r\n");
        match (mood, path.as_str()) {
            (Mood::Broken, _) => stream.write_all(head("500 Broken", "Content-Length: 0\r\n").as_bytes())?,
            (Mood::Redirects, _) => {
                let to = format!("Location: {}/{}\r\nContent-Length: 0\r\n", self.url, path.len());
                stream.write_all(head("302 Found", &to).as_bytes())?;
            }
            (Mood::Endless, _) => {
                stream.write_all(head("200 OK", "").as_bytes())?;
                while !self.ends.load(Ordering::SeqCst) {
                    stream.write_all(&[b' '; 4096])?;
                }
            }
            (_, "/keys") => {
                let keys = self.keys.lock().unwrap().iter().map(|key| key.public().clone()).collect();
                let mut document = KeySet { keys }.to_jwks();
                if let Some(name) = *self.name.lock().unwrap() {
                    for jwk in document["keys"].as_array_mut().unwrap() {
                        jwk.as_object_mut().unwrap().remove("kid");
                        if let Some(name) = name {
                            jwk["kid"] = name.into();
                        }
                    }
                }
                self.document(&mut stream, &document)?;
            }
            (_, "/.well-known/openid-configuration") => {
                let issuer = if mood == Mood::OtherIssuer { "https://other.example" } else { &self.url };
                let scheme = if mood == Mood::PlainKeys { "http" } else { "https" };
                let keys = format!("{scheme}://{}/keys", self.url.trim_start_matches("https://"));
                self.document(&mut stream, &json!({"issuer": issuer, "jwks_uri": keys}))?;
            }
            _ => stream.write_all(head("404 Not Found", "Content-Length: 0\r\n").as_bytes())?,
        }
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn document(
        &self,
        stream: &mut StreamOwned<ServerConnection, std::net::TcpStream>,
        document: &Value,
    ) -> std::io::Result<()> {
        let body = document.to_string();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
