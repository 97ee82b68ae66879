//! What the index costs: to build it, to open it, to ask it. `index [PATH…]`; without paths the archives beside the checkout,
//! `../shared/advisories`. Each path becomes a source.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watchbell_advisory::{Builder, Database, ImportLimits, Importer, IndexDirectory, Query};

/// Of the import; the newest records of the archives are of 2026-08.
const NOW: i64 = 1_795_000_000;
const LOOKUPS: usize = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/advisories");
        if !shared.is_dir() {
            println!("left out: no advisories in {}", shared.display());
            return Ok(());
        }
        paths = fs::read_dir(shared)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "zst"));
        paths.sort();
    }

    let begun = Instant::now();
    let mut builder = Builder::new();
    let (mut records, mut statements, mut bytes) = (0, 0, 0);
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut importer =
            Importer::new(name.split('.').next().unwrap_or(&name), NOW, ImportLimits::default());
        importer.add(path)?;
        bytes += fs::metadata(path)?.len();
        let imported = importer.finish()?;
        let counts = imported.source.counts;
        println!("{}: {counts:?}", imported.source.name);
        for problem in &imported.problems {
            println!("  {problem}");
        }
        records += counts.records + counts.exploited + counts.predictions;
        statements += counts.statements;
        builder.replace(imported.source, imported.contents);
    }
    let read = begun.elapsed();
    let index = builder.build();
    let built = begun.elapsed() - read;
    drop(builder);
    let dir = tempfile::tempdir()?;
    let begun = Instant::now();
    IndexDirectory::lock(dir.path())?.replace(&index)?;
    let written = begun.elapsed();
    println!();
    println!("{records} records with {statements} statements from {} KiB", bytes / 1024);
    println!(
        "read {read:.2?}, built {built:.2?}, written {written:.2?}; peak memory {} MiB",
        peak_mebibytes()?
    );
    println!("index {} KiB", index.len() / 1024);
    if let Some(kept) = std::env::var_os("KEEP_INDEX") {
        fs::write(kept, &index)?;
    }

    let mut opens = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        black_box(Database::open(dir.path())?);
        opens.push(begun.elapsed());
    }
    println!("open {}", spread(&mut opens));

    let database = Database::open(dir.path())?;
    let begun = Instant::now();
    database.verify()?;
    println!("verify {:.2?}", begun.elapsed());
    let begun = Instant::now();
    let again = Builder::from_database(&database)?.build();
    println!(
        "built again from itself {:.2?}: {}",
        begun.elapsed(),
        if again == index { "the same bytes" } else { "OTHER BYTES" }
    );

    let queries = Queries::from(&database)?;
    for (what, list) in [("packages with advisories", &queries.known), ("packages without", &queries.unknown)]
    {
        let mut times = Vec::with_capacity(LOOKUPS);
        let mut found = 0;
        let begun = Instant::now();
        for at in 0..LOOKUPS {
            let (ecosystem, name, version) = &list[at % list.len()];
            let begun = Instant::now();
            found += database.find(&Query { ecosystem, name, version })?.len();
            times.push(begun.elapsed());
        }
        let rate = LOOKUPS as f64 / begun.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} lookups/s, {found} findings, {}", spread(&mut times));
    }
    Ok(())
}

type Question = (watchbell_advisory::Ecosystem, String, String);

struct Queries {
    known: Vec<Question>,
    unknown: Vec<Question>,
}

impl Queries {
    /// Every package of the index, at a version that some of its advisories hold for.
    fn from(database: &Database) -> Result<Queries, Box<dyn Error>> {
        let mut known = Vec::new();
        for (ecosystem, name) in database.packages()? {
            known.push((ecosystem, name, "1.0".to_owned()));
        }
        let unknown = known
            .iter()
            .map(|(ecosystem, name, version)| {
                (ecosystem.clone(), format!("{name}-not-there"), version.clone())
            })
            .collect();
        Ok(Queries { known, unknown })
    }
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
}

/// `VmHWM` of proc(5).
fn peak_mebibytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
