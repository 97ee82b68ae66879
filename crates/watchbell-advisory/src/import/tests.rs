use std::fs;
use std::io::Write as _;

use tempfile::TempDir;

use super::*;
use crate::{Affected, Builder, Database, Ecosystem, IndexDirectory, Query, Severity, Standing, Status};

const RECORDS: &[u8] = include_bytes!("../../tests/fixtures/records.osv.jsonl");
const SECDB: &[u8] = include_bytes!("../../tests/fixtures/secdb.json");
const TRACKER: &[u8] = include_bytes!("../../tests/fixtures/tracker.json");
const KEV: &[u8] = include_bytes!("../../tests/fixtures/kev.json");
const EPSS: &[u8] = include_bytes!("../../tests/fixtures/epss.csv");

/// 2025-06-15
const NOW: i64 = 1_750_000_000;

fn read_as(file: &str, bytes: &[u8]) -> Result<Imported, ImportError> {
    let mut importer = Importer::new("sample", NOW, ImportLimits::default());
    importer.add_bytes(file, bytes, Some(NOW - 100))?;
    importer.finish()
}

fn read(file: &str, bytes: &[u8]) -> Imported {
    read_as(file, bytes).unwrap()
}

fn of<'a>(imported: &'a Imported, id: &str) -> &'a Advisory {
    imported.contents.advisories.iter().find(|a| a.id == id).unwrap_or_else(|| panic!("no {id}"))
}

fn printed(affected: &Affected) -> String {
    let intervals: Vec<String> = affected.intervals.iter().map(ToString::to_string).collect();
    format!(
        "{} {} [{}] {:?} {:?}",
        affected.ecosystem,
        affected.name,
        intervals.join("; "),
        affected.versions,
        affected.standing
    )
}

fn statements(imported: &Imported, id: &str) -> Vec<String> {
    of(imported, id).affected.iter().map(printed).collect()
}

#[test]
fn osv_records_are_read() {
    let imported = read("records.osv.jsonl", RECORDS);
    let record = of(&imported, "PYSEC-2030-1");
    assert_eq!(record.aliases, ["CVE-2030-0001", "GHSA-1111-2222-3333"]);
    assert_eq!(record.url.as_deref(), Some("https://advisories.example/PYSEC-2030-1"));
    assert_eq!(record.scores[0].tenths, 81);
    // Of the listed versions only those stay that no range holds.
    assert_eq!(
        statements(&imported, "PYSEC-2030-1"),
        ["PyPI unpack-it [< 1.4.3; >= 2.0, < 2.1] [\"2.0rc1\", \"9.9\"] Versions"]
    );

    let record = of(&imported, "GHSA-1111-2222-3333");
    assert_eq!(record.summary, "What The second paragraph is not a summary.");
    assert_eq!(record.severity, Severity::Medium);
    assert_eq!(record.scores.iter().map(|s| s.tenths).collect::<Vec<_>>(), [93]);
    assert_eq!(statements(&imported, "GHSA-1111-2222-3333"), ["PyPI unpack-it [<= 2.0.9] [] Versions"]);

    assert!(of(&imported, "RUSTSEC-2030-0002").is_notice);
    assert_eq!(of(&imported, "ALSA-2030:0005").upstream, ["CVE-2030-0005", "CVE-2030-0006"]);
    assert_eq!(of(&imported, "ALSA-2030:0005").severity, Severity::High);
    assert_eq!(of(&imported, "ALSA-2030:0006").upstream, ["CVE-2030-0007"]);
    assert_eq!(of(&imported, "DEBIAN-CVE-2030-0008").affected[0].severity, Severity::None);
}

