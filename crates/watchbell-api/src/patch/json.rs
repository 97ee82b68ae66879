//! JSON patch: each operation in turn, on a copy that is thrown away when one fails.

use serde_json::{Map, Value};

use super::{failed, pointer};
use crate::{ApiError, Reason};

/// Kubernetes' own bound.
const OPERATIONS_MAX: usize = 10_000;
/// Deeper documents are not read either (see [`crate::decode`]); operations must not build what reading refuses.
const DEPTH_MAX: usize = 128;
/// What `copy` may add in all. A body of a few bytes could otherwise double a value ten thousand times.
const COPIED_BYTES_MAX: usize = 8 << 20;
/// What operations may shift or walk over in all: an insertion in front of a long list moves every item of it.
const MOVED_BYTES_MAX: usize = 512 << 20;
/// What one item of a list or map counts.
const ITEM_BYTES: usize = 32;

/// What an operation does.
enum Verb<'a> {
    Add(&'a Value),
    Remove,
    Replace(&'a Value),
    Move(Vec<String>),
    Copy(Vec<String>),
    Test(&'a Value),
}

/// What is left of the bounds.
struct Budget {
    copied_bytes: usize,
    moved_bytes: usize,
}

impl Budget {
    fn copy(&mut self, bytes: usize) -> Result<(), String> {
        self.copied_bytes = self
            .copied_bytes
            .checked_sub(bytes)
            .ok_or_else(|| format!("the patch copies more than {COPIED_BYTES_MAX} bytes"))?;
        Ok(())
    }

    fn shift(&mut self, bytes: usize) -> Result<(), String> {
        self.moved_bytes = self
            .moved_bytes
            .checked_sub(bytes)
            .ok_or("the patch moves too much: split it, or replace the list as a whole")?;
        Ok(())
    }
}

/// The patched document.
pub(super) fn apply(current: &Value, body: &Value) -> Result<Value, ApiError> {
    let operations = body
        .as_array()
        .ok_or_else(|| ApiError::bad_request("the body of a JSON patch is a list of operations"))?;
    if operations.len() > OPERATIONS_MAX {
        return Err(ApiError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    let mut document = current.clone();
    let mut budget = Budget { copied_bytes: COPIED_BYTES_MAX, moved_bytes: MOVED_BYTES_MAX };
    for (i, operation) in operations.iter().enumerate() {
        let (verb, path) = read(operation)
            .map_err(|e| ApiError::bad_request(format!("operation {i} of the JSON patch: {e}")))?;
        carry_out(&mut document, verb, &path, &mut budget).map_err(|e| refusal(i, operation, &e))?;
    }
    Ok(document)
}

/// Kubernetes' sentence for a failed patch, and what it leaves out: which operation, and why.
fn refusal(i: usize, operation: &Value, cause: &str) -> ApiError {
    let text = |key: &str| operation[key].as_str().unwrap_or_default();
    let cause = format!("{} {:?}: {cause}", text("op"), text("path"));
    failed(
        format!(
            "the server rejected our request due to an error in our request: operation {i} of the JSON patch, {cause}"
        ),
        format!("patch[{i}]"),
        cause,
    )
}

fn read(operation: &Value) -> Result<(Verb<'_>, Vec<String>), String> {
    let map = operation.as_object().ok_or("an operation is a map with op and path")?;
    let text = |key: &str| {
        map.get(key).and_then(Value::as_str).ok_or_else(|| format!("{key} is missing or no string"))
    };
    let value = || map.get("value").ok_or("value is missing");
    let verb = match text("op")? {
        "add" => Verb::Add(value()?),
        "remove" => Verb::Remove,
        "replace" => Verb::Replace(value()?),
        "move" => Verb::Move(pointer::parse(text("from")?)?),
        "copy" => Verb::Copy(pointer::parse(text("from")?)?),
        "test" => Verb::Test(value()?),
        other => return Err(format!("op {other:?} is none of add, remove, replace, move, copy, test")),
    };
    Ok((verb, pointer::parse(text("path")?)?))
}

fn carry_out(
    document: &mut Value,
    verb: Verb<'_>,
    path: &[String],
    budget: &mut Budget,
) -> Result<(), String> {
    match verb {
        Verb::Add(value) => {
            check_depth(path, value, budget)?;
            add(document, path, value.clone(), budget)
        }
        Verb::Remove => remove(document, path, budget).map(drop),
        Verb::Replace(value) => {
            check_depth(path, value, budget)?;
            *pointer::find(document, path)? = value.clone();
            Ok(())
        }
        Verb::Move(from) => {
            if path.len() > from.len() && path.starts_with(&from) {
                return Err("a value cannot move into itself".into());
            }
            let value = remove(document, &from, budget).map_err(|e| format!("from: {e}"))?;
            check_depth(path, &value, budget)?;
            add(document, path, value, budget)
        }
        Verb::Copy(from) => {
            let found = pointer::find(document, &from).map_err(|e| format!("from: {e}"))?;
            budget.copy(weight(found))?;
            let value = found.clone();
            check_depth(path, &value, budget)?;
            add(document, path, value, budget)
        }
        Verb::Test(value) => match pointer::find(document, path) {
            Ok(found) if is_equal(found, value) => Ok(()),
            Ok(_) => Err("the value is another one".into()),
            // As Kubernetes has it: a field that is not there equals null.
            Err(_) if value.is_null() => Ok(()),
            Err(e) => Err(e),
        },
    }
}

fn add(document: &mut Value, path: &[String], value: Value, budget: &mut Budget) -> Result<(), String> {
    let Some((last, parent)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match pointer::find(document, parent)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
        }
        Value::Array(list) => {
            let at = if last == "-" { list.len() } else { pointer::index(last)? };
            if at > list.len() {
                return Err(format!("there is no place {at}: the list has {}", list.len()));
            }
            budget.shift((list.len() - at) * ITEM_BYTES)?;
            list.insert(at, value);
        }
        _ => return Err("its parent is neither a map nor a list".into()),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String], budget: &mut Budget) -> Result<Value, String> {
    let Some((last, parent)) = path.split_last() else {
        return Ok(std::mem::replace(document, Value::Object(Map::new())));
    };
    match pointer::find(document, parent)? {
        Value::Object(map) => {
            budget.shift(map.len() * ITEM_BYTES)?;
            map.shift_remove(last).ok_or_else(|| format!("there is no {last:?}"))
        }
        Value::Array(list) => {
            let at = pointer::index(last)?;
            if at >= list.len() {
                return Err(format!("there is no item {at}: the list has {}", list.len()));
            }
            budget.shift((list.len() - at) * ITEM_BYTES)?;
            Ok(list.remove(at))
        }
        _ => Err("its parent is neither a map nor a list".into()),
    }
}

/// Equality of RFC 6902: numbers by what they are worth, maps whatever their order.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn check_depth(path: &[String], value: &Value, budget: &mut Budget) -> Result<(), String> {
    budget.shift(weight(value))?;
    if path.len() + depth(value) > DEPTH_MAX {
        return Err(format!("the object would be nested deeper than {DEPTH_MAX} levels"));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// About what a value takes in memory.
fn weight(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    inner + ITEM_BYTES
}
