//! Findings for people: one line each, as compilers have them, and what to do.

use super::{Finding, Severity};
use crate::output::{self, Colour};

pub(super) fn print(findings: &[Finding], files: usize) {
    let mut pieces = Vec::new();
    for finding in findings {
        let colour = match finding.rule.severity {
            Severity::Error => Colour::Red,
            Severity::Warning => Colour::Yellow,
            Severity::Note => Colour::Cyan,
        };
        let place = finding.place;
        pieces.push((
            Colour::None,
            format!("{}:{}:{}: ", output::plain(&finding.file), place.line, place.column),
        ));
        pieces.push((colour, format!("{}[{}]", finding.rule.severity.as_str(), finding.rule.id)));
        let object = match finding.object.as_str() {
            "" => String::new(),
            object => format!("{}: ", output::plain(object)),
        };
        pieces.push((Colour::None, format!(": {object}{}\n", output::plain(&finding.message))));
        pieces.push((Colour::None, format!("    way out: {}\n", finding.rule.way_out)));
    }
    output::coloured(&pieces);
    let count = |severity| findings.iter().filter(|finding| finding.rule.severity == severity).count();
    output::note(&format!(
        "{}, {}, {} in {}",
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning"),
        many(count(Severity::Note), "note"),
        many(files, "file")
    ));
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
