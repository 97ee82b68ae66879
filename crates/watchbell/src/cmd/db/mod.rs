//! `watchbell db …`: the advisory index, without a server. A server that uses it notices that it was replaced.

mod config;
mod import;
pub(crate) mod place;
mod status;
mod update;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use watchbell_advisory::{Builder, Counts, Ecosystem, Error, Imported, IndexDirectory, Problem, Stated};

use crate::exit::Failure;
use crate::output;

/// What is known to be wrong with packages: advisories in one index, usable offline
///
/// The index lies in --db, else in $WATCHBELL_DATA_DIR/advisories where that is set, else in /var/lib/watchbell/advisories
/// where there is a server's data directory that you may write, else in $XDG_CACHE_HOME/watchbell/advisories. It is replaced as a whole; no reader ever sees half of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Update(update::Args),
    Import(import::Args),
    Status(status::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Update(args) => update::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Status(args) => status::run(args),
    }
}

/// Whether a state that is older than the indexed one may take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Older {
    Refused,
    Allowed,
}

impl Older {
    fn from_flag(is_allowed: bool) -> Older {
        if is_allowed { Older::Allowed } else { Older::Refused }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64)
}

/// What is said of a source, as an index keeps it.
fn stated(licence: Option<&String>, ecosystems: &BTreeSet<Ecosystem>) -> Stated {
    Stated { licence: licence.cloned(), ecosystems: ecosystems.iter().map(ToString::to_string).collect() }
}

/// What the index has now, to add to. One that cannot be read is begun anew: all of it comes from publishers.
fn builder(directory: &IndexDirectory) -> Result<Builder, Failure> {
    let there = directory.database().and_then(|there| there.as_ref().map(Builder::from_database).transpose());
    match there {
        Ok(there) => Ok(there.unwrap_or_default()),
        Err(e @ (Error::Damaged { .. } | Error::Format { .. })) => {
            output::note(&format!("{e}; it begins anew now, import what else was in it"));
            Ok(Builder::new())
        }
        Err(e) => Err(Failure::refused(e)),
    }
}

/// Puts a source into its place, after telling what was left out of it.
fn take(builder: &mut Builder, imported: Imported, older: Older) -> Result<(), Failure> {
    tell(&imported.problems, imported.source.counts);
    if older == Older::Refused
        && let Some(there) = builder.source(&imported.source.name)
    {
        imported.source.check_follows(there).map_err(Failure::refused)?;
    }
    let Counts { records, statements, exploited, predictions, .. } = imported.source.counts;
    let mut parts = vec![format!("{records} records"), format!("{statements} statements about packages")];
    if exploited > 0 {
        parts = vec![format!("{exploited} exploited vulnerabilities")];
    }
    if predictions > 0 {
        parts = vec![format!("{predictions} predictions")];
    }
    output::note(&format!("{}: {}", imported.source.name, parts.join(", ")));
    builder.replace(imported.source, imported.contents);
    Ok(())
}

fn tell(problems: &[Problem], counts: Counts) {
    for problem in problems {
        output::note(&format!("left out: {problem}"));
    }
    let untold = counts.bad.saturating_sub(problems.len() as u64);
    if untold > 0 {
        output::note(&format!("left out: {untold} more"));
    }
    if counts.future > 0 {
        output::note(&format!("{} records are dated in the future; their dates do not count", counts.future));
    }
}

/// Writes the index and says so.
fn write(directory: &IndexDirectory, builder: &Builder) -> Result<(), Failure> {
    let index = builder.build();
    directory.replace(&index).map_err(Failure::refused)?;
    if let Some(database) = directory.database().map_err(Failure::refused)? {
        let (path, generation) = (database.path(), database.generation());
        output::note(&format!(
            "{}: {} KiB, generation {generation}",
            path.display(),
            index.len().div_ceil(1024)
        ));
    }
    Ok(())
}
