mod bounds;
mod known;
mod words;

use serde_json::{Value as Json, json};

use crate::functions::authorizer::{Check, Subject};
use crate::value::Authorizer;
use crate::{Declarations, Evaluation, Evaluator, Host, Opaque, Type, Value, Verdict, compile};

/// An object, and an authorizer that lets everybody read pods and the service account `ml/trainer` create Jobs.
pub(crate) struct Stage(pub Json);

impl<'a> Host<'a> for &'a Stage {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        match name {
            "object" => Some(Value::from(&self.0)),
            "authorizer" => Some(Value::Opaque(Opaque::Authorizer(Authorizer::Of(Subject::Requester)))),
            _ => None,
        }
    }

    fn decide(&self, check: &Check) -> Verdict {
        let allowed = match check {
            Check::Path { .. } => false,
            Check::Resource { subject: Subject::Requester, resource, verb, .. } => {
                &**resource == "pods" && &**verb == "get"
            }
            Check::Resource {
                subject: Subject::ServiceAccount { namespace, name },
                group,
                resource,
                verb,
                ..
            } => {
                (&**namespace, &**name, &**group, &**resource, &**verb)
                    == ("ml", "trainer", "batch", "jobs", "create")
            }
        };
        Verdict { allowed, reason: "because".into(), error: String::new() }
    }
}

pub(crate) fn declared() -> Declarations {
    Declarations::default()
        .with("object", Type::Dyn)
        .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
}

/// Runs an expression over an object, and hands on what came of it.
pub(crate) fn run<T>(text: &str, object: Json, then: impl FnOnce(Evaluation<'_>) -> T) -> T {
    let program = compile(text, &declared()).unwrap_or_else(|error| panic!("{text}:\n{error}"));
    let stage = Stage(object);
    let host = &stage;
    let mut evaluator = Evaluator::new(&host, &[]);
    then(evaluator.run(&program))
}

pub(crate) fn pod() -> Json {
    json!({
        "metadata": {"name": "train-0", "labels": {"app": "train", "tier": "batch"}},
        "spec": {
            "replicas": 3,
            "ratio": 0.5,
            "containers": [
                {"name": "main", "image": "example.com/train:v1", "resources": {"limits": {"memory": "1Gi"}}},
                {"name": "side", "image": "busybox:1.37"},
            ],
        },
    })
}
