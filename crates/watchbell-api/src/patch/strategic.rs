//! Strategic merge patch: a merge patch that knows the schema. The rules are those of
//! `k8s.io/apimachinery/pkg/util/strategicpatch`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{failed, lists};
use crate::ApiError;
use crate::path::Path;
use crate::schema::{Patch, Shape, Table, TypeId};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Merges a patch into an object of a type.
pub(super) fn apply(
    id: TypeId,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), ApiError> {
    merge_map(object, patch, Some(&Shape::Object(id)), &Path::Root)
}

/// What the schema says of the field of a map: nothing where the schema ends.
fn field_of<'t>(shape: Option<&'t Shape>, key: &str) -> (Option<&'t Shape>, Patch) {
    match shape {
        Some(Shape::Object(id)) => match Table::get().type_of(*id).field(key) {
            Some(field) => (Some(&field.shape), field.patch),
            None => (None, Patch::default()),
        },
        Some(Shape::Map(inner)) => (Some(inner), Patch::default()),
        _ => (None, Patch::default()),
    }
}

/// A patch that has the right form and cannot be applied.
pub(super) fn invalid(path: &Path<'_>, cause: impl std::fmt::Display) -> ApiError {
    failed(format!("cannot apply the patch: {}{cause}", place(path)), path.to_string(), cause)
}

/// A directive that says nothing.
pub(super) fn malformed(path: &Path<'_>, cause: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("cannot read the patch: {}{cause}", place(path)))
}

fn place(path: &Path<'_>) -> String {
    if matches!(path, Path::Root) { String::new() } else { format!("{path}: ") }
}

/// What a list's entries in a patch map say together.
#[derive(Default)]
struct ListPatch<'a> {
    items: Option<&'a Value>,
    order: Option<&'a Value>,
    deleted: Option<&'a Value>,
}

pub(super) fn merge_map(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    shape: Option<&Shape>,
    path: &Path<'_>,
) -> Result<(), ApiError> {
    match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => object.clear(),
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(_) => {
            return Err(malformed(
                path,
                format_args!("{DIRECTIVE} is none of merge, replace, delete: {}", patch[DIRECTIVE]),
            ));
        }
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(object, patch, keys, path)?;
    }
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(SET_ELEMENT_ORDER) {
            // With the list itself in the patch, both are seen to there.
            if !patch.contains_key(name) {
                let list = ListPatch { order: Some(value), ..ListPatch::default() };
                merge_list(object, name, &list, shape, path)?;
            }
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            if !patch.contains_key(name) {
                let list = ListPatch { deleted: Some(value), ..ListPatch::default() };
                merge_list(object, name, &list, shape, path)?;
            }
            continue;
        }
        if key == DIRECTIVE || key == RETAIN_KEYS {
            continue;
        }
        let (inner, meta) = field_of(shape, key);
        let path = Path::Key(path, key);
        match value {
            Value::Null => {
                object.shift_remove(key);
            }
            Value::Object(patch) => {
                let is_new = !matches!(object.get(key), Some(Value::Object(_)));
                if is_new && patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                    continue;
                }
                if is_new {
                    object.insert(key.clone(), Value::Object(Map::new()));
                }
                if let Some(Value::Object(object)) = object.get_mut(key) {
                    merge_map(object, patch, inner, &path)?;
                }
            }
            Value::Array(_) if meta.is_merged => {
                let list = ListPatch {
                    items: Some(value),
                    order: directive(patch, SET_ELEMENT_ORDER, key),
                    deleted: directive(patch, DELETE_FROM_PRIMITIVE_LIST, key),
                };
                let Path::Key(parent, _) = path else { continue };
                merge_list(object, key, &list, shape, parent)?;
            }
            other => {
                object.insert(key.clone(), other.clone());
            }
        }
    }
    Ok(())
}

fn directive<'a>(patch: &'a Map<String, Value>, prefix: &str, key: &str) -> Option<&'a Value> {
    // The common patch has no directive at all: no allocation then.
    patch.iter().find(|(name, _)| name.strip_prefix(prefix) == Some(key)).map(|(_, value)| value)
}

fn merge_list(
    object: &mut Map<String, Value>,
    name: &str,
    list: &ListPatch<'_>,
    shape: Option<&Shape>,
    parent: &Path<'_>,
) -> Result<(), ApiError> {
    let path = Path::Key(parent, name);
    let (inner, meta) = field_of(shape, name);
    let slice = |value: Option<&'_ Value>, what: &str| match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(_) => Err(malformed(&path, format_args!("{what} is no list"))),
    };
    let items = slice(list.items, "the value")?;
    let order = slice(list.order, "$setElementOrder")?;
    let deleted = slice(list.deleted, "$deleteFromPrimitiveList")?;
    let mut current = match object.get_mut(name) {
        Some(Value::Array(items)) => std::mem::take(items),
        _ if items.is_none() => return Ok(()),
        _ => Vec::new(),
    };
    if let Some(deleted) = deleted {
        let deleted: HashSet<String> = deleted.iter().map(Value::to_string).collect();
        current.retain(|item| !deleted.contains(&item.to_string()));
    }
    let item_shape = match inner {
        Some(Shape::List(item)) => Some(&**item),
        _ => None,
    };
    let merged = if meta.is_merged {
        lists::merge(current, items.unwrap_or_default(), order, meta.merge_key, item_shape, &path)?
    } else {
        current
    };
    object.insert(name.into(), Value::Array(merged));
    Ok(())
}

/// `$retainKeys`: of the fields that are there, only these stay. A union (the source of a volume) changes its member so.
fn retain_keys(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: &Value,
    path: &Path<'_>,
) -> Result<(), ApiError> {
    let keys: Option<HashMap<&str, ()>> =
        keys.as_array().and_then(|list| list.iter().map(|key| Some((key.as_str()?, ()))).collect());
    let keys = keys.ok_or_else(|| malformed(path, format_args!("{RETAIN_KEYS} is no list of names")))?;
    let stray = patch
        .iter()
        .find(|(key, value)| !value.is_null() && !key.starts_with('$') && !keys.contains_key(key.as_str()));
    if let Some((key, _)) = stray {
        return Err(malformed(path, format_args!("{key} is set and not in {RETAIN_KEYS}")));
    }
    object.retain(|key, _| keys.contains_key(key.as_str()));
    Ok(())
}
