use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    Builder, Contents, Coverage, Event, Exploited, IndexDirectory, Interval, Prediction, Severity, Standing,
    Status,
};

fn debian() -> Ecosystem {
    Ecosystem::Debian { release: "12".to_owned() }
}

fn about(ecosystem: Ecosystem, name: &str, intervals: Vec<Interval>) -> Affected {
    Affected {
        ecosystem,
        name: name.to_owned(),
        intervals,
        versions: Vec::new(),
        standing: Standing::Versions,
        severity: Severity::Unknown,
    }
}

fn standing(name: &str, standing: Standing) -> Affected {
    Affected { standing, ..about(debian(), name, vec![Interval::everything()]) }
}

fn record(id: &str, aliases: &[&str], affected: Vec<Affected>) -> Advisory {
    Advisory {
        id: id.to_owned(),
        aliases: aliases.iter().map(|s| (*s).to_owned()).collect(),
        affected,
        ..Advisory::default()
    }
}

fn source(name: &str) -> Source {
    Source {
        name: name.to_owned(),
        newest: Some(1_700_000_000),
        imported: 1_750_000_000,
        ..Source::default()
    }
}

fn contents(advisories: Vec<Advisory>) -> Contents {
    Contents { advisories, ..Contents::default() }
}

fn two_branches() -> Vec<Interval> {
    let version = str::to_owned;
    let events = vec![
        Event::Introduced(version("2.0")),
        Event::Fixed(version("2.1.3")),
        Event::Introduced(version("3.0")),
        Event::Fixed(version("3.0.5")),
    ];
    Interval::from_events(&Ecosystem::PyPI, events)
}

fn sample() -> Builder {
    let mut builder = Builder::new();
    let scored = Advisory {
        scores: vec!["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H".parse().unwrap()],
        summary: "code is run".to_owned(),
        ..record("GHSA-aaaa", &["CVE-2024-0001"], vec![about(Ecosystem::PyPI, "flask-x", two_branches())])
    };
    builder.replace(source("github"), contents(vec![scored]));
    builder.replace(
        source("pypa"),
        contents(vec![record(
            "PYSEC-1",
            &["GHSA-aaaa"],
            vec![about(Ecosystem::PyPI, "flask-x", two_branches())],
        )]),
    );
    let tracker = vec![
        record("CVE-2024-0001", &[], vec![about(debian(), "flask", vec![Interval::before("2.1-1+deb12u1")])]),
        record("CVE-2024-0002", &[], vec![standing("flask", Standing::NoAdvisory)]),
        record(
            "CVE-2024-0003",
            &[],
            vec![Affected { intervals: vec![], ..standing("flask", Standing::NotAffected) }],
        ),
        record("CVE-2024-0004", &[], vec![standing("linux", Standing::Open)]),
        record("CVE-2024-0005", &[], vec![standing("flask", Standing::Undetermined)]),
    ];
    builder.replace(source("tracker"), contents(tracker));
    // An older view: only the version of unstable.
    let changelogs = vec![
        record("CVE-2024-0001", &[], vec![about(debian(), "flask", vec![Interval::before("2.3-1")])]),
        record("CVE-2024-0003", &[], vec![about(debian(), "flask", vec![Interval::before("2.3-1")])]),
    ];
    builder.replace(source("changelogs"), contents(changelogs));
    let mut marks = Contents::default();
    let exploited = Exploited { added: "2024-02-01".to_owned(), due: None, in_ransomware: true };
    marks.exploited.insert("CVE-2024-0001".to_owned(), exploited);
    marks
        .predictions
        .insert("CVE-2024-0001".to_owned(), Prediction { probability: 94_210, percentile: 99_900 });
    builder.replace(source("marks"), marks);
    builder
}

fn opened(builder: &Builder) -> (TempDir, Database) {
    let dir = TempDir::new().unwrap();
    IndexDirectory::lock(dir.path()).unwrap().replace(&builder.build()).unwrap();
    let database = Database::open(dir.path()).unwrap();
    (dir, database)
}

fn ids(database: &Database, ecosystem: &Ecosystem, name: &str, version: &str) -> Vec<String> {
    let found = database.find(&Query { ecosystem, name, version }).unwrap();
    found.into_iter().map(|m| m.vulnerability.id).collect()
}

