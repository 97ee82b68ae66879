//! The roles and bindings that every server has: Kubernetes' own for the kinds that are served here, and `cron-operator`.
//!
//! They are made at the first start. At each later one what was taken from them is given back, and what was added stays, as
//! Kubernetes' API server does; one whose annotation [`AUTO_UPDATE`] says `false` is left alone.

use serde_json::{Value, json};

use super::{MASTERS, RBAC_GROUP, Role, Uncovered, covers};

/// Whether a default role or binding is kept in step.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What may trigger, suspend and rerun, and may not change what runs.
pub const CRON_OPERATOR: &str = "cron-operator";

/// Whose pods may read data arrays, and whose may write them too.
pub const ARRAY_READER: &str = "array-reader";
pub const ARRAY_WRITER: &str = "array-writer";

const ARRAYS: &[&str] = &["dataarrays"];
const USE: &[&str] = &["use"];
const USE_AND_WRITE: &[&str] = &["use", "write"];

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["*"];
const GET: &[&str] = &["get"];
const CREATE: &[&str] = &["create"];

const OWN_GROUP: &str = "watchbell.dev";

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const MONITORING: &str = "system:monitoring";

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn paths(verbs: &[&str], urls: &[&str]) -> Value {
    json!({"verbs": verbs, "nonResourceURLs": urls})
}

/// Marks of what is a default.
fn metadata(name: &str, aggregate_to: Option<&str>) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if let Some(role) = aggregate_to {
        labels[aggregate_label(role)] = "true".into();
    }
    json!({"name": name, "labels": labels, "annotations": {AUTO_UPDATE: "true"}})
}

fn aggregate_label(role: &str) -> String {
    format!("{RBAC_GROUP}/aggregate-to-{role}")
}

fn role(name: &str, aggregate_to: Option<&str>, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(name, aggregate_to), "rules": rules,
    })
}

/// A role that is made of all those with its label.
fn aggregate(name: &str, aggregate_to: Option<&str>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(name, aggregate_to),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {aggregate_label(name): "true"}}]},
    })
}

/// The ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    vec![
        role("cluster-admin", None, vec![rule(ALL, "*", &["*"]), paths(ALL, &["*"])]),
        // Who one is and what one may.
        role(
            "system:basic-user",
            None,
            vec![
                rule(
                    CREATE,
                    "authorization.k8s.io",
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                rule(CREATE, "authentication.k8s.io", &["selfsubjectreviews"]),
            ],
        ),
        // What is served.
        role(
            "system:discovery",
            None,
            vec![paths(
                GET,
                &[
                    "/api",
                    "/api/*",
                    "/apis",
                    "/apis/*",
                    "/healthz",
                    "/livez",
                    "/openapi",
                    "/openapi/*",
                    "/readyz",
                    "/version",
                    "/version/",
                ],
            )],
        ),
        // How others verify the tokens of service accounts.
        role(
            "system:service-account-issuer-discovery",
            None,
            vec![paths(
                GET,
                &[
                    "/.well-known/openid-configuration",
                    "/.well-known/openid-configuration/",
                    "/openid/v1/jwks",
                    "/openid/v1/jwks/",
                ],
            )],
        ),
        // Whoever serves others may ask whose token it is, and what he may.
        role(
            "system:auth-delegator",
            None,
            vec![
                rule(CREATE, "authentication.k8s.io", &["tokenreviews"]),
                rule(CREATE, "authorization.k8s.io", &["subjectaccessreviews"]),
            ],
        ),
        role(
            "system:public-info-viewer",
            None,
            vec![paths(GET, &["/healthz", "/livez", "/readyz", "/version", "/version/"])],
        ),
        role(
            "system:monitoring",
            None,
            vec![paths(
                GET,
                &[
                    "/healthz",
                    "/healthz/*",
                    "/livez",
                    "/livez/*",
                    "/metrics",
                    "/metrics/slis",
                    "/readyz",
                    "/readyz/*",
                ],
            )],
        ),
        // In a namespace: all, and to give it to others; all but that; to look, but not at secrets.
        aggregate("admin", None),
        aggregate("edit", Some("admin")),
        aggregate("view", Some("edit")),
        role("system:aggregate-to-admin", Some("admin"), admin()),
        role("system:aggregate-to-edit", Some("edit"), edit()),
        role("system:aggregate-to-view", Some("view"), view()),
        role(CRON_OPERATOR, None, cron_operator()),
        // For the service accounts of Jobs.
        role(ARRAY_READER, None, vec![rule(READ, OWN_GROUP, ARRAYS), rule(USE, OWN_GROUP, ARRAYS)]),
        role(ARRAY_WRITER, None, vec![rule(READ, OWN_GROUP, ARRAYS), rule(USE_AND_WRITE, OWN_GROUP, ARRAYS)]),
    ]
}

fn admin() -> Vec<Value> {
    vec![
        rule(CREATE, "authorization.k8s.io", &["localsubjectaccessreviews"]),
        rule(READ, RBAC_GROUP, &["rolebindings", "roles"]),
        rule(WRITE, RBAC_GROUP, &["rolebindings", "roles"]),
        // Who starts what is not who says what may start.
        rule(WRITE, OWN_GROUP, &["imagepolicies"]),
    ]
}

