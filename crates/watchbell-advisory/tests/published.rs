//! What publishers really offer, beside the checkout: nothing of it is bad but what is known to be, and known questions have
//! known answers. Left out where the data is not there.

use std::path::{Path, PathBuf};

use watchbell_advisory::{
    Builder, Class, Counts, Database, Ecosystem, ImportLimits, Importer, IndexDirectory, Query, Severity,
    Status, date,
};

/// 2026-11-16: later than all of it.
const NOW: i64 = 1_794_800_000;

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn shared() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/advisories");
    if !shared.is_dir() {
        eprintln!("left out: no advisories in {}", shared.display());
        return None;
    }
    Some(shared)
}

fn import(builder: &mut Builder, dir: &Path, name: &str) -> Counts {
    let mut importer = Importer::new(name, NOW, ImportLimits::default());
    importer.add(&dir.join(name).with_extension("tar.zst")).unwrap();
    let imported = importer.finish().unwrap();
    let counts = imported.source.counts;
    builder.replace(imported.source, imported.contents);
    counts
}

#[test]
fn published_data_is_understood_and_answers() {
    let Some(dir) = shared() else { return };
    let mut builder = Builder::new();
    let mut counts = |name: &str| import(&mut builder, &dir, name);

    let alma = counts("alma");
    assert_eq!((alma.records, alma.statements, alma.bad), (1783, 24_012, 0));
    let crates = counts("crates");
    assert_eq!((crates.records, crates.withdrawn, crates.bad, crates.other_systems), (1206, 13, 0, 22));
    let go = counts("go-osv");
    assert_eq!((go.records, go.withdrawn, go.bad), (4291, 17, 0));
    // The archive has the same records twice: with and without the lists that ranges make needless.
    let pypi = counts("pypi");
    assert_eq!((pypi.records, pypi.withdrawn, pypi.bad, pypi.future), (2 * 7080, 2 * 269, 0, 2 * 2));
    let psf = counts("psf");
    assert_eq!((psf.records, psf.statements, psf.git_ranges), (132, 0, 132));
    // Beside the catalogue lies its schema, which is no advisory.
    let kev = counts("kev");
    assert_eq!((kev.exploited, kev.bad), (1404, 1));
    let debian = counts("debian12-changelog");
    assert_eq!((debian.records, debian.statements, debian.bad), (6891, 6908, 1));

    let place = tempfile::tempdir().unwrap();
    IndexDirectory::lock(place.path()).unwrap().replace(&builder.build()).unwrap();
    let database = Database::open(place.path()).unwrap();
    database.verify().unwrap();
    let newest =
        |name: &str| database.sources().iter().find(|s| s.name == name).and_then(|s| s.newest).map(date);
    assert_eq!(newest("kev").as_deref(), Some("2025-08-25"));
    assert_eq!(newest("pypi").as_deref(), Some("2026-07-23"));
    // Only its oldest records have a date, which is not that of the whole.
    assert_ne!(newest("go-osv").as_deref(), Some("2022-12-14"));
    let covered = |name: &str| -> Vec<&str> {
        let source = database.sources().iter().find(|s| s.name == name).unwrap();
        source.coverage.iter().map(|covered| covered.ecosystem.as_str()).collect()
    };
    assert_eq!(covered("alma"), ["AlmaLinux:9"]);
    assert_eq!(covered("crates"), ["crates.io"]);
    assert_eq!(covered("go-osv"), ["Go"]);
    assert_eq!(covered("pypi"), ["PyPI"]);
    assert_eq!(covered("debian12-changelog"), ["Debian:12"]);
    // Ranges of commits alone, and a catalogue: neither speaks of anybody's packages.
    assert!(covered("psf").is_empty() && covered("kev").is_empty());
    assert!(database.sources_of(&Ecosystem::Npm).next().is_none());

    answers(&database);
}