#[test]
fn an_index_says_whose_packages_it_speaks_of() {
    let (_dir, database) = opened(&sample());
    let sources = |ecosystem: &Ecosystem| -> Vec<&str> {
        database.sources_of(ecosystem).map(|source| source.name.as_str()).collect()
    };
    assert_eq!(sources(&Ecosystem::PyPI), ["github", "pypa"]);
    assert_eq!(sources(&debian()), ["changelogs", "tracker"]);
    assert!(sources(&Ecosystem::Debian { release: "13".to_owned() }).is_empty(), "another release");
    assert!(sources(&Ecosystem::Npm).is_empty());
    let tracker = database.sources().iter().find(|source| source.name == "tracker").unwrap();
    assert_eq!(tracker.coverage, [Coverage { ecosystem: "Debian:12".to_owned(), statements: 5 }]);
}

#[test]
fn a_release_that_is_named_in_passing_is_not_covered() {
    let release = |release: &str| Ecosystem::AlmaLinux { release: release.to_owned() };
    let errata = |count: usize, of: &Ecosystem| -> Vec<Advisory> {
        let about = |n| about(of.clone(), &format!("p{n}"), vec![Interval::before("1")]);
        (0..count).map(|n| record(&format!("ALSA-{of}-{n}"), &[], vec![about(n)])).collect()
    };
    let covered = |of_8: usize| -> Vec<String> {
        let mut builder = Builder::new();
        let records = [errata(100, &release("9")), errata(of_8, &release("8"))].concat();
        builder.replace(source("alma"), contents(records));
        let (_dir, database) = opened(&builder);
        database.sources()[0].coverage.iter().map(|covered| covered.ecosystem.clone()).collect()
    };
    assert_eq!(covered(4), ["AlmaLinux:9"]);
    assert_eq!(covered(5), ["AlmaLinux:8", "AlmaLinux:9"]);
}

fn covered(builder: &Builder) -> Vec<String> {
    let (_dir, database) = opened(builder);
    let coverage = database.sources().iter().flat_map(|source| source.coverage.clone());
    coverage.map(|covered| covered.ecosystem).collect()
}

#[test]
fn a_language_that_is_named_in_passing_is_not_covered() {
    // An archive of npm has records that name packages of Maven too.
    let records = |count: usize, of: Ecosystem| -> Vec<Advisory> {
        let about = |n| about(of.clone(), &format!("p{n}"), vec![Interval::before("1")]);
        (0..count).map(|n| record(&format!("GHSA-{of}-{n}"), &[], vec![about(n)])).collect()
    };
    let archive = || contents([records(100, Ecosystem::Npm), records(4, Ecosystem::Maven)].concat());
    let mut builder = Builder::new();
    builder.replace(source("npm"), archive());
    assert_eq!(covered(&builder), ["npm"]);
    // Who imports it may know better, in both directions; of what nothing is said nothing is known.
    let stated = [Ecosystem::Maven, Ecosystem::Go].into();
    builder.replace(source("npm"), Contents { stated, ..archive() });
    assert_eq!(covered(&builder), ["Maven"]);
}

#[test]
fn a_release_of_alpine_is_covered_by_its_repositories_together() {
    let alpine = Ecosystem::Alpine { release: "3.20".to_owned() };
    let of = |repository: &str| -> Contents {
        let mut contents = contents(vec![record("CVE-1", &[], vec![about(alpine.clone(), "p", Vec::new())])]);
        contents.repositories.insert((alpine.clone(), repository.to_owned()), 1);
        contents
    };
    let speaking = |builder: &Builder| opened(builder).1.sources_of(&alpine).count();
    let mut builder = Builder::new();
    builder.replace(source("main"), of("main"));
    assert_eq!((covered(&builder), speaking(&builder)), (vec!["Alpine:v3.20/main".to_owned()], 0));
    let mut whole = builder;
    whole.replace(source("community"), of("community"));
    assert_eq!(speaking(&whole), 2);
    // Also after a look at what an index has.
    let (_dir, database) = opened(&whole);
    assert_eq!(speaking(&Builder::from_database(&database).unwrap()), 2);
    // Who states the release takes it upon himself.
    let mut builder = Builder::new();
    builder.replace(source("main"), Contents { stated: [alpine.clone()].into(), ..of("main") });
    assert_eq!(speaking(&builder), 1);
}

