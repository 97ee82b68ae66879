use std::path::{Path, PathBuf};

use watchbell_advisory::{Ecosystem, ImportLimits, Importer, IndexDirectory};

use super::place::Db;
use super::{Older, builder, now, stated, take, write};
use crate::exit::Failure;

/// Reads advisories from files, archives and directories into the index
///
/// Understood are records of OSV (JSON files, `.jsonl`, directories, zip and tar archives of them), Alpine's secdb, the JSON
/// of Debian's security tracker, CISA's KEV and EPSS; plain or compressed by gzip or zstd. Each PATH is a source of its own,
/// named after the file, unless --source says that all are one; so is each archive in a directory of archives. A source that is
/// there already is replaced as a whole.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, archives or directories
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Name of the source that all the paths together are
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Terms of the publisher, when none lie beside the records
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Ecosystem whose packages the source speaks of, such as npm or Debian:12, in place of what it has most of; may be repeated
    #[arg(long = "ecosystem", value_name = "NAME", value_parser = super::config::ecosystem)]
    ecosystems: Vec<Ecosystem>,
    /// Also take a state that is older than the indexed one, has no date where that one has, or has lost more than half of the records
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    db: Db,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let directory = IndexDirectory::lock(&args.db.directory()?).map_err(Failure::refused)?;
    let mut builder = builder(&directory)?;
    let paths = with_archives(&args.paths)?;
    for (name, paths) in sources(args.source.as_deref(), &paths)? {
        let mut importer = Importer::new(&name, now(), ImportLimits::default());
        for path in paths {
            importer.add(path).map_err(Failure::refused)?;
        }
        let mut imported = importer.finish().map_err(Failure::refused)?;
        if let Some(licence) = &args.licence {
            imported.contents.licence.clone_from(licence);
        }
        imported.contents.stated = args.ecosystems.iter().cloned().collect();
        imported.source.stated = stated(args.licence.as_ref(), &imported.contents.stated);
        take(&mut builder, imported, Older::from_flag(args.allow_older))?;
    }
    write(&directory, &builder)
}

/// With the archives of a directory in its place, where it has any.
fn with_archives(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        let archives = if path.is_dir() { archives_in(path)? } else { Vec::new() };
        if archives.is_empty() {
            all.push(path.clone());
        } else {
            crate::output::note(&format!(
                "{}: its {} archives alone are read",
                path.display(),
                archives.len()
            ));
            all.extend(archives);
        }
    }
    Ok(all)
}

fn archives_in(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e| Failure::Refused(format!("cannot list {}: {e}", dir.display()));
    let mut archives = Vec::new();
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_archive = path.file_name().and_then(|name| name.to_str()).is_some_and(is_archive);
        if is_archive && path.is_file() {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

fn is_archive(name: &str) -> bool {
    [".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| name.ends_with(ending))
}

/// Names of sources and what is of each.
fn sources<'p>(one: Option<&str>, paths: &'p [PathBuf]) -> Result<Vec<(String, Vec<&'p Path>)>, Failure> {
    if let Some(name) = one {
        return Ok(vec![(super::config::source_name(name)?, paths.iter().map(PathBuf::as_path).collect())]);
    }
    let mut sources: Vec<(String, Vec<&Path>)> = Vec::new();
    for path in paths {
        // `.` and `..` have a name as well.
        let name = named_after(path).or_else(|| named_after(&path.canonicalize().ok()?));
        let name = name.ok_or_else(|| {
            Failure::Usage(format!("{} has no name to call a source by; say --source NAME", path.display()))
        })?;
        if sources.iter().any(|(there, _)| *there == name) {
            return Err(Failure::Usage(format!(
                "two of the paths would be the source {name}; import them one by one, or together with --source NAME"
            )));
        }
        sources.push((name, vec![path]));
    }
    Ok(sources)
}

/// `pypi` of `/srv/pypi.osv.jsonl.gz`.
fn named_after(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    super::config::source_name(name.split('.').find(|part| !part.is_empty())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_after_its_file() {
        let check = |path: &str, expect: Option<&str>| {
            assert_eq!(named_after(Path::new(path)).as_deref(), expect, "{path}");
        };
        check("/srv/pypi.osv.jsonl.gz", Some("pypi"));
        check("all.zip", Some("all"));
        check("advisories/", Some("advisories"));
        check(".hidden.json", Some("hidden"));
        check("..", None);
        check("/", None);
        check("a b.json", None);
    }

    #[test]
    fn a_directory_of_archives_is_as_many_sources() {
        let dir = tempfile::tempdir().unwrap();
        let names = |paths: &[PathBuf]| {
            let paths = with_archives(paths).unwrap();
            let sources = sources(None, &paths).unwrap();
            sources.into_iter().map(|(name, _)| name).collect::<Vec<String>>()
        };
        let records = dir.path().join("records");
        std::fs::create_dir(&records).unwrap();
        std::fs::write(records.join("a.json"), "{}").unwrap();
        assert_eq!(names(std::slice::from_ref(&records)), ["records"]);
        assert_eq!(names(&[records.join(".")]), ["records"]);
        for name in ["pypa.tar.zst", "go.zip", "README.md", "debian.tar.gz"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names(&[dir.path().to_owned(), records]), ["debian", "go", "pypa", "records"]);
    }
}
