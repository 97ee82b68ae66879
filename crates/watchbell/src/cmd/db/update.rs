use std::fs;
use std::path::{Path, PathBuf};

use watchbell_advisory::{
    Builder, FetchLimits, Fetched, ImportLimits, Imported, Importer, IndexDirectory, Origin, fetch,
};

use super::config::{self, Configured, From};
use super::place::Db;
use super::{Older, builder, now, stated, take, write};
use crate::exit::Failure;
use crate::output;

/// Fetches what changed at the publishers into the index
///
/// The sources stand in a file: --config, else sources.yaml beside the index. A server is asked only for what is newer than
/// what it sent last. A source that cannot be had, or is older than what is indexed, stays as it is; the others are taken, and the
/// command ends with exit code 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these sources of the file
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// File that names the sources
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also take a state that is older than the indexed one, has no date where that one has, or has lost more than half of the records
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    db: Db,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.db.directory()?;
    let config = args.config.clone().unwrap_or_else(|| path.join(config::FILE));
    let mut sources = config::read(&config)?;
    if let Some(unknown) = args.names.iter().find(|name| !sources.iter().any(|s| s.name == **name)) {
        return Err(Failure::Usage(format!("{} names no source {unknown:?}", config.display())));
    }
    sources.retain(|source| args.names.is_empty() || args.names.contains(&source.name));

    let directory = IndexDirectory::lock(&path).map_err(Failure::refused)?;
    let mut builder = builder(&directory)?;
    let mut failed = Vec::new();
    for source in &sources {
        // What one publisher breaks keeps no other from being taken.
        if let Err(e) = update(&mut builder, source, &path, Older::from_flag(args.allow_older)) {
            output::note(&format!("error: {}: {e}", source.name));
            failed.push(source.name.as_str());
        }
    }
    if failed.len() < sources.len() {
        write(&directory, &builder)?;
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Refused(format!("not updated: {}", failed.join(", "))))
    }
}

fn update(builder: &mut Builder, source: &Configured, dir: &Path, older: Older) -> Result<(), Failure> {
    let stated = stated(source.licence.as_ref(), &source.ecosystems);
    let mut imported = match &source.from {
        From::Path(path) => {
            let mut importer = Importer::new(&source.name, now(), ImportLimits::default());
            importer.add(path).map_err(Failure::refused)?;
            importer.finish().map_err(Failure::refused)?
        }
        From::Url(url) => {
            // What its server has unchanged is to be read again where something else is said of it now.
            let there = builder.source(&source.name).filter(|there| there.stated == stated);
            let known = there.and_then(|there| there.origin.clone());
            match download(&source.name, url, known.as_ref(), dir)? {
                Some(imported) => imported,
                None => {
                    output::note(&format!("{}: unchanged", source.name));
                    builder.confirm(&source.name, now());
                    return Ok(());
                }
            }
        }
    };
    imported.contents.stated.clone_from(&source.ecosystems);
    imported.source.stated = stated;
    if let Some(licence) = &source.licence {
        imported.contents.licence.clone_from(licence);
    }
    take(builder, imported, older)
}

/// What lies at `url`, read; `None`: it is what is indexed.
fn download(name: &str, url: &str, known: Option<&Origin>, dir: &Path) -> Result<Option<Imported>, Failure> {
    // One writer at a time works in this directory, so the name is free; what a dead one left is written over.
    let file = dir.join("download");
    let imported = (|| {
        let Fetched::New { origin } =
            fetch(url, known, &file, &FetchLimits::default()).map_err(Failure::refused)?
        else {
            return Ok(None);
        };
        let mut importer = Importer::new(name, now(), ImportLimits::default());
        importer.add(&file).map_err(Failure::refused)?;
        let mut imported = importer.finish().map_err(Failure::refused)?;
        if imported.source.dated_by == watchbell_advisory::Dated::File {
            // The file was written just now; the server knows better.
            imported.source.newest = origin.modified();
        }
        imported.source.confirmed = Some(now());
        imported.source.origin = Some(origin);
        Ok(Some(imported))
    })();
    let _ = fs::remove_file(&file);
    imported
}
