//! A policy and a binding, read once when they are stored; the expressions of the one are compiled then.

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::{Reason, Resource};
use watchbell_cel::{PATTERN_BYTES_MAX, Program, compile_within};

use super::Operation;
use super::declared::{self, Use};
use super::matching::MatchResources;

/// A ValidatingAdmissionPolicy, ready to run.
#[derive(Debug)]
pub struct Policy {
    pub name: Arc<str>,
    /// `failurePolicy: Ignore`
    pub(super) ignores_failures: bool,
    pub(super) param_kind: Option<ParamKind>,
    pub(super) constraints: MatchResources,
    pub(super) match_conditions: Vec<Expression>,
    /// The fields of `variables`, in their order.
    pub(super) variables: Vec<Program>,
    pub(super) validations: Vec<Validation>,
    pub(super) audit_annotations: Vec<AuditAnnotation>,
    /// Of an expression that does not compile: it was taken by another version of this program.
    uncompiled: Option<String>,
}

#[derive(Debug)]
pub(super) struct ParamKind {
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    /// `None`: there is no such kind here.
    pub resource: Option<Resource>,
}

#[derive(Debug)]
pub(super) struct Expression {
    pub text: Arc<str>,
    pub program: Program,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: Arc<str>,
    pub message_expression: Option<Expression>,
    pub reason: Reason,
}

#[derive(Debug)]
pub(super) struct AuditAnnotation {
    pub key: Arc<str>,
    pub value: Expression,
}

/// A ValidatingAdmissionPolicyBinding.
#[derive(Debug)]
pub struct Binding {
    pub name: Arc<str>,
    pub policy: Arc<str>,
    pub(super) resources: Option<MatchResources>,
    pub(super) params: Option<ParamRef>,
    pub(super) actions: Vec<Action>,
}

#[derive(Debug)]
pub(super) struct ParamRef {
    pub name: Arc<str>,
    /// Empty: that of the request.
    pub namespace: Arc<str>,
    /// A `LabelSelector`, where no name is given.
    pub selector: Value,
    /// `parameterNotFoundAction: Deny`
    pub must_be_there: bool,
}

/// What a failed validation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Deny,
    Warn,
    Audit,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Action::Deny => "Deny",
            Action::Warn => "Warn",
            Action::Audit => "Audit",
        }
    }
}

fn text(value: &Value) -> Arc<str> {
    value.as_str().unwrap_or_default().into()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Policy {
    /// Reads an object that passed the schema, got its defaults and was validated.
    pub fn read(object: &Value) -> Policy {
        let spec = &object["spec"];
        let param_kind = spec["paramKind"].is_object().then(|| {
            let (api_version, kind) =
                (text(&spec["paramKind"]["apiVersion"]), text(&spec["paramKind"]["kind"]));
            let resource = Resource::from_kind(&api_version, &kind);
            ParamKind { api_version, kind, resource }
        });
        let mut compiler = Compiler { uncompiled: None, pattern_bytes: PATTERN_BYTES_MAX };
        let params = declared::Params::of(spec);
        let conditions = declared::of(Use::MatchCondition, params);
        let match_conditions = items(&spec["matchConditions"])
            .filter_map(|c| compiler.compile(&c["expression"], &conditions))
            .collect();
        let mut declarations = declared::of(Use::Validation, params).with_composition();
        let mut words = declared::of(Use::Message, params).with_composition();
        let mut variables = Vec::new();
        for variable in items(&spec["variables"]) {
            if let Some(Expression { program, .. }) = compiler.compile(&variable["expression"], &declarations)
            {
                let name = variable["name"].as_str().unwrap_or_default();
                declarations.compose(name, program.output().clone());
                words.compose(name, program.output().clone());
                variables.push(program);
            }
        }
        let validations = items(&spec["validations"])
            .filter_map(|validation| {
                let message =
                    validation["messageExpression"].as_str().is_some_and(|text| !text.trim().is_empty());
                Some(Validation {
                    expression: compiler.compile(&validation["expression"], &declarations)?,
                    message: text(&validation["message"]),
                    message_expression: match message {
                        true => compiler.compile(&validation["messageExpression"], &words),
                        false => None,
                    },
                    reason: match validation["reason"].as_str() {
                        Some("Forbidden") => Reason::Forbidden,
                        Some("RequestEntityTooLarge") => Reason::RequestEntityTooLarge,
                        _ => Reason::Invalid,
                    },
                })
            })
            .collect();
        let audit_annotations = items(&spec["auditAnnotations"])
            .filter_map(|annotation| {
                Some(AuditAnnotation {
                    key: text(&annotation["key"]),
                    value: compiler.compile(&annotation["valueExpression"], &declarations)?,
                })
            })
            .collect();
        Policy {
            name: text(&object["metadata"]["name"]),
            ignores_failures: spec["failurePolicy"] == "Ignore",
            param_kind,
            constraints: MatchResources::read(&spec["matchConstraints"]),
            match_conditions,
            variables,
            validations,
            audit_annotations,
            uncompiled: compiler.uncompiled,
        }
    }

    /// Whether its rules could be about such a thing.
    pub fn concerns(&self, operation: Operation, resource: Resource) -> bool {
        self.constraints.concerns(operation, resource)
    }

    /// Why the policy as a whole cannot judge anything.
    pub(super) fn broken(&self) -> Option<String> {
        if let Some(ParamKind { api_version, kind, resource: None }) = &self.param_kind {
            return Some(format!(
                "failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"
            ));
        }
        self.uncompiled.as_ref().map(|error| format!("compilation error: {error}"))
    }
}

struct Compiler {
    uncompiled: Option<String>,
    /// What is left for the patterns of all expressions.
    pattern_bytes: usize,
}

impl Compiler {
    fn compile(
        &mut self,
        expression: &Value,
        declarations: &watchbell_cel::Declarations,
    ) -> Option<Expression> {
        let text = text(expression);
        match compile_within(text.trim(), declarations, &mut self.pattern_bytes) {
            Ok(program) => Some(Expression { text, program }),
            Err(error) => {
                self.uncompiled.get_or_insert(error.to_string());
                None
            }
        }
    }
}

impl Binding {
    /// Reads an object that passed the schema, got its defaults and was validated.
    pub fn read(object: &Value) -> Binding {
        let spec = &object["spec"];
        let reference = &spec["paramRef"];
        Binding {
            name: text(&object["metadata"]["name"]),
            policy: text(&spec["policyName"]),
            resources: spec["matchResources"]
                .is_object()
                .then(|| MatchResources::read(&spec["matchResources"])),
            params: reference.is_object().then(|| ParamRef {
                name: text(&reference["name"]),
                namespace: text(&reference["namespace"]),
                selector: reference["selector"].clone(),
                must_be_there: reference["parameterNotFoundAction"] != "Allow",
            }),
            actions: items(&spec["validationActions"])
                .filter_map(|action| match action.as_str()? {
                    "Deny" => Some(Action::Deny),
                    "Warn" => Some(Action::Warn),
                    "Audit" => Some(Action::Audit),
                    _ => None,
                })
                .collect(),
        }
    }
}
