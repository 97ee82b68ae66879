//! Objects by the schema: which fields one has, how two differ, how one is laid over another, and what is left without
//! some fields.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::set::{FieldSet, Node, PathElement};
use crate::schema::{Field, List, Shape, Table, Type, TypeId};

/// How ownership divides a value.
#[derive(Clone, Copy)]
pub(super) enum Rule<'t> {
    /// Owned as a whole.
    Leaf,
    Struct(&'t Type),
    Map(&'t Shape),
    /// A list whose items are told apart by these keys.
    Items(&'t [&'static str], &'t Shape),
    /// A list of scalars, each owned by itself.
    Set,
}

impl<'t> Rule<'t> {
    pub(super) fn of_type(id: TypeId) -> Rule<'t> {
        Rule::Struct(Table::get().type_of(id))
    }

    fn of_field(field: &'t Field) -> Rule<'t> {
        match (&field.shape, &field.list) {
            (Shape::List(item), List::Map(keys)) => Rule::Items(keys, item),
            (Shape::List(_), List::Set) => Rule::Set,
            (_, List::Atomic) => Rule::Leaf,
            (shape, _) => Rule::of_shape(shape),
        }
    }

    fn of_shape(shape: &'t Shape) -> Rule<'t> {
        match shape {
            Shape::Scalar(_) | Shape::List(_) => Rule::Leaf,
            Shape::Map(item) => Rule::Map(item),
            Shape::Object(id) => {
                let of = Table::get().type_of(*id);
                if of.is_atomic { Rule::Leaf } else { Rule::Struct(of) }
            }
        }
    }

    /// The rule of an entry of a map or struct.
    fn entry(self, key: &str) -> Rule<'t> {
        match self {
            Rule::Struct(of) => of.field(key).map_or(Rule::Leaf, Rule::of_field),
            Rule::Map(item) => Rule::of_shape(item),
            Rule::Leaf | Rule::Items(..) | Rule::Set => Rule::Leaf,
        }
    }

    fn item(self) -> Rule<'t> {
        match self {
            Rule::Items(_, item) => Rule::of_shape(item),
            Rule::Leaf | Rule::Struct(_) | Rule::Map(_) | Rule::Set => Rule::Leaf,
        }
    }

    /// What tells an item from the others. An item that lacks every key is known by none.
    fn element(self, item: &Value) -> Option<PathElement> {
        let Rule::Items(keys, _) = self else { return Some(PathElement::Value(item.to_string().into())) };
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let mut out = Map::new();
        for key in sorted {
            match item.get(key) {
                Some(value) if !value.is_null() => {
                    out.insert(key.into(), value.clone());
                }
                _ if key == PROTOCOL => {
                    out.insert(key.into(), "TCP".into());
                }
                _ => {}
            }
        }
        let said = keys.iter().any(|key| *key != PROTOCOL && out.contains_key(*key));
        said.then(|| PathElement::Key(Value::Object(out).to_string().into()))
    }
}

/// The one key of a list that has a default in the schema.
const PROTOCOL: &str = "protocol";

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// An item that its keys do not tell apart, with its list's path.
#[derive(Debug)]
pub(super) struct NoKey {
    pub(super) path: Vec<PathElement>,
    pub(super) problem: String,
}

