//! `labelSelector` of a request, and the `LabelSelector` object of a spec. Grammar and messages are those of
//! `k8s.io/apimachinery/pkg/labels`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::LENGTH_MAX;
use super::lexer::{Lexer, Token, Word};
use crate::ApiError;

/// A parsed label selector. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    Exists,
    DoesNotExist,
    Equals(String),
    NotEquals(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Greater(i64),
    Less(i64),
}

impl Labels {
    /// # Errors
    /// `BadRequest`: not a selector, or a key or value that no label can have.
    pub fn parse(text: &str) -> Result<Labels, ApiError> {
        if text.len() > LENGTH_MAX {
            return Err(ApiError::bad_request(format!(
                "the label selector has {} bytes; at most {LENGTH_MAX} are read",
                text.len()
            )));
        }
        let mut lexer = Lexer::new(text);
        let ahead = lexer.next();
        Parser { lexer, ahead }.selector().map_err(ApiError::bad_request)
    }

    /// A `LabelSelector` object: `matchLabels` and `matchExpressions`, all of which must hold.
    ///
    /// # Errors
    /// `BadRequest`: an operator that does not exist, or values where none belong.
    pub fn from_object(selector: &Value) -> Result<Labels, ApiError> {
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            requirements.push(requirement(key, Operator::Equals(value.into()))?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            let values: BTreeSet<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| Some(v.as_str()?.to_owned()))
                .collect();
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    return Err(ApiError::bad_request(format!(
                        "values: Invalid value: {values:?}: values set must be empty for exists and does not exist"
                    )));
                }
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(ApiError::bad_request(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            requirements.push(requirement(key, operator)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Labels { requirements })
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(|value| value.as_str().into()))
    }

    /// Likewise, of labels that are nowhere together: `look` gives the value of one.
    pub fn matches_by<'l>(&self, look: impl Fn(&str) -> Option<Cow<'l, str>>) -> bool {
        self.requirements.iter().all(|r| r.operator.holds(look(&r.key).as_deref()))
    }
}

impl Operator {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Equals(wanted) => value == Some(wanted.as_str()),
            Operator::NotEquals(unwanted) => value != Some(unwanted.as_str()),
            Operator::In(wanted) => value.is_some_and(|v| wanted.contains(v)),
            Operator::NotIn(unwanted) => value.is_none_or(|v| !unwanted.contains(v)),
            Operator::Greater(bound) => number().is_some_and(|n| n > *bound),
            Operator::Less(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// As Kubernetes prints a selector; reading it again gives the same selector.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        for (i, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::Exists => write!(f, "{key}"),
                Operator::DoesNotExist => write!(f, "!{key}"),
                Operator::Equals(value) => write!(f, "{key}={value}"),
                Operator::NotEquals(value) => write!(f, "{key}!={value}"),
                Operator::In(values) => write!(f, "{key} in ({})", list(values)),
                Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
                Operator::Greater(bound) => write!(f, "{key}>{bound}"),
                Operator::Less(bound) => write!(f, "{key}<{bound}"),
            }?;
        }
        Ok(())
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Word<'a>,
}