#[test]
fn records_of_several_sources_are_one_finding() {
    let (_dir, database) = opened(&sample());
    let query = Query { ecosystem: &Ecosystem::PyPI, name: "Flask_X", version: "2.1" };
    let found = database.find(&query).unwrap();
    let [only] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(only.vulnerability.id, "CVE-2024-0001");
    assert_eq!(only.vulnerability.aliases, ["GHSA-aaaa", "PYSEC-1"]);
    assert_eq!(only.severity, Severity::Critical);
    assert_eq!(only.vulnerability.score().unwrap().tenths, 98);
    assert_eq!(only.status, Status::Fixable);
    assert_eq!(only.fixed, ["2.1.3", "3.0.5"], "first the branch's own");
    assert_eq!(only.affected.iter().map(ToString::to_string).collect::<Vec<_>>(), [">= 2.0, < 2.1.3"]);
    assert_eq!(only.statements.iter().map(|s| s.source.as_str()).collect::<Vec<_>>(), ["github", "pypa"]);
    assert!(only.vulnerability.exploited.as_ref().unwrap().in_ransomware);
    assert_eq!(only.vulnerability.prediction.unwrap().probability, 94_210);
}

#[test]
fn what_is_not_affected_is_not_found() {
    let (_dir, database) = opened(&sample());
    for version in ["1.9", "2.1.3", "2.9", "3.0.5", "4"] {
        assert_eq!(ids(&database, &Ecosystem::PyPI, "flask-x", version), [""; 0], "{version}");
    }
    assert_eq!(ids(&database, &Ecosystem::PyPI, "flask", "2.1"), [""; 0]);
    assert_eq!(ids(&database, &Ecosystem::Npm, "flask-x", "2.1.0"), [""; 0]);
    let older = Ecosystem::Debian { release: "11".to_owned() };
    assert_eq!(ids(&database, &older, "flask", "1.0-1"), [""; 0]);
}

#[test]
fn local_builds_of_a_python_package_are_the_version_that_they_are_of() {
    let last = |version: &str| {
        let events = vec![Event::Introduced("0".to_owned()), Event::LastAffected(version.to_owned())];
        about(Ecosystem::PyPI, "torch", Interval::from_events(&Ecosystem::PyPI, events))
    };
    let listed = |version: &str| Affected {
        versions: vec![version.to_owned()],
        ..about(Ecosystem::PyPI, "torch", Vec::new())
    };
    let before = about(Ecosystem::PyPI, "torch", vec![Interval::before("2.6.0")]);
    let check = |affected: Affected, version: &str, expect: bool| {
        let mut builder = Builder::new();
        builder.replace(source("pypa"), contents(vec![record("PYSEC-1", &[], vec![affected.clone()])]));
        let (_dir, database) = opened(&builder);
        let found = ids(&database, &Ecosystem::PyPI, "torch", version).len();
        assert_eq!(found == 1, expect, "{version}: {affected:?}");
    };
    check(last("2.6.0"), "2.6.0+cu124", true);
    check(listed("2.6.0"), "2.6.0+cu124", true);
    check(listed("2.6"), "2.6.0+cu124", true);
    check(last("2.6.0"), "2.6.0.post1+cu124", false);
    check(listed("2.6.0"), "2.6.1+cu124", false);
    // A statement about local builds speaks of those.
    check(last("2.6.0+cu118"), "2.6.0+cu124", false);
    check(listed("2.6.0+cu124"), "2.6.0+cu124", true);
    check(listed("2.6.0+cu124"), "2.6.0+cpu", false);
    check(listed("2.6.0+cu124"), "2.6.0", false);
    // A local build of what has the fix has it.
    check(before, "2.6.0+cu124", false);
}

