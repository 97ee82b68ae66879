//! One policy with one set of parameters. Source: `validating/validator.go`, `cel/activation.go` and
//! `matchconditions/matcher.go` of Kubernetes' API server.

use watchbell_api::Reason;
use watchbell_cel::{Allowance, EvalError, Evaluator, Limit, Program, Value};

use super::definition::{Expression, Policy, Validation};
use super::host::Host;

/// Source: `RuntimeCELCostBudget` and `RuntimeCELCostBudgetMatchConditions` of `apiserver/pkg/apis/cel`.
const POLICY_COST_MAX: u64 = 10_000_000;
const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// Of a bound that a cluster does not have: what policies say of one request costs too much together.
pub(super) const USED_UP: &str =
    "the policies that judge the request come to more than a request may cost, no further policy will be run";

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
}

/// What all that is run for a request may use up together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    pub cost: u64,
    pub allowance: Allowance,
}

impl Shared {
    pub(super) fn is_used_up(&self) -> bool {
        self.cost == 0 || self.allowance.work == 0 || self.allowance.memory == 0
    }
}

/// What is left of a cost.
struct Purse<'s> {
    left: u64,
    shared: &'s mut Shared,
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    /// Of what the policy may cost, as in Kubernetes.
    Policy,
    /// Of what the request may.
    Request,
}

impl Spent {
    fn message(self) -> &'static str {
        match self {
            Spent::Policy => OUT_OF_BUDGET,
            Spent::Request => USED_UP,
        }
    }

    /// Who overlooks failures overlooks those of a cluster. A bound of our own would let through what no cluster does.
    fn is_overlooked(self, policy: &Policy) -> bool {
        policy.ignores_failures && self == Spent::Policy
    }
}

fn is_overlooked(policy: &Policy, why: &EvalError) -> bool {
    policy.ignores_failures && !matches!(why, EvalError::Cancelled(Limit::Own(_)))
}

impl Purse<'_> {
    /// The value of an expression. The outer error: there is nothing left.
    fn run<'a, 'p>(
        &mut self,
        evaluator: &mut Evaluator<'a, 'p>,
        program: &'p Program,
    ) -> Result<Result<Value<'a>, EvalError>, Spent> {
        let evaluation = evaluator.run(program);
        self.shared.allowance = evaluator.left();
        let shared = self.shared.cost.checked_sub(evaluation.cost);
        self.shared.cost = shared.unwrap_or(0);
        shared.ok_or(Spent::Request)?;
        self.left = self.left.checked_sub(evaluation.cost).ok_or(Spent::Policy)?;
        Ok(evaluation.value)
    }
}

fn failed(expression: &Expression, error: &EvalError) -> String {
    format!("expression '{}' resulted in error: {error}", expression.text)
}

pub(super) fn run(policy: &Policy, host: &Host<'_>, shared: &mut Shared) -> Ran {
    let mut evaluator = Evaluator::within(host, &policy.variables, shared.allowance);
    let error = |message: String| Ran {
        decided: vec![Some(Decided { message, reason: Reason::Invalid })],
        ..Ran::default()
    };
    let mut purse = Purse { left: MATCH_CONDITIONS_COST_MAX, shared };
    match matches(policy, &mut evaluator, &mut purse) {
        Ok(true) => {}
        Ok(false) => return Ran::default(),
        Err(message) => return error(message),
    }
    purse.left = POLICY_COST_MAX;
    let mut values = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        match purse.run(&mut evaluator, &validation.expression.program) {
            Ok(value) => values.push(value),
            Err(spent) if spent.is_overlooked(policy) => return Ran::default(),
            Err(spent) => return error(spent.message().into()),
        }
    }
    let decided = policy
        .validations
        .iter()
        .zip(values)
        .map(|(validation, value)| match value {
            Ok(Value::Bool(true)) => None,
            Ok(_) => Some(words(validation, &mut evaluator, &mut purse)),
            Err(why) if is_overlooked(policy, &why) => None,
            Err(why) => {
                Some(Decided { message: failed(&validation.expression, &why), reason: Reason::Invalid })
            }
        })
        .collect();
    let annotations = annotations(policy, &mut evaluator, &mut purse);
    Ran { decided, annotations }
}

/// Whether all conditions hold. One that does not wins over errors of others.
fn matches<'p>(
    policy: &'p Policy,
    evaluator: &mut Evaluator<'_, 'p>,
    purse: &mut Purse<'_>,
) -> Result<bool, String> {
    let mut errors = Vec::new();
    for condition in &policy.match_conditions {
        match purse.run(evaluator, &condition.program) {
            Err(spent) if spent.is_overlooked(policy) => return Ok(false),
            Err(spent) => return Err(spent.message().into()),
            Ok(Ok(Value::Bool(true))) => {}
            Ok(Ok(_)) => return Ok(false),
            Ok(Err(why)) => errors.push((is_overlooked(policy, &why), failed(condition, &why))),
        }
    }
    if errors.iter().any(|(is_overlooked, _)| !is_overlooked) {
        let errors: Vec<String> = errors.into_iter().map(|(_, error)| error).collect();
        return Err(match errors.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        });
    }
    Ok(errors.is_empty())
}

/// What is said of a validation that does not hold: what its expression makes, its message, or the expression itself.
fn words<'p>(
    validation: &'p Validation,
    evaluator: &mut Evaluator<'_, 'p>,
    purse: &mut Purse<'_>,
) -> Decided {
    let made = match &validation.message_expression {
        None => None,
        Some(expression) => match purse.run(evaluator, &expression.program) {
            Err(spent) => {
                let message = format!("failed messageExpression: {}", spent.message());
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
    purse: &mut Purse<'_>,
) -> Vec<Annotation> {
    let mut written = Vec::new();
    for annotation in &policy.audit_annotations {
        let value = match purse.run(evaluator, &annotation.value.program) {
            Ok(value) => value,
            Err(spent) => {
                let failed = Annotation::Failed { why: spent.message().into() };
                written.extend((!spent.is_overlooked(policy)).then_some(failed));
                return written;
            }
        };
        match value {
            Ok(Value::Null) => {}
            Ok(Value::String(text)) if text.trim().is_empty() => {}
            Ok(Value::String(text)) => written
                .push(Annotation::Written { key: annotation.key.to_string(), value: text.trim().to_owned() }),
            Ok(_) if policy.ignores_failures => {}
            Ok(other) => written.push(Annotation::Failed {
                why: format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    annotation.value.text,
                    other.type_name()
                ),
            }),
            Err(why) if is_overlooked(policy, &why) => {}
            Err(why) => written.push(Annotation::Failed { why: failed(&annotation.value, &why) }),
        }
    }
    written
}
