//! Kubernetes' named forms of text: `format.dns1123Label().validate(object.metadata.name)`.

use watchbell_api::name;

use super::{Cost, Row, global, member, time, url};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Opaque, Value};

const NAMED: &[&str] = &["() -> kubernetes.NamedFormat"];

pub(super) const TABLE: &[Row] = &[
    global("format.named", &["(string) -> optional<kubernetes.NamedFormat>"], named, Cost::One),
    global("format.dns1123Label", NAMED, |_, _| of(Named::Dns1123Label), Cost::One),
    global("format.dns1123Subdomain", NAMED, |_, _| of(Named::Dns1123Subdomain), Cost::One),
    global("format.dns1035Label", NAMED, |_, _| of(Named::Dns1035Label), Cost::One),
    global("format.qualifiedName", NAMED, |_, _| of(Named::QualifiedName), Cost::One),
    global("format.dns1123LabelPrefix", NAMED, |_, _| of(Named::Dns1123LabelPrefix), Cost::One),
    global("format.dns1123SubdomainPrefix", NAMED, |_, _| of(Named::Dns1123SubdomainPrefix), Cost::One),
    global("format.dns1035LabelPrefix", NAMED, |_, _| of(Named::Dns1035LabelPrefix), Cost::One),
    global("format.labelValue", NAMED, |_, _| of(Named::LabelValue), Cost::One),
    global("format.uri", NAMED, |_, _| of(Named::Uri), Cost::One),
    global("format.uuid", NAMED, |_, _| of(Named::Uuid), Cost::One),
    global("format.byte", NAMED, |_, _| of(Named::Byte), Cost::One),
    global("format.date", NAMED, |_, _| of(Named::Date), Cost::One),
    global("format.datetime", NAMED, |_, _| of(Named::Datetime), Cost::One),
    member(
        "validate",
        &["(kubernetes.NamedFormat, string) -> optional<list<string>>"],
        validate,
        Cost::Validate,
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    Datetime,
}

const ALL: [(&str, Named); 13] = [
    ("dns1123Label", Named::Dns1123Label),
    ("dns1123Subdomain", Named::Dns1123Subdomain),
    ("dns1035Label", Named::Dns1035Label),
    ("qualifiedName", Named::QualifiedName),
    ("dns1123LabelPrefix", Named::Dns1123LabelPrefix),
    ("dns1123SubdomainPrefix", Named::Dns1123SubdomainPrefix),
    ("dns1035LabelPrefix", Named::Dns1035LabelPrefix),
    ("labelValue", Named::LabelValue),
    ("uri", Named::Uri),
    ("uuid", Named::Uuid),
    ("byte", Named::Byte),
    ("date", Named::Date),
    ("datetime", Named::Datetime),
];

fn of<'a>(format: Named) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Format(format)))
}

fn named<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let name = args[0].as_str().ok_or_else(EvalError::no_overload)?;
    Ok(match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, format)) => Value::some(Value::Opaque(Opaque::Format(*format))),
        None => Value::Optional(None),
    })
}

/// A name that something is put behind: its last letter may be a dash.
fn stem(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(stem) => format!("{stem}a"),
        None => text.to_owned(),
    }
}

fn wrong(format: Named, text: &str) -> Vec<String> {
    let unless = |fits: bool, why: &str| if fits { Vec::new() } else { vec![why.to_owned()] };
    match format {
        Named::Dns1123Label => name::label(text),
        Named::Dns1123Subdomain => name::subdomain(text),
        Named::Dns1035Label => name::dns1035_label(text),
        Named::QualifiedName => name::qualified(text),
        Named::Dns1123LabelPrefix => name::label(&stem(text)),
        Named::Dns1123SubdomainPrefix => name::subdomain(&stem(text)),
        Named::Dns1035LabelPrefix => name::dns1035_label(&stem(text)),
        Named::LabelValue => name::label_value(text),
        Named::Uri => url::parse(text).err().into_iter().collect(),
        Named::Uuid => unless(is_uuid(text), "does not match the UUID format"),
        Named::Byte => unless(is_base64(text), "invalid base64"),
        Named::Date => unless(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
        Named::Datetime => unless(time::parse_timestamp(text).is_some(), "invalid datetime"),
    }
}

/// Dashes may be left out, as the form of Kubernetes' schemas has it.
fn is_uuid(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    let mut rest = text;
    for (at, length) in groups.into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(length) else { return false };
        if !group.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn validate<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Opaque(Opaque::Format(format)), Value::String(text)] = args else {
        return Err(EvalError::no_overload());
    };
    evaluator.budget.memory(text.len() * 2)?;
    evaluator.budget.work(text.len() / 4)?;
    let wrong: Vec<Value<'a>> = wrong(*format, text).into_iter().map(Value::from).collect();
    Ok(match wrong.is_empty() {
        true => Value::Optional(None),
        false => Value::some(Value::from(wrong)),
    })
}
