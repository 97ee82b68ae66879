//! Who made a distribution's package: the distribution, or somebody else in its format.
//!
//! A distribution's advisories speak of what it built, by its own numbers. The same name of another vendor (`nodejs` of NodeSource
//! in an image of Debian) has other numbers and other corrections: nothing that the distribution says holds for it.
//!
//! rpm has a field for it, and each distribution always writes the same there. dpkg has none: Debian's packages have their
//! maintainers' private addresses, so there it is the other way round, by marks that no package of Debian or Ubuntu has: none of
//! the 280,000 that Debian 11 to 13 and Ubuntu 24.04 list.

use watchbell_advisory::Ecosystem;

use crate::{Package, PackageKind};

/// Mail domains of vendors' own repositories.
const DOMAINS: [&str; 37] = [
    "adoptium.net",
    "azul.com",
    "clickhouse.com",
    "cloudflare.com",
    "confluent.io",
    "couchbase.com",
    "dan.cx",
    "datadoghq.com",
    "docker.com",
    "eclipse.org",
    "elastic.co",
    "f5.com",
    "gitlab.com",
    "grafana.com",
    "hashicorp.com",
    "influxdata.com",
    "influxdb.com",
    "kohsuke.org",
    "konghq.com",
    "kubernetes.io",
    "mariadb.com",
    "mariadb.org",
    "microsoft.com",
    "mongodb.com",
    "neo4j.com",
    "newrelic.com",
    "nginx.com",
    "nodesource.com",
    "openresty.com",
    "opensearch.org",
    "oracle.com",
    "percona.com",
    "rabbitmq.com",
    "redis.io",
    "tailscale.com",
    "varnish-software.com",
    "zabbix.com",
];

/// The same by address, where others of the domain do maintain packages of Debian; and a maintainer without any.
const MAINTAINERS: [&str; 8] = [
    "chromium-dev@chromium.org",
    "cloudsdk-eng@google.com",
    "https://code.google.com/p/google-cloud-sdk/",
    "cudatools@nvidia.com",
    "corretto-team@amazon.com",
    "jenkinsci-dev@googlegroups.com",
    "kubernetes-dev+release@googlegroups.com",
    "GitHub",
];

/// What repositories write into the version, whose packages have the distribution's maintainers; and who they are.
const MARKS: [(&str, &str); 6] = [
    ("nodesource", "NodeSource"),
    (".pgdg", "apt.postgresql.org"),
    ("+maria~", "MariaDB"),
    ("rl1~", "packages.redis.io"),
    ("~ppa", "a personal package archive"),
    ("+0~20", "packages.sury.org"),
];

/// Whose packages stand as the distribution's own in `Origin`.
const ORIGINS: [&str; 3] = ["debian", "ubuntu", "raspbian"];

/// What a package of dpkg says of who made it.
#[derive(Debug, Default)]
pub(crate) struct Stated<'a> {
    pub(crate) version: &'a str,
    pub(crate) maintainer: &'a str,
    /// Of fpm and nFPM, which make packages from anything; Debian's own tools know no such field.
    pub(crate) vendor: &'a str,
    pub(crate) origin: &'a str,
}

/// Who made a package of dpkg, if certainly neither Debian nor Ubuntu.
pub(crate) fn of_deb(stated: &Stated<'_>) -> Option<String> {
    let Stated { version, maintainer, vendor, origin } = *stated;
    // `Name <address>`
    let (name, address) = match maintainer.rsplit_once('<') {
        Some((name, address)) => (name.trim(), address.trim_end_matches('>').trim()),
        None => (maintainer.trim(), maintainer.trim()),
    };
    let is_own_origin = ORIGINS.iter().any(|own| origin.eq_ignore_ascii_case(own));
    if !origin.is_empty() && !is_own_origin {
        return Some(origin.to_owned());
    }
    let maintained_by = if name.is_empty() { address } else { name };
    if !vendor.is_empty() {
        // fpm writes `none` where nobody told it.
        return Some(if vendor == "none" { maintained_by } else { vendor }.to_owned());
    }
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
    let is_of =
        |known| domain.strip_suffix(known).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    let is_known =
        DOMAINS.into_iter().any(is_of) || MAINTAINERS.iter().any(|known| address.eq_ignore_ascii_case(known));
    if is_known {
        return Some(maintained_by.to_owned());
    }
    MARKS.iter().find(|(mark, _)| version.contains(mark)).map(|(_, repository)| (*repository).to_owned())
}

/// How `Vendor` of a distribution's own packages of rpm begins.
fn own_vendors(distribution: &Ecosystem) -> &'static [&'static str] {
    match distribution {
        // Its first releases were CloudLinux's.
        Ecosystem::AlmaLinux { .. } => &["AlmaLinux", "CloudLinux"],
        Ecosystem::Rocky { .. } => &["Rocky"],
        Ecosystem::RedHat { .. } => &["Red Hat", "CentOS"],
        Ecosystem::OpenSuse { .. } => &["openSUSE", "SUSE"],
        Ecosystem::AzureLinux { .. } => &["Microsoft Corporation"],
        Ecosystem::Mageia { .. } => &["Mageia"],
        _ => &[],
    }
}

