//! Documents, rules, plans and judgements as tables; their laws as properties.

mod documents;
mod judgements;
mod laws;
mod plans;
mod rules;

use std::collections::BTreeMap;

use crate::{ArrayMetadata, Hierarchy, KeyEncoding, Node, NodePath, Use};

pub(crate) const SLASH: KeyEncoding = KeyEncoding::Default { separator: '/' };

/// Path, dimension names, shape, chunk shape.
type Row<'a> = (&'a str, &'a [&'a str], &'a [u64], &'a [u64]);

/// A hierarchy of v3 arrays.
pub(crate) fn hierarchy(arrays: &[Row<'_>]) -> Hierarchy {
    let mut nodes = BTreeMap::from([(NodePath::root(), Node::Group)]);
    for (path, names, shape, chunks) in arrays {
        let array = ArrayMetadata {
            shape: shape.to_vec(),
            chunk_shape: chunks.to_vec(),
            inner_chunk_shape: None,
            dimension_names: names.iter().map(|name| Some((*name).to_owned())).collect(),
            encoding: SLASH,
        };
        nodes.insert(path_of(path), Node::Array(array));
    }
    Hierarchy { format: crate::Format::V3, nodes, is_consolidated: false, is_artifacts: false }
}

/// What xarray writes of a day's weather: data over time and place, with their coordinates.
pub(crate) fn weather() -> Hierarchy {
    hierarchy(&[
        ("temperature", &["time", "lat", "lon"], &[100, 10, 20], &[24, 5, 20]),
        ("wind", &["time", "lat", "lon"], &[100, 10, 20], &[12, 10, 20]),
        ("time", &["time"], &[100], &[24]),
        ("lat", &["lat"], &[10], &[10]),
        ("lon", &["lon"], &[20], &[20]),
    ])
}

pub(crate) fn path_of(path: &str) -> NodePath {
    NodePath::new(path).unwrap()
}

pub(crate) fn uses(text: &str) -> Result<Vec<Use>, String> {
    crate::uses(&serde_json::from_str(text).unwrap()).map_err(|error| error.to_string())
}

pub(crate) fn split(text: &str) -> crate::Split {
    let text = format!(r#"{{"name": "obs", "mount": "/data", "mode": "write", "split": {text}}}"#);
    uses(&text).unwrap().remove(0).split.unwrap()
}
