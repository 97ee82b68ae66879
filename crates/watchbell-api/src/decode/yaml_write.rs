//! Values to YAML in the shape of `kubectl -o yaml`: lists flush with their key, text of several lines as a block.

use serde_json::{Map, Value};

use super::scalar;

const DEPTH_MAX: usize = 128;

/// A value that no manifest has and that would be written only by deep recursion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nested deeper than {DEPTH_MAX} levels")]
pub struct TooDeep;

/// Writes one document, in the value's own order, ending with a line feed. [`super::yaml()`] reads it back unchanged.
pub fn to_yaml(value: &Value) -> Result<String, TooDeep> {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(map, 0, &mut out)?,
        Value::Array(items) if !items.is_empty() => write_list(items, 0, &mut out)?,
        scalar => write_inline(scalar, 0, &mut out),
    }
    Ok(out)
}

fn write_map(map: &Map<String, Value>, depth: usize, out: &mut String) -> Result<(), TooDeep> {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first key of a map in a list stands on the line of the dash.
        if index > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        write_text(key, out);
        out.push(':');
        write_value(value, depth, out)?;
    }
    Ok(())
}

fn write_list(items: &[Value], depth: usize, out: &mut String) -> Result<(), TooDeep> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        out.push('-');
        match item {
            Value::Object(map) if !map.is_empty() => {
                out.push(' ');
                write_map(map, deeper(depth)?, out)?;
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push(' ');
                write_list(inner, deeper(depth)?, out)?;
            }
            scalar => {
                out.push(' ');
                write_inline(scalar, depth + 1, out);
            }
        }
    }
    Ok(())
}

/// What follows `key:`.
fn write_value(value: &Value, depth: usize, out: &mut String) -> Result<(), TooDeep> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(map, deeper(depth)?, out)
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            deeper(depth)?;
            write_list(items, depth, out)
        }
        scalar => {
            out.push(' ');
            write_inline(scalar, depth + 1, out);
            Ok(())
        }
    }
}

fn deeper(depth: usize) -> Result<usize, TooDeep> {
    if depth >= DEPTH_MAX { Err(TooDeep) } else { Ok(depth + 1) }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn write_inline(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(text) if fits_a_block(text) => write_block(text, depth, out),
        Value::String(text) => {
            write_text(text, out);
            out.push('\n');
        }
        // Null, booleans, numbers, and the empty map and list are written as in JSON.
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// Several lines, none of which a block scalar would change.
fn fits_a_block(text: &str) -> bool {
    text.contains('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
        && !text.split('\n').any(|line| line.ends_with([' ', '\t']))
        && text.split('\n').any(|line| !line.is_empty())
}

fn write_block(text: &str, depth: usize, out: &mut String) {
    out.push('|');
    // A first line that starts with a space (or is empty) hides where the indentation ends: it is stated.
    if text.starts_with([' ', '\n', '\t']) {
        out.push('2');
    }
    let body = text.strip_suffix('\n');
    match body {
        None => out.push('-'),
        Some(body) if body.ends_with('\n') || body.is_empty() => out.push('+'),
        Some(_) => {}
    }
    out.push('\n');
    for line in body.unwrap_or(text).split('\n') {
        if !line.is_empty() {
            indent(depth.max(1), out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn is_printable(c: char) -> bool {
    // U+0085, U+2028 and U+2029 are line breaks to YAML 1.1, U+FEFF is a mark at the start.
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A key, or a string on one line: plain where that reads back as the same string, in single quotes where only the
/// punctuation stands against it, else in double quotes.
fn write_text(text: &str, out: &mut String) {
    if !text.chars().all(is_printable) || !scalar::is_plain_string(text) {
        // JSON's escapes are YAML's too.
        let quoted = Value::String(text.to_owned()).to_string();
        for c in quoted.chars() {
            if c.is_ascii() || is_printable(c) {
                out.push(c);
            } else {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
        }
    } else if needs_quotes(text) {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    } else {
        out.push_str(text);
    }
}

/// Whether the text's punctuation means something to YAML.
fn needs_quotes(text: &str) -> bool {
    text.starts_with([
        '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' ',
        '=', '<',
    ]) || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
}
