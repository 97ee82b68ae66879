//! Connection settings, as kubectl and every other client library read them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// Where a server is, who asks, and how he shows it.
#[derive(Clone, Copy)]
pub struct Kubeconfig<'a> {
    /// `https://HOST:PORT`
    pub server: &'a str,
    pub ca_pem: &'a str,
    pub user: &'a str,
    pub proof: Proof<'a>,
}

/// By what a user is known.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    Certificate { certificate_pem: &'a str, key_pem: &'a str },
    Token(&'a str),
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn render(&self) -> String {
        // A JSON string is a YAML string, whatever is in it.
        let text = |text: &str| Value::from(text).to_string();
        let (server, user) = (text(self.server), text(self.user));
        let context = text(&format!("{}@watchbell", self.user));
        let ca = BASE64_STANDARD.encode(self.ca_pem);
        let proof = match self.proof {
            Proof::Token(token) => format!("    token: {}\n", text(token)),
            Proof::Certificate { certificate_pem, key_pem } => format!(
                "    client-certificate-data: {}\n    client-key-data: {}\n",
                BASE64_STANDARD.encode(certificate_pem),
                BASE64_STANDARD.encode(key_pem)
            ),
        };
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: watchbell
  cluster:
    certificate-authority-data: {ca}
    server: {server}
contexts:
- name: {context}
  context:
    cluster: watchbell
    user: {user}
    namespace: default
current-context: {context}
users:
- name: {user}
  user:
{proof}"
        )
    }
}

/// The URL of a server that listens at an address: one that listens everywhere is reached on this machine's loopback.
pub(super) fn server_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}
