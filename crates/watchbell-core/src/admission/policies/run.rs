//! One policy with one set of parameters. Source: `validating/validator.go`, `cel/activation.go` and
//! `matchconditions/matcher.go` of Kubernetes' API server.

use watchbell_api::Reason;
use watchbell_cel::{EvalError, Evaluator, Program, Value};

use super::definition::{Expression, Policy, Validation};
use super::host::Host;

/// Source: `RuntimeCELCostBudget` and `RuntimeCELCostBudgetMatchConditions` of `apiserver/pkg/apis/cel`.
const POLICY_COST_MAX: u64 = 10_000_000;
const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Why a validation failed.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub message: String,
    pub reason: Reason,
}

#[derive(Debug)]
pub(super) enum Annotation {
    Written { key: String, value: String },
    Failed { why: String },
}

#[derive(Debug, Default)]
pub(super) struct Ran {
    /// Of each validation: what it found; `None`: nothing.
    pub decided: Vec<Option<Decided>>,
    pub annotations: Vec<Annotation>,
    pub cost: u64,
}

/// What is left of a cost.
struct Purse {
    left: u64,
    spent: u64,
}

impl Purse {
    fn new(left: u64) -> Purse {
        Purse { left, spent: 0 }
    }

    /// The value of an expression. The outer error: there is nothing left.
    fn run<'a, 'p>(
        &mut self,
        evaluator: &mut Evaluator<'a, 'p>,
        program: &'p Program,
    ) -> Result<Result<Value<'a>, EvalError>, ()> {
        let evaluation = evaluator.run(program);
        self.spent = self.spent.saturating_add(evaluation.cost);
        self.left = self.left.checked_sub(evaluation.cost).ok_or(())?;
        Ok(evaluation.value)
    }
}

fn failed(expression: &Expression, error: &EvalError) -> String {
    format!("expression '{}' resulted in error: {error}", expression.text)
}

pub(super) fn run(policy: &Policy, host: &Host<'_>, cost_left: u64) -> Ran {
    let mut evaluator = Evaluator::new(host, &policy.variables);
    let mut purse = Purse::new(MATCH_CONDITIONS_COST_MAX.min(cost_left));
    let error = |message: String| match policy.ignores_failures {
        true => Vec::new(),
        false => vec![Some(Decided { message, reason: Reason::Invalid })],
    };
    match matches(policy, &mut evaluator, &mut purse) {
        Ok(true) => {}
        Ok(false) => return Ran { cost: purse.spent, ..Ran::default() },
        Err(message) => return Ran { decided: error(message), cost: purse.spent, ..Ran::default() },
    }
    let conditions_cost = purse.spent;
    let mut purse = Purse::new(POLICY_COST_MAX.min(cost_left.saturating_sub(conditions_cost)));
    let mut values = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        match purse.run(&mut evaluator, &validation.expression.program) {
            Ok(value) => values.push(value),
            Err(()) => {
                let cost = conditions_cost.saturating_add(purse.spent);
                return Ran { decided: error(OUT_OF_BUDGET.into()), cost, ..Ran::default() };
            }
        }
    }
    let decided = policy
        .validations
        .iter()
        .zip(values)
        .map(|(validation, value)| match value {
            Ok(Value::Bool(true)) => None,
            Ok(_) => Some(words(validation, &mut evaluator, &mut purse)),
            Err(_) if policy.ignores_failures => None,
            Err(why) => {
                Some(Decided { message: failed(&validation.expression, &why), reason: Reason::Invalid })
            }
        })
        .collect();
    let annotations = annotations(policy, &mut evaluator, &mut purse);
    Ran { decided, annotations, cost: conditions_cost.saturating_add(purse.spent) }
}

/// Whether all conditions hold. One that does not wins over errors of others.
fn matches<'p>(
    policy: &'p Policy,
    evaluator: &mut Evaluator<'_, 'p>,
    purse: &mut Purse,
) -> Result<bool, String> {
    let mut errors = Vec::new();
    for condition in &policy.match_conditions {
        match purse.run(evaluator, &condition.program) {
            Err(()) if policy.ignores_failures => return Ok(false),
            Err(()) => return Err(OUT_OF_BUDGET.into()),
            Ok(Ok(Value::Bool(true))) => {}
            Ok(Ok(_)) => return Ok(false),
            Ok(Err(why)) => errors.push(failed(condition, &why)),
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        _ if policy.ignores_failures => Ok(false),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// What is said of a validation that does not hold: what its expression makes, its message, or the expression itself.
fn words<'p>(validation: &'p Validation, evaluator: &mut Evaluator<'_, 'p>, purse: &mut Purse) -> Decided {
    let made = match &validation.message_expression {
        None => None,
        Some(expression) => match purse.run(evaluator, &expression.program) {
            Err(()) => {
                let message = format!("failed messageExpression: {OUT_OF_BUDGET}");
                return Decided { message, reason: Reason::Invalid };
            }
            Ok(Ok(Value::String(text))) => {
                let text = text.trim();
                let fits = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
                fits.then(|| text.to_owned())
            }
            Ok(_) => None,
        },
    };
    let message = made.unwrap_or_else(|| match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.text.trim()),
        message => message.to_owned(),
    });
    Decided { message, reason: validation.reason }
}

fn annotations<'p>(
    policy: &'p Policy,
    evaluator: &mut Evaluator<'_, 'p>,
    purse: &mut Purse,
) -> Vec<Annotation> {
    let mut written = Vec::new();
    let fail = |why: String| match policy.ignores_failures {
        true => None,
        false => Some(Annotation::Failed { why }),
    };
    for annotation in &policy.audit_annotations {
        let Ok(value) = purse.run(evaluator, &annotation.value.program) else {
            written.extend(fail(OUT_OF_BUDGET.into()));
            return written;
        };
        match value {
            Ok(Value::Null) => {}
            Ok(Value::String(text)) if text.trim().is_empty() => {}
            Ok(Value::String(text)) => written
                .push(Annotation::Written { key: annotation.key.to_string(), value: text.trim().to_owned() }),
            Ok(other) => written.extend(fail(format!(
                "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                annotation.value.text,
                other.type_name()
            ))),
            Err(why) => written.extend(fail(failed(&annotation.value, &why))),
        }
    }
    written
}
