//! What an AuthenticationConfiguration says in CEL of an issuer's claims and of the user that they make (KEP-3331).
//!
//! The expressions are the administrator's and the claims a stranger's: what one costs is bounded as in admission policies.

use std::sync::Arc;

use serde_json::{Map, Value};
use watchbell_cel::{
    Check, Declarations, Evaluator, Host, List, Map as CelMap, Program, Type, Value as Cel, Verdict, compile,
};
use watchbell_core::admission::policies::user_info;

/// Kubernetes' name of the claims, and of the user.
const CLAIMS: &str = "claims";
const USER: &str = "user";

/// What an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}
impl Eq for Expression {}

impl Expression {
    /// One that gives a part of a user. Of what type a claim is only a token tells.
    pub(super) fn of_claims(text: &str) -> Result<Expression, String> {
        Expression::checked(text, About::Claims)
    }

    /// One that is true or false.
    pub(super) fn rule(text: &str, about: About) -> Result<Expression, String> {
        let rule = Expression::checked(text, about)?;
        match rule.program.output() {
            Type::Bool => Ok(rule),
            other => Err(format!("must evaluate to bool but got {other}")),
        }
    }

    fn checked(text: &str, about: About) -> Result<Expression, String> {
        let program = compile(text, &declarations(about)).map_err(|e| format!("compilation failed: {e}"))?;
        Ok(Expression { text: text.into(), program: Arc::new(program) })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn names_claim(&self, claim: &str) -> bool {
        self.program.names_field(CLAIMS, claim)
    }
}

fn declarations(about: About) -> Declarations {
    match about {
        About::Claims => Declarations::default().with(CLAIMS, Type::map(Type::String, Type::Dyn)),
        About::User => Declarations::default().with(USER, user_info()),
    }
}

/// What the expressions of an issuer are asked about one token.
pub(super) struct Asked<'a> {
    pub claims: &'a Map<String, Value>,
    pub user: Option<&'a Value>,
}

impl<'a> Host<'a> for Asked<'a> {
    fn variable(&self, name: &str) -> Option<Cel<'a>> {
        match name {
            CLAIMS => Some(Cel::Map(CelMap::Json(self.claims))),
            USER => self.user.map(Cel::from),
            _ => None,
        }
    }

    fn decide(&self, _: &Check) -> Verdict {
        Verdict { error: "there is no authorizer where somebody is made known".into(), ..Verdict::default() }
    }
}

/// Runs expressions over one token, which share what they may use up.
pub(super) struct Run<'a, 'p>(Evaluator<'a, 'p>);

impl<'a, 'p> Run<'a, 'p> {
    pub(super) fn new(asked: &'p Asked<'a>) -> Run<'a, 'p> {
        Run(Evaluator::new(asked, &[]))
    }

    pub(super) fn is_true(&mut self, rule: &'p Expression) -> Result<bool, String> {
        match self.value(rule)? {
            Cel::Bool(value) => Ok(value),
            _ => Err(format!("{:?} gives neither true nor false", rule.text())),
        }
    }

    pub(super) fn text(&mut self, expression: &'p Expression) -> Result<String, String> {
        match self.value(expression)? {
            Cel::String(text) => Ok(text.to_string()),
            _ => Err(format!("{:?} gives no string", expression.text())),
        }
    }

    /// A string or a list of strings. Empty ones and null are none.
    pub(super) fn texts(&mut self, expression: &'p Expression) -> Result<Vec<String>, String> {
        let no_texts = || format!("{:?} gives neither a string nor a list of strings", expression.text());
        match self.value(expression)? {
            Cel::Null => Ok(Vec::new()),
            Cel::String(text) if text.is_empty() => Ok(Vec::new()),
            Cel::String(text) => Ok(vec![text.to_string()]),
            Cel::List(list) => strings(&list).ok_or_else(no_texts),
            _ => Err(no_texts()),
        }
    }

    fn value(&mut self, expression: &'p Expression) -> Result<Cel<'a>, String> {
        let value = self.0.run(&expression.program).value;
        // What the token says is no business of a log, and an error may quote it.
        value.map_err(|_| format!("{:?} cannot be evaluated for this token", expression.text()))
    }
}

fn strings(list: &List<'_>) -> Option<Vec<String>> {
    let text = |value| match value {
        Cel::String(text) => Some(text.to_string()),
        _ => None,
    };
    list.iter().map(text).collect()
}
