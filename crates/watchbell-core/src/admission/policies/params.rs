//! The parameter objects of a policy with a binding. Source: `CollectParams` of Kubernetes' `policy_dispatcher.go`.

use serde_json::Value;
use watchbell_api::Resource;

use super::definition::{Binding, ParamKind, Policy};
use super::{Place, Surroundings};

/// How many objects a selector may choose: each is one more run of the policy.
pub(super) const PARAMS_MAX: usize = 1_000;

/// What a policy runs with.
pub(super) enum Params {
    /// Once, without.
    None,
    Named(Value),
    /// Once with each. They are read when it is their turn: together they may be large.
    Chosen(Resource, Vec<Place>),
}

/// Why a policy cannot be run.
pub(super) enum Unusable {
    /// In Kubernetes too.
    Config(String),
    /// For a bound that only is here.
    Own(String),
}

/// `looked`: at how many objects a selector looked.
pub(super) fn collect(
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
    surroundings: &dyn Surroundings,
    looked: &mut usize,
) -> Result<Params, Unusable> {
    let (Some(ParamKind { resource: Some(resource), .. }), Some(reference)) =
        (&policy.param_kind, &binding.params)
    else {
        return Ok(Params::None);
    };
    let wrong = |why: &str| Err(Unusable::Config(why.into()));
    let namespace = match (resource.is_namespaced(), &*reference.namespace) {
        (true, "") if namespace.is_empty() => {
            return wrong(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            );
        }
        (true, "") => namespace,
        (true, named) => named,
        (false, "") => "",
        (false, _) => {
            return wrong("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
        }
    };
    let found = if !reference.name.is_empty() {
        surroundings.object(*resource, namespace, &reference.name).map(Params::Named)
    } else if reference.selector.is_object() {
        let within = Some(namespace).filter(|namespace| !namespace.is_empty());
        let chosen = surroundings.chosen(*resource, within, &reference.selector, PARAMS_MAX + 1);
        *looked = chosen.looked;
        if chosen.places.len() > PARAMS_MAX {
            return Err(Unusable::Own(format!("paramRef.selector chooses more than {PARAMS_MAX} objects")));
        }
        (!chosen.places.is_empty()).then_some(Params::Chosen(*resource, chosen.places))
    } else {
        return wrong("one of name or selector must be provided");
    };
    match found {
        Some(params) => Ok(params),
        None if reference.must_be_there => {
            wrong("no params found for policy binding with `Deny` parameterNotFoundAction")
        }
        None => Ok(Params::Chosen(*resource, Vec::new())),
    }
}
