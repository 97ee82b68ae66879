//! Which network addresses a pull may reach (attacks: a redirect, a token service or an image name that points to the
//! cloud's metadata service or to a service of this machine).

use std::net::{IpAddr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How near an address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine too: for the registry that the user named, and for what a registry on this machine names.
    Loopback,
    /// Not this machine: for what a registry elsewhere names.
    Beyond,
}

/// Resolves names and keeps only the addresses that may be reached. It works on what was resolved, so that a name which
/// resolves to something else the second time gains nothing.
#[derive(Debug)]
pub(super) struct AddressFilter {
    reach: Reach,
    inner: DefaultResolver,
}

impl AddressFilter {
    pub(super) fn new(reach: Reach) -> Self {
        Self { reach, inner: DefaultResolver::default() }
    }
}

impl Resolver for AddressFilter {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let resolved = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in resolved.iter().filter(|a| is_allowed(a.ip(), self.reach)) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            return Err(ureq::Error::Other(
                "it resolves to an address of this machine or its link, which may not be reached".into(),
            ));
        }
        Ok(allowed)
    }
}

fn is_allowed(ip: IpAddr, reach: Reach) -> bool {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return reach == Reach::Loopback;
    }
    match ip {
        // Link-local has the metadata services of most clouds.
        IpAddr::V4(ip) => {
            !ip.is_link_local() && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            !ip.is_unicast_link_local() && !ip.is_unspecified() && !ip.is_multicast() && ip != METADATA
        }
    }
}

/// Whether a host is written as an address that nothing may lead to. Names are judged once they are resolved; behind a
/// proxy only this is known.
pub(super) fn is_forbidden_literal(host: &str) -> bool {
    literal(bare_host(host)).is_some_and(|ip| !is_allowed(ip, Reach::Loopback))
}

/// Whether a reference's domain is this machine by its name alone.
pub(super) fn is_loopback_name(domain: &str) -> bool {
    let host = bare_host(domain);
    host == "localhost" || literal(host).is_some_and(|ip| ip.is_loopback())
}

/// A host without its port and without the brackets of IPv6.
fn bare_host(domain: &str) -> &str {
    match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => domain.split(':').next().unwrap_or(domain),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_loopback_are_not_for_strangers() {
        let check = |ip: &str, beyond: bool, loopback: bool| {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(
                (is_allowed(ip, Reach::Beyond), is_allowed(ip, Reach::Loopback)),
                (beyond, loopback),
                "{ip}"
            );
        };
        check("93.184.216.34", true, true);
        check("10.1.2.3", true, true);
        check("127.0.0.1", false, true);
        check("::1", false, true);
        check("::ffff:127.0.0.1", false, true);
        check("169.254.169.254", false, false);
        check("::ffff:169.254.169.254", false, false);
        check("fe80::1", false, false);
        check("fd00:ec2::254", false, false);
        check("0.0.0.0", false, false);
        check("224.0.0.1", false, false);
    }

    #[test]
    fn loopback_is_told_by_the_name() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback_name(yes), "{yes}");
        }
        for no in ["localhost.example.org", "127.0.0.1.example.org", "10.0.0.1:5000", "docker.io"] {
            assert!(!is_loopback_name(no), "{no}");
        }
    }
}
