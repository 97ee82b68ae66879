use serde_json::json;
use watchbell_zarr::Node;

use super::{Which, when};
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Shows a snapshot: its nodes with shapes, chunks and dimensions, and who published it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Snapshot: head, a tag, a digest or its beginning
    #[arg(value_name = "SNAPSHOT", default_value = "head")]
    snapshot: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open()?;
    let (digest, snapshot, manifest) = args.which.snapshot(&array, &args.snapshot)?;
    let hierarchy = array.hierarchy(&manifest).map_err(|error| args.which.refused(error))?;
    if let Some(format) = args.output.output {
        let nodes: serde_json::Map<_, _> = hierarchy
            .nodes
            .iter()
            .map(|(path, node)| {
                let node = match node {
                    Node::Group => json!({"type": "group"}),
                    Node::Array(a) => json!({
                        "type": "array", "shape": a.shape, "dimensionNames": a.dimension_names,
                        "chunkShape": a.inner_chunk_shape.as_ref().unwrap_or(&a.chunk_shape),
                        "shardShape": a.is_sharded().then_some(&a.chunk_shape),
                    }),
                };
                (path.to_string(), node)
            })
            .collect();
        let object = json!({
            "snapshot": digest.to_string(), "publishedAt": when(snapshot.created_at), "message": snapshot.message,
            "keys": snapshot.keys, "bytes": snapshot.bytes, "by": snapshot.by.name, "nodes": nodes,
        });
        return output::whole(&object, format);
    }
    output::data(&output::plain(&format!(
        "snapshot {digest}, published {} by {}: {} keys, {} bytes",
        when(snapshot.created_at),
        snapshot.by.name,
        snapshot.keys,
        snapshot.bytes
    )));
    let mut rows = vec![["NODE", "SHAPE", "CHUNKS", "SHARDS", "DIMENSIONS"].map(str::to_owned).to_vec()];
    for (path, node) in &hierarchy.nodes {
        let Node::Array(array) = node else {
            rows.push(vec![path.to_string(), "group".to_owned()]);
            continue;
        };
        let names: Vec<&str> =
            array.dimension_names.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
        rows.push(vec![
            path.to_string(),
            format!("{:?}", array.shape),
            format!("{:?}", array.inner_chunk_shape.as_ref().unwrap_or(&array.chunk_shape)),
            if array.is_sharded() { format!("{:?}", array.chunk_shape) } else { String::new() },
            names.join(", "),
        ]);
    }
    output::columns_of(&rows, &[]);
    Ok(())
}
