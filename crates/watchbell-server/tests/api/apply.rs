//! Server-side apply and field managers, by the real `kubectl`.

use serde_json::{Value, json};
use watchbell_api::managed_fields;

use crate::harness::Harness;
use crate::kubectl::{CRON_JOB, Kubectl, MAP};

const SERVER_SIDE: [&str; 4] = ["apply", "--server-side", "-f", "-"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SERVER_SIDE.iter().chain(more).copied().collect()
}

/// The managers as kubectl shows them: name, operation and subresource.
fn managers(kubectl: &Kubectl<'_>, object: &str) -> Vec<String> {
    let shown = kubectl.ok(&["get", object, "-o", "json", "--show-managed-fields"], "");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let list = &shown["metadata"]["managedFields"];
    let entries = list.as_array().cloned().unwrap_or_default();
    // What kubectl prints is read, and printed the same way again.
    assert_eq!(managed_fields::encode(&managed_fields::decode(list).unwrap()), Value::from(entries.clone()));
    entries
        .iter()
        .map(|e| format!("{} {}", e["manager"].as_str().unwrap(), e["operation"].as_str().unwrap()))
        .collect()
}

#[test]
fn apply_on_the_server_side() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    assert_eq!(kubectl.ok(&SERVER_SIDE, CRON_JOB), "cronjob.batch/nightly serverside-applied\n");
    let version = || kubectl.ok(&["get", "cj", "nightly", "-o", "jsonpath={.metadata.resourceVersion}"], "");
    let first = version();
    kubectl.ok(&SERVER_SIDE, CRON_JOB);
    assert_eq!(version(), first, "an apply that changes nothing makes no version");
    assert_eq!(managers(&kubectl, "cj/nightly"), ["kubectl Apply"]);
    let hidden = kubectl.ok(&["get", "cj", "nightly", "-o", "yaml"], "");
    assert!(!hidden.contains("managedFields"), "{hidden}");
    // A trial changes nothing.
    let changed = CRON_JOB.replace("parallelism: 2", "parallelism: 1");
    kubectl.ok(&with(&["--dry-run=server"]), &changed);
    assert_eq!(version(), first);
    kubectl.ok(&SERVER_SIDE, &changed);
    let parallelism = "jsonpath={.spec.jobTemplate.spec.parallelism}";
    assert_eq!(kubectl.ok(&["get", "cj", "nightly", "-o", parallelism], ""), "1");
    // What is given up falls back to its default.
    kubectl.ok(
        &SERVER_SIDE,
        &changed.replace("      completions: 3\n", "      completions: 4\n").replace("  suspend: true\n", ""),
    );
    assert_eq!(kubectl.ok(&["get", "cj", "nightly", "-o", "jsonpath={.spec.suspend}"], ""), "false");
    kubectl.refused(&SERVER_SIDE, &changed.replace("image:", "imag:"), "field not declared in schema");
    kubectl.refused(&SERVER_SIDE, &changed.replace("0 3 * * *", "nonsense"), "spec.schedule");
}

