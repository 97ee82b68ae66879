//! What became of a run: its slot, its admission, its pods, its end. And what became of the log and of the server.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::super::entry::Body;
use super::document::{Container, Document, Image, ImageHash, Pods, Process, Rule, Run, SecurityContext};
use super::{connection, request};

/// What the actions are in the words of ECS. An action that is not here is information without a category.
const ACTIONS: [(&str, &str, &str, Option<&str>); 38] = [
    ("started", "process", "start", Some("success")),
    ("skipped", "process", "info", None),
    ("admitted", "configuration", "info", Some("success")),
    ("images-resolved", "configuration", "info", Some("success")),
    ("confined", "configuration", "info", Some("success")),
    ("pods-started", "process", "start", Some("success")),
    ("pods-created", "process", "start", Some("success")),
    // Its outcome is that of its pods.
    ("pods-ended", "process", "end", None),
    ("completed", "process", "end", Some("success")),
    ("failed", "process", "end", Some("failure")),
    ("deleted", "configuration", "deletion", Some("success")),
    ("expired", "configuration", "deletion", Some("success")),
    ("restored", "configuration", "change", Some("success")),
    ("key-rotating", "configuration", "change", Some("success")),
    ("key-rotated", "configuration", "change", Some("success")),
    ("keys-in-use", "configuration", "info", Some("success")),
    // What policies of images did.
    ("image-refused", "process", "start", Some("failure")),
    ("image-warned", "process", "info", None),
    ("image-noted", "process", "info", None),
    ("image-unjudged", "process", "info", None),
    ("held", "process", "info", None),
    ("released", "process", "info", None),
    ("vulnerabilities-found", "vulnerability", "info", None),
    // What admission said when pods were made or were to start.
    ("refused-at-start", "process", "start", Some("failure")),
    ("policies", "process", "info", None),
    // What became of data arrays.
    ("array-committed", "database", "change", Some("success")),
    ("gate-started", "process", "start", Some("success")),
    ("array-published", "database", "change", Some("success")),
    ("array-refused", "database", "error", Some("failure")),
    ("array-rolled-back", "database", "change", Some("success")),
    ("array-changed", "database", "change", Some("success")),
    ("array-found", "database", "info", Some("success")),
    // What became of connections of pods; the outcome of one that ended is how it ended.
    ("connection-allowed", "network", "connection", Some("success")),
    ("connection-refused", "network", "connection", Some("failure")),
    ("connection-ended", "network", "connection", None),
    ("connections-counted", "network", "info", None),
    ("connections-lost", "network", "info", None),
    ("gate-lost", "network", "info", None),
];

/// Whose findings an action tells of.
fn ruleset(action: &str) -> Option<&'static str> {
    match action {
        "image-refused" | "image-warned" | "image-noted" | "image-unjudged" | "held" => Some("image-policy"),
        "vulnerabilities-found" => Some("vulnerabilities"),
        "refused-at-start" => Some("admission"),
        "policies" => Some("admission-policies"),
        "connection-allowed" | "connection-refused" => Some("network-policy"),
        _ => None,
    }
}

pub(super) fn fill<'a>(document: &mut Document<'a>, body: &'a Body<'a>) {
    let action = body.action.as_deref().unwrap_or_default();
    document.watchbell.kind = Some(&body.kind);
    if let Some(object) = &body.object_ref {
        request::about(document, object);
    }
    document.event.action = Some(Cow::Borrowed(action)).filter(|action| !action.is_empty());
    match ACTIONS.iter().find(|(name, ..)| *name == action) {
        Some((_, category, kind, outcome)) => {
            document.event.category.push(category);
            document.event.types.push(kind);
            document.event.outcome = *outcome;
        }
        None => document.event.types.push("info"),
    }
    let text = |key: &str| body.details.get(key).and_then(Value::as_str);
    let reason = ["reason", "why", "message"].into_iter().find_map(text);
    document.event.reason = reason.map(Cow::Borrowed);
    document.rule = ruleset(action).map(|ruleset| Rule { ruleset, name: None, description: reason });
    if let Some(orchestrator) = &mut document.orchestrator
        && action != "started"
    {
        orchestrator.resource.id = text("uid").or(orchestrator.resource.id);
    }
    let pods = pods(document, body);
    let run = Run {
        slot: text("slot").filter(|slot| slot.parse::<jiff::Timestamp>().is_ok()),
        job: text("job"),
        skipped: text("count").filter(|_| action == "skipped").and_then(|count| count.parse().ok()),
        pods,
    };
    if run.slot.is_some() || run.job.is_some() || run.skipped.is_some() || run.pods.is_some() {
        document.watchbell.run = Some(run);
    }
    if let Some(Value::Array(containers)) = body.details.get("containers") {
        admitted(document, containers);
    }
    if let Some(Value::Array(images)) = body.details.get("images") {
        document.related.hash = images.iter().filter_map(Value::as_str).filter_map(digest_in).collect();
    }
    if let Some(settings @ Value::Object(_)) = body.details.get("settings") {
        document.related.hash = settings["image"].as_str().and_then(digest_in).into_iter().collect();
        document.container = Some(container(settings, &settings["container"]));
    }
    connection::fill(document, action, &body.details);
    document.watchbell.details = Some(&body.details).filter(|map| !map.is_empty());
    document.message = message(document, body, action);
}

