//! Precision on real advisories: packages whose vulnerabilities were looked up by hand in the publishers' records, with what must
//! be found of them and what must not. The data lies beside the checkout (`../shared/advisories`); without it this is left out,
//! and the set of our own in `finding::tests` remains.

use std::collections::BTreeSet;
use std::path::Path;

use watchbell_advisory::{Builder, Database, ImportLimits, Importer, Severity};
use watchbell_scan::finding::{Class, Finding, find, questions};
use watchbell_scan::{Distribution, Evidence, Inventory, Package, PackageKind, SourcePackage};

/// Kind, name, version; then the CVEs that must be found, and those that must not.
type Case = (PackageKind, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// Of an image of Debian 12; a distribution's packages are named by their source.
const OF_DEBIAN: &[Case] = &[
    // PYSEC-2026-1873: fixed in 2.32.0.
    (PackageKind::Pypi, "requests", "2.31.0", &["CVE-2024-35195"], &[]),
    (PackageKind::Pypi, "requests", "2.32.0", &[], &["CVE-2024-35195"]),
    // PYSEC-2026-1794: fixed in 10.0.1; known to be exploited.
    (PackageKind::Pypi, "Pillow", "10.0.0", &["CVE-2023-4863"], &[]),
    (PackageKind::Pypi, "pillow", "10.0.1", &[], &["CVE-2023-4863"]),
    // PYSEC-2026-1473: fixed in 3.1.3.
    (PackageKind::Pypi, "Jinja2", "3.1.2", &["CVE-2024-22195"], &[]),
    (PackageKind::Pypi, "jinja2", "3.1.3", &[], &["CVE-2024-22195"]),
    // PYSEC-2023-212: fixed in 1.26.18 and, on the other branch, in 2.0.7.
    (PackageKind::Pypi, "urllib3", "1.26.17", &["CVE-2023-45803"], &[]),
    (PackageKind::Pypi, "urllib3", "1.26.18", &[], &["CVE-2023-45803"]),
    (PackageKind::Pypi, "urllib3", "2.0.6", &["CVE-2023-45803"], &[]),
    (PackageKind::Pypi, "urllib3", "2.0.7", &[], &["CVE-2023-45803"]),
    // PYSEC-2024-70: two branches.
    (PackageKind::Pypi, "Django", "4.2.14", &["CVE-2024-42005"], &[]),
    (PackageKind::Pypi, "Django", "4.2.15", &[], &["CVE-2024-42005"]),
    // The name is another package's elsewhere.
    (PackageKind::Npm, "pillow", "10.0.0", &[], &["CVE-2023-4863"]),
    // RUSTSEC-2020-0071, RUSTSEC-2023-0044, RUSTSEC-2021-0078.
    (PackageKind::Cargo, "time", "0.1.43", &["CVE-2020-26235"], &[]),
    (PackageKind::Cargo, "time", "0.3.36", &[], &["CVE-2020-26235"]),
    (PackageKind::Cargo, "openssl", "0.10.54", &["CVE-2023-53159"], &[]),
    (PackageKind::Cargo, "openssl", "0.10.55", &[], &["CVE-2023-53159"]),
    (PackageKind::Cargo, "hyper", "0.14.9", &["CVE-2021-32715"], &[]),
    // GO-2023-2102, GO-2024-3321.
    (PackageKind::Golang, "golang.org/x/net", "v0.16.0", &["CVE-2023-39325"], &[]),
    (PackageKind::Golang, "golang.org/x/net", "v0.17.0", &[], &["CVE-2023-39325"]),
    (PackageKind::Golang, "golang.org/x/crypto", "v0.30.0", &["CVE-2024-45337"], &["CVE-2023-48795"]),
    (PackageKind::Golang, "golang.org/x/crypto", "v0.31.0", &[], &["CVE-2024-45337", "CVE-2023-48795"]),
    // From Debian's changelogs: the one is mended by an update of the release, the other was before the release.
    (
        PackageKind::Deb,
        "expat",
        "2.5.0-1+deb12u1",
        &["CVE-2026-56132"],
        &["CVE-2022-22827", "CVE-2022-25313"],
    ),
    (PackageKind::Deb, "expat", "2.5.0-1+deb12u5", &[], &["CVE-2026-56132"]),
    (PackageKind::Deb, "linux", "6.1.55-1", &["CVE-2024-50302"], &["CVE-2023-4208"]),
];

/// Of an image of AlmaLinux 9, whose advisories name what was built.
const OF_ALMA: &[Case] = &[
    // ALSA-2024:6783, ALSA-2025:1330, ALSA-2024:0310.
    (PackageKind::Rpm, "openssl-libs", "1:3.0.7-27.el9", &["CVE-2024-6119"], &["CVE-2023-5363"]),
    (PackageKind::Rpm, "openssl-libs", "1:3.0.7-28.el9_4", &["CVE-2024-12797"], &["CVE-2024-6119"]),
    (PackageKind::Rpm, "openssl-libs", "1:3.2.2-6.el9_5.1", &[], &["CVE-2024-12797"]),
    // Without its epoch the number means another version.
    (PackageKind::Rpm, "openssl-libs", "3.2.2-6.el9_5.1", &["CVE-2024-12797"], &[]),
];

fn package(case: &Case) -> Package {
    let (kind, name, version, ..) = *case;
    Package {
        kind,
        name: name.into(),
        version: version.into(),
        architecture: None,
        source: (kind == PackageKind::Deb)
            .then(|| SourcePackage { name: name.into(), version: version.into() }),
        vendor: None,
        licences: Vec::new(),
        evidence: Evidence::Installed,
        locations: Vec::new(),
        owned_by: None,
    }
}

fn inventory(id: &str, version: &str, cases: &[Case]) -> Inventory {
    let distribution =
        Distribution { id: id.into(), version_id: Some(version.into()), ..Distribution::default() };
    Inventory {
        distribution: Some(distribution),
        packages: cases.iter().map(package).collect(),
        gaps: Vec::new(),
    }
}

/// Both directions, and every finding once.
fn check(database: &Database, id: &str, version: &str, cases: &[Case]) -> Vec<Finding> {
    let inventory = inventory(id, version, cases);
    let findings = find(&questions(&inventory), database).unwrap().findings;
    let mut wrong = Vec::new();
    for (at, (_, name, version, expected, refused)) in cases.iter().enumerate() {
        let ids: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.question.packages.contains(&at))
            .map(|finding| finding.known.vulnerability.id.as_str())
            .collect();
        let different: BTreeSet<&&str> = ids.iter().collect();
        if different.len() != ids.len() {
            wrong.push(format!("{name} {version}: something is told twice: {ids:?}"));
        }
        for cve in expected.iter().filter(|cve| !ids.contains(cve)) {
            wrong.push(format!("{name} {version}: {cve} is not found among {} findings", ids.len()));
        }
        for cve in refused.iter().filter(|cve| ids.contains(cve)) {
            wrong.push(format!("{name} {version}: {cve} is found"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    findings
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn what_was_looked_up_by_hand_is_found_and_nothing_beside_it() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/advisories"));
    if !shared.is_dir() {
        eprintln!("left out: there are no advisories in ../shared/advisories");
        return;
    }
    let mut builder = Builder::new();
    for name in ["pypi", "crates", "go-osv", "alma", "debian12-changelog", "kev"] {
        let mut importer = Importer::new(name, 1_790_000_000, ImportLimits::default());
        importer.add(&shared.join(format!("{name}.tar.zst"))).unwrap();
        let imported = importer.finish().unwrap();
        builder.replace(imported.source, imported.contents);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("advisories.index");
    std::fs::write(&path, builder.build()).unwrap();
    let database = Database::open(&path).unwrap();

    let findings = check(&database, "debian", "12", OF_DEBIAN);
    check(&database, "almalinux", "9", OF_ALMA);
    let one = |cve: &str| findings.iter().find(|finding| finding.known.vulnerability.id == cve).unwrap();
    let pillow = one("CVE-2023-4863");
    assert!(pillow.known.vulnerability.exploited.is_some());
    assert_eq!(pillow.known.severity, Severity::High);
    assert_eq!(pillow.known.fixed, ["10.0.1"]);
    assert!(pillow.known.vulnerability.aliases.iter().any(|alias| alias.starts_with("GHSA-")));
    // Everything of the kernel's source is of the class that stands apart, and it is most of a raw list.
    let kernel = findings.iter().filter(|finding| finding.known.class == Class::Kernel).count();
    assert!(findings.iter().all(|f| (f.question.name == "linux") == (f.known.class == Class::Kernel)));
    assert!(kernel > 1000, "{kernel}");
}
