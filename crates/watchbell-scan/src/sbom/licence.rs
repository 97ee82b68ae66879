//! What a package says of its licence, as the documents want it.

use spdx::{Expression, ParseMode};

/// One identifier of SPDX's list, in its spelling.
pub(super) fn identifier(text: &str) -> Option<&'static str> {
    spdx::license_id(text).map(|id| id.name)
}

/// Whether it is an expression of such identifiers.
pub(super) fn is_expression(text: &str) -> bool {
    Expression::parse_mode(text, ParseMode::STRICT).is_ok()
}

/// A reference for what is no expression: letters, digits, dots and dashes (SPDX 2.3, 10.1).
pub(super) fn reference(text: &str) -> String {
    let mut reference = String::from("LicenseRef-");
    for c in text.chars() {
        reference.push(if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' });
    }
    reference
}
