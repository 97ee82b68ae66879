//! Questions to the authorizer: `authorizer.group('batch').resource('jobs').namespace('ml').check('create').allowed()`.

use std::sync::Arc;

use watchbell_api::name;

use super::{Cost, Row, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Authorizer, Opaque, Value};

/// What a check costs: two of them are all that an expression can have. Source: Kubernetes' `library/cost.go`.
const CHECK: u64 = 350_000;

macro_rules! check_of {
    ($($argument:literal)?) => {
        &[concat!("(kubernetes.authorization.ResourceCheck", $(", ", $argument,)? ") -> kubernetes.authorization.ResourceCheck")]
    };
}

pub(super) const TABLE: &[Row] = &[
    member(
        "path",
        &["(kubernetes.authorization.Authorizer, string) -> kubernetes.authorization.PathCheck"],
        path,
        Cost::One,
    ),
    member(
        "group",
        &["(kubernetes.authorization.Authorizer, string) -> kubernetes.authorization.GroupCheck"],
        group,
        Cost::One,
    ),
    member(
        "serviceAccount",
        &["(kubernetes.authorization.Authorizer, string, string) -> kubernetes.authorization.Authorizer"],
        service_account,
        Cost::One,
    ),
    member(
        "resource",
        &["(kubernetes.authorization.GroupCheck, string) -> kubernetes.authorization.ResourceCheck"],
        resource,
        Cost::One,
    ),
    member("subresource", check_of!("string"), subresource, Cost::One),
    member("namespace", check_of!("string"), namespace, Cost::One),
    member("name", check_of!("string"), object_name, Cost::One),
    member("fieldSelector", check_of!("string"), field_selector, Cost::One),
    member("labelSelector", check_of!("string"), label_selector, Cost::One),
    member(
        "check",
        &[
            "(kubernetes.authorization.PathCheck, string) -> kubernetes.authorization.Decision",
            "(kubernetes.authorization.ResourceCheck, string) -> kubernetes.authorization.Decision",
        ],
        check,
        Cost::Fixed(CHECK),
    ),
    member("allowed", &["(kubernetes.authorization.Decision) -> bool"], allowed, Cost::One),
    member("reason", &["(kubernetes.authorization.Decision) -> string"], reason, Cost::One),
    member("errored", &["(kubernetes.authorization.Decision) -> bool"], errored, Cost::One),
    member("error", &["(kubernetes.authorization.Decision) -> string"], error, Cost::One),
];

/// About whom is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Who sent the request.
    Requester,
    ServiceAccount {
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

/// A whole question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    Path {
        subject: Subject,
        path: Arc<str>,
        verb: Arc<str>,
    },
    Resource {
        subject: Subject,
        group: Arc<str>,
        resource: Arc<str>,
        subresource: Arc<str>,
        namespace: Arc<str>,
        name: Arc<str>,
        verb: Arc<str>,
    },
}

fn value<'a>(authorizer: Authorizer) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Authorizer(authorizer)))
}

fn asked<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    args: &[Value<'a>],
) -> Result<(Authorizer, Arc<str>), EvalError> {
    match args {
        [Value::Opaque(Opaque::Authorizer(authorizer)), Value::String(text), ..] => {
            evaluator.budget.memory(size_of::<Check>() + text.len())?;
            Ok((authorizer.clone(), (**text).into()))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn path<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (Authorizer::Of(subject), path) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    if path.trim().is_empty() {
        return Err(EvalError::failed("path must not be empty"));
    }
    value(Authorizer::Check(Arc::new(Check::Path { subject, path, verb: "".into() })))
}

fn group<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (Authorizer::Of(subject), group) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    value(Authorizer::Group(subject, group))
}

fn service_account<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (Authorizer::Of(_), namespace) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    let Some(Value::String(account)) = args.get(2) else { return Err(EvalError::no_overload()) };
    if !name::subdomain(account).is_empty() {
        return Err(EvalError::failed("Invalid service account name"));
    }
    if !name::label(&namespace).is_empty() {
        return Err(EvalError::failed("Invalid service account namespace"));
    }
    value(Authorizer::Of(Subject::ServiceAccount { namespace, name: (**account).into() }))
}

fn resource<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (Authorizer::Group(subject, group), resource) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    if resource.trim().is_empty() {
        return Err(EvalError::failed("resource must not be empty"));
    }
    let empty: Arc<str> = "".into();
    value(Authorizer::Check(Arc::new(Check::Resource {
        subject,
        group,
        resource,
        subresource: empty.clone(),
        namespace: empty.clone(),
        name: empty.clone(),
        verb: empty,
    })))
}

/// The check with one of its parts set.
fn with<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    args: &[Value<'a>],
    set: impl Fn(Parts<'_>, Arc<str>),
) -> Outcome<'a> {
    let (Authorizer::Check(check), text) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    let mut check = (*check).clone();
    let Check::Resource { subresource, namespace, name, .. } = &mut check else {
        return Err(EvalError::no_overload());
    };
    set(Parts { subresource, namespace, name }, text);
    value(Authorizer::Check(Arc::new(check)))
}

struct Parts<'c> {
    subresource: &'c mut Arc<str>,
    namespace: &'c mut Arc<str>,
    name: &'c mut Arc<str>,
}

fn subresource<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    with(evaluator, args, |parts, text| *parts.subresource = text)
}

fn namespace<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    with(evaluator, args, |parts, text| *parts.namespace = text)
}

fn object_name<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    with(evaluator, args, |parts, text| *parts.name = text)
}

/// RBAC does not look at selectors: whoever may without one may with one.
fn field_selector<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    with(evaluator, args, |_, _| {})
}

fn label_selector<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    with(evaluator, args, |_, _| {})
}

fn check<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (Authorizer::Check(check), asked_verb) = asked(evaluator, args)? else {
        return Err(EvalError::no_overload());
    };
    // Paid before it is asked.
    evaluator.budget.work(1_000)?;
    let mut check = (*check).clone();
    match &mut check {
        Check::Path { verb, .. } | Check::Resource { verb, .. } => *verb = asked_verb,
    }
    let verdict = evaluator.decide(&check);
    Ok(Value::Opaque(Opaque::Decision(Arc::new(verdict))))
}

fn decision<'v>(args: &'v [Value<'_>]) -> Result<&'v crate::eval::Verdict, EvalError> {
    match args.first() {
        Some(Value::Opaque(Opaque::Decision(verdict))) => Ok(verdict),
        _ => Err(EvalError::no_overload()),
    }
}

fn allowed<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(decision(args)?.allowed))
}

fn reason<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let reason = &decision(args)?.reason;
    evaluator.budget.memory(reason.len())?;
    Ok(Value::from(reason.clone()))
}

fn errored<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(!decision(args)?.error.is_empty()))
}

fn error<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::from(decision(args)?.error.clone()))
}
