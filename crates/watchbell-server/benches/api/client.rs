//! A client that costs little: HTTP/1.1 over TLS, and bodies that are counted rather than read.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

/// What a client shows when it connects.
#[derive(Debug, Clone, Copy)]
enum Certificate {
    None,
    Own,
}

pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// What was read beyond the last answer.
    rest: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(kubeconfig: &Path) -> Client {
        Client::connect_with(kubeconfig, Certificate::Own)
    }

    pub(crate) fn connect_as_nobody(kubeconfig: &Path) -> Client {
        Client::connect_with(kubeconfig, Certificate::None)
    }

    fn connect_with(kubeconfig: &Path, certificate: Certificate) -> Client {
        let config = watchbell_api::decode::yaml(&std::fs::read(kubeconfig).unwrap()).unwrap().remove(0);
        let data = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let mut roots = RootCertStore::empty();
        let authority = data(&cluster["certificate-authority-data"]);
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let tls = match certificate {
            Certificate::None => tls.with_no_client_auth(),
            Certificate::Own => tls
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(&data(&user["client-certificate-data"])).unwrap()],
                    PrivateKeyDer::from_pem_slice(&data(&user["client-key-data"])).unwrap(),
                )
                .unwrap(),
        };
        let address = cluster["server"].as_str().unwrap().trim_start_matches("https://");
        let connection =
            ClientConnection::new(Arc::new(tls), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: StreamOwned::new(connection, stream), rest: Vec::new() }
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    /// The whole body of a successful answer.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<(&str, &[u8])>,
    ) -> Vec<u8> {
        let (content_type, content) = body.unwrap_or(("application/json", b""));
        let headers = format!("Accept: {accept}\r\nContent-Type: {content_type}\r\n");
        self.send(method, path, &headers, content);
        let mut whole = Vec::new();
        self.answer(&mut |piece| whole.extend_from_slice(piece));
        whole
    }

    /// Asks for a list with a token.
    pub(crate) fn ask(&mut self, path: &str, token: &str) {
        self.send("GET", path, &format!("Authorization: Bearer {token}\r\n"), b"");
        self.answer(&mut |_| {});
    }

    /// Begins to post, and does not say all that it means to.
    pub(crate) fn begin(&mut self, path: &str, token: &str, length: usize, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(posted(path, token, length).as_bytes())?;
        self.stream.write_all(body)
    }

    /// Posts, and gives the code of the answer.
    pub(crate) fn post(&mut self, path: &str, token: &str, body: &[u8]) -> u16 {
        self.begin(path, token, body.len(), body).unwrap();
        let (code, length) = self.head_of_any();
        self.body(length.expect("an answer that is small says how long it is"), &mut |_| {});
        code
    }

    /// How many bytes a list has.
    pub(crate) fn list(&mut self, path: &str, accept: &str, gzip: bool) -> usize {
        let coding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
        self.send("GET", path, &format!("Accept: {accept}\r\n{coding}"), b"");
        let mut bytes = 0;
        self.answer(&mut |piece| bytes += piece.len());
        bytes
    }

    /// The version of a list.
    pub(crate) fn version(&mut self, path: &str) -> String {
        let body = self.call("GET", &format!("{path}?limit=1"), "application/json", None);
        let list: Value = serde_json::from_slice(&body).unwrap();
        list["metadata"]["resourceVersion"].as_str().unwrap().into()
    }

    /// Listens until the watcher is told to end.
    pub(crate) fn watch(mut self, path: &str, accept: &str) -> Watcher {
        self.send("GET", path, &format!("Accept: {accept}\r\n"), b"");
        self.head();
        self.stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut bytes = self.rest.len();
            let mut buffer = vec![0; 64 << 10];
            loop {
                match self.stream.read(&mut buffer) {
                    Ok(0) => panic!("the watch ended"),
                    Ok(count) => bytes += count,
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                    {
                        if over.load(Ordering::Relaxed) {
                            return bytes;
                        }
                    }
                    Err(error) => panic!("the watch broke: {error}"),
                }
            }
        });
        Watcher { thread, is_over }
    }

    fn more(&mut self) {
        let mut buffer = [0; 64 << 10];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed the connection");
        self.rest.extend_from_slice(&buffer[..count]);
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.rest.drain(..end + 2).collect::<Vec<u8>>();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            self.more();
        }
    }

    /// The head of a good answer: how long its body is; `None`: it comes in chunks.
    fn head(&mut self) -> Option<usize> {
        let (code, length) = self.head_of_any();
        assert!(matches!(code, 200..=209), "{code}: {}", String::from_utf8_lossy(&self.rest));
        length
    }

    /// The code of an answer, and how long its body is.
    fn head_of_any(&mut self) -> (u16, Option<usize>) {
        let first = self.line();
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = Some(value.parse().unwrap());
            }
        }
        let code = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.unwrap_or_else(|| panic!("{first} is no answer")), length)
    }

    fn answer(&mut self, take: &mut dyn FnMut(&[u8])) {
        match self.head() {
            Some(length) => self.body(length, take),
            None => loop {
                let length = usize::from_str_radix(&self.line(), 16).unwrap();
                self.body(length, take);
                self.body(2, &mut |_| {});
                if length == 0 {
                    return;
                }
            },
        }
    }

    fn body(&mut self, length: usize, take: &mut dyn FnMut(&[u8])) {
        let mut left = length;
        while left > 0 {
            if self.rest.is_empty() {
                self.more();
            }
            let count = left.min(self.rest.len());
            take(&self.rest[..count]);
            self.rest.drain(..count);
            left -= count;
        }
    }
}

pub(crate) struct Watcher {
    thread: JoinHandle<usize>,
    is_over: Arc<AtomicBool>,
}

impl Watcher {
    /// How many bytes came.
    pub(crate) fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn posted(path: &str, token: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}
