//! What expressions of a policy can name. Source: `BuildRequestType` and `BuildNamespaceType` of Kubernetes'
//! `plugin/cel/compile.go`.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use watchbell_cel::{Declarations, ObjectType, Type};

pub(super) const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
pub(super) const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    MatchCondition,
    /// Also of a variable and of an audit annotation.
    Validation,
    /// Nobody asks the authorizer for words.
    Message,
}

/// Whether the policy has parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Params {
    None,
    Declared,
}

impl Params {
    pub(super) fn of(spec: &Value) -> Params {
        match spec["paramKind"].is_object() {
            true => Params::Declared,
            false => Params::None,
        }
    }
}

pub(super) fn of(place: Use, params: Params) -> Declarations {
    of_object(place, params, Type::Dyn, Type::Dyn)
}

/// With what is known of the object and of the parameters.
pub(super) fn of_object(place: Use, params: Params, object: Type, params_type: Type) -> Declarations {
    let mut declarations = Declarations::default()
        .with("object", object.clone())
        .with("oldObject", object)
        .with("request", REQUEST.clone())
        .with("namespaceObject", NAMESPACE.clone());
    if params == Params::Declared {
        declarations = declarations.with("params", params_type);
    }
    match place {
        Use::Message => declarations,
        Use::MatchCondition | Use::Validation => {
            declarations.with("authorizer", AUTHORIZER).with("authorizer.requestResource", RESOURCE_CHECK)
        }
    }
}

fn object(name: &'static str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(name, kind)| ((*name).into(), kind.clone())).collect();
    Type::Object(Arc::new(ObjectType { name, fields }))
}

fn texts(name: &'static str, fields: &[&str]) -> Type {
    let fields: Vec<(&str, Type)> = fields.iter().map(|name| (*name, Type::String)).collect();
    object(name, &fields)
}

/// Who asks.
pub fn user_info() -> Type {
    let strings = Type::list(Type::String);
    object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", strings.clone()),
            ("extra", Type::map(Type::String, strings)),
        ],
    )
}

static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let kind = texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user_info()),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let strings = Type::list(Type::String);
    let words = Type::map(Type::String, Type::String);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", words.clone()),
            ("annotations", words),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", strings.clone()),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", strings)]);
    let status = object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
});
