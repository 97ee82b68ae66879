//! Policies of images, and reports on them.

use serde_json::Value;

use super::{AGE, Column, Kind, NAME, Shown, age, at, column, list, name, number, or_none, text, wide};

pub(super) static POLICY: [Column; 6] = [
    NAME,
    column("Action", "What becomes of a container whose image does not pass."),
    column("Severity", "The highest severity that passes."),
    column("Signers", "Who may have signed."),
    AGE,
    wide("From", "Registries and repositories whose images may start."),
];

/// The columns of trivy-operator's own definition, in its order.
pub(super) static REPORT: [Column; 10] = [
    NAME,
    column("Repository", "The name of the image's repository."),
    column("Tag", "The image's tag."),
    column("Scanner", "What found it."),
    AGE,
    count("Critical", "How many are critical."),
    count("High", "How many are high."),
    count("Medium", "How many are medium."),
    count("Low", "How many are low."),
    count("Unknown", "How many have no severity."),
];

const fn count(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: Kind::Integer, description, shown: Shown::Wide }
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    or_none(&words.collect::<Vec<&str>>().join(","))
}

pub(super) fn policy(object: &Value, now: i64) -> Vec<Value> {
    let spec = |field: &'static str| list(object, &["spec", field]).iter();
    vec![
        name(object),
        text(object, &["spec", "enforcementAction"]).into(),
        or_none(text(object, &["spec", "vulnerabilities", "maximumSeverity"])),
        joined(spec("signers").map(|signer| text(signer, &["name"]))),
        age(object, now),
        joined(spec("registries").chain(spec("repositories")).filter_map(Value::as_str)),
    ]
}

pub(super) fn report(object: &Value, now: i64) -> Vec<Value> {
    let artifact = |field| text(object, &["report", "artifact", field]).into();
    let count = |field| Value::from(number(object, &["report", "summary", field]));
    let scanner = at(object, &["report", "scanner"]).map_or("", |scanner| text(scanner, &["name"]));
    vec![
        name(object),
        artifact("repository"),
        artifact("tag"),
        scanner.into(),
        age(object, now),
        count("criticalCount"),
        count("highCount"),
        count("mediumCount"),
        count("lowCount"),
        count("unknownCount"),
    ]
}
