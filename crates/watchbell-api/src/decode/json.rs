//! JSON bodies. Two keys of one name in an object are refused: readers would disagree on which of them counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::nodes::Nodes;
use crate::ApiError;
use crate::path::Path;

/// Reads one JSON document of at most [`super::NODES_MAX`] values. Nesting is bounded (128 levels, serde_json's own limit), the
/// size by the caller.
///
/// # Errors
/// `BadRequest`: malformed, two documents, a duplicate key (with its path), a number that no 64-bit integer and no
/// finite double holds, too many values.
pub fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    json_within(bytes, &Nodes::of_request())
}

/// The same of no more values than are left, which it takes.
pub fn json_within(bytes: &[u8], nodes: &Nodes) -> Result<Value, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Node { path: &Path::Root, nodes }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| ApiError::bad_request(format!("cannot read the JSON document: {error}")))
}

struct Node<'a> {
    path: &'a Path<'a>,
    nodes: &'a Nodes,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.nodes.take(1).map_err(D::Error::custom)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if i64::try_from(value).is_err() {
            return Err(E::custom(format!(
                "{}: the number {value} is out of the range of 64-bit integers",
                self.path
            )));
        }
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // serde_json hands over integers that 64 bits cannot hold as doubles.
        if value.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(E::custom(format!(
                "{}: the number {value} is out of the range of 64-bit integers",
                self.path
            )));
        }
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("{}: not a finite number", self.path)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let (mut items, nodes) = (Vec::new(), self.nodes);
        while let Some(item) =
            access.next_element_seed(Node { path: &Path::Index(self.path, items.len()), nodes })?
        {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate field \"{path}\"")));
            }
            let value = access.next_value_seed(Node { path: &path, nodes: self.nodes })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
