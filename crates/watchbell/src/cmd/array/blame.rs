use serde_json::json;

use super::{Which, when};
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Tells who wrote a chunk: run, index, attempt, image and user
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Key of the chunk, such as temperature/c/0/1; one that ends in a slash tells of all below it
    #[arg(value_name = "KEY")]
    key: String,
    /// Snapshot: head, a tag, a digest or its beginning
    #[arg(long, value_name = "SNAPSHOT", default_value = "head")]
    snapshot: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open()?;
    let (digest, _, manifest) = args.which.snapshot(&array, &args.snapshot)?;
    let is_meant = |key: &str| key == args.key || (args.key.ends_with('/') && key.starts_with(&args.key));
    let entries: Vec<_> = manifest.entries.iter().filter(|entry| is_meant(&entry.key)).collect();
    if entries.is_empty() {
        let problem = format!("snapshot {} has no key {:?}", digest.short(), args.key);
        return Err(args.which.refused(problem));
    }
    if let Some(format) = args.output.output {
        let items: Vec<_> = entries
            .iter()
            .map(|entry| {
                let (run, writer) = manifest.writer(entry);
                json!({
                    "key": entry.key, "digest": entry.digest.to_string(), "size": entry.size, "run": run.name,
                    "runUID": run.uid, "index": writer.index, "attempt": writer.attempt, "image": run.image,
                    "user": run.user, "startedAt": when(run.started_at),
                })
            })
            .collect();
        return output::whole(&json!({"items": items}), format);
    }
    let mut rows = vec![
        ["KEY", "SIZE", "RUN", "INDEX", "ATTEMPT", "STARTED", "IMAGE", "USER"].map(str::to_owned).to_vec(),
    ];
    for entry in entries {
        let (run, writer) = manifest.writer(entry);
        rows.push(vec![
            entry.key.clone(),
            entry.size.to_string(),
            run.name.clone(),
            writer.index.to_string(),
            writer.attempt.to_string(),
            when(run.started_at),
            run.image.clone(),
            run.user.clone(),
        ]);
    }
    output::columns_of(&rows, &[]);
    Ok(())
}
