use std::str::FromStr as _;

use watchbell_advisory::{
    Advisory, Affected, Builder, Contents, Exploited, Interval, Score, Source, Standing,
};

use super::*;
use crate::{Distribution, Evidence, Location, SourcePackage};

/// An index of these records, in a directory that lasts as long as it is asked.
pub(crate) struct TestDatabase {
    _dir: tempfile::TempDir,
    pub(crate) database: Database,
}

pub(crate) fn database(advisories: Vec<Advisory>) -> TestDatabase {
    let mut builder = Builder::new();
    let exploited =
        Exploited { added: "2025-08-25".into(), due: Some("2025-09-15".into()), in_ransomware: false };
    let contents = Contents {
        advisories,
        exploited: [("CVE-2024-1001".to_owned(), exploited)].into(),
        predictions: [].into(),
        ..Contents::default()
    };
    builder
        .replace(Source { name: "test".into(), newest: Some(1_700_000_000), ..Source::default() }, contents);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("advisories.index");
    std::fs::write(&path, builder.build()).unwrap();
    TestDatabase { database: Database::open(&path).unwrap(), _dir: dir }
}

pub(crate) fn debian() -> Ecosystem {
    Ecosystem::Debian { release: "12".into() }
}

/// A record: everything before `fixed` is affected; without, every version.
pub(crate) fn advisory(id: &str, ecosystem: Ecosystem, name: &str, fixed: Option<&str>) -> Advisory {
    let interval = fixed.map_or_else(Interval::everything, Interval::before);
    Advisory {
        id: id.into(),
        summary: format!("something in {name}"),
        url: Some(format!("https://example.org/{id}")),
        scores: vec![Score::from_str("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H").unwrap()],
        affected: vec![Affected {
            ecosystem,
            name: name.into(),
            intervals: vec![interval],
            versions: Vec::new(),
            standing: Standing::Versions,
            severity: Severity::Unknown,
        }],
        ..Advisory::default()
    }
}

pub(crate) fn package(kind: PackageKind, name: &str, version: &str) -> Package {
    Package {
        kind,
        name: name.into(),
        version: version.into(),
        architecture: None,
        source: None,
        licences: Vec::new(),
        evidence: Evidence::Installed,
        locations: vec![Location { layer: None, path: format!("where/{name}") }],
        vendor: None,
        owned_by: None,
    }
}

fn deb(name: &str, version: &str, source: &str) -> Package {
    let source = SourcePackage { name: source.into(), version: version.into() };
    Package { source: Some(source), ..package(PackageKind::Deb, name, version) }
}

/// An image of Debian 12 with these packages.
pub(crate) fn inventory(packages: Vec<Package>) -> Inventory {
    Inventory {
        distribution: Some(Distribution {
            id: "debian".into(),
            version_id: Some("12".into()),
            codename: Some("bookworm".into()),
            pretty_name: Some("Debian GNU/Linux 12 (bookworm)".into()),
            ..Distribution::default()
        }),
        packages,
        gaps: Vec::new(),
    }
}

