//! `batch/v1` Job, also as the template of a CronJob.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::{pod, pod_policy, selector, success_policy};
use crate::name;

const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Beyond so many indexes with a limit each, less may run and fail at a time.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const HIGH_COMPLETIONS_PARALLELISM_MAX: i64 = 10_000;
const HIGH_COMPLETIONS_FAILED_MAX: i64 = 10_000;
const MANAGED_BY_LENGTH_MAX: usize = 63;

/// The labels by which a Job's pods are found, with the field of the metadata that each of them repeats.
const GENERATED_LABELS: [(&str, &str); 4] = [
    ("controller-uid", "uid"),
    ("job-name", "name"),
    ("batch.kubernetes.io/controller-uid", "uid"),
    ("batch.kubernetes.io/job-name", "name"),
];

pub(super) fn create(f: &mut Findings, job: &At<'_, '_>) {
    let (metadata, spec) = (job.field("metadata"), job.field("spec"));
    generated_selector(f, &metadata, &spec);
    whole_spec(f, &spec);
    hostnames(f, &metadata, &spec);
}

/// A Job's spec in a Job: it has a selector by now, which its pods match.
pub(super) fn whole_spec(f: &mut Findings, spec: &At<'_, '_>) {
    shared_spec(f, spec);
    let selector = spec.field("selector");
    if !selector.is_set() {
        f.required(&selector, "");
        return;
    }
    selector::check(f, &selector);
    let template = spec.field("template");
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    if !selector::matches(&selector, &labels) {
        f.invalid(&labels, "`selector` does not match template `labels`");
    }
}

/// A Job's spec in a CronJob: its selector comes when it is made.
pub(super) fn template(f: &mut Findings, template: &At<'_, '_>) {
    let spec = template.field("spec");
    shared_spec(f, &spec);
    let selector = spec.field("selector");
    if selector.is_set() {
        f.invalid(&selector, "`selector` will be auto-generated");
    }
    let manual = spec.field("manualSelector");
    if manual.is_true() {
        f.not_supported(&manual, &["nil", "false"]);
    }
}

fn shared_spec(f: &mut Findings, spec: &At<'_, '_>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        f.nonnegative(&spec.field(field));
    }
    let per_index = spec.field("backoffLimitPerIndex");
    if spec.field("maxFailedIndexes").is_set() && !per_index.is_set() {
        f.required(&per_index, "when maxFailedIndexes is specified");
    }
    managed_by(f, &spec.field("managedBy"));
    let mode = spec.field("completionMode");
    f.one_of_if_set(&mode, &["NonIndexed", "Indexed"]);
    let is_indexed = mode.text() == "Indexed";
    if is_indexed {
        indexed(f, spec);
    } else if !mode.is_set() || mode.text() == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let field = spec.field(field);
            if field.is_set() {
                f.invalid(&field, "requires indexed completion mode");
            }
        }
    }
    let failure_policy = spec.field("podFailurePolicy");
    if failure_policy.is_set() {
        pod_policy::check(f, spec, &failure_policy);
    }
    let success_policy = spec.field("successPolicy");
    if success_policy.is_set() {
        if is_indexed {
            success_policy::check(f, &success_policy, spec.field("completions").int().unwrap_or(0));
        } else {
            f.invalid(&success_policy, "requires indexed completion mode");
        }
    }
    let replacement: &[&str] =
        if failure_policy.is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    f.one_of_if_set(&spec.field("podReplacementPolicy"), replacement);

    let template = spec.field("template");
    pod::template(f, &template);
    restart_policy(f, &template, failure_policy.is_set());
}

