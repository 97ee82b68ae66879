//! `metadata` of every kind.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use crate::{Resource, name};

const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a name of a resource must look like.
fn name_form(resource: Resource) -> fn(&str) -> Vec<String> {
    match resource {
        // A token's name stands in the token, between its underscores.
        Resource::Namespace | Resource::UserToken => name::label,
        Resource::Role | Resource::RoleBinding | Resource::ClusterRole | Resource::ClusterRoleBinding => {
            name::path_segment
        }
        _ => name::subdomain,
    }
}

pub(super) fn create(f: &mut Findings, resource: Resource, metadata: &At<'_, '_>) {
    let form = name_form(resource);
    let stem = metadata.field("generateName");
    if !stem.text().is_empty() {
        f.all_invalid(&stem, name::stem_of(form, stem.text()));
    }
    let name = metadata.field("name");
    if name.text().is_empty() {
        f.required(&name, "name or generateName is required");
    } else {
        f.all_invalid(&name, form(name.text()));
    }
    let namespace = metadata.field("namespace");
    if !resource.is_namespaced() {
        if !namespace.text().is_empty() {
            f.forbidden(&namespace, "not allowed on this type");
        }
    } else if f.present(&namespace) {
        f.all_invalid(&namespace, name::label(namespace.text()));
    }
    shared(f, metadata);
}

pub(super) fn update(f: &mut Findings, old: &At<'_, '_>, metadata: &At<'_, '_>) {
    let finalizers = metadata.field("finalizers");
    if old.field("deletionTimestamp").is_set() {
        let before = old.field("finalizers");
        let before: HashSet<&str> = before.items().map(|f| f.text()).collect();
        let added: Vec<&str> = finalizers.items().map(|f| f.text()).filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            f.forbidden(
                &finalizers,
                format_args!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"),
            );
        }
    }
    shared(f, metadata);
}

fn shared(f: &mut Findings, metadata: &At<'_, '_>) {
    f.nonnegative(&metadata.field("generation"));
    labels(f, &metadata.field("labels"));
    annotations(f, &metadata.field("annotations"));
    owners(f, &metadata.field("ownerReferences"));
    finalizers(f, &metadata.field("finalizers"));
}

pub(super) fn labels(f: &mut Findings, labels: &At<'_, '_>) {
    for (key, value) in labels.entries() {
        for detail in name::qualified(key) {
            f.invalid_text(labels, key, detail);
        }
        for detail in name::label_value(value.text()) {
            f.invalid_text(labels, value.text(), detail);
        }
    }
}

pub(super) fn annotations(f: &mut Findings, annotations: &At<'_, '_>) {
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        for detail in name::qualified(&key.to_ascii_lowercase()) {
            f.invalid_text(annotations, key, detail);
        }
        bytes += key.len() + value.text().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        f.too_long(annotations, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(f: &mut Findings, owners: &At<'_, '_>) {
    let mut controller: Option<(&str, &str)> = None;
    for owner in owners.items() {
        let (version, kind, name) = (owner.field("apiVersion"), owner.field("kind"), owner.field("name"));
        if version.text().is_empty() {
            f.invalid_text(&owners.field("apiVersion"), "", "version must not be empty");
        }
        for (field, text) in
            [("kind", kind.text()), ("name", name.text()), ("uid", owner.field("uid").text())]
        {
            if text.is_empty() {
                f.invalid_text(&owners.field(field), "", format_args!("{field} must not be empty"));
            }
        }
        if version.text() == "v1" && kind.text() == "Event" {
            f.invalid(owners, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.field("controller").is_true() {
            match controller {
                None => controller = Some((kind.text(), name.text())),
                Some((first_kind, first_name)) => f.invalid(
                    owners,
                    format_args!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first_kind}/{first_name} and {}/{}",
                        kind.text(),
                        name.text()
                    ),
                ),
            }
        }
    }
}

fn finalizers(f: &mut Findings, finalizers: &At<'_, '_>) {
    let (mut orphans, mut deletes) = (false, false);
    for finalizer in finalizers.items() {
        let text = finalizer.text();
        for detail in name::qualified(text) {
            f.invalid_text(finalizers, text, detail);
        }
        if !text.contains('/') && !matches!(text, ORPHAN | FOREGROUND | "kubernetes") {
            f.invalid(&finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
        orphans |= text == ORPHAN;
        deletes |= text == FOREGROUND;
    }
    if orphans && deletes {
        f.invalid(finalizers, format_args!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"));
    }
}