#[test]
fn what_is_not_taken_is_counted_and_named() {
    let imported = read("records.osv.jsonl", RECORDS);
    let counts = imported.source.counts;
    let expect = Counts {
        records: 10,
        statements: 6,
        withdrawn: 1,
        bad: 3,
        git_ranges: 1,
        other_ecosystems: 1,
        other_systems: 1,
        unscored: 1,
        repeated: 0,
        future: 1,
        exploited: 0,
        predictions: 0,
    };
    assert_eq!(counts, expect);
    assert!(!imported.contents.advisories.iter().any(|a| a.id == "GO-2030-0004"), "it was withdrawn");
    let shown: Vec<String> = imported.problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "records.osv.jsonl, line 9 (BAD-1): \"not a version\" is no version of npm");
    assert!(shown[1].starts_with("records.osv.jsonl, line 10: invalid type"), "{}", shown[1]);
    assert!(shown[2].ends_with("a name in it has control characters"), "{}", shown[2]);
    // Not the record of 2099.
    assert_eq!(crate::date(imported.source.newest.unwrap()), "2025-03-02");
    assert_eq!(imported.source.dated_by, Dated::Content);
}

#[test]
fn a_date_that_few_records_have_is_none_of_the_source() {
    // As Go's repository has them: what is generated with its releases is not filled in there.
    let record = |id: u32, published: &str| {
        let undated = "0001-01-01T00:00:00Z";
        let package = r#"{"package": {"ecosystem": "Go", "name": "example.org/a"}, "versions": ["1.0.0"]}"#;
        format!(
            r#"{{"id": "GO-2030-{id}", "modified": "{undated}", "published": "{published}", "affected": [{package}]}}"#
        )
        .replace('\n', "")
    };
    let old = record(1, "2022-12-14T18:06:02Z");
    let dated = |records: &[&str]| {
        let imported = read("go.osv.jsonl", records.join("\n").as_bytes());
        assert_eq!(imported.source.counts.records, records.len() as u64);
        (imported.source.newest, imported.source.dated_by)
    };
    let new = record(2, "0001-01-01T00:00:00Z");
    assert_eq!(dated(&[&old, &new, &record(3, "0001-01-01T00:00:00Z")]), (Some(NOW - 100), Dated::File));
    assert_eq!(dated(&[&old]).1, Dated::Content);
}

#[test]
fn alpine_secdb_is_read() {
    let imported = read("main.json", SECDB);
    let alpine = "Alpine:v3.20";
    assert_eq!(
        statements(&imported, "CVE-2030-0010"),
        [
            format!("{alpine} tool [< 1.2.4-r0] [] Versions"),
            format!("{alpine} other [< 2.0_rc1-r0] [] Versions")
        ]
    );
    for id in ["CVE-2030-0011", "XSA-77"] {
        assert_eq!(statements(&imported, id), [format!("{alpine} tool [< 1.2.4-r0] [] Versions")]);
    }
    assert_eq!(statements(&imported, "CVE-2030-0012"), [format!("{alpine} tool [< 1.3.1-r2] [] Versions")]);
    assert_eq!(statements(&imported, "CVE-2030-0013"), [format!("{alpine} tool [] [] NotAffected")]);
    assert_eq!(imported.contents.advisories.len(), 5, "a remark is no id");
    assert_eq!((imported.source.counts.records, imported.source.counts.bad), (3, 2));
    assert_eq!((imported.source.newest, imported.source.dated_by), (Some(NOW - 100), Dated::File));
    let repository = (Ecosystem::Alpine { release: "3.20".to_owned() }, "main".to_owned());
    assert_eq!(imported.contents.repositories, [(repository, 6)].into());
}

#[test]
fn debians_tracker_is_read() {
    let imported = read("json", TRACKER);
    let standing = |id: &str, release: &str| {
        let debian = Ecosystem::Debian { release: release.to_owned() };
        of(&imported, id).affected.iter().find(|a| a.ecosystem == debian).map(|a| a.standing)
    };
    assert_eq!(standing("CVE-2030-0020", "12"), Some(Standing::Versions));
    assert_eq!(standing("CVE-2030-0020", "13"), Some(Standing::NotAffected));
    assert_eq!(standing("CVE-2030-0021", "12"), Some(Standing::NoAdvisory));
    assert_eq!(standing("CVE-2030-0021", "11"), Some(Standing::EndOfLife));
    assert_eq!(standing("CVE-2030-0021", "13"), Some(Standing::Open));
    assert_eq!(standing("CVE-2030-0022", "12"), Some(Standing::Ignored));
    assert_eq!(standing("CVE-2030-0022", "13"), Some(Standing::Undetermined));
    assert_eq!(standing("CVE-2030-0023", "12"), Some(Standing::Postponed));
    assert_eq!(standing("CVE-2030-0023", "13"), None);
    assert_eq!(of(&imported, "CVE-2030-0020").summary, "A length is not checked.");
    assert_eq!((imported.source.counts.records, imported.source.counts.bad), (5, 2));
    assert!(
        imported.problems[0].to_string().contains("tool, CVE-2030-0024: it is resolved in None"),
        "{}",
        imported.problems[0]
    );
}