/// Who made this package, if that is somebody else than the distribution; empty: it does not say.
pub(crate) fn foreign<'a>(package: &'a Package, distribution: &Ecosystem) -> Option<&'a str> {
    let vendor = package.vendor.as_deref()?;
    match package.kind {
        PackageKind::Deb => Some(vendor),
        PackageKind::Rpm => {
            let own = own_vendors(distribution);
            (!own.is_empty() && !own.iter().any(|own| vendor.starts_with(own))).then_some(vendor)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_debian_and_ubuntu_are_theirs() {
        let check = |version: &str, maintainer: &str, origin: &str| {
            let stated = Stated { version, maintainer, origin, ..Stated::default() };
            assert_eq!(of_deb(&stated), None, "{maintainer} {version}");
        };
        check("12.2.0-14+deb12u1", "Debian GCC Maintainers <debian-gcc@lists.debian.org>", "");
        check("3.11.2-6+deb12u6", "Matthias Klose <doko@debian.org>", "");
        check("5.2.1-1", "Somebody <somebody@gmail.com>", "");
        check("1.0-1", "Alex Doyle <adoyle@nvidia.com>", "");
        check("1.0-1", "Mongo C Driver Team <mongo-c-driver-debian@googlegroups.com>", "");
        check("1.8-1", "GNOME-Colors Packagers <gnome-colors-packagers@lists.launchpad.net>", "");
        check("15.14-0+deb12u1", "Debian PostgreSQL Maintainers <team+postgresql@tracker.debian.org>", "");
        check(
            "1:10.11.6-0+deb12u1",
            "Debian MySQL Maintainers <pkg-mysql-maint@lists.alioth.debian.org>",
            "",
        );
        check("2.7.14build2", "Ubuntu Developers <ubuntu-devel-discuss@lists.ubuntu.com>", "Ubuntu");
        check("31.2.1~22.04", "Ubuntu Developers <ubuntu-devel-discuss@lists.ubuntu.com>", "");
        check("0~2.gbp234f0c6-1", "A <a@debian.org>", "Debian");
        check("5.5.0+debpgdg-1", "Marco <m@debian.org>", "");
        check("1.0-1", "", "");
    }

    #[test]
    fn packages_of_others_are_known() {
        let check = |stated: Stated<'_>, expect: &str| {
            assert_eq!(of_deb(&stated).as_deref(), Some(expect), "{stated:?}");
        };
        let by = |maintainer, version| Stated { maintainer, version, ..Stated::default() };
        check(by("Ivan Iguaran <ivan@nodesource.com>", "20.5.0-1nodesource1"), "Ivan Iguaran");
        check(by("Ivan <ivan@packages.nodesource.com>", "20.5.0-1"), "Ivan");
        check(by("Docker <support@docker.com>", "5:24.0.7-1~debian.12~bookworm"), "Docker");
        check(by("Kohsuke Kawaguchi <kk@kohsuke.org>", "2.441"), "Kohsuke Kawaguchi");
        check(by("cudatools <cudatools@nvidia.com>", "12.4.127-1"), "cudatools");
        check(by("GitHub", "2.40.1"), "GitHub");
        let google = "Google Cloud CLI Authors <https://code.google.com/p/google-cloud-sdk/>";
        check(by(google, "528.0.0-0"), "Google Cloud CLI Authors");
        check(by("NGINX Packaging <nginx-packaging@f5.com>", "1.25.3-1~bookworm"), "NGINX Packaging");
        let postgresql = "Debian PostgreSQL Maintainers <team+postgresql@tracker.debian.org>";
        check(by(postgresql, "16.1-1.pgdg120+1"), "apt.postgresql.org");
        let php = "Debian PHP Maintainers <team+pkg-php@tracker.debian.org>";
        check(by(php, "8.3.0-1+0~20231127.37+debian12~1.gbp7a2b0a"), "packages.sury.org");
        let made =
            |vendor, origin| Stated { maintainer: "<me@example.org>", vendor, origin, ..Stated::default() };
        check(made("none", ""), "me@example.org");
        check(made("Example", ""), "Example");
        check(made("", "Example Archive"), "Example Archive");
    }

    #[test]
    fn packages_of_rpm_are_the_distributions_by_their_vendor() {
        let check = |distribution: &str, vendor: Option<&str>, expect: Option<&str>| {
            let distribution = Ecosystem::from_osv(distribution).unwrap();
            let package = crate::finding::tests::package(PackageKind::Rpm, "p", "1-1");
            let package = Package { vendor: vendor.map(str::to_owned), ..package };
            assert_eq!(foreign(&package, &distribution), expect, "{distribution} {vendor:?}");
        };
        for (distribution, vendor) in [
            ("AlmaLinux:9", "AlmaLinux"),
            ("Rocky Linux:9", "Rocky Enterprise Software Foundation"),
            ("Red Hat:enterprise_linux:9", "Red Hat, Inc."),
            ("Red Hat:enterprise_linux:7", "CentOS"),
            ("openSUSE:Leap 15.6", "SUSE LLC <https://www.suse.com/>"),
            ("openSUSE:Tumbleweed", "openSUSE"),
            ("Azure Linux:3", "Microsoft Corporation"),
            ("Mageia:9", "Mageia.Org"),
        ] {
            check(distribution, Some(vendor), None);
            check(distribution, Some("Docker"), Some("Docker"));
            // Somebody's own build.
            check(distribution, Some(""), Some(""));
            // A bill of materials does not say.
            check(distribution, None, None);
        }
        check("AlmaLinux:9", Some("Fedora Project"), Some("Fedora Project"));
        check("Red Hat:enterprise_linux:9", Some("Microsoft Corporation"), Some("Microsoft Corporation"));
    }
}
