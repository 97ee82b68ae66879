//! A request that wants to change something, after authentication and decoding.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::access::{Deed, Impersonation};
pub use crate::copies::RerunIndexes;
use crate::service_account::Issue;

/// Who asks: the authenticated identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// What else is known of him, by lower-case keys with a domain before the slash.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The control loop itself.
    pub fn controller() -> User {
        User {
            name: "system:watchbell-controller".into(),
            groups: vec!["system:masters".into()],
            ..User::default()
        }
    }

    /// A service account, in its groups.
    pub fn service_account(namespace: &str, name: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            ..User::default()
        }
    }

    /// As `UserInfo` of `authentication.k8s.io/v1` shows him, to himself and in the audit journal.
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.clone().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// A change to one object or a collection.
#[derive(Debug, Clone)]
pub struct Request {
    pub user: User,
    pub resource: Resource,
    /// Empty for cluster-scoped resources (and, with [`Write::DeleteCollection`], for all namespaces).
    pub namespace: String,
    /// Empty for [`Write::Create`] (the object carries it) and [`Write::DeleteCollection`].
    pub name: String,
    pub subresource: Subresource,
    pub write: Write,
    pub options: WriteOptions,
    /// Names the request in the audit journal.
    pub audit_id: String,
    /// Who it really is, when `user` is whom he acts as.
    pub impersonation: Option<Impersonation>,
    /// What the audit journal keeps in the place of the body; `None`: there was none, or it may hold a secret.
    pub body_hash: Option<Box<str>>,
    /// When its head came; `None`: it comes from within, now.
    pub received: Option<Timestamp>,
}

impl Request {
    /// What it would do, as far as rights are concerned.
    pub fn deed(&self) -> Deed<'_> {
        let info = self.resource.info();
        Deed::Resource {
            verb: self.write.verb(),
            group: info.group,
            resource: info.plural,
            // A rollback is a verb of its own on the array itself.
            subresource: match self.write {
                Write::Rollback { .. } => "",
                _ => self.subresource.as_str(),
            },
            // As in Kubernetes a namespace lies in itself: a role in it may be about it.
            namespace: if self.resource == Resource::Namespace { &self.name } else { &self.namespace },
            name: &self.name,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subresource {
    #[default]
    None,
    Status,
    /// Of a pod: [`Write::Evict`] asks for it.
    Eviction,
    /// Of a service account: [`Write::IssueToken`].
    Token,
    /// Of a CronJob: [`Write::Trigger`].
    Trigger,
    /// Of a CronJob: [`Write::Suspend`].
    Suspend,
    /// Of a Job: [`Write::Rerun`].
    Rerun,
    /// Of a data array: [`Write::Rollback`].
    Rollback,
}

impl Subresource {
    /// As paths, rules and the audit journal have it; empty: the object itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Subresource::None => "",
            Subresource::Status => "status",
            Subresource::Eviction => "eviction",
            Subresource::Token => "token",
            Subresource::Trigger => "trigger",
            Subresource::Suspend => "suspend",
            Subresource::Rerun => "rerun",
            Subresource::Rollback => "rollback",
        }
    }
}

#[derive(Debug, Clone)]
pub enum Write {
    Create(Value),
    /// Creates an object of which the server made a part.
    Issue {
        object: Value,
        issued: Issued,
    },
    Update(Value),
    Patch {
        kind: PatchKind,
        body: Value,
    },
    Delete(DeleteOptions),
    /// A token of the service account is given out: nothing is stored but that it was.
    IssueToken(Box<Issue>),
    /// The pod goes because somebody needs its place; it says so to whoever made it.
    Evict(DeleteOptions),
    DeleteCollection {
        options: DeleteOptions,
        label_selector: String,
        field_selector: String,
        page: Page,
    },
    /// The CronJob's Job is made now, beside its schedule. An empty name: one is made up.
    Trigger {
        job_name: String,
    },
    /// Of a CronJob its `spec.suspend`, and nothing else.
    Suspend(Schedule),
    /// A new Job runs what an ended one ran. An empty name: one is made up.
    Rerun {
        job_name: String,
        indexes: RerunIndexes,
    },
    /// The head of a data array shall be what an older snapshot was: a tag, a digest or the beginning of one.
    Rollback {
        to: String,
        /// Also one that the server did not sign.
        unsigned_ok: bool,
    },
}

impl Write {
    /// Kubernetes' word for it, in rules and in the audit journal.
    pub fn verb(&self) -> &'static str {
        match self {
            Write::Create(_)
            | Write::Issue { .. }
            | Write::Evict(_)
            | Write::IssueToken(_)
            | Write::Trigger { .. }
            | Write::Rerun { .. } => "create",
            Write::Update(_) => "update",
            Write::Patch { .. } | Write::Suspend(_) => "patch",
            Write::Rollback { .. } => "rollback",
            Write::Delete(_) => "delete",
            Write::DeleteCollection { .. } => "deletecollection",
        }
    }
}

/// Whether a CronJob's schedule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    Suspended,
    Running,
}

/// What the server made for a new object.
#[derive(Clone)]
pub enum Issued {
    /// SHA-256 of the secret of a `UserToken`.
    Token { digest: [u8; 32] },
    /// The status of a `UserCertificate`, but for who asked for it.
    Certificate { status: Value },
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Issued::Token { .. } => "Token",
            Issued::Certificate { .. } => "Certificate",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    StrategicMerge,
    /// Server-side apply.
    Apply,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    pub dry_run: DryRun,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: Force,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    #[default]
    No,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Force {
    #[default]
    No,
    Yes,
}

/// What happens to unknown and duplicate fields (KEP-2885). The API server's own default is `Warn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Strict,
    #[default]
    Warn,
    Ignore,
}

/// Which of a collection that was chosen are meant, in the order of namespaces and names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// 0: all.
    pub limit: usize,
    /// Those behind this namespace and name.
    pub start_after: Option<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: Option<Propagation>,
    pub precondition_uid: Option<String>,
    pub precondition_resource_version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What the client gets back.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object as it now stands (or stood, when it is gone), or a `Status`.
    pub object: Value,
    pub outcome: Outcome,
    /// Each becomes a `Warning: 299 - "…"` header.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 201
    Created,
    /// 200
    Done,
}
