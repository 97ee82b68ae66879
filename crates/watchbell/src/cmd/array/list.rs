use std::path::Path;

use serde_json::json;
use watchbell_array::{Array, Disk};

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
    let mut items = Vec::new();
    for namespace in namespaces {
        for name in names(&arrays.join(&namespace))? {
            let shown = format!("{namespace}/{name}");
            let refused = |error: watchbell_array::Error| Failure::Refused(format!("array {shown}: {error}"));
            let array = match Array::open(&arrays.join(&namespace).join(&name), Disk::default()) {
                // One that is being made or removed.
                Err(watchbell_array::Error::NoArray(_)) => continue,
                array => array.map_err(refused)?,
            };
            let head = array.head().map_err(refused)?;
            let snapshot = head.map(|digest| array.snapshot(digest)).transpose().map_err(refused)?;
            items.push(json!({
                "namespace": namespace, "name": name, "snapshot": head.map(|digest| digest.to_string()),
                "keys": snapshot.as_ref().map(|s| s.keys), "bytes": snapshot.as_ref().map(|s| s.bytes),
                "publishedAt": snapshot.as_ref().map(|s| when(s.created_at)),
                "by": snapshot.as_ref().map(|s| s.by.name.clone()),
            }));
            let text = |value: Option<String>| value.unwrap_or_else(|| "<none>".to_owned());
            rows.push(vec![
                namespace.clone(),
                name.clone(),
                text(head.map(|digest| digest.short())),
                text(snapshot.as_ref().map(|s| s.keys.to_string())),
                text(snapshot.as_ref().map(|s| s.bytes.to_string())),
                text(snapshot.as_ref().map(|s| when(s.created_at))),
                text(snapshot.map(|s| s.by.name)),
            ]);
        }
    }
    if let Some(format) = args.output.output {
        return output::whole(&json!({"items": items}), format);
    }
    output::columns_of(&rows, &[]);
    Ok(())
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