#[test]
fn catalogues_of_exploitation_are_read() {
    let imported = read("known.json", KEV);
    let exploited = &imported.contents.exploited["CVE-2030-0001"];
    assert_eq!((exploited.added.as_str(), exploited.due.as_deref()), ("2025-03-03", Some("2025-03-24")));
    assert!(exploited.in_ransomware && !imported.contents.exploited["CVE-2030-0020"].in_ransomware);
    assert_eq!((imported.source.counts.exploited, imported.source.counts.bad), (2, 1));
    assert_eq!(crate::date(imported.source.newest.unwrap()), "2025-03-04");

    let imported = read("epss_scores-current.csv", EPSS);
    let prediction = imported.contents.predictions["CVE-2030-0001"];
    assert_eq!((prediction.probability, prediction.percentile), (94_210, 99_901));
    assert_eq!((imported.source.counts.predictions, imported.source.counts.bad), (2, 1));
    assert_eq!(crate::date(imported.source.newest.unwrap()), "2025-03-05");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A ustar archive of plain files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Each record of the fixture as a file of its own, as the publishers' archives have them.
fn single_files() -> Vec<(String, Vec<u8>)> {
    let lines = RECORDS.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.enumerate().map(|(at, line)| (format!("data/{at:02}.json"), line.to_vec())).collect()
}

#[test]
fn every_container_gives_the_same() {
    let expect = read("records.osv.jsonl", RECORDS).contents.advisories;
    let dir = TempDir::new().unwrap();
    let files = single_files();
    let mut members: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    members.push(("data/README.md", b"no record"));
    members.push(("LICENSE", b"CC-BY 4.0\x07"));
    fs::create_dir(dir.path().join("data")).unwrap();
    for (name, bytes) in &members {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let check = |path: &Path, has_licence: bool| {
        let mut importer = Importer::new("sample", NOW, ImportLimits::default());
        importer.add(path).unwrap();
        let imported = importer.finish().unwrap();
        assert_eq!(imported.contents.advisories, expect, "{}", path.display());
        assert_eq!(imported.source.counts.bad, 3, "{}: {:?}", path.display(), imported.problems);
        assert_eq!(imported.contents.licence, if has_licence { "CC-BY 4.0" } else { "" });
    };
    check(dir.path(), true);
    let place = TempDir::new().unwrap();
    for (name, bytes, has_licence) in [
        ("lines", RECORDS.to_vec(), false),
        ("lines.gz", gzip(RECORDS), false),
        ("lines.jsonl.zst", zstd(RECORDS), false),
        ("all.zip", zip_of(&members), true),
        ("all.tar", tar(&members), true),
        ("all.tar.gz", gzip(&tar(&members)), true),
        ("all.tar.zst", zstd(&tar(&members)), true),
        ("within.tar", tar(&[("a/records.jsonl.gz", &gzip(RECORDS))]), false),
    ] {
        let path = place.path().join(name);
        fs::write(&path, bytes).unwrap();
        check(&path, has_licence);
    }
}

#[test]
fn nothing_is_taken_when_most_is_bad_or_nothing_is_there() {
    let bad = b"{\"id\":\"A-1\"}\n{\"id\":3}\n{\"id\":4}\nrubbish\n";
    let error = read_as("some.jsonl", bad).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "3 of 4 records of sample cannot be understood, so none was taken; the first: some.jsonl, line 2"
        ),
        "{error}"
    );
    for nothing in [&b""[..], b"\n\n"] {
        assert!(matches!(read_as("x.jsonl", nothing), Err(ImportError::Nothing { .. })));
    }
    for other in [&b"{}"[..], b"[]", b"null", b"<html>", b"{\"a\":{\"b\":{}}}", &[0xff; 40]] {
        assert!(matches!(read_as("x.json", other), Err(ImportError::MostlyBad { .. })), "{other:?}");
    }
}

