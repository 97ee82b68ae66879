//! A set of fields and its text, FieldsV1: a tree whose edges are path elements.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path. They are ordered as FieldsV1 prints them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathElement {
    /// `f:name`: a field of a struct or a key of a map.
    Field(Box<str>),
    /// `k:{"name":"a"}`: an item of a list of maps, by its keys as compact JSON in their alphabetical order.
    Key(Box<str>),
    /// `v:"x"`: an item of a set, as JSON.
    Value(Box<str>),
    /// `i:0`: never made here, and kept where a client sent it.
    Index(u32),
}

/// A set of fields. Each path is in it by itself: owning a map is not owning its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    entries: BTreeMap<PathElement, Node>,
}

/// What lies at a path. A node that is neither a member nor has children is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    pub(super) is_member: bool,
    pub(super) children: FieldSet,
}

/// Text that is not FieldsV1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fieldsV1: {0}")]
pub struct ParseFieldsError(String);

impl PathElement {
    pub fn field(name: &str) -> PathElement {
        PathElement::Field(name.into())
    }

    fn parse(text: &str) -> Result<PathElement, ParseFieldsError> {
        let wrong = || ParseFieldsError(format!("{text:?} is no path element"));
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        Ok(match kind {
            "f" => PathElement::Field(rest.into()),
            "k" => {
                let mut keys: Value = serde_json::from_str(rest).map_err(|_| wrong())?;
                if !keys.is_object() {
                    return Err(wrong());
                }
                keys.sort_all_objects();
                PathElement::Key(keys.to_string().into())
            }
            "v" => {
                let value: Value = serde_json::from_str(rest).map_err(|_| wrong())?;
                PathElement::Value(value.to_string().into())
            }
            "i" => PathElement::Index(rest.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        })
    }

    fn print(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(keys) => format!("k:{keys}"),
            PathElement::Value(value) => format!("v:{value}"),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }
}

/// As conflicts name it: `.spec`, `[name="main"]`, `[="x"]`, `[0]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let parts: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads FieldsV1.
    pub fn from_json(json: &Value) -> Result<FieldSet, ParseFieldsError> {
        let map = json.as_object().ok_or_else(|| ParseFieldsError("it is not a JSON object".into()))?;
        let mut set = FieldSet::default();
        for (key, below) in map {
            if key == "." {
                continue;
            }
            let element = PathElement::parse(key)?;
            let children = FieldSet::from_json(below)?;
            // A leaf is a member without saying so.
            let is_member = below.get(".").is_some() || children.is_empty();
            set.put(element, Node { is_member, children });
        }
        Ok(set)
    }

    /// Prints FieldsV1.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.entries {
            let Value::Object(mut below) = node.children.to_json() else { continue };
            if node.is_member && !below.is_empty() {
                below.shift_insert(0, ".".into(), Value::Object(Map::new()));
            }
            map.insert(element.print(), Value::Object(below));
        }
        Value::Object(map)
    }

    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.entries.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.is_member = true;
        } else {
            node.children.insert(rest);
        }
    }

    pub fn contains(&self, path: &[PathElement]) -> bool {
        let Some((last, before)) = path.split_last() else { return false };
        let mut set = self;
        for element in before {
            match set.entries.get(element) {
                Some(node) => set = &node.children,
                None => return false,
            }
        }
        set.entries.get(last).is_some_and(|node| node.is_member)
    }

    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        for (element, node) in &other.entries {
            let into = out.entries.entry(element.clone()).or_default();
            into.is_member |= node.is_member;
            into.children = into.children.union(&node.children);
        }
        out
    }

    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, other| match other {
            None => Node::default(),
            Some(other) => Node {
                is_member: mine.is_member && other.is_member,
                children: mine.children.intersection(&other.children),
            },
        })
    }

    /// What is here and not there.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, other| match other {
            None => mine.clone(),
            Some(other) => Node {
                is_member: mine.is_member && !other.is_member,
                children: mine.children.difference(&other.children),
            },
        })
    }

    /// Without a field of the root and all below it.
    #[must_use]
    pub fn without(mut self, field: &str) -> FieldSet {
        self.entries.remove(&PathElement::field(field));
        self
    }

    /// Every path, in the order of FieldsV1.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        fn walk(set: &FieldSet, at: &mut Vec<PathElement>, out: &mut Vec<Vec<PathElement>>) {
            for (element, node) in &set.entries {
                at.push(element.clone());
                if node.is_member {
                    out.push(at.clone());
                }
                walk(&node.children, at, out);
                at.pop();
            }
        }
        let mut out = Vec::new();
        walk(self, &mut Vec::new(), &mut out);
        out
    }

    fn combine(&self, other: &FieldSet, with: impl Fn(&Node, Option<&Node>) -> Node) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.entries {
            out.put(element.clone(), with(node, other.entries.get(element)));
        }
        out
    }

    pub(super) fn put(&mut self, element: PathElement, node: Node) {
        if node.is_member || !node.children.is_empty() {
            self.entries.insert(element, node);
        }
    }

    pub(super) fn node(&self, element: &PathElement) -> Option<&Node> {
        self.entries.get(element)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&PathElement, &Node)> {
        self.entries.iter()
    }

    pub(super) fn take(&mut self, element: &PathElement) -> Option<Node> {
        self.entries.remove(element)
    }
}

/// `.spec.template.spec.containers[name="main"].image`
pub fn shown(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}
