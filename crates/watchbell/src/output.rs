//! What commands print: data to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use serde_json::Value;

use crate::exit::Failure;

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Json,
    Yaml,
    Name,
    Wide,
}

/// A line for people.
pub(crate) fn note(text: &str) {
    // Standard error is the last place to tell of a failure; when it is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// The first error of writing to standard output. What comes after it is thrown away and the work goes on: what a command does and
/// what it finds is not for its reader to cut short.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Whether nobody gets what is printed any more.
pub(crate) fn is_lost() -> bool {
    LOST.get().is_some()
}

/// What becomes of a command that did its work. A reader that went away (`| head`) has what it wanted.
pub(crate) fn outcome() -> Result<(), Failure> {
    match LOST.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// For what only prints, perhaps without end: it ends the program once nobody gets it.
pub(crate) fn stop_if_lost() {
    if !is_lost() {
        return;
    }
    match outcome() {
        Ok(()) => std::process::exit(0),
        Err(failure) => {
            note(&format!("error: {failure}"));
            std::process::exit(1);
        }
    }
}

/// Data.
pub(crate) fn data(text: &str) {
    raw(text.as_bytes());
    raw(b"\n");
}

/// Bytes as they are, unless a person looks: then without control characters.
pub(crate) fn raw(bytes: &[u8]) {
    if io::stdout().is_terminal() {
        write(printable(&String::from_utf8_lossy(bytes)).as_bytes());
    } else {
        write(bytes);
    }
}

fn write(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if !is_lost()
        && let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
    {
        // Only the lock's holder comes here, and only once.
        let _ = LOST.set(error);
    }
}

/// Colours that a terminal may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    None,
    Red,
    Yellow,
    Cyan,
}

/// Text whose pieces have colours where a person looks at a terminal and did not ask for none (`NO_COLOR`).
pub(crate) fn coloured(pieces: &[(Colour, String)]) {
    let is_wanted =
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text: String = pieces
        .iter()
        .map(|(colour, text)| {
            let number = match colour {
                Colour::None => None,
                Colour::Red => Some(31),
                Colour::Yellow => Some(33),
                Colour::Cyan => Some(36),
            };
            match number.filter(|_| is_wanted) {
                Some(number) => format!("\x1b[1;{number}m{}\x1b[0m", printable(text)),
                None => printable(text),
            }
        })
        .collect();
    write(text.as_bytes());
}

pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    watchbell_api::decode::to_yaml(value).map_err(Failure::refused)
}

/// Prints one object (or a list) in a machine's format, without the managers of its fields, as kubectl does.
pub(crate) fn object(value: &Value, format: Format) -> Result<(), Failure> {
    whole(&without_managers(value.clone()), format)
}

fn without_managers(mut value: Value) -> Value {
    let hide = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    };
    hide(&mut value);
    value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(hide);
    value
}

/// As [`object`], with everything the server said.
pub(crate) fn whole(value: &Value, format: Format) -> Result<(), Failure> {
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

/// Prints what became of an object: `job.batch/x created`, or the object itself when a format is asked for.
pub(crate) fn done(object: &Value, what: &str, format: Option<Format>) -> Result<(), Failure> {
    match format {
        Some(format) => self::object(object, format),
        None => {
            data(&format!("{} {what}", plain(&name(object))));
            Ok(())
        }
    }
}

/// `job.batch/x`
pub(crate) fn name(object: &Value) -> String {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let kind_word = match watchbell_api::Resource::from_kind(api_version, kind) {
        Some(resource) => {
            let info = resource.info();
            if info.group.is_empty() {
                info.singular.to_owned()
            } else {
                format!("{}.{}", info.singular, info.group)
            }
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

/// The rows of a `meta.k8s.io/v1` Table as kubectl shows them; columns of priority above 0 only when wide.
pub(crate) fn table_rows(table: &Value, wide: bool, with_namespace: bool) -> Vec<Vec<String>> {
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
    rows
}

/// Prints rows in columns three spaces apart. Returns their widths, which rows that follow later start from.
pub(crate) fn columns_of(rows: &[Vec<String>], at_least: &[usize]) -> Vec<usize> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|i| {
            let widest = rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
            widest.max(at_least.get(i).copied().unwrap_or(0))
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if i + 1 < row.len() {
                let pad = widths[i].saturating_sub(cell.chars().count()) + 3;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    raw(text.as_bytes());
    widths
}

/// Text from objects on one line: control characters do not reach the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) || c == '\n' || c == '\t' { '\u{fffd}' } else { c }).collect()
}

/// Text of several lines without what would steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and marks that make text look other than it is (CVE-2021-42574).
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{plain, printable, without_managers};

    #[test]
    fn managers_are_hidden_in_objects_and_lists() {
        let object = json!({"kind": "Job", "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}});
        let bare = json!({"kind": "Job", "metadata": {"name": "a"}});
        assert_eq!(without_managers(object.clone()), bare);
        assert_eq!(without_managers(json!({"items": [object, 1]})), json!({"items": [bare, 1]}));
        assert_eq!(without_managers(json!("text")), json!("text"));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\tc\nd\u{9b}1m\r"), "a\u{fffd}[2Jb\tc\nd\u{fffd}1m\u{fffd}");
        assert_eq!(plain("a\nb"), "a\u{fffd}b");
        assert_eq!(printable("\u{202e}txt.exe"), "\u{fffd}txt.exe");
        assert_eq!(printable("Ärger über 東京"), "Ärger über 東京");
    }
}
