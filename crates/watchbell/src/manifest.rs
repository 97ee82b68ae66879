//! Manifests: files, directories and standard input to objects, in order.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use watchbell_api::{Resource, decode};

use crate::exit::Failure;

/// The largest manifest: Kubernetes' own bound on a request, times what a file of many documents may hold.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// One object of a manifest.
#[derive(Debug)]
pub(crate) struct Document {
    /// `jobs.yaml`, or `jobs.yaml, document 2`: for errors.
    pub(crate) place: String,
    pub(crate) resource: Resource,
    pub(crate) name: String,
    /// Empty when the manifest leaves it unsaid.
    pub(crate) namespace: String,
    pub(crate) object: Value,
}

/// A text that may hold manifests.
#[derive(Debug)]
pub(crate) struct Text {
    /// The file's name as it was given, or `standard input`.
    pub(crate) shown: String,
    pub(crate) bytes: Vec<u8>,
}

/// Reads every file that `paths` name; `-` is standard input. A directory means its files that end in .yaml, .yml or .json,
/// by name. Nothing is returned unless all of it can be read.
pub(crate) fn texts(paths: &[PathBuf], recursive: Recursive) -> Result<Vec<Text>, Failure> {
    texts_of(paths, recursive, is_name)
}

/// As [`texts`], where a directory means its files whose names `is_meant` takes.
pub(crate) fn texts_of(
    paths: &[PathBuf],
    recursive: Recursive,
    is_meant: fn(&str) -> bool,
) -> Result<Vec<Text>, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let shown = "standard input".to_owned();
            texts.push(Text { bytes: read(&mut std::io::stdin().lock(), &shown)?, shown });
            continue;
        }
        for file in files(path, recursive, is_meant)? {
            let shown = file.display().to_string();
            let mut open = std::fs::File::open(&file)
                .map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
            texts.push(Text { bytes: read(&mut open, &shown)?, shown });
        }
    }
    Ok(texts)
}

/// The objects of every manifest that `paths` name, as [`texts`] reads them.
pub(crate) fn read_all(paths: &[PathBuf], is_recursive: Recursive) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for text in texts(paths, is_recursive)? {
        documents.extend(parse(&text.bytes, &text.shown)?);
    }
    if documents.is_empty() {
        return Err(Failure::Usage("the manifests hold no object".into()));
    }
    Ok(documents)
}

/// Whether directories below a directory are read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recursive {
    No,
    Yes,
}

/// Whether a file of a directory is a manifest, by its name.
pub(crate) fn is_name(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

fn files(path: &Path, recursive: Recursive, is_meant: fn(&str) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |e: std::io::Error| Failure::Usage(format!("cannot read {}: {e}", path.display()));
    if !std::fs::metadata(path).map_err(wrong)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|list| list.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(wrong)?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_file = entry.file_name().is_some_and(|name| is_meant(&name.to_string_lossy()));
        // `file_type` of the entry itself: a link to a directory may lead in a circle.
        let is_dir = entry.symlink_metadata().map_err(wrong)?.is_dir();
        if is_dir {
            if recursive == Recursive::Yes {
                found.extend(files(&entry, recursive, is_meant)?);
            }
        } else if is_file {
            found.push(entry);
        }
    }
    Ok(found)
}

fn read(source: &mut dyn Read, place: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .take(MANIFEST_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Usage(format!("cannot read {place}: {e}")))?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(Failure::Usage(format!("{place} is larger than {} MiB", MANIFEST_BYTES_MAX >> 20)));
    }
    Ok(bytes)
}

/// The objects of one text. A `List` is taken apart.
pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<Vec<Document>, Failure> {
    let values = decode::yaml(bytes).map_err(|e| Failure::Usage(format!("{place}: {}", e.message)))?;
    let several = values.len() > 1;
    let mut documents = Vec::new();
    for (number, value) in values.into_iter().enumerate() {
        let place = if several { format!("{place}, document {}", number + 1) } else { place.to_owned() };
        take_apart(value, &place, &mut documents)?;
    }
    Ok(documents)
}

fn take_apart(mut value: Value, place: &str, documents: &mut Vec<Document>) -> Result<(), Failure> {
    let wrong = |what: String| Failure::Usage(format!("{place}: {what}"));
    if !value.is_object() {
        return Err(wrong("not an object with apiVersion, kind and metadata".into()));
    }
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
    if kind.is_empty() || api_version.is_empty() {
        let field = if kind.is_empty() { "kind" } else { "apiVersion" };
        return Err(wrong(format!("{field}: Required value")));
    }
    if kind == "List"
        && let Value::Array(items) = value["items"].take()
    {
        for (number, item) in items.into_iter().enumerate() {
            take_apart(item, &format!("{place}, items[{number}]"), documents)?;
        }
        return Ok(());
    }
    let Some(resource) = Resource::from_kind(&api_version, &kind) else {
        let known: Vec<String> =
            Resource::all().map(|r| format!("{} {}", r.info().api_version(), r.info().kind)).collect();
        return Err(wrong(format!("there is no {api_version} {kind}; known are {}", known.join(", "))));
    };
    let name = text(&value["metadata"], "name");
    if name.is_empty() && text(&value["metadata"], "generateName").is_empty() {
        return Err(wrong("metadata.name: Required value".into()));
    }
    let namespace = text(&value["metadata"], "namespace");
    // They would mean another path; every other name is what the server judges.
    if let Some(dots) = [&name, &namespace].into_iter().find(|text| matches!(text.as_str(), "." | "..")) {
        return Err(wrong(format!("{dots:?} is no name")));
    }
    documents.push(Document { place: place.to_owned(), resource, name, namespace, object: value });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(text: &str, expect: Result<&[&str], &str>) {
        let found = parse(text.as_bytes(), "x.yaml")
            .map(|list| {
                list.iter()
                    .map(|d| format!("{}: {}/{}", d.place, d.resource.info().singular, d.name))
                    .collect()
            })
            .map_err(|e| e.to_string());
        let expect: Result<Vec<String>, String> =
            expect.map(|list| list.iter().map(|s| (*s).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn documents_are_told_apart() {
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        check(&map("a"), Ok(&["x.yaml: configmap/a"]));
        check(
            &format!("---\n{}---\n---\n{}", map("a"), map("b")),
            Ok(&["x.yaml, document 1: configmap/a", "x.yaml, document 2: configmap/b"]),
        );
        check(
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: batch/v1, kind: Job, metadata: {name: j}}]",
            Ok(&["x.yaml, items[0]: job/j"]),
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("[]", Err("x.yaml: not an object with apiVersion, kind and metadata"));
        check("kind: Job", Err("x.yaml: apiVersion: Required value"));
        check("apiVersion: batch/v1\nkind: Job", Err("x.yaml: metadata.name: Required value"));
        check(
            "a: b: c",
            Err(
                "x.yaml: cannot read the YAML document: line 1, column 5: mapping values are not allowed in this context",
            ),
        );
    }
}