#[test]
fn sizes_and_nesting_are_bounded() {
    let limits = ImportLimits {
        record_bytes_max: 200,
        document_bytes_max: 5000,
        total_bytes_max: 50_000,
        files_max: 3,
        records_max: 4,
    };
    let import = |file: &str, bytes: &[u8]| {
        let mut importer = Importer::new("sample", NOW, limits);
        importer.add_bytes(file, bytes, None)?;
        importer.finish()
    };
    let long =
        [b"{\"id\":\"A-1\"}\n{\"id\":\"".as_slice(), &[b'x'; 10_000], b"\"}\n{\"id\":\"A-2\"}\n"].concat();
    let imported = import("a.jsonl", &long).unwrap();
    assert_eq!((imported.source.counts.records, imported.source.counts.bad), (2, 1));
    assert!(
        imported.problems[0].to_string().ends_with("it has 10010 bytes, more than 200"),
        "{}",
        imported.problems[0]
    );
    let many: Vec<u8> = (0..9).flat_map(|n| format!("{{\"id\":\"A-{n}\"}}\n").into_bytes()).collect();
    assert!(matches!(import("a.jsonl", &many), Err(ImportError::Limit { .. })));
    let one = b"{\"id\":\"A\"}";
    let files: Vec<(&str, &[u8])> = vec![("a.json", one), ("b.json", one), ("c.json", one), ("d.json", one)];
    assert!(matches!(import("a.tar", &tar(&files)), Err(ImportError::Limit { .. })));
    // What grows a thousandfold when it is unpacked.
    assert!(matches!(import("a.json.gz", &gzip(&vec![b' '; 1 << 20])), Err(ImportError::Limit { .. })));
    assert!(matches!(import("a.jsonl.gz", &gzip(&vec![b' '; 1 << 20])), Err(ImportError::Limit { .. })));
    let deep = format!("{{\"id\":\"A-1\",\"database_specific\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let error = read_as("a.json", deep.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn damaged_containers_are_errors() {
    let dir = TempDir::new().unwrap();
    let whole = zip_of(&[("a.json", b"{\"id\":\"A-1\"}")]);
    for (name, bytes) in [
        ("cut.zip", whole[..whole.len() - 10].to_vec()),
        ("cut.gz", gzip(RECORDS)[..200].to_vec()),
        ("cut.tar", tar(&[("a.json", RECORDS)])[..1000].to_vec()),
        ("cut.zst", zstd(RECORDS)[..100].to_vec()),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut importer = Importer::new("sample", NOW, ImportLimits::default());
        let error = importer.add(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let mut importer = Importer::new("sample", NOW, ImportLimits::default());
    let error = importer.add(&dir.path().join("missing")).unwrap_err().to_string();
    assert!(error.starts_with("cannot look at"), "{error}");
}

#[test]
fn all_formats_together_answer() {
    let dir = TempDir::new().unwrap();
    let mut builder = Builder::new();
    for (name, file, bytes) in [
        ("osv", "records.jsonl", RECORDS),
        ("alpine", "main.json", SECDB),
        ("debian", "json", TRACKER),
        ("kev", "known.json", KEV),
        ("epss", "epss.csv", EPSS),
    ] {
        let mut importer = Importer::new(name, NOW, ImportLimits::default());
        importer.add_bytes(file, bytes, None).unwrap();
        let imported = importer.finish().unwrap();
        builder.replace(imported.source, imported.contents);
    }
    IndexDirectory::lock(dir.path()).unwrap().replace(&builder.build()).unwrap();
    let database = Database::open(dir.path()).unwrap();
    let check = |ecosystem: Ecosystem, name: &str, version: &str, expect: &[(&str, Status)]| {
        let found = database.find(&Query { ecosystem: &ecosystem, name, version }).unwrap();
        let found: Vec<(&str, Status)> =
            found.iter().map(|m| (m.vulnerability.id.as_str(), m.status)).collect();
        assert_eq!(found, expect, "{ecosystem} {name} {version}");
    };
    let release = |text: &str| text.to_owned();
    check(Ecosystem::PyPI, "unpack.it", "2.0.5", &[("CVE-2030-0001", Status::Fixable)]);
    check(Ecosystem::PyPI, "unpack-it", "9.9", &[("CVE-2030-0001", Status::Open)]);
    check(Ecosystem::PyPI, "unpack-it", "2.1", &[]);
    check(Ecosystem::CratesIo, "old-crate", "0.3.0", &[("RUSTSEC-2030-0002", Status::Open)]);
    check(Ecosystem::CratesIo, "winonly", "0.3.0", &[]);
    let alma = Ecosystem::AlmaLinux { release: release("9") };
    check(
        alma.clone(),
        "tool",
        "1:2.0-2.el9",
        &[
            ("CVE-2030-0005", Status::Fixable),
            ("CVE-2030-0006", Status::Fixable),
            ("CVE-2030-0007", Status::Fixable),
        ],
    );
    check(alma, "tool", "1:2.0-3.el9", &[("CVE-2030-0007", Status::Fixable)]);
    let alpine = Ecosystem::from_distribution("alpine", Some("3.20.1")).unwrap();
    check(alpine.clone(), "tool", "1.2.4-r0", &[("CVE-2030-0012", Status::Fixable)]);
    check(alpine, "tool", "1.3.1-r2", &[]);
    let bookworm = Ecosystem::Debian { release: release("12") };
    check(
        bookworm,
        "tool",
        "2.1-1+deb12u1",
        &[
            ("CVE-2030-0008", Status::Open),
            ("CVE-2030-0021", Status::NoAdvisory),
            ("CVE-2030-0022", Status::Ignored),
            ("CVE-2030-0023", Status::Postponed),
        ],
    );
    let trixie = Ecosystem::Debian { release: release("13") };
    check(trixie, "tool", "2.3-1", &[("CVE-2030-0021", Status::Open)]);
    let marked = database.vulnerability("PYSEC-2030-1").unwrap().unwrap();
    assert!(marked.exploited.is_some() && marked.prediction.is_some());
    assert_eq!(marked.score().unwrap().tenths, 93, "version 4 before 3.1");
    assert_eq!(marked.aliases, ["GHSA-1111-2222-3333", "PYSEC-2030-1"]);
}

#[test]
fn statements_of_one_id_in_several_formats_add_up() {
    let record = |modified: &str, fixed: &str| {
        format!(
            r#"{{"id":"CVE-2030-0021","modified":"{modified}","summary":"read beyond the end","affected":[{{"package":
            {{"ecosystem":"PyPI","name":"tool"}},"ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
        )
        .replace('\n', "")
    };
    let (old, new) = (record("2025-01-01T00:00:00Z", "1.0"), record("2025-02-01T00:00:00Z", "2.0"));
    let records = format!("{old}\n{new}\n");
    let alone = statements(&read("tracker.json", TRACKER), "CVE-2030-0021");
    let gathered = |files: [(&str, &[u8]); 2]| {
        let mut importer = Importer::new("sample", NOW, ImportLimits::default());
        for (file, bytes) in files {
            importer.add_bytes(file, bytes, None).unwrap();
        }
        importer.finish().unwrap()
    };
    let (osv, tracker) = (("a.jsonl", records.as_bytes()), ("tracker.json", TRACKER));
    let imported = gathered([osv, tracker]);
    // Of two states of a record the newer counts, and the tracker says something else.
    assert_eq!(imported.source.counts.repeated, 1);
    let mut found = statements(&imported, "CVE-2030-0021");
    assert_eq!(found.remove(0), "PyPI tool [< 2.0] [] Versions");
    assert_eq!(found, alone);
    assert_eq!(of(&imported, "CVE-2030-0021").summary, "read beyond the end");
    let ids: std::collections::BTreeSet<&str> =
        imported.contents.advisories.iter().map(|advisory| advisory.id.as_str()).collect();
    assert_eq!(ids.len(), imported.contents.advisories.len(), "an index takes one of each id");
    // In whatever order they are read.
    assert_eq!(gathered([tracker, osv]).contents, imported.contents);
}
