//! Expressions of admission policies: what a policy brings, read, checked and run.

use std::sync::LazyLock;

use serde_json::{Value, json};
use watchbell_cel::{
    Authorizer, Check, Declarations, EXPRESSION_COST_MAX, EvalError, Evaluator, Host, Opaque, Subject, Type,
    Value as Cel, Verdict, compile,
};

static OBJECT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "metadata": {"name": "train-0", "labels": {"app": "train"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {
            "list": (0..2000).collect::<Vec<_>>(), "text": "a".repeat(20_000), "ratio": 0.5, "big": u64::MAX, "none": null,
            "containers": [{"name": "main", "image": "example.com/train:v1", "limits": {"memory": "1Gi"}}],
        },
    })
});

struct Stage;

impl Host<'static> for Stage {
    fn variable(&self, name: &str) -> Option<Cel<'static>> {
        match name {
            "object" | "oldObject" => Some(Cel::from(&*OBJECT)),
            "params" => Some(Cel::Null),
            "authorizer" => Some(Cel::Opaque(Opaque::Authorizer(Authorizer::Of(Subject::Requester)))),
            _ => None,
        }
    }

    fn decide(&self, _: &Check) -> Verdict {
        Verdict::default()
    }
}

/// It is read or refused; what is read ends, and what costs more than it may comes to nothing. Lines that begin with `$` are
/// fields of `variables`.
pub fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut declarations = Declarations::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("params", Type::Dyn)
        .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
        .with_composition();
    let mut variables = Vec::new();
    let mut rest = text;
    while let Some((line, after)) = rest.strip_prefix('$').and_then(|text| text.split_once('\n')) {
        if let Ok(program) = compile(line, &declarations) {
            declarations.compose(&format!("v{}", variables.len()), program.output().clone());
            variables.push(program);
        }
        rest = after;
    }
    let program = match compile(rest, &declarations) {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            return;
        }
    };
    let mut evaluator = Evaluator::new(&Stage, &variables);
    let evaluation = evaluator.run(&program);
    // Of variables each has a limit of its own.
    if variables.is_empty() && evaluation.cost > EXPRESSION_COST_MAX {
        assert!(
            matches!(evaluation.value, Err(EvalError::Cancelled(_))),
            "{rest:?} costs {}",
            evaluation.cost
        );
    }
}