/// The labelled set that the tests of the report use too.
pub(crate) fn labelled() -> (Inventory, TestDatabase) {
    let owned = Package { owned_by: Some(3), ..package(PackageKind::Pypi, "requests", "2.28.1") };
    let packages = vec![
        deb("libssl3", "3.0.11-1~deb12u1", "openssl"),
        deb("openssl", "3.0.11-1~deb12u1", "openssl"),
        deb("zlib1g", "1:1.2.13.dfsg-1+deb12u1", "zlib"),
        deb("python3-requests", "2.28.1+dfsg-1", "requests"),
        owned,
        deb("linux-libc-dev", "6.1.55-1", "linux"),
        package(PackageKind::Pypi, "Zope.Interface", "5.0"),
        package(PackageKind::Npm, "requests", "1.0.0"),
        package(PackageKind::Golang, "example.org/a", "v1.2.3"),
        package(PackageKind::Cargo, "serde_json", "1.0.1"),
        package(PackageKind::Conda, "numpy", "1.0"),
        package(PackageKind::Pypi, "unmaintained", "1.0"),
    ];
    let alias = |advisory: Advisory, aliases: &[&str]| Advisory {
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ..advisory
    };
    let with_standing = |mut advisory: Advisory, standing: Standing| {
        advisory.affected[0].standing = standing;
        advisory
    };
    let records = vec![
        // Found: older than the distribution's fix; exploited.
        advisory("CVE-2024-1001", debian(), "openssl", Some("3.0.11-1~deb12u2")),
        // Not found: the backport is in, though upstream's number is older than upstream's fix.
        advisory("CVE-2022-37434", debian(), "zlib", Some("1:1.2.13.dfsg-1")),
        // Not found: the distribution's package never had it.
        with_standing(advisory("CVE-2024-1002", debian(), "openssl", None), Standing::NotAffected),
        // Not found: the distribution speaks for its Python packages, and says nothing of this.
        advisory("CVE-2024-1003", Ecosystem::PyPI, "requests", Some("2.32.0")),
        // A class of its own: headers.
        advisory("CVE-2024-1004", debian(), "linux", None),
        // Found once, by any of its names and in its ecosystem's spelling.
        alias(
            advisory("GHSA-aaaa-bbbb-cccc", Ecosystem::PyPI, "zope-interface", Some("5.1")),
            &["CVE-2024-1005"],
        ),
        alias(advisory("PYSEC-2024-1", Ecosystem::PyPI, "zope-interface", Some("5.1")), &["CVE-2024-1005"]),
        // Not found: another release, another ecosystem.
        advisory("CVE-2024-1006", Ecosystem::Debian { release: "11".into() }, "openssl", None),
        advisory("CVE-2024-1007", Ecosystem::PyPI, "openssl", None),
        // Found, without a fix.
        advisory("CVE-2024-1008", Ecosystem::Go, "example.org/a", None),
        // Not found: fixed in this version.
        advisory("RUSTSEC-2024-1", Ecosystem::CratesIo, "serde-json", Some("1.0.1")),
        // No vulnerability, but worth knowing.
        Advisory {
            is_notice: true,
            scores: Vec::new(),
            ..advisory("PYSEC-2024-9", Ecosystem::PyPI, "unmaintained", None)
        },
    ];
    (inventory(packages), database(records))
}

fn shown(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        format!(
            "{} {} {}",
            finding.known.vulnerability.id,
            finding.question.key(),
            finding.known.status.as_str()
        )
    };
    let mut lines: Vec<String> = findings.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn what_should_be_found_is_and_nothing_else() {
    let (inventory, test) = labelled();
    let asked = questions(&inventory);
    let findings = find(&asked, &test.database).unwrap().findings;
    assert_eq!(
        shown(&findings),
        [
            "CVE-2024-1001 Debian:12/openssl fixable",
            "CVE-2024-1004 Debian:12/linux open",
            "CVE-2024-1005 PyPI/zope-interface fixable",
            "CVE-2024-1008 Go/example.org/a open",
            "PYSEC-2024-9 PyPI/unmaintained open",
        ]
    );
    let openssl = findings.iter().find(|finding| finding.known.vulnerability.id == "CVE-2024-1001").unwrap();
    assert_eq!(openssl.question.packages, [0, 1], "one finding for both packages of the source");
    assert_eq!(openssl.known.fixed, ["3.0.11-1~deb12u2"]);
    assert_eq!(openssl.known.severity, Severity::Critical);
    assert!(openssl.known.vulnerability.exploited.is_some());
    let zope = findings.iter().find(|finding| finding.known.vulnerability.id == "CVE-2024-1005").unwrap();
    assert_eq!(zope.known.vulnerability.aliases, ["GHSA-aaaa-bbbb-cccc", "PYSEC-2024-1"]);
}

#[test]
fn what_nobody_speaks_of_is_counted_as_not_known() {
    let (mut inventory, _) = labelled();
    let asked = questions(&inventory);
    assert_eq!(asked.owned, 1);
    assert_eq!(asked.unknown, [("conda".to_owned(), 1)].into());
    inventory.distribution = Some(Distribution { id: "gentoo".into(), ..Distribution::default() });
    let asked = questions(&inventory);
    assert_eq!(asked.unknown, [("os:gentoo".to_owned(), 5), ("conda".to_owned(), 1)].into());
    assert!(asked.questions.iter().all(|question| !matches!(question.ecosystem, Ecosystem::Debian { .. })));
}

#[test]
fn derivatives_of_debian_are_asked_by_its_codename() {
    let mut inventory = inventory(vec![deb("openssl", "3", "openssl")]);
    inventory.distribution = Some(Distribution {
        id: "raspbian".into(),
        id_like: vec!["debian".into()],
        codename: Some("bookworm".into()),
        ..Distribution::default()
    });
    assert_eq!(questions(&inventory).questions[0].ecosystem, debian());
}

