//! The seed of the fuzz target `advisory_index` is an index of today's format, so that the target comes beyond the first check.

#[path = "../../../tools/fuzz/src/advisories.rs"]
#[expect(unreachable_pub, reason = "it is written for a crate of its own")]
mod targets;

use std::path::PathBuf;

use watchbell_advisory::{
    Advisory, Affected, Builder, Contents, Counts, Database, Ecosystem, Exploited, IndexDirectory, Interval,
    Query, Severity, Source, Standing,
};

fn index() -> Vec<u8> {
    let advisory = |id: &str, ecosystem: Ecosystem, name: &str| Advisory {
        id: id.into(),
        summary: "an overflow".into(),
        severity: Severity::High,
        affected: vec![Affected {
            ecosystem,
            name: name.into(),
            intervals: vec![Interval::before("2.0")],
            versions: Vec::new(),
            standing: Standing::Versions,
            severity: Severity::High,
        }],
        ..Advisory::default()
    };
    let exploited = Exploited { added: "2026-01-01".into(), due: None, in_ransomware: false };
    let contents = Contents {
        advisories: vec![
            advisory("CVE-2030-0001", Ecosystem::Debian { release: "12".into() }, "tool"),
            advisory("CVE-2030-0002", Ecosystem::PyPI, "unpack-it"),
        ],
        exploited: [("CVE-2030-0001".to_owned(), exploited)].into(),
        ..Contents::default()
    };
    let counts = Counts { exploited: 1, ..Counts::default() };
    let mut builder = Builder::new();
    builder.replace(Source { name: "seed".into(), imported: 1, counts, ..Source::default() }, contents);
    builder.build()
}

/// `WATCHBELL_WRITE_SEEDS=1` writes it anew, for another format.
#[test]
fn the_seed_is_an_index_of_today() {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tools/fuzz/seeds/advisory_index/small"].iter().collect();
    let index = index();
    if std::env::var_os("WATCHBELL_WRITE_SEEDS").is_some() {
        std::fs::write(&path, &index).unwrap();
    }
    let seed = std::fs::read(&path).unwrap();
    assert!(seed == index, "write the seed anew with WATCHBELL_WRITE_SEEDS=1");
    // What the target asks has an answer.
    let dir = tempfile::tempdir().unwrap();
    IndexDirectory::lock(dir.path()).unwrap().replace(&seed).unwrap();
    let database = Database::open(dir.path()).unwrap();
    let debian = Ecosystem::Debian { release: "12".into() };
    let query = Query { ecosystem: &debian, name: "tool", version: "1.0" };
    assert!(format!("{:?}", database.assess(&query).unwrap()).contains("CVE-2030-0001"));
    targets::index(&seed);
    // Changed anywhere, it is an answer or an error, also where its checksums are made right.
    for at in (0..seed.len()).step_by(7) {
        let mut changed = seed.clone();
        changed[at] ^= 0x41;
        targets::index(&changed);
    }
    targets::versions(b"1.0\n2.0-1\n1:3");
    targets::import(b"\0{}");
}
