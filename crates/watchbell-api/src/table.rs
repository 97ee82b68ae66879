//! `meta.k8s.io/v1` Table: the columns and rows that `kubectl get` prints. Columns, words and durations are those of
//! Kubernetes' own printers (`pkg/printers/internalversion`), so that scripts that cut them read on.

mod admission_policy;
mod array;
mod batch;
mod duration;
mod event;
mod image;
mod node;
mod plain;
mod pod;
mod policy;
mod rbac;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod user;

use serde_json::{Value, json};

pub use duration::human_duration;

use crate::{Resource, convert};

/// One column.
struct Column {
    name: &'static str,
    kind: Kind,
    description: &'static str,
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    String,
    Integer,
    Boolean,
}

/// When a column is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    /// With `-o wide`.
    Wide,
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: Kind::String, description, shown: Shown::Always }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: Kind::Integer, description, shown: Shown::Always }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: Kind::String, description, shown: Shown::Wide }
}

const fn wide_integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: Kind::Integer, description, shown: Shown::Wide }
}

const NAME: Column = Column {
    name: "Name",
    kind: Kind::Name,
    description: "The name of the object, unique among its kind and in its namespace.",
    shown: Shown::Always,
};
const AGE: Column = column("Age", "How long ago the object was created.");

fn columns_of(resource: Resource) -> &'static [Column] {
    match resource {
        Resource::Namespace => &plain::NAMESPACE,
        Resource::ConfigMap => &plain::CONFIG_MAP,
        Resource::Secret => &plain::SECRET,
        Resource::ServiceAccount => &plain::SERVICE_ACCOUNT,
        Resource::Node => &node::COLUMNS,
        Resource::Pod => &pod::COLUMNS,
        Resource::Event | Resource::EventsEvent => &event::COLUMNS,
        Resource::Job => &batch::JOB,
        Resource::CronJob => &batch::CRON_JOB,
        Resource::ResourceQuota => &policy::RESOURCE_QUOTA,
        Resource::LimitRange => &policy::LIMIT_RANGE,
        Resource::PersistentVolumeClaim => &storage::CLAIM,
        Resource::PersistentVolume => &storage::VOLUME,
        Resource::StorageClass => &storage::CLASS,
        Resource::PriorityClass => &policy::PRIORITY_CLASS,
        Resource::RuntimeClass => &policy::RUNTIME_CLASS,
        Resource::NetworkPolicy => &policy::NETWORK_POLICY,
        Resource::Lease => &policy::LEASE,
        Resource::UserToken => &user::TOKEN,
        Resource::UserCertificate => &user::CERTIFICATE,
        Resource::CertificateRevocation => &user::REVOCATION,
        Resource::ImagePolicy | Resource::ClusterImagePolicy => &image::POLICY,
        Resource::VulnerabilityReport => &image::REPORT,
        Resource::DataArray => &array::COLUMNS,
        Resource::Role | Resource::ClusterRole => &rbac::ROLE,
        Resource::RoleBinding | Resource::ClusterRoleBinding => &rbac::BINDING,
        Resource::ValidatingAdmissionPolicy => &admission_policy::POLICY,
        Resource::ValidatingAdmissionPolicyBinding => &admission_policy::BINDING,
        Resource::Service => &service::COLUMNS,
        Resource::Endpoints
        | Resource::ReplicationController
        | Resource::DaemonSet
        | Resource::Deployment
        | Resource::ReplicaSet
        | Resource::StatefulSet => &plain::OTHER,
    }
}

/// The `columnDefinitions` of a resource.
pub fn columns(resource: Resource) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": match column.kind {
                Kind::Integer => "integer",
                Kind::Boolean => "boolean",
                Kind::Name | Kind::String => "string",
            },
            "format": if column.kind == Kind::Name { "name" } else { "" },
            "description": column.description,
            "priority": i32::from(column.shown == Shown::Wide),
        })
    };
    columns_of(resource).iter().map(definition).collect()
}

/// The cells of one object at `now` (Unix seconds), in the order of [`columns`].
pub fn cells(resource: Resource, object: &Value, now: i64) -> Vec<Value> {
    match resource {
        Resource::Namespace => plain::namespace(object, now),
        Resource::ConfigMap => plain::config_map(object, now),
        Resource::Secret => plain::secret(object, now),
        Resource::ServiceAccount => plain::service_account(object, now),
        Resource::Node => node::cells(object, now),
        Resource::Pod => pod::cells(object, now),
        Resource::Event => event::cells(object, now),
        Resource::Job => batch::job(object, now),
        Resource::CronJob => batch::cron_job(object, now),
        Resource::ResourceQuota => policy::resource_quota(object, now),
        Resource::LimitRange => policy::limit_range(object),
        Resource::PersistentVolumeClaim => storage::claim(object, now),
        Resource::PersistentVolume => storage::volume(object, now),
        Resource::StorageClass => storage::storage_class(object, now),
        Resource::PriorityClass => policy::priority_class(object, now),
        Resource::RuntimeClass => policy::runtime_class(object, now),
        Resource::NetworkPolicy => policy::network_policy(object, now),
        Resource::Lease => policy::lease(object, now),
        Resource::Role | Resource::ClusterRole => rbac::role(object),
        Resource::RoleBinding | Resource::ClusterRoleBinding => rbac::binding(object, now),
        Resource::ValidatingAdmissionPolicy => admission_policy::policy(object, now),
        Resource::ValidatingAdmissionPolicyBinding => admission_policy::binding(object, now),
        Resource::EventsEvent => event::cells(&convert::to_stored(resource, object.clone()), now),
        Resource::UserToken => user::token(object, now),
        Resource::UserCertificate => user::certificate(object, now),
        Resource::CertificateRevocation => user::revocation(object, now),
        Resource::ImagePolicy | Resource::ClusterImagePolicy => image::policy(object, now),
        Resource::VulnerabilityReport => image::report(object, now),
        Resource::DataArray => array::cells(object, now),
        Resource::Service => service::cells(object, now),
        Resource::Endpoints
        | Resource::ReplicationController
        | Resource::DaemonSet
        | Resource::Deployment
        | Resource::ReplicaSet
        | Resource::StatefulSet => plain::other(object, now),
    }
}

// --- what the kinds share ------------------------------------------------------------------------------------------

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn number(value: &Value, path: &[&str]) -> i64 {
    at(value, path).and_then(Value::as_i64).unwrap_or(0)
}

fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name(object: &Value) -> Value {
    text(object, &["metadata", "name"]).into()
}

fn age(object: &Value, now: i64) -> Value {
    since(text(object, &["metadata", "creationTimestamp"]), now).into()
}

/// Unix seconds of a time of the API.
fn seconds(time: &str) -> Option<i64> {
    Some(time.parse::<jiff::Timestamp>().ok()?.as_second())
}

fn since(time: &str, now: i64) -> String {
    seconds(time).map_or_else(|| "<unknown>".into(), |at| human_duration(now - at))
}

fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// Whether a condition of the list is `True`.
fn is_true(conditions: &[Value], kind: &str) -> bool {
    conditions.iter().any(|c| text(c, &["type"]) == kind && text(c, &["status"]) == "True")
}
