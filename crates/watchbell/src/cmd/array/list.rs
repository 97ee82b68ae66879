use std::path::Path;

use serde_json::{Value, json};
use watchbell_array::{Array, Digest, Disk, Error, Snapshot};

use super::{Place, when};
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Lists the arrays of a namespace, or of all
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let arrays = args.place.arrays();
    let namespaces = match args.all_namespaces {
        true => names(&arrays)?,
        false => vec![args.place.namespace.clone()],
    };
    let mut rows = vec![
        ["NAMESPACE", "NAME", "SNAPSHOT", "KEYS", "BYTES", "PUBLISHED", "BY"].map(str::to_owned).to_vec(),
    ];
    let (mut items, mut unread) = (Vec::new(), 0u32);
    for namespace in namespaces {
        for name in names(&arrays.join(&namespace))? {
            // One array that cannot be read hides no other.
            let (item, row) = match look(&arrays.join(&namespace).join(&name)) {
                // It is being made or removed.
                Err(Error::NoArray(_)) => continue,
                Err(error) => {
                    unread += 1;
                    let problem = error.to_string();
                    let row = ["<unreadable>", "", "", "", &problem].map(str::to_owned);
                    (json!({"namespace": namespace, "name": name, "problem": problem}), row)
                }
                Ok(head) => told(&namespace, &name, head),
            };
            items.push(item);
            rows.push([namespace.clone(), name.clone()].into_iter().chain(row).collect());
        }
    }
    match args.output.output {
        Some(format) => output::whole(&json!({"items": items}), format)?,
        None => drop(output::columns_of(&rows, &[])),
    }
    match unread {
        0 => Ok(()),
        count => Err(Failure::Refused(format!("arrays that cannot be read: {count}"))),
    }
}

type Head = Option<(Digest, Snapshot)>;

fn look(dir: &Path) -> Result<Head, Error> {
    let array = Array::open(dir, Disk::default())?;
    array.head()?.map(|digest| Ok((digest, array.snapshot(digest)?))).transpose()
}

/// As an item and as the end of a row.
fn told(namespace: &str, name: &str, head: Head) -> (Value, [String; 5]) {
    let Some((digest, snapshot)) = head else {
        let item = json!({
            "namespace": namespace, "name": name, "snapshot": null, "keys": null, "bytes": null, "publishedAt": null,
            "by": null,
        });
        return (item, ["<none>"; 5].map(str::to_owned));
    };
    let (at, by) = (when(snapshot.created_at), snapshot.by.name);
    let item = json!({
        "namespace": namespace, "name": name, "snapshot": digest.to_string(), "keys": snapshot.keys,
        "bytes": snapshot.bytes, "publishedAt": at, "by": by,
    });
    (item, [digest.short(), snapshot.keys.to_string(), snapshot.bytes.to_string(), at, by])
}

/// The directories in a directory; none where it is not there.
fn names(dir: &Path) -> Result<Vec<String>, Failure> {
    let failed = |e: std::io::Error| Failure::Refused(format!("cannot list {}: {e}", dir.display()));
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            // What begins with a dot is being removed.
            names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
        }
    }
    names.sort();
    Ok(names)
}
