//! Places in an expression, and errors shown at them as cel-go shows them.

/// `line` counts from 1, `column` from 0, both in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
}

/// The place of a byte of the text.
pub(crate) fn place(text: &str, offset: usize) -> Place {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    Place { line, column: before[start..].chars().count() }
}

/// `ERROR: <input>:1:8: message`, the line, and a mark under the place.
pub(crate) fn show(text: &str, offset: usize, message: &str) -> String {
    let Place { line, column } = place(text, offset);
    let snippet = text.split('\n').nth(line - 1).unwrap_or_default().replace('\t', " ");
    format!("ERROR: <input>:{line}:{}: {message}\n | {snippet}\n | {}^", column + 1, ".".repeat(column))
}