fn edit() -> Vec<Value> {
    vec![
        rule(
            READ,
            "",
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        ),
        rule(&["impersonate"], "", &["serviceaccounts"]),
        rule(WRITE, "", &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
        rule(CREATE, "", &["pods/eviction"]),
        rule(
            WRITE,
            "",
            &[
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
        ),
        rule(CREATE, "", &["serviceaccounts/token"]),
        rule(WRITE, "apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
        rule(WRITE, "batch", &["cronjobs", "jobs"]),
        operate(),
        suspend(),
        rule(WRITE, "networking.k8s.io", &["networkpolicies"]),
        rule(READ, "coordination.k8s.io", &["leases"]),
        rule(WRITE, "coordination.k8s.io", &["leases"]),
        rule(WRITE, OWN_GROUP, ARRAYS),
        // Who gives an account the right to write holds it.
        rule(&["rollback", "use", "write"], OWN_GROUP, ARRAYS),
    ]
}

fn view() -> Vec<Value> {
    vec![
        rule(
            READ,
            "",
            &[
                "configmaps",
                "endpoints",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "replicationcontrollers",
                "serviceaccounts",
                "services",
            ],
        ),
        rule(
            READ,
            "",
            &[
                "events",
                "limitranges",
                "namespaces/status",
                "pods/log",
                "pods/status",
                "resourcequotas",
                "resourcequotas/status",
            ],
        ),
        // In a namespace this is the namespace itself: a sign of where one may look.
        rule(READ, "", &["namespaces"]),
        rule(READ, "apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
        rule(READ, "batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        // Why nothing of it starts.
        rule(GET, "batch", &["cronjobs/admission", "jobs/admission"]),
        rule(READ, "networking.k8s.io", &["networkpolicies"]),
        rule(READ, OWN_GROUP, &["dataarrays", "imagepolicies"]),
        rule(READ, "aquasecurity.github.io", &["vulnerabilityreports"]),
    ]
}

fn operate() -> Value {
    rule(CREATE, "batch", &["cronjobs/trigger", "jobs/rerun"])
}

fn suspend() -> Value {
    rule(&["patch", "update"], "batch", &["cronjobs/suspend"])
}

/// Runs and what they said, but neither secrets nor a way into a container.
fn cron_operator() -> Vec<Value> {
    vec![
        rule(READ, "batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        rule(GET, "batch", &["cronjobs/admission", "jobs/admission"]),
        rule(READ, OWN_GROUP, ARRAYS),
        rule(READ, "", &["events", "pods", "pods/log", "pods/status"]),
        operate(),
        suspend(),
    ]
}

/// The ClusterRoleBindings.
pub fn cluster_role_bindings() -> Vec<Value> {
    let bind = |name: &str, groups: &[&str]| {
        let subject = |group: &&str| json!({"kind": "Group", "apiGroup": RBAC_GROUP, "name": group});
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": metadata(name, None),
            "subjects": groups.iter().map(subject).collect::<Vec<Value>>(),
            "roleRef": {"kind": "ClusterRole", "apiGroup": RBAC_GROUP, "name": name},
        })
    };
    vec![
        bind("cluster-admin", &[MASTERS]),
        bind("system:basic-user", &[AUTHENTICATED]),
        bind("system:discovery", &[AUTHENTICATED]),
        bind("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
        bind("system:service-account-issuer-discovery", &[SERVICE_ACCOUNTS]),
        bind("system:monitoring", &[MONITORING]),
    ]
}

/// What becomes of a default that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Reconciled {
    /// It has all that it must have, or is left alone.
    Kept,
    /// It gets back what was taken from it.
    Changed(Value),
    /// It names another role, and a binding's role never changes: another takes its place.
    Replaced,
}

/// Compares a default role or binding with what is there under its name.
pub fn reconcile(found: &Value, wanted: &Value) -> Reconciled {
    if found["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return Reconciled::Kept;
    }
    if wanted.get("roleRef").is_some() && wanted["roleRef"] != found["roleRef"] {
        return Reconciled::Replaced;
    }
    let mut next = found.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if next["metadata"][field].get(key).is_none() {
                next["metadata"][field][key] = value.clone();
            }
        }
    }
    // What an aggregated role says is its controller's business.
    match wanted.get("aggregationRule") {
        Some(rule) => {
            let selectors = &rule["clusterRoleSelectors"];
            add_missing(&mut next["aggregationRule"]["clusterRoleSelectors"], selectors);
        }
        None if wanted.get("roleRef").is_some() => add_missing(&mut next["subjects"], &wanted["subjects"]),
        None => add_rules(&mut next, wanted),
    }
    if next == *found { Reconciled::Kept } else { Reconciled::Changed(next) }
}

/// Adds the items of a list that another lacks.
fn add_missing(list: &mut Value, wanted: &Value) {
    let mut items = list.as_array().cloned().unwrap_or_default();
    for item in wanted.as_array().into_iter().flatten() {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
    if !items.is_empty() {
        *list = items.into();
    }
}

/// Adds the rules that those of the role do not cover.
fn add_rules(next: &mut Value, wanted: &Value) {
    let read = |object: &Value| Role::read(object).unwrap_or_default().rules;
    match covers(&read(next), &read(wanted)) {
        Ok(()) => {}
        Err(Uncovered::Rules(missing)) => {
            let mut rules = next["rules"].as_array().cloned().unwrap_or_default();
            rules.extend(missing.iter().map(|rule| json!(rule)));
            next["rules"] = rules.into();
        }
        // Never: the defaults are few, and only they are counted.
        Err(Uncovered::TooMany) => next["rules"] = wanted["rules"].clone(),
    }
}
