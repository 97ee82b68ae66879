use serde_json::json;

use super::{Which, when};
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Tells an array's snapshots, the newest first
///
/// Of an encrypted array whose key cannot be had they are told as they lie there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// So many at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open_for_records()?;
    let tags = array.tags().map_err(|error| args.which.refused(error))?;
    let mut rows = vec![
        ["SNAPSHOT", "PUBLISHED", "ADDED", "CHANGED", "REMOVED", "BY", "TAGS", "MESSAGE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut items = Vec::new();
    let limit = args.limit.unwrap_or(usize::MAX);
    array
        .log(|digest, snapshot| {
            if items.len() >= limit {
                return false;
            }
            let named: Vec<&str> =
                tags.iter().filter(|(_, tagged)| *tagged == digest).map(|(name, _)| name.as_str()).collect();
            let change = snapshot.change;
            items.push(json!({
                "snapshot": digest.to_string(), "parent": snapshot.parent.map(|d| d.to_string()),
                "publishedAt": when(snapshot.created_at), "message": snapshot.message, "tags": named,
                "added": change.added, "changed": change.changed, "removed": change.removed,
                "keys": snapshot.keys, "bytes": snapshot.bytes,
                "by": {"run": snapshot.by.name, "uid": snapshot.by.uid, "image": snapshot.by.image, "user": snapshot.by.user},
            }));
            rows.push(vec![
                digest.short(),
                when(snapshot.created_at),
                change.added.to_string(),
                change.changed.to_string(),
                change.removed.to_string(),
                snapshot.by.name.clone(),
                named.join(","),
                snapshot.message.clone(),
            ]);
            true
        })
        .map_err(|error| args.which.refused(error))?;
    if let Some(format) = args.output.output {
        return output::whole(&json!({"items": items}), format);
    }
    output::columns_of(&rows, &[]);
    Ok(())
}