impl<'a> Parser<'a> {
    fn take(&mut self) -> Word<'a> {
        std::mem::replace(&mut self.ahead, self.lexer.next())
    }

    /// The word ahead where a key or a value may stand: there `in` is a name like any other.
    fn peek(&self) -> Token {
        as_name(self.ahead).token
    }

    fn take_name(&mut self) -> Word<'a> {
        as_name(self.take())
    }

    fn selector(mut self) -> Result<Labels, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Identifier | Token::Not => {}
                Token::End => return Ok(Labels { requirements }),
                _ => {
                    let found = self.ahead.text;
                    return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
                }
            }
            let requirement = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
            requirements.push(requirement);
            let word = self.take_name();
            match word.token {
                Token::End => return Ok(Labels { requirements }),
                Token::Comma if matches!(self.peek(), Token::Identifier | Token::Not) => {}
                Token::Comma => {
                    return Err(format!("found '{}', expected: identifier after ','", self.ahead.text));
                }
                _ => return Err(format!("found '{}', expected: ',' or 'end of string'", word.text)),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut word = self.take_name();
        let is_negated = word.token == Token::Not;
        if is_negated {
            word = self.take_name();
        }
        if word.token != Token::Identifier {
            return Err(format!("found '{}', expected: identifier", word.text));
        }
        let key = word.text;
        check_key(key)?;
        if is_negated {
            return Ok(Requirement { key: key.into(), operator: Operator::DoesNotExist });
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(Requirement { key: key.into(), operator: Operator::Exists });
        }
        let operator = self.take();
        let operator = match operator.token {
            Token::In => Operator::In(self.values()?),
            Token::NotIn => Operator::NotIn(self.values()?),
            Token::Equals | Token::DoubleEquals => Operator::Equals(self.value()?.into()),
            Token::NotEquals => Operator::NotEquals(self.value()?.into()),
            Token::Greater => Operator::Greater(bound(self.value()?)?),
            Token::Less => Operator::Less(bound(self.value()?)?),
            _ => {
                return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", operator.text));
            }
        };
        checked(key, operator)
    }

    /// `a=` is the empty value.
    fn value(&mut self) -> Result<&'a str, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok("");
        }
        let word = self.take_name();
        match word.token {
            Token::Identifier => Ok(word.text),
            _ => Err(format!("found '{}', expected: identifier", word.text)),
        }
    }

    /// `(a, b)`; between two commas, before the first and after the last stands the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.take_name();
        if open.token != Token::Open {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let mut values = BTreeSet::new();
        if self.peek() == Token::Close {
            self.take();
            return Ok(values);
        }
        loop {
            match self.peek() {
                Token::Identifier => {
                    values.insert(self.take().text.to_owned());
                }
                Token::Comma | Token::Close => {
                    values.insert(String::new());
                }
                _ => return Err(format!("found '{}', expected: ',', ')' or identifier", self.ahead.text)),
            }
            let word = self.take_name();
            match word.token {
                Token::Comma => {}
                Token::Close => return Ok(values),
                _ => return Err(format!("found '{}', expected: ',' or ')'", word.text)),
            }
        }
    }
}

fn as_name(word: Word<'_>) -> Word<'_> {
    match word.token {
        Token::In | Token::NotIn => Word { token: Token::Identifier, text: word.text },
        _ => word,
    }
}

fn requirement(key: &str, operator: Operator) -> Result<Requirement, ApiError> {
    check_key(key).and_then(|()| checked(key, operator)).map_err(ApiError::bad_request)
}

fn bound(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        format!("values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

fn checked(key: &str, operator: Operator) -> Result<Requirement, String> {
    let check = |i: usize, value: &str| {
        check_value(value).map_err(|e| format!("values[{i}][{key}]: Invalid value: {value:?}: {e}"))
    };
    match &operator {
        Operator::In(values) | Operator::NotIn(values) => {
            if values.is_empty() {
                return Err(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                        .into(),
                );
            }
            for (i, value) in values.iter().enumerate() {
                check(i, value)?;
            }
        }
        Operator::Equals(value) | Operator::NotEquals(value) => check(0, value)?,
        Operator::Exists | Operator::DoesNotExist | Operator::Greater(_) | Operator::Less(_) => {}
    }
    Ok(Requirement { key: key.into(), operator })
}

/// A qualified name: `name` or `dns.subdomain/name`.
fn check_key(key: &str) -> Result<(), String> {
    let wrong = |detail: String| Err(format!("<nil>: Invalid value: {key:?}: {detail}"));
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", _] => return wrong("prefix part must be non-empty".into()),
        [prefix, name] => {
            if prefix.len() > 253 {
                return wrong("prefix part must be no more than 253 characters".into());
            }
            let is_label = |label: &str| {
                let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                ends(label.chars().next())
                    && ends(label.chars().last())
                    && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            if !prefix.split('.').all(is_label) {
                return wrong(format!("prefix part {SUBDOMAIN_RULE}"));
            }
            name
        }
        _ => {
            return wrong(format!(
                "a qualified name {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
    };
    if name.is_empty() {
        return wrong(format!("name part must be non-empty; name part {NAME_RULE}"));
    }
    if name.len() > 63 {
        return wrong("name part must be no more than 63 characters".into());
    }
    if !is_name(name) {
        return wrong(format!("name part {NAME_RULE}"));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    if !value.is_empty() && !is_name(value) {
        return Err(VALUE_RULE.into());
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    is_outer(text.chars().next()) && is_outer(text.chars().last()) && text.chars().all(is_inner)
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