#[test]
fn conflicts_name_the_manager_and_can_be_forced() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&with(&["--field-manager=first"]), MAP);
    let blue = MAP.replace("red", "blue");
    kubectl.refused(
        &with(&["--field-manager=second"]),
        &blue,
        "Apply failed with 1 conflict: conflict with \"first\": .data.colour",
    );
    // The same value is owned by both.
    kubectl.ok(&with(&["--field-manager=second"]), MAP);
    assert_eq!(managers(&kubectl, "cm/settings"), ["first Apply", "second Apply"]);
    kubectl.ok(&with(&["--field-manager=second", "--force-conflicts"]), &blue);
    assert_eq!(managers(&kubectl, "cm/settings"), ["second Apply"]);
    // One that updates takes the field without asking, and is asked about then.
    kubectl.ok(&["patch", "cm", "settings", "--type=merge", "-p", r#"{"data":{"colour":"green"}}"#], "");
    assert_eq!(managers(&kubectl, "cm/settings"), ["kubectl-patch Update"]);
    kubectl.refused(
        &with(&["--field-manager=second"]),
        &blue,
        "conflict with \"kubectl-patch\" using v1: .data.colour",
    );
}

#[test]
fn from_client_side_to_server_side_apply() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["apply", "-f", "-"], CRON_JOB);
    assert_eq!(managers(&kubectl, "cj/nightly"), ["kubectl-client-side-apply Update"]);
    kubectl.refused(
        &with(&["--field-manager=other"]),
        &CRON_JOB.replace("completions: 3", "completions: 5"),
        "conflict with \"kubectl-client-side-apply\" using batch/v1: .spec.jobTemplate.spec.completions",
    );
    let changed = CRON_JOB.replace("completions: 3", "completions: 5").replace("  suspend: true\n", "");
    kubectl.ok(&SERVER_SIDE, &changed);
    // As kubectl does it, the annotation of its client-side apply has a manager of its own.
    // They stand by their second, which may have passed between the two.
    let mut both = managers(&kubectl, "cj/nightly");
    both.sort();
    assert_eq!(both, ["kubectl Apply", "kubectl-last-applied Apply"]);
    let shown = kubectl.ok(&["get", "cj", "nightly", "-o", "json"], "");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["spec"]["jobTemplate"]["spec"]["completions"], 5);
    assert_eq!(shown["spec"]["suspend"], false, "what client-side apply set and is left out now goes");
}

#[test]
fn ten_managers_are_kept_and_an_empty_entry_forgets_them() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["create", "-f", "-"], MAP);
    for i in 0..14 {
        let patch = json!({"data": {format!("k{i}"): "v"}}).to_string();
        let manager = format!("--field-manager=m{i:02}");
        kubectl.ok(&["patch", "cm", "settings", "--type=merge", &manager, "-p", &patch], "");
    }
    let kept = managers(&kubectl, "cm/settings");
    assert_eq!(kept.len(), 10, "{kept:?}");
    assert!(kept.contains(&"ancient-changes Update".to_owned()), "{kept:?}");
    assert!(kept.contains(&"m13 Update".to_owned()) && !kept.contains(&"m00 Update".to_owned()), "{kept:?}");
    let patch = |list: &str| {
        let patch = format!(r#"{{"metadata":{{"managedFields":{list}}}}}"#);
        kubectl.ok(&["patch", "cm", "settings", "--type=merge", "-p", &patch], "");
        managers(&kubectl, "cm/settings").len()
    };
    assert_eq!(patch("[]"), 10, "clients that know nothing of managers send an empty list");
    assert_eq!(patch("[{}]"), 0);
    // Who comes later meets what was there before.
    kubectl.refused(
        &with(&["--field-manager=x"]),
        &MAP.replace("red", "blue"),
        "conflict with \"before-first-apply\"",
    );
}

#[test]
fn a_status_is_applied_as_a_subresource() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&SERVER_SIDE, CRON_JOB);
    let status = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
status: {lastScheduleTime: '2026-01-01T00:00:00Z'}
";
    let on_status = |more: &[&'static str]| with(&[&["--subresource=status"], more].concat());
    let said = kubectl.ok(&on_status(&["--field-manager=one"]), status);
    assert_eq!(said, "cronjob.batch/nightly serverside-applied\n");
    let shown = kubectl.ok(&["get", "cj", "nightly", "-o", "json", "--show-managed-fields"], "");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["status"]["lastScheduleTime"], "2026-01-01T00:00:00Z");
    let entries = shown["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!((&entry["manager"], &entry["operation"]), (&"one".into(), &"Apply".into()));
    kubectl.refused(
        &on_status(&["--field-manager=two"]),
        &status.replace("2026-01-01", "2026-02-02"),
        "conflict with \"one\" with subresource \"status\": .status.lastScheduleTime",
    );
}