fn restart_policy(f: &mut Findings, template: &At<'_, '_>, has_failure_policy: bool) {
    let spec = template.field("spec");
    let policy = spec.field("restartPolicy");
    match policy.text() {
        "" | "Always" => f.required(&policy, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if has_failure_policy => {
            f.invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => f.not_supported(&policy, &["OnFailure", "Never"]),
    }
}

fn managed_by(f: &mut Findings, manager: &At<'_, '_>) {
    if !manager.is_set() {
        return;
    }
    let text = manager.text();
    match text.split_once('/') {
        _ if text.is_empty() => f.required(manager, ""),
        None | Some(("" | _, "")) | Some(("", _)) => {
            f.invalid(manager, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        Some((domain, path)) => {
            f.all_invalid(manager, name::subdomain(domain));
            let is_path =
                path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b));
            if !is_path {
                f.invalid(
                    manager,
                    "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
                );
            }
        }
    }
    if text.len() > MANAGED_BY_LENGTH_MAX {
        f.too_long(manager, MANAGED_BY_LENGTH_MAX);
    }
}

fn indexed(f: &mut Findings, spec: &At<'_, '_>) {
    let completions = spec.field("completions");
    let parallelism = spec.field("parallelism");
    let failed = spec.field("maxFailedIndexes");
    if !completions.is_set() {
        f.required(&completions, "when completion mode is Indexed");
    }
    let is_above = |at: &At<'_, '_>, max: i64| at.int().is_some_and(|n| n > max);
    if is_above(&parallelism, INDEXED_PARALLELISM_MAX) {
        let max = INDEXED_PARALLELISM_MAX;
        f.invalid(
            &parallelism,
            format_args!("must be less than or equal to {max} when completion mode is Indexed"),
        );
    }
    if completions.int().is_some_and(|n| is_above(&failed, n)) {
        f.invalid(&failed, "must be less than or equal to completions");
    }
    if is_above(&failed, FAILED_INDEXES_MAX) {
        f.invalid(&failed, format_args!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    if !is_above(&completions, COMPLETIONS_SOFT_MAX) || !spec.field("backoffLimitPerIndex").is_set() {
        return;
    }
    if !failed.is_set() {
        f.required(
            &failed,
            format_args!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}"),
        );
    }
    for (at, max) in
        [(&parallelism, HIGH_COMPLETIONS_PARALLELISM_MAX), (&failed, HIGH_COMPLETIONS_FAILED_MAX)]
    {
        if is_above(at, max) {
            f.invalid(
                at,
                format_args!(
                    "must be less than or equal to {max} when completions are above {COMPLETIONS_SOFT_MAX} and used with \
                     backoff limit per index"
                ),
            );
        }
    }
}

/// The selector that the server generated is still there, and so are the labels it looks for.
fn generated_selector(f: &mut Findings, metadata: &At<'_, '_>, spec: &At<'_, '_>) {
    let selector = spec.field("selector");
    if spec.field("manualSelector").is_true() || !selector.is_set() {
        return;
    }
    let template = spec.field("template");
    let template_metadata = template.field("metadata");
    let labels = template_metadata.field("labels");
    for (label, field) in GENERATED_LABELS {
        let expected = metadata.field(field);
        let actual = labels.key(label);
        if !actual.is_set() {
            f.required(&actual, format_args!("must be '{}'", expected.text()));
        } else if actual.text() != expected.text() {
            f.invalid(&actual, format_args!("must be '{}'", expected.text()));
        }
    }
    let generated: serde_json::Map<String, serde_json::Value> = GENERATED_LABELS
        .iter()
        .map(|(label, field)| ((*label).to_owned(), metadata.field(field).text().into()))
        .collect();
    let generated = serde_json::Value::Object(generated);
    if !selector::matches(&selector, &At::root(&generated)) {
        f.invalid(&selector, "`selector` not auto-generated");
    }
}

/// A pod of an array has the hostname `<job>-<index>`: that of the last index must be a label.
fn hostnames(f: &mut Findings, metadata: &At<'_, '_>, spec: &At<'_, '_>) {
    let completions = spec.field("completions").int().unwrap_or(0);
    if spec.field("completionMode").text() != "Indexed" || completions < 1 {
        return;
    }
    let job = metadata.field("name");
    let hostname = format!("{}-{}", job.text(), completions - 1);
    if !name::label(&hostname).is_empty() {
        let hostname = super::findings::cut(&hostname);
        f.invalid(&job, format_args!("will not able to create pod with invalid DNS label: {hostname}"));
    }
}

/// The names of all containers of a template.
pub(super) fn container_names<'v>(spec: &At<'v, '_>) -> HashSet<&'v str> {
    let template = spec.field("template");
    let pod = template.field("spec");
    let mut names = HashSet::new();
    for list in ["containers", "initContainers"] {
        let list = pod.field(list);
        names.extend(list.items().map(|container| container.field("name").text()));
    }
    names
}