#[test]
fn of_what_is_no_version_only_what_holds_for_all_is_known() {
    let check = |ecosystem: Ecosystem, affected: Affected, version: &str, expect: Status| {
        let mut builder = Builder::new();
        let affected = Affected { ecosystem: ecosystem.clone(), ..affected };
        builder.replace(source("osv"), contents(vec![record("GHSA-1", &[], vec![affected])]));
        let (_dir, database) = opened(&builder);
        let found = database.assess(&Query { ecosystem: &ecosystem, name: "p", version }).unwrap();
        assert_eq!(found.iter().map(|one| one.status).collect::<Vec<_>>(), [expect], "{version:?}");
    };
    let of = |intervals| about(Ecosystem::Go, "p", intervals);
    let from = |version: &str| {
        let events = vec![Event::Introduced(version.to_owned()), Event::Fixed("2.0.0".to_owned())];
        of(Interval::from_events(&Ecosystem::Go, events))
    };
    let listed = Affected { versions: vec!["dev-main".to_owned()], ..of(Vec::new()) };
    for version in ["", "(devel)"] {
        check(Ecosystem::Go, from("1.0.0"), version, Status::Undetermined);
        check(Ecosystem::Go, from("0"), version, Status::Undetermined);
        check(Ecosystem::Go, of(vec![Interval::everything()]), version, Status::Open);
    }
    check(Ecosystem::Packagist, from("1.0.0"), "dev-main", Status::Undetermined);
    check(Ecosystem::Packagist, listed.clone(), "dev-main", Status::Open);
    check(Ecosystem::Packagist, listed, "dev-master", Status::Undetermined);
    check(Ecosystem::Npm, from("1.0.0"), "github:a/b#1234", Status::Undetermined);
    check(Ecosystem::PyPI, from("1.0.0"), "", Status::Undetermined);
    check(Ecosystem::Maven, from("1.0.0"), "", Status::Undetermined);
    check(debian(), from("1.0.0"), "", Status::Undetermined);
    check(Ecosystem::Go, from("1.0.0"), "v1.5.0", Status::Fixable);
    check(Ecosystem::Go, from("1.0.0"), "v0.5.0", Status::NotAffected);
}

#[test]
fn a_distribution_that_says_fixed_or_not_affected_wins() {
    let (_dir, database) = opened(&sample());
    // The changelog's newer version alone would say that the backport is affected.
    assert_eq!(ids(&database, &debian(), "flask", "2.1-1+deb12u1"), ["CVE-2024-0002"]);
    assert_eq!(ids(&database, &debian(), "flask", "2.1-1"), ["CVE-2024-0001", "CVE-2024-0002"]);
    let query = Query { ecosystem: &debian(), name: "flask", version: "2.1-1+deb12u1" };
    let statuses: Vec<(String, Status)> =
        database.assess(&query).unwrap().into_iter().map(|m| (m.vulnerability.id, m.status)).collect();
    let expect = [
        ("CVE-2024-0001", Status::Fixed),
        ("CVE-2024-0002", Status::NoAdvisory),
        ("CVE-2024-0003", Status::NotAffected),
        ("CVE-2024-0005", Status::Undetermined),
    ];
    assert_eq!(statuses, expect.map(|(id, status)| (id.to_owned(), status)));
}

#[test]
fn an_old_source_does_not_hide_what_was_opened_again() {
    let found = |cleared_at: i64| {
        let mut builder = Builder::new();
        let record = |said| Advisory {
            id: "CVE-2024-7".to_owned(),
            affected: vec![standing("openssl", said)],
            ..Advisory::default()
        };
        for (name, at, said) in
            [("mirror", cleared_at, Standing::NotAffected), ("tracker", 100 * 86_400, Standing::Open)]
        {
            let source = Source { name: name.to_owned(), newest: Some(at), ..Source::default() };
            builder.replace(source, contents(vec![record(said)]));
        }
        let (_dir, database) = opened(&builder);
        ids(&database, &debian(), "openssl", "3.0-1").len()
    };
    assert_eq!(found(100 * 86_400), 0, "one of them knows of a backport");
    assert_eq!(found(93 * 86_400 + 1), 0);
    assert_eq!(found(93 * 86_400), 1);
}

#[test]
fn a_kernel_is_a_class_of_its_own() {
    let (_dir, database) = opened(&sample());
    let found = database.find(&Query { ecosystem: &debian(), name: "linux", version: "6.1.1-1" }).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].class, found[0].status), (crate::Class::Kernel, Status::Open));
}

#[test]
fn a_vulnerability_is_found_by_each_name() {
    let (_dir, database) = opened(&sample());
    for name in ["CVE-2024-0001", "GHSA-aaaa", "PYSEC-1"] {
        assert_eq!(database.vulnerability(name).unwrap().unwrap().id, "CVE-2024-0001");
    }
    assert_eq!(database.vulnerability("CVE-2024-9999").unwrap(), None);
}

