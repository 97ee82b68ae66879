//! Values while an expression runs. What comes from an object is borrowed from it, and looked at only where it is needed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value as Json;
use watchbell_api::quantity::Quantity;

use crate::functions::authorizer::{Check, Subject};
use crate::functions::formats::Named;
use crate::functions::network::Cidr;
use crate::functions::semver::Semver;
use crate::functions::url::Url;

#[derive(Debug, Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds, as Go's `time.Duration`.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// A type by its name.
    Type(&'static str),
    Opaque(Opaque),
}

#[derive(Debug, Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

#[derive(Debug, Clone)]
pub enum List<'a> {
    Json(&'a [Json]),
    Made(Arc<Vec<Value<'a>>>),
}

#[derive(Debug, Clone)]
pub enum Map<'a> {
    Json(&'a serde_json::Map<String, Json>),
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

/// What a map can be asked for. Whole numbers are one key, whatever their type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    Bool(bool),
    Int(i128),
    String(KeyText<'a>),
}

#[derive(Debug, Clone)]
pub struct KeyText<'a>(pub(crate) Text<'a>);

impl PartialEq for KeyText<'_> {
    fn eq(&self, other: &KeyText<'_>) -> bool {
        *self.0 == *other.0
    }
}
impl Eq for KeyText<'_> {}
impl PartialOrd for KeyText<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for KeyText<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// What Kubernetes' libraries are about.
#[derive(Debug, Clone)]
pub enum Opaque {
    Url(Arc<Url>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(Cidr),
    Semver(Arc<Semver>),
    Format(Named),
    Authorizer(Authorizer),
    Decision(Arc<crate::eval::Verdict>),
}

/// A question to the authorizer, as far as it has been put.
#[derive(Debug, Clone)]
pub enum Authorizer {
    /// About whom.
    Of(Subject),
    Group(Subject, Arc<str>),
    Check(Arc<Check>),
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::UInt(value),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(list) => Value::List(List::Json(list)),
            Json::Object(map) => Value::Map(Map::Json(map)),
        }
    }
}

impl From<Arc<str>> for Value<'_> {
    fn from(text: Arc<str>) -> Self {
        Value::String(Text::Shared(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::String(Text::Shared(text.into()))
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(list: Vec<Value<'a>>) -> Self {
        Value::List(List::Made(Arc::new(list)))
    }
}

impl<'a> Value<'a> {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What `type(x)` gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::UInt(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// Characters, elements or entries; everything else has the size 1. What the cost is made of.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            Value::Opaque(Opaque::Ip(IpAddr::V4(_))) => 4,
            Value::Opaque(Opaque::Ip(IpAddr::V6(_))) => 16,
            Value::Opaque(Opaque::Cidr(cidr)) => usize::from(cidr.length).div_ceil(8),
            _ => 1,
        }
    }

    /// How long a text is, or bytes are; everything else is short, or looked at part by part.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    pub(crate) fn some(value: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Arc::new(value)))
    }

    /// As the key of a map; a double only where it is whole.
    pub(crate) fn as_key(&self) -> Option<Key<'a>> {
        Some(match self {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(i128::from(*value)),
            Value::UInt(value) => Key::Int(i128::from(*value)),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => Key::Int(*value as i128),
            Value::String(text) => Key::String(KeyText(text.clone())),
            _ => return None,
        })
    }
}

impl Opaque {
    /// The text in it that is compared.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Opaque::Url(url) => url.text.len(),
            _ => 0,
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Opaque::Url(_) => "net.URL",
            Opaque::Quantity(_) => "kubernetes.Quantity",
            Opaque::Ip(_) => "net.IP",
            Opaque::Cidr(_) => "net.CIDR",
            Opaque::Semver(_) => "kubernetes.Semver",
            Opaque::Format(_) => "kubernetes.NamedFormat",
            Opaque::Authorizer(Authorizer::Of(_)) => "kubernetes.authorization.Authorizer",
            Opaque::Authorizer(Authorizer::Group(_, _)) => "kubernetes.authorization.GroupCheck",
            Opaque::Authorizer(Authorizer::Check(check)) => match **check {
                Check::Path { .. } => "kubernetes.authorization.PathCheck",
                Check::Resource { .. } => "kubernetes.authorization.ResourceCheck",
            },
            Opaque::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Json(list) => list.len(),
            List::Made(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            List::Json(list) => list.get(at).map(Value::from),
            List::Made(list) => list.get(at).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Json(map) => map.len(),
            Map::Made(map) => map.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Map::Json(map), Key::String(text)) => map.get(&*text.0).map(Value::from),
            (Map::Json(_), _) => None,
            (Map::Made(map), key) => map.get(key).cloned(),
        }
    }

    pub fn field(&self, name: &Arc<str>) -> Option<Value<'a>> {
        match self {
            Map::Json(map) => map.get(&**name).map(Value::from),
            Map::Made(map) => map.get(&Key::String(KeyText(Text::Shared(name.clone())))).cloned(),
        }
    }

    pub fn iter(&self) -> Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + '_> {
        match self {
            Map::Json(map) => {
                Box::new(map.iter().map(|(key, value)| (Value::String(Text::Borrowed(key)), value.into())))
            }
            Map::Made(map) => Box::new(map.iter().map(|(key, value)| (key.to_value(), value.clone()))),
        }
    }
}

impl<'a> Key<'a> {
    pub(crate) fn to_value(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => i64::try_from(*value)
                .map_or_else(|_| Value::UInt(u64::try_from(*value).unwrap_or(u64::MAX)), Value::Int),
            Key::String(text) => Value::String(text.0.clone()),
        }
    }
}
