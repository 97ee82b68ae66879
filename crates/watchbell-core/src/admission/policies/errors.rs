//! What is wrong with the expressions of a policy, told when it is written.

use serde_json::{Value, json};
use watchbell_api::FieldError;
use watchbell_api::error::FieldErrorClass;
use watchbell_cel::{
    CompileError, Declarations, PATTERN_BYTES_MAX, Program, Type, compile_within, is_identifier,
};

use super::declared::{self, Params, Use};
use super::matching::MatchResources;
use super::types;

/// How much of an expression is shown.
const SHOWN_MAX: usize = 256;

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

/// The errors of all expressions of a ValidatingAdmissionPolicy, in Kubernetes' words and with its paths.
pub fn expressions(object: &Value) -> Vec<FieldError> {
    let mut findings = Vec::new();
    let spec = &object["spec"];
    let params = Params::of(spec);
    let conditions = declared::of(Use::MatchCondition, params);
    let validation = declared::of(Use::Validation, params).with_composition();
    let words = declared::of(Use::Message, params).with_composition();
    each(spec, &conditions, validation, words, |found| {
        let Found { field, text, wanted, compiled } = found;
        let detail = match compiled {
            Err(error) => format!("compilation failed: {error}"),
            Ok(program) => match wrong_type(wanted, program.output()) {
                Some(detail) => detail,
                None => return,
            },
        };
        findings.push(invalid(field, text, detail));
    });
    for (at, variable) in items(&spec["variables"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        if !name.trim().is_empty() && !is_identifier(name) {
            let field = format!("spec.variables[{at}].name");
            findings.push(invalid(field, name, "name is not a valid CEL identifier".into()));
        }
    }
    findings
}

fn invalid(field: String, text: &str, detail: String) -> FieldError {
    let end = text.char_indices().nth(SHOWN_MAX).map_or(text.len(), |(end, _)| end);
    let more = if end < text.len() { "…" } else { "" };
    FieldError::new(
        FieldErrorClass::Invalid,
        field,
        format!("{:?}", format!("{}{more}", &text[..end])),
        detail,
    )
}

/// What an expression has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bool,
    Text,
    TextOrNull,
    Any,
}

fn wrong_type(wanted: Wanted, output: &Type) -> Option<String> {
    match (wanted, output) {
        (Wanted::Bool, Type::Bool)
        | (Wanted::Text | Wanted::TextOrNull, Type::String)
        | (Wanted::TextOrNull, Type::Null)
        | (Wanted::Any, _) => None,
        (Wanted::Bool, other) => Some(format!("must evaluate to bool but got {other}")),
        (Wanted::Text, other) => Some(format!("must evaluate to string but got {other}")),
        (Wanted::TextOrNull, other) => {
            Some(format!("must evaluate to one of [string null_type] but got {other}"))
        }
    }
}

struct Found<'s> {
    field: String,
    text: &'s str,
    wanted: Wanted,
    compiled: Result<Program, CompileError>,
}

/// Compiles all expressions in their order, each with what it can name.
fn each<'s>(
    spec: &'s Value,
    conditions: &Declarations,
    mut validation: Declarations,
    mut words: Declarations,
    mut tell: impl FnMut(Found<'s>),
) {
    let mut pattern_bytes = PATTERN_BYTES_MAX;
    let mut one = |field: String, value: &'s Value, wanted: Wanted, declarations: &Declarations| {
        let text = value.as_str().unwrap_or_default();
        // That it must be there is said by the rules of the kind.
        if text.trim().is_empty() {
            return None;
        }
        let compiled = compile_within(text, declarations, &mut pattern_bytes);
        let output = compiled.as_ref().ok().map(|program| program.output().clone());
        tell(Found { field, text, wanted, compiled });
        output
    };
    for (at, condition) in items(&spec["matchConditions"]) {
        let field = format!("spec.matchConditions[{at}].expression");
        one(field, &condition["expression"], Wanted::Bool, conditions);
    }
    for (at, variable) in items(&spec["variables"]) {
        let field = format!("spec.variables[{at}].expression");
        // One that does not compile is known all the same: not every use of it is a mistake of its own.
        let output = one(field, &variable["expression"], Wanted::Any, &validation).unwrap_or(Type::Dyn);
        let name = variable["name"].as_str().unwrap_or_default();
        validation.compose(name, output.clone());
        words.compose(name, output);
    }
    for (at, item) in items(&spec["validations"]) {
        let place = format!("spec.validations[{at}]");
        one(format!("{place}.expression"), &item["expression"], Wanted::Bool, &validation);
        one(format!("{place}.messageExpression"), &item["messageExpression"], Wanted::Text, &words);
    }
    for (at, annotation) in items(&spec["auditAnnotations"]) {
        let field = format!("spec.auditAnnotations[{at}].valueExpression");
        one(field, &annotation["valueExpression"], Wanted::TextOrNull, &validation);
    }
}

/// How many kinds a policy is checked against. Source: `maxTypesToCheck` of Kubernetes' `typechecking.go`.
const TYPES_MAX: usize = 10;

/// `status.typeChecking`: what is wrong with the expressions as far as the fields of the kinds go that the policy names.
/// None of it keeps the policy from being used.
pub fn type_check(object: &Value) -> Value {
    let spec = &object["spec"];
    let params = Params::of(spec);
    let kinds = MatchResources::read(&spec["matchConstraints"]).named();
    let params_type = types::of_kind(
        spec["paramKind"]["apiVersion"].as_str().unwrap_or_default(),
        spec["paramKind"]["kind"].as_str().unwrap_or_default(),
    );
    let mut by_field: Vec<(String, Vec<String>)> = Vec::new();
    for resource in kinds.into_iter().take(TYPES_MAX) {
        let info = resource.info();
        let kind = types::of_kind(&info.api_version(), info.kind);
        let declare =
            |place: Use| declared::of_object(place, params, kind.clone(), params_type.clone()).types_only();
        each(
            spec,
            &declare(Use::MatchCondition),
            declare(Use::Validation).with_composition(),
            declare(Use::Message).with_composition(),
            |Found { field, compiled, .. }| {
                let Err(error) = compiled else { return };
                let warning = format!("{}, Kind={}: {error}", info.api_version(), info.kind);
                match by_field.iter_mut().find(|(known, _)| *known == field) {
                    Some((_, warnings)) => warnings.push(warning),
                    None => by_field.push((field, vec![warning])),
                }
            },
        );
    }
    if by_field.is_empty() {
        return json!({});
    }
    let warnings: Vec<Value> = by_field
        .into_iter()
        .map(|(field, warnings)| json!({"fieldRef": field, "warning": warnings.join("\n")}))
        .collect();
    json!({"expressionWarnings": warnings})
}
