//! What is wrong with Dockerfiles.

use watchbell_api::decode::Place;
use watchbell_scan::dockerfile::{Dockerfile, Options, judge};

use super::{Finding, rules};
use crate::manifest::Text;

/// Everything that is found.
pub(super) fn all(texts: &[&Text], trusted_registries: &[String]) -> Vec<Finding> {
    let options = Options { trusted_registries };
    let mut findings = Vec::new();
    for text in texts {
        // Builders take bytes as they are; what is no UTF-8 is shown as such.
        let file = Dockerfile::parse(&String::from_utf8_lossy(&text.bytes));
        findings.extend(judge(&file, &options).into_iter().map(|finding| Finding {
            rule: rules::named(finding.rule.id),
            file: text.shown.clone(),
            place: Place {
                line: finding.place.line as usize,
                column: finding.place.column as usize,
                end_column: finding.place.end_column as usize,
            },
            object: String::new(),
            path: finding.instruction,
            message: finding.message,
        }));
    }
    findings
}
