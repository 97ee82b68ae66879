//! The parameter objects of a policy with a binding. Source: `CollectParams` of Kubernetes' `policy_dispatcher.go`.

use serde_json::{Map, Value};
use watchbell_api::validate;

use super::Surroundings;
use super::definition::{Binding, ParamKind, Policy};

/// How many objects a selector may choose: each is one more run of the policy.
const PARAMS_MAX: usize = 1_000;

/// What the policy runs with, each in turn; one `None`: once, without parameters. An empty list: not at all.
pub(super) fn collect(
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
    surroundings: &dyn Surroundings,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(ParamKind { resource: Some(resource), .. }), Some(reference)) =
        (&policy.param_kind, &binding.params)
    else {
        return Ok(vec![None]);
    };
    let namespace = match (resource.is_namespaced(), &*reference.namespace) {
        (true, "") if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => namespace,
        (true, named) => named,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let found: Vec<Value> = if !reference.name.is_empty() {
        surroundings.object(*resource, namespace, &reference.name).into_iter().collect()
    } else if reference.selector.is_object() {
        let within = Some(namespace).filter(|namespace| !namespace.is_empty());
        let nothing = Value::Object(Map::new());
        let is_chosen = |object: &Value| {
            let labels = object["metadata"].get("labels").unwrap_or(&nothing);
            validate::selects(&reference.selector, labels)
        };
        surroundings.objects(*resource, within).into_iter().filter(is_chosen).take(PARAMS_MAX + 1).collect()
    } else {
        return Err("one of name or selector must be provided".into());
    };
    if found.len() > PARAMS_MAX {
        return Err(format!("paramRef.selector chooses more than {PARAMS_MAX} objects"));
    }
    if found.is_empty() && reference.must_be_there {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.into_iter().map(Some).collect())
}
