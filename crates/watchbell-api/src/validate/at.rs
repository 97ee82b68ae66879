//! A place in an object: its value and its path.

use std::fmt;

use serde_json::Value;

static NULL: Value = Value::Null;

/// A value and where it stands. What is absent is null. Paths are lists on the stack, printed only for a finding.
#[derive(Clone, Copy)]
pub(super) struct At<'v, 'p> {
    pub(super) value: &'v Value,
    step: Step<'p>,
    parent: Option<&'p At<'v, 'p>>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
    Key(&'p str),
}

impl<'v, 'p> At<'v, 'p> {
    pub(super) fn root(value: &'v Value) -> At<'v, 'p> {
        At { value, step: Step::Root, parent: None }
    }

    /// A field that is named without what it stands in.
    pub(super) fn alone(of: &'v Value, name: &'p str) -> At<'v, 'p> {
        At { value: of.get(name).unwrap_or(&NULL), step: Step::Field(name), parent: None }
    }

    pub(super) fn field<'b>(&'b self, name: &'b str) -> At<'v, 'b> {
        At { value: self.value.get(name).unwrap_or(&NULL), step: Step::Field(name), parent: Some(self) }
    }

    /// The items of a list.
    pub(super) fn items<'b>(&'b self) -> impl Iterator<Item = At<'v, 'b>> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(move |(i, value)| At { value, step: Step::Index(i), parent: Some(self) })
    }

    /// The entries of a map.
    pub(super) fn entries<'b>(&'b self) -> impl Iterator<Item = (&'v str, At<'v, 'b>)>
    where
        'v: 'b,
    {
        self.value.as_object().into_iter().flatten().map(move |(key, value)| {
            (key.as_str(), At { value, step: Step::Key(key.as_str()), parent: Some(self) })
        })
    }

    /// The place of a key, whether it is there or not: `data[tls.crt]`.
    pub(super) fn key<'b>(&'b self, key: &'b str) -> At<'v, 'b> {
        At { value: self.value.get(key).unwrap_or(&NULL), step: Step::Key(key), parent: Some(self) }
    }

    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// A text; what is absent is empty.
    pub(super) fn text(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    pub(super) fn is_false(&self) -> bool {
        self.value == &Value::Bool(false)
    }

    /// How many items or entries; 0 for anything else.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
}

impl fmt::Display for At<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent =
            self.parent.filter(|parent| parent.parent.is_some() || !matches!(parent.step, Step::Root));
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match (self.step, parent) {
            (Step::Root, _) => Ok(()),
            (Step::Field(name), None) => f.write_str(name),
            (Step::Field(name), Some(_)) => write!(f, ".{name}"),
            (Step::Index(index), _) => write!(f, "[{index}]"),
            (Step::Key(key), _) => write!(f, "[{}]", super::findings::cut(key)),
        }
    }
}
