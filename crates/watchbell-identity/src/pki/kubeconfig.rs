//! The administrator's connection settings, as kubectl and every other client library read them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::certificate::Issued;

/// The file's text. All values are base64 or of our own making, so nothing needs quoting.
pub(super) fn render(address: SocketAddr, ca_pem: &str, admin: &Issued) -> String {
    let server = SocketAddr::new(reachable(address.ip()), address.port());
    let ca = BASE64_STANDARD.encode(ca_pem);
    let certificate = BASE64_STANDARD.encode(&admin.certificate_pem);
    let key = BASE64_STANDARD.encode(admin.key_pem.as_bytes());
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: watchbell
  cluster:
    certificate-authority-data: {ca}
    server: https://{server}
contexts:
- name: kubernetes-admin@watchbell
  context:
    cluster: watchbell
    user: kubernetes-admin
    namespace: default
current-context: kubernetes-admin@watchbell
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}

/// A server that listens everywhere is reached on this machine's loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}
