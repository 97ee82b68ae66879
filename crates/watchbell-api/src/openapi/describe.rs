//! What `kubectl explain` says of types and fields: short sentences in our own words, one for every field that is served.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::schema::Type;

const TEXT: &str = concat!(include_str!("descriptions.txt"), include_str!("watchbell.txt"));

/// Descriptions by `batch.v1.JobSpec` and `batch.v1.JobSpec.completions`.
pub(super) static BY_NAME: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).collect()
});

pub(super) fn type_named(name: &str) -> Option<&'static str> {
    BY_NAME.get(name).copied()
}

/// Types whose fields mean what those of another type mean.
const LIKE: [(&str, &str); 1] = [("core.v1.EphemeralContainer", "core.v1.Container")];

pub(super) fn field_of(owner: &Type, field: &str) -> Option<&'static str> {
    let of = |name: &str| BY_NAME.get(format!("{name}.{field}").as_str()).copied();
    let like = || LIKE.iter().find(|(name, _)| *name == owner.name).and_then(|(_, like)| of(like));
    let own = of(owner.name).or_else(like);
    match (own, field) {
        (Some(text), _) => Some(text),
        // Every kind has these, and they mean the same everywhere.
        (None, "apiVersion") if owner.kind.is_some() => {
            Some("The group and version of the kind, such as batch/v1.")
        }
        (None, "kind") if owner.kind.is_some() => Some("The kind of the object."),
        (None, "metadata") => Some("Name, labels and what else every object has."),
        (None, "spec") => Some("What is wanted."),
        (None, "status") if owner.kind.is_some() => Some("What is: written by the server alone."),
        // What an object says of another one.
        (None, "apiVersion") => Some("The group and version of its kind."),
        (None, "kind") => Some("Its kind."),
        (None, _) => of("*"),
    }
}
