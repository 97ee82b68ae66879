//! Lists that a strategic merge patch merges: items matched by a key, or sets of scalars.
//!
//! The patch decides the order of what it names; what only the server knows keeps its place between them as well as can
//! be, as `mergeSortedSlice` of apimachinery does it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::strategic::{DIRECTIVE, invalid, malformed, merge_map};
use crate::ApiError;
use crate::path::Path;
use crate::schema::Shape;

/// What identifies an item of a list: its merge key's value, or itself. As text, so that it can be looked up: lists of
/// a hostile patch are long.
type Id = String;

pub(super) fn merge(
    current: Vec<Value>,
    patch: Vec<Value>,
    order: Option<Vec<Value>>,
    merge_key: Option<&str>,
    shape: Option<&Shape>,
    path: &Path<'_>,
) -> Result<Vec<Value>, ApiError> {
    let patched = match merge_key {
        Some(key) => merge_maps(current, patch, key, shape, path)?,
        None => merge_scalars(current, patch, path)?,
    };
    let Patched { before, items, named } = patched;
    let named = match order {
        None => named,
        Some(order) => {
            let order = order
                .iter()
                .map(|item| {
                    id(item, merge_key).ok_or_else(|| malformed(path, "$setElementOrder lacks the merge key"))
                })
                .collect::<Result<Vec<Id>, ApiError>>()?;
            check_order(&named, &order, path)?;
            order
        }
    };
    Ok(arrange(items, &before, &named, merge_key))
}

/// A merged list that is still to be ordered.
struct Patched {
    /// The items there were.
    before: Vec<Id>,
    items: Vec<Value>,
    /// The items that the patch adds or changes, in its order.
    named: Vec<Id>,
}

fn id(item: &Value, merge_key: Option<&str>) -> Option<Id> {
    match (merge_key, item) {
        (None, item) => Some(item.to_string()),
        // The order may name an item by its key alone.
        (Some(key), Value::Object(map)) => map.get(key).map(Value::to_string),
        (Some(_), Value::Array(_) | Value::Null) => None,
        (Some(_), scalar) => Some(scalar.to_string()),
    }
}

fn merge_scalars(current: Vec<Value>, patch: Vec<Value>, path: &Path<'_>) -> Result<Patched, ApiError> {
    if patch.iter().any(|item| item.is_object() || item.is_array()) {
        return Err(invalid(path, "the items of this list are no maps"));
    }
    let before: Vec<Id> = current.iter().map(Value::to_string).collect();
    let named: Vec<Id> = patch.iter().map(Value::to_string).collect();
    let mut seen: HashSet<Id> = HashSet::new();
    let mut items = current;
    items.extend(patch);
    items.retain(|item| seen.insert(item.to_string()));
    Ok(Patched { before, items, named })
}

fn merge_maps(
    mut items: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    shape: Option<&Shape>,
    path: &Path<'_>,
) -> Result<Patched, ApiError> {
    let mut changes: Vec<(usize, Id, Map<String, Value>)> = Vec::new();
    let mut deleted: HashSet<Id> = HashSet::new();
    let mut is_replaced = false;
    for (i, item) in patch.into_iter().enumerate() {
        let path = Path::Index(path, i);
        let Value::Object(mut map) = item else {
            return Err(invalid(
                &path,
                format_args!("the items of this list are maps with the merge key {key}"),
            ));
        };
        let id = map.get(key).map(Value::to_string);
        let missing = || invalid(&path, format_args!("map does not contain the merge key {key}"));
        match map.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
            Some("delete") => {
                deleted.insert(id.ok_or_else(missing)?);
            }
            // An item of its own: it speaks of the list.
            Some("replace") if map.len() == 1 => is_replaced = true,
            // Kubernetes takes it for the list wherever it stands.
            Some("replace") => {
                is_replaced = true;
                map.shift_remove(DIRECTIVE);
                changes.push((i, id.ok_or_else(missing)?, map));
            }
            None | Some("merge") => changes.push((i, id.ok_or_else(missing)?, map)),
            Some(_) => {
                let cause = format_args!("{DIRECTIVE} is none of merge, replace, delete: {}", map[DIRECTIVE]);
                return Err(malformed(&path, cause));
            }
        }
    }
    if is_replaced {
        items.clear();
    }
    let own_id = |item: &Value| item.get(key).map(Value::to_string);
    items.retain(|item| own_id(item).is_none_or(|id| !deleted.contains(&id)));
    let before: Vec<Id> = items.iter().filter_map(own_id).collect();
    // Of two items with one key the first is meant.
    let mut place: HashMap<Id, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(id) = own_id(item) {
            place.entry(id).or_insert(at);
        }
    }
    let mut named = Vec::with_capacity(changes.len());
    for (i, id, change) in changes {
        let at = *place.entry(id.clone()).or_insert(items.len());
        if at == items.len() {
            items.push(Value::Object(Map::new()));
        }
        if let Value::Object(item) = &mut items[at] {
            merge_map(item, &change, shape, &Path::Index(path, i))?;
        }
        named.push(id);
    }
    Ok(Patched { before, items, named })
}

/// `$setElementOrder` names every item that the patch sets, in the patch's own order.
fn check_order(named: &[Id], order: &[Id], path: &Path<'_>) -> Result<(), ApiError> {
    let mut rest = order.iter();
    match named.iter().find(|id| !rest.any(|ordered| ordered == *id)) {
        None => Ok(()),
        Some(id) => Err(malformed(
            path,
            format_args!(
                "the order in the patch list does not match $setElementOrder: {id} is not where it belongs"
            ),
        )),
    }
}

/// Puts what the patch names into its order, and the rest between them by the order there was.
fn arrange(items: Vec<Value>, before: &[Id], named: &[Id], merge_key: Option<&str>) -> Vec<Value> {
    let first_places = |ids: &[Id]| {
        let mut places: HashMap<Id, usize> = HashMap::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            places.entry(id.clone()).or_insert(at);
        }
        places
    };
    let wanted = first_places(named);
    let known = first_places(before);
    let mut ordered: Vec<(usize, Option<usize>, Value)> = Vec::new();
    let mut others: Vec<(Option<usize>, Value)> = Vec::new();
    for item in items {
        let id = id(&item, merge_key);
        let was_at = id.as_ref().and_then(|id| known.get(id)).copied();
        match id.as_ref().and_then(|id| wanted.get(id)) {
            Some(at) => ordered.push((*at, was_at, item)),
            None => others.push((was_at, item)),
        }
    }
    ordered.sort_by_key(|(at, _, _)| *at);
    let mut merged = Vec::with_capacity(ordered.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, named_was_at, item) in ordered {
        while let Some((Some(other_was_at), _)) = others.peek() {
            match named_was_at {
                Some(was_at) if *other_was_at < was_at => merged.extend(others.next().map(|(_, item)| item)),
                _ => break,
            }
        }
        merged.push(item);
    }
    merged.extend(others.map(|(_, item)| item));
    merged
}
