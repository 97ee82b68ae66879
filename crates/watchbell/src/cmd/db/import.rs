use std::path::{Path, PathBuf};

use watchbell_advisory::{Ecosystem, ImportLimits, Importer, IndexDirectory};

use super::place::Db;
use super::{Older, builder, now, take, write};
use crate::exit::Failure;

/// Reads advisories from files, archives and directories into the index
///
/// Understood are records of OSV (JSON files, `.jsonl`, directories, zip and tar archives of them), Alpine's secdb, the JSON
/// of Debian's security tracker, CISA's KEV and EPSS; plain or compressed by gzip or zstd. Each PATH is a source of its own,
/// named after the file, unless --source says that all are one. A source that is there already is replaced as a whole.
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
    /// Also take a state that is older than the indexed one, or has lost more than half of the records
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    db: Db,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let directory = IndexDirectory::lock(&args.db.directory()?).map_err(Failure::refused)?;
    let mut builder = builder(&directory)?;
    for (name, paths) in sources(args)? {
        let mut importer = Importer::new(&name, now(), ImportLimits::default());
        for path in paths {
            importer.add(path).map_err(Failure::refused)?;
        }
        let mut imported = importer.finish().map_err(Failure::refused)?;
        if let Some(licence) = &args.licence {
            imported.contents.licence.clone_from(licence);
        }
        imported.contents.stated = args.ecosystems.iter().cloned().collect();
        take(&mut builder, imported, Older::from_flag(args.allow_older))?;
    }
    write(&directory, &builder)
}

/// Names of sources and what is of each.
fn sources(args: &Args) -> Result<Vec<(String, Vec<&Path>)>, Failure> {
    if let Some(name) = &args.source {
        return Ok(vec![(
            super::config::source_name(name)?,
            args.paths.iter().map(PathBuf::as_path).collect(),
        )]);
    }
    let mut sources: Vec<(String, Vec<&Path>)> = Vec::new();
    for path in &args.paths {
        let name = named_after(path).ok_or_else(|| {
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
}
