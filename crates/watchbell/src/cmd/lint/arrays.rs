//! Documents of Zarr hierarchies that stand for data arrays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchbell_api::array::{ARRAY_DOCUMENT_BYTES_MAX, ArrayFacts};
use watchbell_core::arrays::Known;
use watchbell_zarr::{Hierarchy, MAX_NODES};

use crate::exit::Failure;

const DEPTH_MAX: usize = 32;

/// `obs=./obs.zarr`
#[derive(Debug, Clone)]
pub(super) struct Given {
    name: String,
    dir: PathBuf,
}

pub(super) fn given(text: &str) -> Result<Given, String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
            Ok(Given { name: name.to_owned(), dir: dir.into() })
        }
        _ => Err("write NAME=DIRECTORY: the DataArray, and a directory of a Zarr hierarchy".to_owned()),
    }
}

pub(super) fn read(given: &[Given]) -> Result<BTreeMap<String, Known>, Failure> {
    let mut known = BTreeMap::new();
    for Given { name, dir } in given {
        let mut found = Found { documents: BTreeMap::new(), bytes: 0 };
        found
            .look(dir, "", 0)
            .map_err(|why| Failure::Usage(format!("--array {name}={}: {why}", dir.display())))?;
        Hierarchy::of(&found.documents)
            .map_err(|why| Failure::Usage(format!("--array {name}={}: {why}", dir.display())))?;
        let facts = ArrayFacts {
            head: Some(dir.display().to_string().into()),
            documents: Some(Arc::new(found.documents)),
            ..ArrayFacts::default()
        };
        known.insert(name.clone(), Known::new(Arc::new(facts)));
    }
    Ok(known)
}

struct Found {
    documents: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Found {
    /// The documents of a directory, and of those below it unless it is an array: those hold chunks.
    fn look(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{}: deeper than {DEPTH_MAX} directories", dir.display()));
        }
        let wrong = |path: &Path, error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let (mut below, mut is_array) = (Vec::new(), false);
        for entry in fs::read_dir(dir).map_err(|error| wrong(dir, error))? {
            let entry = entry.map_err(|error| wrong(dir, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (path, key) = (entry.path(), format!("{prefix}{name}"));
            let kind = entry.file_type().map_err(|error| wrong(&path, error))?;
            if kind.is_dir() {
                below.push((path, format!("{key}/")));
            } else if kind.is_file() && Hierarchy::is_document(&key) {
                self.bytes += entry.metadata().map_err(|error| wrong(&path, error))?.len() as usize;
                if self.bytes > ARRAY_DOCUMENT_BYTES_MAX || self.documents.len() > MAX_NODES {
                    return Err(format!("its documents have more than {ARRAY_DOCUMENT_BYTES_MAX} bytes"));
                }
                let bytes = fs::read(&path).map_err(|error| wrong(&path, error))?;
                let text = String::from_utf8_lossy(&bytes);
                is_array |= name == ".zarray" || (name == "zarr.json" && text.contains("\"chunk_grid\""));
                self.documents.insert(key, bytes);
            }
        }
        if is_array {
            return Ok(());
        }
        below.iter().try_for_each(|(path, prefix)| self.look(path, prefix, depth + 1))
    }
}
