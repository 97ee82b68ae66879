//! What commands print: data to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::exit::Failure;

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
    Yaml,
    Name,
    Wide,
}

/// A line for people.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Data. A reader that went away (`| head`) ends the command, quietly.
pub fn data(text: &str) {
    raw(text.as_bytes());
    raw(b"\n");
}

pub fn raw(bytes: &[u8]) {
    if io::stdout().lock().write_all(bytes).is_err() {
        std::process::exit(0);
    }
}

pub fn yaml(value: &Value) -> Result<String, Failure> {
    watchbell_api::decode::to_yaml(value).map_err(Failure::refused)
}

/// Prints one object (or a list) in a machine's format.
pub fn object(value: &Value, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => data(&serde_json::to_string_pretty(value).map_err(Failure::refused)?),
        Format::Yaml => raw(yaml(value)?.as_bytes()),
        Format::Name | Format::Wide => {
            for item in items(value) {
                data(&name(item));
            }
        }
    }
    Ok(())
}

/// `job.batch/x`
pub fn name(object: &Value) -> String {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let kind_word = match watchbell_api::Resource::from_kind(api_version, kind) {
        Some(resource) => {
            let info = resource.info();
            if info.group.is_empty() { info.singular.to_owned() } else { format!("{}.{}", info.singular, info.group) }
        }
        None => kind.to_ascii_lowercase(),
    };
    format!("{kind_word}/{}", object["metadata"]["name"].as_str().unwrap_or_default())
}

fn items(value: &Value) -> Vec<&Value> {
    match value["items"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![value],
    }
}

/// Prints a `meta.k8s.io/v1` Table as kubectl does; columns of priority above 0 only when wide.
pub fn table(table: &Value, wide: bool, with_namespace: bool) {
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<usize> =
        (0..columns.len()).filter(|i| wide || columns[*i]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head: Vec<String> = Vec::new();
    if with_namespace {
        head.push("NAMESPACE".into());
    }
    head.extend(shown.iter().map(|i| columns[*i]["name"].as_str().unwrap_or_default().to_uppercase()));
    rows.push(head);
    for row in table["rows"].as_array().into_iter().flatten() {
        let mut cells = Vec::new();
        if with_namespace {
            cells.push(row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for i in &shown {
            cells.push(match &row["cells"][*i] {
                Value::String(text) => text.clone(),
                Value::Null => "<none>".into(),
                other => other.to_string(),
            });
        }
        rows.push(cells);
    }
    columns_of(&rows);
}

/// Prints rows in columns three spaces apart.
pub fn columns_of(rows: &[Vec<String>]) {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|i| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let cell = plain(cell);
            line.push_str(&cell);
            if i + 1 < row.len() {
                let pad = widths[i].saturating_sub(cell.chars().count()) + 3;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        data(line.trim_end());
    }
}

/// Text from objects may hold control characters: they do not reach the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Whether a person looks at standard error, so that a line may be redrawn.
pub fn is_live() -> bool {
    io::stderr().is_terminal()
}
