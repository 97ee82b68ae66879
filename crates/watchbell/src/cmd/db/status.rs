use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use watchbell_advisory::{Database, Dated, Source, date};

use super::now;
use super::place::Db;
use crate::args::Output;
use crate::exit::Failure;
use crate::{duration, output};

/// Says what the index has and how old it is
///
/// The age of a source counts from when its publisher's server was asked last, or from its newest record where only files were
/// imported. With --max-age the command ends with exit code 1 when a source is older, or when there is no index.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The oldest that a source may be: 36h, 7d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    max_age: Option<Duration>,
    /// Read the whole index and compare it with its checksum
    #[arg(long)]
    verify: bool,
    /// Print the terms under which this source is published
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["max_age", "verify"])]
    licence: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    db: Db,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let database = Database::open(&args.db.directory()?).map_err(Failure::refused)?;
    if let Some(source) = &args.licence {
        return licence(&database, source);
    }
    if args.verify {
        database.verify().map_err(Failure::refused)?;
    }
    let now = now();
    let too_old = |source: &Source| {
        args.max_age.is_some_and(|max| source.age_seconds(now).is_none_or(|age| age > max.as_secs()))
    };
    match args.output.output {
        Some(format) => output::whole(&document(&database, now, &too_old), format)?,
        None => table(&database, now, &too_old),
    }
    let old: Vec<&str> = database.sources().iter().filter(|s| too_old(s)).map(|s| s.name.as_str()).collect();
    match (args.max_age, old.is_empty()) {
        (Some(_), true) | (None, _) => Ok(()),
        (Some(max), false) => {
            let max = duration::short(max.as_secs());
            Err(Failure::Refused(format!("older than {max}: {}; run `watchbell db update`", old.join(", "))))
        }
    }
}

fn licence(database: &Database, source: &str) -> Result<(), Failure> {
    match database.licence(source).map_err(Failure::refused)? {
        Some(text) if !text.is_empty() => output::data(&text),
        Some(_) => output::note(&format!("no terms came with {source}")),
        None => return Err(Failure::Refused(format!("there is no source {source:?}"))),
    }
    Ok(())
}

fn document(database: &Database, now: i64, too_old: &impl Fn(&Source) -> bool) -> Value {
    let time = |second: Option<i64>| {
        second.and_then(|s| jiff::Timestamp::from_second(s).ok()).map(|t| t.to_string())
    };
    let source = |source: &Source| {
        let counts = source.counts;
        json!({
            "name": source.name,
            "newest": time(source.newest),
            "newestFrom": match source.dated_by { Dated::Content => "records", Dated::File => "file" },
            "imported": time(Some(source.imported)),
            "confirmed": time(source.confirmed),
            "ageSeconds": source.age_seconds(now),
            "tooOld": too_old(source),
            "ecosystems": source.coverage.iter().map(|covered| json!({
                "name": covered.ecosystem, "statements": covered.statements,
            })).collect::<Vec<_>>(),
            "location": source.origin.as_ref().map(|origin| &origin.location),
            "counts": {
                "records": counts.records,
                "statements": counts.statements,
                "withdrawn": counts.withdrawn,
                "bad": counts.bad,
                "gitRanges": counts.git_ranges,
                "otherEcosystems": counts.other_ecosystems,
                "otherSystems": counts.other_systems,
                "unscored": counts.unscored,
                "repeated": counts.repeated,
                "future": counts.future,
                "exploited": counts.exploited,
                "predictions": counts.predictions,
            },
        })
    };
    json!({
        "path": database.path(),
        "bytes": database.size(),
        "generation": database.generation().to_string(),
        "sources": database.sources().iter().map(source).collect::<Vec<_>>(),
    })
}

fn table(database: &Database, now: i64, too_old: &impl Fn(&Source) -> bool) {
    let head = ["SOURCE", "NEWEST", "AGE", "RECORDS", "STATEMENTS", "WITHDRAWN", "LEFT OUT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for source in database.sources() {
        let counts = source.counts;
        let age = source.age_seconds(now).map_or_else(|| "unknown".to_owned(), duration::short);
        let mark = if too_old(source) { " (too old)" } else { "" };
        rows.push(vec![
            source.name.clone(),
            source.newest.map_or_else(|| "unknown".to_owned(), date),
            format!("{age}{mark}"),
            (counts.records + counts.exploited + counts.predictions).to_string(),
            counts.statements.to_string(),
            counts.withdrawn.to_string(),
            (counts.bad + counts.other_ecosystems + counts.other_systems).to_string(),
        ]);
    }
    output::columns_of(&rows, &[]);
    let covered: BTreeSet<&str> = database
        .sources()
        .iter()
        .flat_map(|source| source.coverage.iter().map(|covered| covered.ecosystem.as_str()))
        .collect();
    let list = covered.into_iter().map(output::plain).collect::<Vec<String>>().join(", ");
    output::note(&format!("of packages of: {}", if list.is_empty() { "none" } else { &list }));
}