/// Entries name pods by `[index, attempt]`, those that ended by `[index, attempt, how, exit code]` too.
fn pods(document: &mut Document<'_>, body: &Body<'_>) -> Option<Pods> {
    let list = |key: &str| body.details.get(key).and_then(Value::as_array);
    let started = list("started").map(|starts| starts.len() as u64);
    let number = |key: &str| body.details.get(key).and_then(Value::as_u64);
    if let Some(created) = list("created") {
        return Some(Pods {
            created: Some(created.len() as u64),
            indexes: indexes(created),
            ..Pods::default()
        });
    }
    if let (Some(starts), None) = (list("started"), list("ended")) {
        return Some(Pods { started, indexes: indexes(starts), ..Pods::default() });
    }
    if let Some(ended) = list("ended") {
        let how = |want: &str| ended.iter().filter(|pod| pod[2] == want).count() as u64;
        let (succeeded, failed) = (how("Succeeded"), how("Failed"));
        let codes: BTreeSet<i64> = ended.iter().filter_map(|pod| pod[3].as_i64()).collect();
        document.event.outcome = if failed > 0 {
            Some("failure")
        } else if succeeded > 0 {
            Some("success")
        } else {
            Some("unknown")
        };
        if let (1, Some(code)) = (codes.len(), codes.first()) {
            document.process = Some(Process { exit_code: Some(*code), ..Process::default() });
        }
        return Some(Pods {
            started,
            ended: Some(ended.len() as u64),
            succeeded: Some(succeeded),
            failed: Some(failed),
            indexes: indexes(ended),
            exit_codes: codes.into_iter().collect(),
            ..Pods::default()
        });
    }
    let (succeeded, failed) = (number("succeeded"), number("failed"));
    (succeeded.is_some() || failed.is_some()).then(|| Pods { succeeded, failed, ..Pods::default() })
}

fn indexes(pods: &[Value]) -> Vec<u64> {
    let indexes: BTreeSet<u64> = pods.iter().filter_map(|pod| pod[0].as_u64()).collect();
    indexes.into_iter().collect()
}

/// The pod as it was admitted. ECS has one container a document: it is said when there is only one; all are in the details.
fn admitted<'a>(document: &mut Document<'a>, containers: &'a [Value]) {
    document.related.hash =
        containers.iter().filter_map(|one| one["image"].as_str()).filter_map(digest_in).collect();
    let [only] = containers else { return };
    document.container = Some(container(only, &only["name"]));
}

fn digest_in(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

fn container<'a>(of: &'a Value, name: &'a Value) -> Container<'a> {
    let image = of["image"].as_str().unwrap_or_default();
    Container {
        name: name.as_str(),
        image: Some(Image {
            name: image.split('@').next().unwrap_or_default(),
            hash: digest_in(image).map(|digest| ImageHash { all: vec![digest] }),
        }),
        security_context: of["privileged"].as_bool().map(|privileged| SecurityContext { privileged }),
    }
}

fn message(document: &Document<'_>, body: &Body<'_>, action: &str) -> String {
    let mut text = String::with_capacity(128);
    if let Some(object) = &body.object_ref {
        request::push_object(&mut text, object);
        text.push_str(": ");
    }
    text.push_str(action);
    if let Some(run) = &document.watchbell.run {
        if let Some(slot) = run.slot {
            text.push_str(", slot ");
            text.push_str(slot);
        }
        if let Some(job) = run.job {
            text.push_str(", job ");
            text.push_str(job);
        }
        if let Some(pods) = &run.pods {
            for (what, count) in [
                ("created", pods.created),
                ("started", pods.started),
                ("ended", pods.ended),
                ("succeeded", pods.succeeded),
                ("failed", pods.failed),
            ] {
                if let Some(count) = count {
                    text.push_str(&format!(", {count} {what}"));
                }
            }
        }
    }
    connection::say(&mut text, document);
    if let Some(reason) = &document.event.reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The second argument of each call of `audit_run` in a file, where it is a word.
    fn actions_in(text: &str) -> impl Iterator<Item = &str> {
        text.split(".audit_run(").skip(1).filter_map(|call| {
            let (_, rest) = call.split_once(',')?;
            rest.trim_start().strip_prefix('"')?.split('"').next()
        })
    }

    fn actions_below(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                actions_below(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                found.extend(actions_in(&text).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_action_has_its_words_and_its_row() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut written = BTreeSet::new();
        actions_below(&here.join("../watchbell-core/src/world"), &mut written);
        assert!(written.len() > 15, "{written:?}");
        let mapped: BTreeSet<String> = ACTIONS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(mapped.len(), ACTIONS.len());
        let unmapped: Vec<_> = written.difference(&mapped).collect();
        assert!(unmapped.is_empty(), "without words of ECS: {unmapped:?}");
        let page = std::fs::read_to_string(here.join("../../docs/audit.md")).unwrap();
        let (_, section) = page.split_once("## What is an entry").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let told: BTreeSet<&str> = section.split('`').skip(1).step_by(2).collect();
        let untold: Vec<_> = mapped.iter().filter(|action| !told.contains(&***action)).collect();
        assert!(untold.is_empty(), "not in docs/audit.md: {untold:?}");
    }
}