/// Checks that the items of every list can be told apart.
pub(super) fn check_items(rule: Rule<'_>, value: &Value, path: &mut Vec<PathElement>) -> Result<(), NoKey> {
    match (rule, value) {
        (Rule::Struct(_) | Rule::Map(_), Value::Object(map)) => {
            for (key, below) in map {
                path.push(PathElement::field(key));
                check_items(rule.entry(key), below, path)?;
                path.pop();
            }
        }
        (Rule::Items(..) | Rule::Set, Value::Array(list)) => {
            let mut seen = HashSet::new();
            for (i, item) in list.iter().enumerate() {
                let Some(element) = rule.element(item) else {
                    let keys = if let Rule::Items(keys, _) = rule { keys } else { &[] };
                    path.push(PathElement::Index(i as u32));
                    let problem =
                        format!("the item omits the key that tells it from others ({})", keys.join(", "));
                    return Err(NoKey { path: std::mem::take(path), problem });
                };
                if !seen.insert(element.clone()) {
                    let problem = format!("duplicate entries for key {element}");
                    return Err(NoKey { path: std::mem::take(path), problem });
                }
                path.push(element);
                check_items(rule.item(), item, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

/// The fields that an object states.
pub(super) fn fields(rule: Rule<'_>, value: &Value) -> FieldSet {
    node(rule, value).children
}

fn node(rule: Rule<'_>, value: &Value) -> Node {
    let mut out = Node::default();
    match (rule, value) {
        (Rule::Struct(_) | Rule::Map(_), Value::Object(map)) => {
            for (key, below) in map {
                let mut entry = node(rule.entry(key), below);
                let empty = below.is_null() || below.as_object().is_some_and(Map::is_empty);
                entry.is_member |= empty || matches!(rule, Rule::Map(_));
                out.children.put(PathElement::field(key), entry);
            }
        }
        (Rule::Items(..) | Rule::Set, Value::Array(list)) => {
            for item in list {
                let Some(element) = rule.element(item) else { continue };
                let mut entry = node(rule.item(), item);
                entry.is_member = true;
                out.children.put(element, entry);
            }
        }
        (Rule::Leaf, _) => out.is_member = true,
        // A null where a map or list could be.
        _ => {}
    }
    out
}

/// How two objects differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Difference {
    pub(super) fn between(rule: Rule<'_>, old: &Value, new: &Value) -> Difference {
        let mut out = Difference::default();
        out.walk(rule, Some(old), Some(new), &mut Vec::new());
        out
    }

    fn walk(
        &mut self,
        rule: Rule<'_>,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Vec<PathElement>,
    ) {
        let is_leaf = matches!(rule, Rule::Leaf) || (is_empty(old) && is_empty(new));
        if !is_leaf {
            match rule {
                Rule::Struct(_) | Rule::Map(_) => {
                    let old = old.and_then(Value::as_object);
                    let new = new.and_then(Value::as_object);
                    for (key, before) in old.into_iter().flatten() {
                        let after = new.and_then(|new| new.get(key));
                        self.step(rule.entry(key), PathElement::field(key), Some(before), after, path);
                    }
                    for (key, after) in new.into_iter().flatten() {
                        if old.is_none_or(|old| !old.contains_key(key)) {
                            self.step(rule.entry(key), PathElement::field(key), None, Some(after), path);
                        }
                    }
                }
                Rule::Items(..) | Rule::Set => {
                    let before = by_element(rule, old);
                    let after = by_element(rule, new);
                    for (element, item) in &before {
                        self.step(
                            rule.item(),
                            element.clone(),
                            Some(item),
                            after.get(element).copied(),
                            path,
                        );
                    }
                    for (element, item) in &after {
                        if !before.contains_key(element) {
                            self.step(rule.item(), element.clone(), None, Some(item), path);
                        }
                    }
                }
                Rule::Leaf => {}
            }
        } else if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            self.modified.insert(path);
        }
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            _ => {}
        }
    }

    fn step(
        &mut self,
        rule: Rule<'_>,
        element: PathElement,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Vec<PathElement>,
    ) {
        path.push(element);
        self.walk(rule, old, new, path);
        path.pop();
    }

    pub(super) fn changed(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

fn by_element<'v>(rule: Rule<'_>, list: Option<&'v Value>) -> HashMap<PathElement, &'v Value> {
    let items = list.and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|item| Some((rule.element(item)?, item))).collect()
}

/// Lays a configuration over an object. Its lists keep their order, and what only the object has keeps its neighbours.
pub(super) fn merge(rule: Rule<'_>, live: Option<&Value>, applied: &Value) -> Value {
    match (rule, live, applied) {
        (Rule::Struct(_) | Rule::Map(_), live, Value::Object(applied)) => {
            let mut out = live.and_then(Value::as_object).cloned().unwrap_or_default();
            for (key, value) in applied {
                let merged = merge(rule.entry(key), out.get(key), value);
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Rule::Items(..) | Rule::Set, live, Value::Array(applied)) => {
            let live = live.and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
            Value::Array(merge_items(rule, live, applied))
        }
        (Rule::Struct(_) | Rule::Map(_) | Rule::Items(..) | Rule::Set, Some(live), Value::Null) => {
            live.clone()
        }
        (_, _, applied) => applied.clone(),
    }
}

fn merge_items(rule: Rule<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let live: Vec<(Option<PathElement>, &Value)> =
        live.iter().map(|item| (rule.element(item), item)).collect();
    let place: HashMap<&PathElement, usize> =
        live.iter().enumerate().filter_map(|(i, (element, _))| Some((element.as_ref()?, i))).collect();
    let named: HashSet<PathElement> = applied.iter().filter_map(|item| rule.element(item)).collect();
    let is_named = |i: usize| live[i].0.as_ref().is_some_and(|element| named.contains(element));
    let places: Vec<Option<usize>> = applied
        .iter()
        .map(|item| rule.element(item).and_then(|element| place.get(&element).copied()))
        .collect();
    // Where the next item that both have stands, from each item on.
    let mut shared: Vec<Option<usize>> = places.clone();
    for i in (0..shared.len().saturating_sub(1)).rev() {
        shared[i] = shared[i].or(shared[i + 1]);
    }
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let mut next = 0;
    for (i, item) in applied.iter().enumerate() {
        // What only the object has and stands before that item comes before this one.
        let end = shared[i].filter(|at| *at >= next).unwrap_or(live.len());
        out.extend((next..end).filter(|i| !is_named(*i)).map(|i| live[i].1.clone()));
        next = end + usize::from(places[i] == Some(end));
        out.push(merge(rule.item(), places[i].map(|at| live[at].1), item));
    }
    out.extend((next..live.len()).filter(|i| !is_named(*i)).map(|i| live[i].1.clone()));
    out
}

/// The object without these fields. A field that goes takes all below with it.
pub(super) fn remove(rule: Rule<'_>, value: &Value, fields: &FieldSet) -> Value {
    match (rule, value) {
        (Rule::Struct(_) | Rule::Map(_), Value::Object(map)) => {
            let mut out = Map::new();
            for (key, below) in map {
                match fields.node(&PathElement::field(key)) {
                    Some(node) if node.is_member => {}
                    Some(node) => {
                        out.insert(key.clone(), remove(rule.entry(key), below, &node.children));
                    }
                    None => {
                        out.insert(key.clone(), below.clone());
                    }
                }
            }
            Value::Object(out)
        }
        (Rule::Items(..) | Rule::Set, Value::Array(list)) => {
            let mut out = Vec::new();
            for item in list {
                match rule.element(item).and_then(|element| fields.node(&element)) {
                    Some(node) if node.is_member => {}
                    Some(node) => out.push(remove(rule.item(), item, &node.children)),
                    None => out.push(item.clone()),
                }
            }
            Value::Array(out)
        }
        (_, value) => value.clone(),
    }
}

/// The set with every struct field that has children as a member, so that sets made in different ways compare.
pub(super) fn with_parents(rule: Rule<'_>, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::default();
    for (element, node) in set.nodes() {
        let (below, is_field) = match (rule, element) {
            (Rule::Struct(of), PathElement::Field(name)) => (rule.entry(name), of.field(name).is_some()),
            (_, PathElement::Field(name)) => (rule.entry(name), false),
            _ => (rule.item(), false),
        };
        let children = with_parents(below, &node.children);
        let is_member = node.is_member || (is_field && !node.children.is_empty());
        out.put(element.clone(), Node { is_member, children });
    }
    out
}

/// Parts that every object of a type has though nobody wrote them: Go holds them without a pointer, so creating an object
/// does not add them.
pub(super) fn forget_inherent(of: TypeId, set: &mut FieldSet) {
    const PLAIN: [&str; 4] = ["metadata", "spec", "status", "source"];
    for field in &Table::get().type_of(of).fields {
        let element = PathElement::field(field.name);
        let is_inherent = field.is_required || PLAIN.contains(&field.name);
        if !is_inherent || matches!(Rule::of_field(field), Rule::Leaf) {
            continue;
        }
        let Some(mut node) = set.take(&element) else { continue };
        node.is_member = false;
        if let Shape::Object(id) = field.shape {
            forget_inherent(id, &mut node.children);
        }
        set.put(element, node);
    }
}
