//! JSON pointers (RFC 6901).

use serde_json::Value;

/// The steps of a pointer; none is the whole document.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest =
        text.strip_prefix('/').ok_or_else(|| format!("{text:?} is no JSON pointer: it begins with '/'"))?;
    rest.split('/').map(|step| unescape(step).ok_or_else(|| bad_escape(text))).collect()
}

fn bad_escape(text: &str) -> String {
    format!("{text:?} is no JSON pointer: after '~' comes 0 (for '~') or 1 (for '/')")
}

fn unescape(step: &str) -> Option<String> {
    let mut out = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, c == '~') {
            (_, true) => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            (c, false) => c,
        });
    }
    Some(out)
}

/// What a pointer leads to.
pub(super) fn find<'v>(mut value: &'v mut Value, steps: &[String]) -> Result<&'v mut Value, String> {
    for step in steps {
        value = match value {
            Value::Object(map) => map.get_mut(step).ok_or_else(|| format!("there is no {step:?}"))?,
            Value::Array(list) => {
                let length = list.len();
                let at = index(step)?;
                list.get_mut(at).ok_or_else(|| format!("there is no item {at}: the list has {length}"))?
            }
            _ => return Err(format!("there is no {step:?}: its parent is neither a map nor a list")),
        };
    }
    Ok(value)
}

/// The place in a list: decimal digits, no leading zero.
pub(super) fn index(step: &str) -> Result<usize, String> {
    let is_number = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
    let is_plain = is_number && (step == "0" || !step.starts_with('0'));
    step.parse().ok().filter(|_| is_plain).ok_or_else(|| format!("{step:?} is no place in a list"))
}
