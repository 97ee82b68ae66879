//! What was found wrong, bounded in number and size, in the words of `field.ErrorList`.

use std::fmt::Display;
use std::io;

use serde_json::Value;

use super::at::At;
use crate::FieldError;
use crate::error::FieldErrorClass;

/// So many errors are plenty to work on; a hostile object has as many as it has bytes.
const ERRORS_MAX: usize = 64;
/// How much of a value is shown.
const SHOWN_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Findings {
    errors: Vec<FieldError>,
}

impl Findings {
    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    fn add(
        &mut self,
        at: &At<'_, '_>,
        class: FieldErrorClass,
        value: impl FnOnce() -> String,
        detail: impl Display,
    ) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(FieldError::new(class, at.to_string(), value(), detail.to_string()));
        }
    }

    /// The value is shown.
    pub(super) fn invalid(&mut self, at: &At<'_, '_>, detail: impl Display) {
        self.add(at, FieldErrorClass::Invalid, || shown(at.value), detail);
    }

    /// Another text is shown than the value itself.
    pub(super) fn invalid_text(&mut self, at: &At<'_, '_>, value: &str, detail: impl Display) {
        self.add(at, FieldErrorClass::Invalid, || quoted(value), detail);
    }

    /// No value is shown: it may be secret, or it would say nothing.
    pub(super) fn invalid_unshown(&mut self, at: &At<'_, '_>, detail: impl Display) {
        self.add(at, FieldErrorClass::Invalid, String::new, detail);
    }

    pub(super) fn all_invalid(&mut self, at: &At<'_, '_>, details: Vec<String>) {
        for detail in details {
            self.invalid(at, detail);
        }
    }

    pub(super) fn required(&mut self, at: &At<'_, '_>, detail: impl Display) {
        self.add(at, FieldErrorClass::Required, String::new, detail);
    }

    pub(super) fn forbidden(&mut self, at: &At<'_, '_>, detail: impl Display) {
        self.add(at, FieldErrorClass::Forbidden, String::new, detail);
    }

    pub(super) fn duplicate(&mut self, at: &At<'_, '_>) {
        self.add(at, FieldErrorClass::Duplicate, || shown(at.value), "");
    }

    pub(super) fn duplicate_text(&mut self, at: &At<'_, '_>, value: &str) {
        self.add(at, FieldErrorClass::Duplicate, || quoted(value), "");
    }

    pub(super) fn not_found(&mut self, at: &At<'_, '_>) {
        self.add(at, FieldErrorClass::NotFound, || quoted(at.text()), "");
    }

    pub(super) fn not_supported(&mut self, at: &At<'_, '_>, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", list.join(", "));
        // A text that is not set is an empty one.
        let value = || if at.value.is_null() { quoted("") } else { shown(at.value) };
        self.add(at, FieldErrorClass::NotSupported, value, detail);
    }

    /// As [`Findings::not_supported`], of a text that stands in a list of which only the list is named.
    pub(super) fn not_supported_text(&mut self, at: &At<'_, '_>, value: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", list.join(", "));
        self.add(at, FieldErrorClass::NotSupported, || quoted(value), detail);
    }

    pub(super) fn too_long(&mut self, at: &At<'_, '_>, max: usize) {
        self.add(at, FieldErrorClass::TooLong, String::new, format!("may not be more than {max} bytes"));
    }

    /// As [`Findings::too_long`], of the object as a whole.
    pub(super) fn object_too_long(&mut self, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.errors.push(FieldError::new(FieldErrorClass::TooLong, "[]", "", detail));
    }

    /// Whether a list has at most so many items; says so otherwise.
    pub(super) fn at_most(&mut self, at: &At<'_, '_>, max: usize) -> bool {
        let count = at.len();
        if count > max {
            let detail = format!("must have at most {max} items");
            self.add(at, FieldErrorClass::TooMany, || count.to_string(), detail);
        }
        count <= max
    }

    /// A text that must be there.
    pub(super) fn present(&mut self, at: &At<'_, '_>) -> bool {
        if at.text().is_empty() {
            self.required(at, "");
        }
        !at.text().is_empty()
    }

    /// A text of a fixed set, which must be there.
    pub(super) fn one_of(&mut self, at: &At<'_, '_>, supported: &[&str]) {
        if at.text().is_empty() {
            self.required(at, "");
        } else if !supported.contains(&at.text()) {
            self.not_supported(at, supported);
        }
    }

    /// A text of a fixed set, if it is set at all.
    pub(super) fn one_of_if_set(&mut self, at: &At<'_, '_>, supported: &[&str]) {
        if at.is_set() && !supported.contains(&at.text()) {
            self.not_supported(at, supported);
        }
    }

    pub(super) fn nonnegative(&mut self, at: &At<'_, '_>) {
        if at.int().is_some_and(|n| n < 0) {
            self.invalid(at, "must be greater than or equal to 0");
        }
    }

    pub(super) fn in_range(&mut self, at: &At<'_, '_>, low: i64, high: i64) {
        if at.int().is_some_and(|n| !(low..=high).contains(&n)) {
            self.invalid(at, format_args!("must be between {low} and {high}, inclusive"));
        }
    }

    /// What may not change.
    pub(super) fn immutable(&mut self, new: &At<'_, '_>, old: &At<'_, '_>) {
        if new.value != old.value {
            self.invalid(new, "field is immutable");
        }
    }
}

/// A value as messages show it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => {
            let mut writer = Bounded(Vec::new());
            // The only error is the end of the room.
            let whole = serde_json::to_writer(&mut writer, other).is_ok();
            let mut text = String::from_utf8_lossy(&writer.0).into_owned();
            if !whole {
                text.push('…');
            }
            text
        }
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// The beginning of a text that may be absurdly long.
pub(super) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SHOWN_MAX - self.0.len();
        if room == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
