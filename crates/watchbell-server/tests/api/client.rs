//! An HTTPS client that shows everything that comes back.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody, http};

pub(crate) type Tls = StreamOwned<ClientConnection, std::net::TcpStream>;

/// An HTTPS client with (or without) a certificate.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    pub(crate) server: String,
    pub(crate) ca_pem: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

/// The same before it is taken for text.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) content: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }

    /// The same of an answer that need not be JSON.
    #[track_caller]
    pub(crate) fn expect_text(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        self.text
    }

    /// A `Status` of this code and reason whose message contains the words.
    #[track_caller]
    pub(crate) fn expect_refusal(self, code: u16, reason: &str, words: &str) {
        assert_eq!(self.code, code, "{}", self.text);
        assert_eq!(self.body["kind"], "Status", "{}", self.text);
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
        assert_eq!(self.body["reason"], reason);
        let message = self.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{message:?} does not contain {words:?}");
    }
}

impl Client {
    pub(crate) fn of_kubeconfig(path: &Path) -> Client {
        let text = std::fs::read(path).unwrap();
        let config = watchbell_api::decode::yaml(&text).unwrap().remove(0);
        let data = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        Client::new(
            cluster["server"].as_str().unwrap(),
            &data(&cluster["certificate-authority-data"]),
            Some((&data(&user["client-certificate-data"]), &data(&user["client-key-data"]))),
        )
    }

    pub(crate) fn new(server: &str, ca_pem: &[u8], identity: Option<(&[u8], &[u8])>) -> Client {
        let authority = Certificate::from_pem(ca_pem).unwrap();
        let own = identity.map(|(certificate, key)| {
            let certificate = Certificate::from_pem(certificate).unwrap();
            ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(key).unwrap())
        });
        let tls =
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[authority])).client_cert(own).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(crate::harness::PATIENCE))
            .build()
            .new_agent();
        let identity = identity.map(|(certificate, key)| (certificate.to_vec(), key.to_vec()));
        Client { agent, server: server.into(), ca_pem: ca_pem.into(), identity, token: None }
    }

    /// Certificate and key, in PEM.
    pub(crate) fn identity(&self) -> Option<(&[u8], &[u8])> {
        self.identity.as_ref().map(|(certificate, key)| (&certificate[..], &key[..]))
    }

    /// The same server, asked with a token alone.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.anonymous() }
    }

    /// The same server without a certificate.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.server, &self.ca_pem, None)
    }

    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http::Response<Body> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if body.is_empty() {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            let reader = io::Cursor::new(body.to_vec());
            let length = body.len().to_string();
            let request =
                request.header("Content-Length", length).body(SendBody::from_owned_reader(reader)).unwrap();
            self.agent.run(request).unwrap()
        }
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut response = self.open(method, path, headers, body);
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        Answer {
            code: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    /// An answer as it comes, not taken for text.
    pub(crate) fn bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Raw {
        let mut response = self.open(method, path, headers, body);
        let content = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Raw { code: response.status().as_u16(), headers: response.headers().clone(), content }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call("GET", path, &[("Accept", accept)], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn patch(&self, path: &str, content_type: &str, body: &Value) -> Answer {
        self.call("PATCH", path, &[("Content-Type", content_type)], body.to_string().as_bytes())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    /// Asks until the answer satisfies; the state settles in its own time.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str, what: &str, satisfied: impl Fn(&Answer) -> bool) -> Answer {
        let end = Instant::now() + crate::harness::PATIENCE;
        loop {
            let answer = self.get(path);
            if satisfied(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} never became {what}: {}", answer.text);
            std::thread::yield_now();
        }
    }

    /// A TLS connection, with the client's certificate if it has one.
    pub(crate) fn connect(&self) -> Tls {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.ca_pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate).unwrap()],
                    PrivateKeyDer::from_pem_slice(key).unwrap(),
                )
                .unwrap(),
        };
        let address = self.server.trim_start_matches("https://");
        let connection =
            ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        Tls::new(connection, stream)
    }

    /// Sends bytes of our own making over TLS, as the administrator, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may answer and close before it has taken everything.
        let _ = io::Write::write_all(&mut stream, bytes);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The events of a watch, as they come.
    pub(crate) fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let response = self.open("GET", path, headers, b"");
        assert_eq!(response.status().as_u16(), 200);
        Lines { reader: Box::new(response.into_body().into_reader()), rest: Vec::new() }
    }
}

/// JSON documents, one a line.
pub(crate) struct Lines {
    reader: Box<dyn Read + Send>,
    rest: Vec<u8>,
}

impl Iterator for Lines {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let mut buffer = [0; 8192];
            match self.reader.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