/// Vulnerabilities that everybody knows, found and not found.
fn answers(database: &Database) {
    let find = |ecosystem: &Ecosystem, name: &str, version: &str| {
        database.find(&Query { ecosystem, name, version }).unwrap()
    };
    let has = |ecosystem: &Ecosystem, name: &str, version: &str, id: &str| {
        find(ecosystem, name, version).into_iter().find(|m| m.vulnerability.id == id)
    };
    // Python: by range, in branches, under any writing of the name.
    let pypi = Ecosystem::PyPI;
    let found = has(&pypi, "PyYAML", "5.3", "CVE-2020-14343").unwrap();
    assert_eq!((found.status, &found.fixed[..]), (Status::Fixable, &["5.4".to_owned()][..]));
    assert!(
        found.vulnerability.aliases.iter().any(|alias| alias == "GHSA-8q59-q68h-6hv4"),
        "{:?}",
        found.vulnerability
    );
    assert!(has(&pypi, "pyyaml", "5.4", "CVE-2020-14343").is_none());
    let django = |version: &str| has(&pypi, "django", version, "CVE-2024-42005");
    assert_eq!(django("4.2.14").unwrap().fixed[0], "4.2.15");
    assert_eq!(django("5.0.7").unwrap().fixed, ["5.0.8"]);
    assert!(django("4.2.15").is_none() && django("5.0.8").is_none());
    assert!(find(&pypi, "numpy", "99.0").is_empty());

    // Rust: a vulnerability, and a package without a maintainer.
    let crates = Ecosystem::CratesIo;
    assert_eq!(has(&crates, "openssl", "0.8.9", "CVE-2016-10931").unwrap().severity, Severity::High);
    assert!(has(&crates, "openssl", "0.9.0", "CVE-2016-10931").is_none());
    let notices = find(&crates, "ansi_term", "0.12.1");
    assert!(notices.iter().all(|m| m.class == Class::Notice) && !notices.is_empty(), "{notices:#?}");

    // Go: pseudo-versions and `v`.
    let go = Ecosystem::Go;
    assert!(has(&go, "golang.org/x/net", "v0.16.0", "CVE-2023-39325").is_some());
    assert!(has(&go, "golang.org/x/net", "v0.17.0", "CVE-2023-39325").is_none());
    assert!(has(&go, "golang.org/x/net", "v0.0.0-20200101000000-abcdefabcdef", "CVE-2023-39325").is_some());
    assert!(has(&go, "stdlib", "go1.21.2", "CVE-2023-39325").is_some());
    assert!(has(&go, "stdlib", "1.21.3", "CVE-2023-39325").is_none());

    // An erratum is a finding for each vulnerability that it mends.
    let alma = Ecosystem::from_distribution("almalinux", Some("9.4")).unwrap();
    let errata = find(&alma, "openssl", "1:3.0.1-1.el9");
    assert!(
        errata.len() > 1 && errata.iter().all(|m| m.vulnerability.id.starts_with("CVE-")),
        "{}",
        errata.len()
    );
    assert!(errata.iter().all(|m| m.statements.iter().all(|s| s.advisory.starts_with("ALSA-"))));
    assert!(find(&alma, "openssl", "99:1-1.el9").is_empty());

    // Debian: by source package; with what is known elsewhere of the same CVE.
    let debian = Ecosystem::from_distribution("debian", Some("12")).unwrap();
    assert!(has(&debian, "pyyaml", "5.3.1-3", "CVE-2020-14343").is_some());
    assert!(has(&debian, "pyyaml", "6.0-3+b2", "CVE-2020-14343").is_none());
    let salt = has(&pypi, "salt", "2019.2.3", "CVE-2020-11651").unwrap();
    assert_eq!(salt.vulnerability.exploited.unwrap().added, "2021-11-03");
    let older = Ecosystem::from_distribution("debian", Some("11")).unwrap();
    assert!(find(&older, "pyyaml", "5.3.1-3").is_empty(), "the data is of one release");
}
