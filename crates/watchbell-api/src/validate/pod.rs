//! Pods and pod templates.

use std::collections::HashMap;
use std::net::IpAddr;

use super::at::At;
use super::findings::Findings;
use super::{container, metadata, resources, scheduling, security, volume};
use crate::name;

/// More containers or volumes than this are a mistake or an attack; each list is then not looked into.
const CONTAINERS_MAX: usize = 1000;
const VOLUMES_MAX: usize = 1000;

/// Whether a spec is a pod's own or that of a template. A pod's must be ready to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Pod,
    Template,
}

/// What containers are judged against.
pub(super) struct Context<'v> {
    /// The volumes that are in order, by name.
    pub(super) volumes: HashMap<&'v str, &'v serde_json::Value>,
    pub(super) claims: Vec<&'v str>,
    pub(super) grace_seconds: Option<i64>,
    pub(super) restart_policy: &'v str,
    pub(super) os: &'v str,
    /// Whether the host's own user ids are used.
    pub(super) host_users: bool,
    pub(super) place: Place,
}

/// A pod, new or changed.
pub(super) fn pod(f: &mut Findings, pod: &At<'_, '_>) {
    let spec = pod.field("spec");
    self::spec(f, &spec, Place::Pod);
}

/// What a new pod may not have yet.
pub(super) fn create(f: &mut Findings, pod: &At<'_, '_>) {
    self::pod(f, pod);
    let spec = pod.field("spec");
    let ephemeral = spec.field("ephemeralContainers");
    if ephemeral.len() > 0 {
        f.forbidden(&ephemeral, "cannot be set on create");
    }
    let node = spec.field("nodeName");
    if !node.text().is_empty() && spec.field("schedulingGates").len() > 0 {
        f.forbidden(&node, "cannot be set until all schedulingGates have been cleared");
    }
}

pub(super) fn template(f: &mut Findings, template: &At<'_, '_>) {
    let metadata = template.field("metadata");
    metadata::labels(f, &metadata.field("labels"));
    metadata::annotations(f, &metadata.field("annotations"));
    let spec = template.field("spec");
    self::spec(f, &spec, Place::Template);
    let ephemeral = spec.field("ephemeralContainers");
    if ephemeral.len() > 0 {
        f.forbidden(&ephemeral, "ephemeral containers not allowed in pod template");
    }
}

pub(super) fn spec(f: &mut Findings, spec: &At<'_, '_>, place: Place) {
    let grace = spec.field("terminationGracePeriodSeconds");
    if !grace.is_set() {
        f.required(&grace, "");
    }
    let (volumes, containers, inits) =
        (spec.field("volumes"), spec.field("containers"), spec.field("initContainers"));
    let claims = spec.field("resourceClaims");
    let os = spec.field("os");
    let is_bounded = f.at_most(&volumes, VOLUMES_MAX)
        & f.at_most(&claims, VOLUMES_MAX)
        & f.at_most(&containers, CONTAINERS_MAX)
        & f.at_most(&inits, CONTAINERS_MAX);
    if is_bounded {
        let context = Context {
            volumes: volume::check(f, &volumes),
            claims: resource_claims(f, &claims),
            grace_seconds: grace.int(),
            restart_policy: spec.field("restartPolicy").text(),
            os: os.field("name").text(),
            host_users: !spec.field("hostUsers").is_false(),
            place,
        };
        container::check(f, spec, &context);
    }
    resources::pod_level(f, &spec.field("resources"));
    f.one_of(&spec.field("restartPolicy"), &["Always", "OnFailure", "Never"]);
    f.one_of(&spec.field("dnsPolicy"), &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    metadata::labels(f, &spec.field("nodeSelector"));
    security::pod(f, spec);
    scheduling::check(f, spec);
    dns_config(f, spec);
    names(f, spec);
    f.in_range(&spec.field("activeDeadlineSeconds"), 1, i64::from(i32::MAX));
    for alias in spec.field("hostAliases").items() {
        ip(f, &alias.field("ip"));
        for hostname in alias.field("hostnames").items() {
            f.all_invalid(&hostname, name::subdomain(hostname.text()));
        }
    }
    if spec.field("preemptionPolicy").is_set() {
        f.one_of(&spec.field("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    }
    resources::overhead(f, &spec.field("overhead"));
    if os.is_set() {
        f.one_of(&os.field("name"), &["linux", "windows"]);
        if os.field("name").text() == "windows" {
            security::windows(f, spec);
        }
    }
}

/// Fields that name something.
fn names(f: &mut Findings, spec: &At<'_, '_>) {
    for field in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let field = spec.field(field);
        if field.is_set() {
            f.all_invalid(&field, name::subdomain(field.text()));
        }
    }
    for field in ["hostname", "subdomain"] {
        let field = spec.field(field);
        if !field.text().is_empty() {
            f.all_invalid(&field, name::label(field.text()));
        }
    }
    let hostname = spec.field("hostnameOverride");
    if hostname.is_set() {
        for field in ["setHostnameAsFQDN", "hostNetwork"] {
            if spec.field(field).is_true() {
                f.forbidden(&hostname, format_args!("may not be specified when {field} is true"));
            }
        }
        if hostname.text().len() > 64 {
            f.too_long(&hostname, 64);
        }
        f.all_invalid(&hostname, name::subdomain(hostname.text()));
    }
}

fn resource_claims<'v>(f: &mut Findings, claims: &At<'v, '_>) -> Vec<&'v str> {
    let mut names: HashMap<&str, ()> = HashMap::new();
    for claim in claims.items() {
        let name = claim.field("name");
        if f.present(&name) {
            f.all_invalid(&name, name::label(name.text()));
        }
        if !name.text().is_empty() && names.insert(name.text(), ()).is_some() {
            f.duplicate(&name);
        }
        match (claim.field("resourceClaimName").is_set(), claim.field("resourceClaimTemplateName").is_set()) {
            (true, true) => f.invalid(
                &claim,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => {
                f.invalid(&claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            (true, false) | (false, true) => {}
        }
    }
    names.into_keys().collect()
}

fn dns_config(f: &mut Findings, spec: &At<'_, '_>) {
    const NAMESERVERS_MAX: usize = 3;
    const SEARCHES_MAX: usize = 32;
    const SEARCHES_BYTES_MAX: usize = 2048;
    let config = spec.field("dnsConfig");
    let (servers, searches) = (config.field("nameservers"), config.field("searches"));
    if spec.field("dnsPolicy").text() == "None" {
        if !config.is_set() {
            f.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.len() == 0 {
            f.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        f.invalid(&servers, format_args!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for server in servers.items() {
        ip(f, &server);
    }
    if searches.len() > SEARCHES_MAX {
        f.invalid(&searches, format_args!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let bytes: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if bytes > SEARCHES_BYTES_MAX + 1 {
        f.invalid(
            &searches,
            format_args!("must not have more than {SEARCHES_BYTES_MAX} characters (including spaces) in the search list"),
        );
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        // An underscore may begin a part, and stand in it.
        let parts: Vec<String> =
            text.split('.').map(|part| part.strip_prefix('_').unwrap_or(part).replace('_', "-")).collect();
        f.all_invalid(&search, name::subdomain(&parts.join(".")));
    }
    for option in config.field("options").items() {
        if option.field("name").text().is_empty() {
            f.required(&option, "must not be empty");
        }
    }
}

fn ip(f: &mut Findings, at: &At<'_, '_>) {
    if at.text().parse::<IpAddr>().is_err() {
        f.invalid(at, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}
