//! The WebSocket to the server: over TLS with what the kubeconfig shows, or over the local socket, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use watchbell_server::websocket::{self, Socket};

use crate::client::ClientError;
use crate::kubeconfig::{Connection, Proof, Way};

const PROTOCOLS: &str = "v5.channel.k8s.io, v4.channel.k8s.io";
const HEAD_BYTES_MAX: usize = 64 << 10;
const REFUSAL_BYTES_MAX: usize = 1 << 20;
/// For the connection, and for the answer to the handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where sessions are asked for, and as whom.
pub(crate) struct Door {
    host: String,
    port: u16,
    /// What stands before every path.
    prefix: String,
    server: String,
    way: DoorWay,
}

enum DoorWay {
    Tls { config: Arc<ClientConfig>, token: Option<String> },
    Socket(PathBuf),
}

/// What bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type BoxedStream = Box<dyn Stream>;

/// An open session.
pub(super) struct Connected {
    pub(super) reader: ReadHalf<BoxedStream>,
    pub(super) writer: WriteHalf<BoxedStream>,
    pub(super) socket: Socket,
    /// The server hears the end of standard input.
    pub(super) has_end: bool,
}

impl Door {
    pub(crate) fn of(connection: &Connection) -> Result<Door, ClientError> {
        let wrong = |what: &str, cause: &dyn std::fmt::Display| {
            ClientError::Config(format!("the kubeconfig's {what}: {cause}"))
        };
        let (ca_pem, proof) = match &connection.way {
            Way::Tls { ca_pem, proof } => (ca_pem, proof),
            Way::Socket(path) => {
                return Ok(Door {
                    host: "local".into(),
                    port: 80,
                    prefix: String::new(),
                    server: path.display().to_string(),
                    way: DoorWay::Socket(path.clone()),
                });
            }
        };
        let address = connection
            .server
            .strip_prefix("https://")
            .ok_or_else(|| wrong("server", &format!("{} does not begin with https://", connection.server)))?;
        let (authority, prefix) = address.split_once('/').unwrap_or((address, ""));
        let (host, port) = split_port(authority)
            .ok_or_else(|| wrong("server", &format!("{authority} is not HOST or HOST:PORT")))?;
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(ca_pem) {
            let authority = authority.map_err(|e| wrong("authority", &e))?;
            roots.add(authority).map_err(|e| wrong("authority", &e))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong("client certificate", &e))?
            .with_root_certificates(roots);
        let (config, token) = match proof {
            Proof::Token(token) => (config.with_no_client_auth(), Some(token.clone())),
            Proof::Certificate { certificate_pem, key_pem } => {
                let chain = CertificateDer::pem_slice_iter(certificate_pem)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| wrong("client certificate", &e))?;
                let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| wrong("client key", &e))?;
                let config =
                    config.with_client_auth_cert(chain, key).map_err(|e| wrong("client certificate", &e))?;
                (config, None)
            }
        };
        Ok(Door {
            host: host.to_owned(),
            port,
            prefix: if prefix.is_empty() { String::new() } else { format!("/{prefix}") },
            server: connection.server.clone(),
            way: DoorWay::Tls { config: Arc::new(config), token },
        })
    }

    fn unreachable(&self, cause: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), cause: cause.to_string() }
    }

    pub(super) async fn open(&self, path: &str) -> Result<Connected, ClientError> {
        match tokio::time::timeout(PATIENCE, self.shake_hands(path)).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn shake_hands(&self, path: &str) -> Result<Connected, ClientError> {
        let lost = |e: io::Error| self.unreachable(&e);
        let mut stream: BoxedStream = match &self.way {
            DoorWay::Socket(path) => Box::new(UnixStream::connect(path).await.map_err(lost)?),
            DoorWay::Tls { config, .. } => {
                let name = ServerName::try_from(self.host.clone()).map_err(|e| self.unreachable(&e))?;
                let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(lost)?;
                stream.set_nodelay(true).map_err(lost)?;
                Box::new(TlsConnector::from(config.clone()).connect(name, stream).await.map_err(lost)?)
            }
        };
        let authorization = match &self.way {
            DoorWay::Tls { token: Some(token), .. } => format!("Authorization: Bearer {token}\r\n"),
            DoorWay::Tls { token: None, .. } | DoorWay::Socket(_) => String::new(),
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| self.unreachable(&e))?;
        let key = BASE64_STANDARD.encode(random);
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let request = format!(
            "GET {}{path} HTTP/1.1\r\nHost: {host}:{}\r\nUser-Agent: watchbell/{}\r\nAccept: application/json\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: {PROTOCOLS}\r\n{authorization}\r\n",
            self.prefix,
            self.port,
            env!("CARGO_PKG_VERSION"),
        );
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(ClientError::Broken("its head is too long".into()));
            }
            if stream.read_buf(&mut bytes).await.map_err(lost)? == 0 {
                return Err(self.unreachable(&"it closed the connection"));
            }
        };
        let rest = bytes.split_off(end + 4);
        let head = Head::read(&bytes).ok_or_else(|| ClientError::Broken("it is no HTTP".into()))?;
        if head.code != 101 {
            return Err(refusal(&mut stream, &head, rest).await);
        }
        if head.get("sec-websocket-accept") != Some(&websocket::accept(&key)) {
            return Err(ClientError::Broken("it is the answer to another handshake".into()));
        }
        let has_end = match head.get("sec-websocket-protocol") {
            Some("v5.channel.k8s.io") => true,
            Some("v4.channel.k8s.io") => false,
            other => {
                let other = other.unwrap_or("none");
                return Err(ClientError::Broken(format!("it speaks {other}, and not {PROTOCOLS}")));
            }
        };
        let mut socket = Socket::client();
        socket.take(&rest);
        let (reader, writer) = tokio::io::split(stream);
        Ok(Connected { reader, writer, socket, has_end })
    }
}

/// The words of a server that opens no session.
async fn refusal(stream: &mut BoxedStream, head: &Head, mut body: Vec<u8>) -> ClientError {
    let length: usize = head.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while body.len() < length.min(REFUSAL_BYTES_MAX) {
        match stream.read_buf(&mut body).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let message = match text("message") {
        empty if empty.is_empty() => format!("the server answered {} and opens no session", head.code),
        message => message,
    };
    ClientError::Refused { code: head.code, reason: text("reason"), message }
}

/// The head of an answer.
struct Head {
    code: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let code = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Head { code, fields })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`; HTTPS' own port where none is given.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("443"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "443")),
    };
    let port = port.parse().ok()?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::{Head, split_port};

    #[test]
    fn addresses_are_split() {
        let check = |text: &str, expect: Option<(&str, u16)>| assert_eq!(split_port(text), expect, "{text}");
        check("127.0.0.1:6443", Some(("127.0.0.1", 6443)));
        check("[::1]:6443", Some(("::1", 6443)));
        check("[::1]", Some(("::1", 443)));
        check("example.com", Some(("example.com", 443)));
        check("example.com:x", None);
        check("[::1", None);
        check(":1", None);
    }

    #[test]
    fn heads_are_read() {
        let head = Head::read(b"HTTP/1.1 101 Switching\r\nSEC-WebSocket-Accept:  x=\r\nnonsense").unwrap();
        assert_eq!((head.code, head.get("sec-websocket-accept"), head.get("other")), (101, Some("x="), None));
        assert!(Head::read(b"HTTP/1.0 200 OK").is_none());
        assert!(Head::read(b"SSH-2.0").is_none());
        assert!(Head::read(b"HTTP/1.1 xyz").is_none());
    }
}