#[test]
fn an_index_of_an_index_is_the_same_bytes() {
    let builder = sample();
    let (_dir, database) = opened(&builder);
    database.verify().unwrap();
    let again = Builder::from_database(&database).unwrap().build();
    assert!(again == builder.build());
    // In another order.
    let mut reversed = Builder::new();
    let contents: Vec<_> = database.sources().iter().cloned().zip(database.contents().unwrap()).collect();
    for (source, contents) in contents.into_iter().rev() {
        reversed.replace(source, contents);
    }
    assert!(reversed.build() == again);
}

#[test]
fn a_replaced_index_is_noticed_and_the_open_one_stays() {
    let (dir, database) = opened(&sample());
    assert!(!database.is_replaced().unwrap());
    let mut builder = Builder::from_database(&database).unwrap();
    assert!(builder.remove("tracker"));
    assert!(!builder.remove("tracker"));
    IndexDirectory::lock(dir.path()).unwrap().replace(&builder.build()).unwrap();
    assert!(database.is_replaced().unwrap());
    assert_eq!(ids(&database, &debian(), "flask", "2.1-1"), ["CVE-2024-0001", "CVE-2024-0002"]);
    let new = Database::open(dir.path()).unwrap();
    assert_ne!(new.generation(), database.generation());
    assert_eq!(ids(&new, &debian(), "flask", "2.1-1"), ["CVE-2024-0001", "CVE-2024-0003"]);
}

#[test]
fn asking_again_without_news_is_the_same_generation() {
    let builder = sample();
    let (_dir, database) = opened(&builder);
    let mut again = Builder::from_database(&database).unwrap();
    again.confirm("tracker", 1_760_000_000);
    let (_dir, confirmed) = opened(&again);
    assert_eq!(confirmed.generation(), database.generation());
    let tracker = confirmed.sources().iter().find(|s| s.name == "tracker").unwrap();
    assert_eq!(tracker.confirmed, Some(1_760_000_000));
}

#[test]
fn another_coverage_is_another_generation() {
    let record = || contents(vec![record("GHSA-1", &[], vec![about(Ecosystem::Npm, "p", Vec::new())])]);
    let generation = |stated: Option<Ecosystem>| {
        let mut builder = Builder::new();
        builder.replace(source("npm"), Contents { stated: stated.into_iter().collect(), ..record() });
        opened(&builder).1.generation()
    };
    assert_eq!(generation(None), generation(Some(Ecosystem::Npm)));
    assert_ne!(generation(None), generation(Some(Ecosystem::Maven)));
}

#[test]
fn one_writer_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = IndexDirectory::lock(dir.path()).unwrap();
    assert!(first.database().unwrap().is_none());
    assert!(matches!(IndexDirectory::lock(dir.path()), Err(Error::Busy { .. })));
    drop(first);
    IndexDirectory::lock(dir.path()).unwrap();
}

#[test]
fn every_damaged_byte_is_noticed_or_changes_nothing() {
    let builder = sample();
    let bytes = builder.build();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("index");
    fs::write(&path, &bytes).unwrap();
    let intact = Database::open(&path).unwrap();
    let ask = |database: &Database| -> Result<Vec<Match>, Error> {
        let mut all = Vec::new();
        for (ecosystem, name, version) in [
            (debian(), "flask", "2.1-1"),
            (Ecosystem::PyPI, "flask-x", "2.1"),
            (debian(), "linux", "6.1.1-1"),
        ] {
            all.extend(database.assess(&Query { ecosystem: &ecosystem, name, version })?);
        }
        Ok(all)
    };
    let expect = ask(&intact).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        let Ok(database) = Database::open(&path) else { continue };
        if let Ok(found) = ask(&database) {
            assert!(found == expect, "byte {at} changes an answer");
        }
        assert!(database.verify().is_err(), "byte {at} is not noticed");
    }
    for length in [0, 7, 100, 511, 512, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(Database::open(&path), Err(Error::Damaged { .. })), "{length}");
    }
    let mut newer = bytes;
    newer[8] = 9;
    fs::write(&path, &newer).unwrap();
    assert!(matches!(Database::open(&path), Err(Error::Format { found: 9, .. })));
}