#[test]
fn packages_that_no_source_speaks_of_are_not_known_to_be_well() {
    let (inventory, _) = labelled();
    let only_debian = database(vec![advisory("CVE-2024-1001", debian(), "openssl", None)]);
    let answer = find(&questions(&inventory), &only_debian.database).unwrap();
    assert_eq!(shown(&answer.findings), ["CVE-2024-1001 Debian:12/openssl open"]);
    let uncovered = [("conda", 1), ("PyPI", 2), ("npm", 1), ("Go", 1), ("crates.io", 1)];
    assert_eq!(answer.uncovered, uncovered.map(|(name, count)| (name.to_owned(), count)).into());
    // Another release is another thing.
    let eleven = Ecosystem::Debian { release: "11".into() };
    let other = database(vec![advisory("CVE-2024-1001", eleven, "openssl", None)]);
    let answer = find(&questions(&inventory), &other.database).unwrap();
    assert_eq!(answer.uncovered.get("Debian:12"), Some(&5));
}

#[test]
fn packages_without_a_version_are_not_known_to_be_well_where_it_matters() {
    use PackageKind::{Composer, Golang, Pypi};
    let packages = vec![
        package(Golang, "example.org/a", ""),
        package(Golang, "example.org/all", ""),
        package(Golang, "example.org/nobody-speaks-of", ""),
        package(Composer, "a/b", "dev-main"),
        package(Composer, "a/b", "1.0"),
        package(Pypi, "x", ""),
    ];
    let from = |mut advisory: Advisory| {
        advisory.affected[0].intervals[0].introduced = "1.0".to_owned();
        advisory
    };
    let test = database(vec![
        from(advisory("CVE-2024-1000", Ecosystem::Go, "example.org/a", Some("2.0"))),
        advisory("CVE-2024-1001", Ecosystem::Go, "example.org/all", None),
        from(advisory("CVE-2024-1002", Ecosystem::Packagist, "a/b", Some("2.0"))),
        from(advisory("CVE-2024-1003", Ecosystem::Packagist, "a/b", Some("3.0"))),
    ]);
    let answer = find(&questions(&inventory(packages)), &test.database).unwrap();
    // Of PyPI nothing is known at all, and that is counted once.
    let uncovered = [("unversioned:Go", 1), ("unversioned:Packagist", 1), ("PyPI", 1)];
    assert_eq!(answer.uncovered, uncovered.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!(
        shown(&answer.findings),
        [
            "CVE-2024-1001 Go/example.org/all open",
            "CVE-2024-1002 Packagist/a/b fixable",
            "CVE-2024-1003 Packagist/a/b fixable",
        ]
    );
    assert!(answer.undetermined.is_empty(), "{:?}", answer.undetermined);
}

#[test]
fn packages_of_another_vendor_are_not_asked_for_as_the_distributions() {
    let nodejs =
        Package { vendor: Some("NodeSource".into()), ..deb("nodejs", "20.5.0-1nodesource1", "nodejs") };
    let jenkins = Package { vendor: Some("Kohsuke\n".into()), ..deb("jenkins", "2.441", "jenkins") };
    let owned_by = |owner| move |package: Package| Package { owned_by: Some(owner), ..package };
    let packages = vec![
        nodejs,
        jenkins,
        deb("libssl3", "3.0.11-1", "openssl"),
        owned_by(0)(package(PackageKind::Generic, "node", "20.5.0")),
        owned_by(1)(package(PackageKind::Maven, "org.jenkins-ci.main:jenkins-core", "2.441")),
        owned_by(2)(package(PackageKind::Generic, "openssl", "3.0.11")),
    ];
    let asked = questions(&inventory(packages));
    assert_eq!(asked.unknown, [("deb of NodeSource".into(), 1), ("deb of Kohsuke\u{fffd}".into(), 1)].into());
    assert_eq!(asked.owned, 1);
    let keys: Vec<String> = asked.questions.iter().map(Question::key).collect();
    assert_eq!(keys, ["Debian:12/openssl", "Maven/org.jenkins-ci.main:jenkins-core", "Bitnami/node"]);
    // As many vendors as packages.
    let of_many = (0..VENDORS_MAX + 7)
        .map(|n| Package { vendor: Some(format!("v{n}")), ..deb(&format!("p{n}"), "1", "p") });
    let asked = questions(&inventory(of_many.collect()));
    assert_eq!(asked.unknown.len(), VENDORS_MAX + 1);
    assert_eq!(asked.unknown["deb of others"], 7);
}

#[test]
fn packages_of_rpm_without_the_distributions_vendor_are_nobodys() {
    let of = |vendor: &str| {
        let package = package(PackageKind::Rpm, "openssl", "1:3.0.7-27.el9");
        let package = Package { vendor: Some(vendor.to_owned()), ..package };
        let distribution = Distribution {
            id: "almalinux".into(),
            version_id: Some("9.4".into()),
            ..Distribution::default()
        };
        let asked = questions(&Inventory { distribution: Some(distribution), ..inventory(vec![package]) });
        assert_eq!(asked.questions.is_empty(), !asked.unknown.is_empty());
        asked.unknown.into_keys().next()
    };
    assert_eq!(of("AlmaLinux"), None);
    assert_eq!(of("Fedora Project").as_deref(), Some("rpm of Fedora Project"));
    assert_eq!(of("").as_deref(), Some("rpm of nobody"));
}

#[test]
fn what_an_image_may_cost_is_bounded() {
    // A status file that names one package in very many versions.
    let packages = (0..100).map(|n| package(PackageKind::Pypi, "x", &format!("1.{n}"))).collect();
    let records = (0..50).map(|n| advisory(&format!("CVE-2024-{}", 1000 + n), Ecosystem::PyPI, "x", None));
    let test = database(records.collect());
    let asked = questions(&inventory(packages));
    let found = |findings_max, statements| {
        let answer = find_within(&asked, &test.database, findings_max, statements).unwrap();
        (answer.findings.len(), answer.unasked)
    };
    assert_eq!(found(FINDINGS_MAX, STATEMENTS_MAX), (5000, 0));
    assert_eq!(found(120, STATEMENTS_MAX), (120, 98), "the third version is not told to the end");
    assert_eq!(found(FINDINGS_MAX, 120), (100, 98));
}

#[test]
fn findings_of_one_source_share_its_packages() {
    // Cut into very many packages, with very many advisories: a list in each finding would be their product.
    let packages = (0..1000).map(|n| deb(&format!("p{n}"), "1", "linux")).collect();
    let records = (0..50).map(|n| advisory(&format!("CVE-2024-{}", 1000 + n), debian(), "linux", None));
    let test = database(records.collect());
    let answer = find(&questions(&inventory(packages)), &test.database).unwrap();
    assert_eq!((answer.findings.len(), answer.unasked), (50, 0));
    assert!(answer.findings.iter().all(|one| Arc::ptr_eq(&one.question, &answer.findings[0].question)));
}

#[test]
fn what_is_said_in_passing_is_told_and_covers_nothing() {
    // A young release, of which a source has little beside what it has of the one before.
    let release = |release: &str| Ecosystem::AlmaLinux { release: release.to_owned() };
    let of_9 = (0..100).map(|n| advisory(&format!("CVE-2024-{}", 1000 + n), release("9"), "x", None));
    let of_10 = advisory("CVE-2025-1000", release("10"), "openssl", None);
    let test = database(of_9.chain([of_10]).collect());
    let distribution =
        Distribution { id: "almalinux".into(), version_id: Some("10.0".into()), ..Distribution::default() };
    let image = Inventory {
        distribution: Some(distribution),
        ..inventory(vec![package(PackageKind::Rpm, "openssl", "3.0-1")])
    };
    let answer = find(&questions(&image), &test.database).unwrap();
    assert_eq!(answer.uncovered.get("AlmaLinux:10"), Some(&1));
    let ids: Vec<&str> = answer.findings.iter().map(|one| one.known.vulnerability.id.as_str()).collect();
    assert_eq!(ids, ["CVE-2025-1000"]);
}

#[test]
fn what_nobody_found_out_is_no_finding_and_not_nothing() {
    let mut doubted = advisory("CVE-2024-2000", debian(), "openssl", None);
    doubted.affected[0].standing = Standing::Undetermined;
    let test = database(vec![doubted, advisory("CVE-2024-2001", debian(), "openssl", None)]);
    let asked = questions(&inventory(vec![deb("openssl", "3.0", "openssl")]));
    let answer = find(&asked, &test.database).unwrap();
    assert_eq!(answer.findings.len(), 1);
    let doubts: Vec<(&str, &str)> =
        answer.undetermined.iter().map(|one| (one.id.as_str(), one.question.name.as_str())).collect();
    assert_eq!(doubts, [("CVE-2024-2000", "openssl")]);
    // They use up what is looked at, too.
    assert_eq!(find_within(&asked, &test.database, 1, STATEMENTS_MAX).unwrap().unasked, 1);
}

#[test]
fn packages_of_other_distributions_are_asked_for_as_their_advisories_name_them() {
    let asked = |id: &str, version: Option<&str>, kind: PackageKind| {
        let mut package = package(kind, "libopenssl3", "3.1.4-150600.5.1");
        package.source = Some(SourcePackage { name: "openssl-3".into(), version: "3.1.4-150600.5.1".into() });
        let distribution =
            Distribution { id: id.into(), version_id: version.map(str::to_owned), ..Distribution::default() };
        let image = Inventory { distribution: Some(distribution), ..inventory(vec![package]) };
        let question = questions(&image).questions.remove(0);
        format!("{} {}", question.ecosystem, question.name)
    };
    assert_eq!(asked("opensuse-leap", Some("15.6"), PackageKind::Rpm), "openSUSE:Leap 15.6 openssl-3");
    assert_eq!(asked("azurelinux", Some("3.0"), PackageKind::Rpm), "Azure Linux:3 openssl-3");
    assert_eq!(asked("mageia", Some("9"), PackageKind::Rpm), "Mageia:9 openssl-3");
    assert_eq!(asked("wolfi", None, PackageKind::Apk), "Wolfi libopenssl3");
    assert_eq!(asked("chainguard", None, PackageKind::Apk), "Chainguard libopenssl3");
    assert_eq!(asked("rocky", Some("9.4"), PackageKind::Rpm), "Rocky Linux:9 libopenssl3");
}

#[test]
fn an_image_cannot_call_itself_what_somebody_allows() {
    let called = |id: &str, version: Option<&str>| {
        let distribution =
            Distribution { id: id.into(), version_id: version.map(str::to_owned), ..Distribution::default() };
        let image = Inventory {
            distribution: Some(distribution),
            ..inventory(vec![deb("openssl", "3.0", "openssl")])
        };
        questions(&image).unknown.into_keys().next().unwrap()
    };
    assert_eq!(called("conda", None), "os:conda");
    assert_eq!(called("deb", None), "os:deb");
    assert_eq!(called("Debian:12", None), "os:Debian:12");
    assert_eq!(called("devuan", Some("5\n")), "os:devuan 5\u{fffd}");
    // Without an os-release there is no word of the image's in it.
    let image = Inventory { distribution: None, ..inventory(vec![deb("openssl", "3.0", "openssl")]) };
    assert_eq!(questions(&image).unknown, [("deb".to_owned(), 1)].into());
}

#[test]
fn packages_of_another_format_than_the_distribution_has_are_not_asked_for_as_its_own() {
    let wolfi = database(vec![advisory("CVE-2024-1001", Ecosystem::Wolfi, "other", None)]);
    let misfiled = |kind, id: &str, version: Option<&str>| {
        let distribution =
            Distribution { id: id.into(), version_id: version.map(str::to_owned), ..Distribution::default() };
        let image = Inventory {
            distribution: Some(distribution),
            ..inventory(vec![package(kind, "openssl", "3.0-1")])
        };
        let asked = questions(&image);
        assert_eq!(asked.questions.is_empty(), !asked.misfiled.is_empty());
        find(&asked, &wolfi.database).unwrap().misfiled.into_keys().next()
    };
    let is = |kind, id, version, expect: Option<&str>| {
        assert_eq!(misfiled(kind, id, version).as_deref(), expect, "{kind:?} {id}");
    };
    is(PackageKind::Deb, "wolfi", None, Some("deb in Wolfi"));
    is(PackageKind::Deb, "alpine", Some("3.20.1"), Some("deb in Alpine:v3.20"));
    is(PackageKind::Deb, "rhel", Some("9"), Some("deb in Red Hat:enterprise_linux:9"));
    is(PackageKind::Rpm, "debian", Some("12"), Some("rpm in Debian:12"));
    is(PackageKind::Rpm, "chainguard", None, Some("rpm in Chainguard"));
    is(PackageKind::Apk, "mageia", Some("9"), Some("apk in Mageia:9"));
    is(PackageKind::Deb, "ubuntu", Some("22.04"), None);
    is(PackageKind::Apk, "wolfi", None, None);
    is(PackageKind::Rpm, "azurelinux", Some("3.0"), None);
    // What has a distribution of its own does not depend on the image's.
    is(PackageKind::Pypi, "wolfi", None, None);
}
