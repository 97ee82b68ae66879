//! Types of expressions, and which fit where. Source: the type checker of the CEL language definition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How many parts a type may have; a larger one is known no closer than `dyn`. A macro can double the type of what it goes
/// over, so that without a bound a short expression has a type without end.
const PARTS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Known only when the expression runs.
    Dyn,
    Null,
    Bool,
    Int,
    UInt,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// One of Kubernetes' libraries: `net.IP`, `kubernetes.Quantity`.
    Opaque(&'static str),
    Object(Arc<ObjectType>),
    /// Stands for any type in the signature of a function.
    Param(u8),
}

/// An object whose fields are declared.
#[derive(Debug, PartialEq)]
pub struct ObjectType {
    pub name: &'static str,
    pub fields: BTreeMap<Box<str>, Type>,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(element) => write!(f, "list({element})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Type(inner) => write!(f, "type({inner})"),
            Type::Param(number) => write!(f, "{}", char::from(b'A' + number)),
            _ => f.write_str(self.name()),
        }
    }
}

impl Type {
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element)).bounded()
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value)).bounded()
    }

    pub(crate) fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner)).bounded()
    }

    fn bounded(self) -> Type {
        match self.parts() > PARTS_MAX {
            true => Type::Dyn,
            false => self,
        }
    }

    fn parts(&self) -> usize {
        match self {
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => 1 + inner.parts(),
            Type::Map(key, value) => 1 + key.parts() + value.parts(),
            _ => 1,
        }
    }

    /// What `type(x)` gives, without parameters.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Type::Dyn | Type::Param(_) => "dyn",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::UInt => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::Duration => "duration",
            Type::List(_) => "list",
            Type::Map(_, _) => "map",
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Opaque(name) => name,
            Type::Object(object) => object.name,
        }
    }

    /// Whether both are one type, as far as that is known.
    pub(crate) fn is_like(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a.is_like(b),
            (Type::Map(a, b), Type::Map(c, d)) => a.is_like(c) && b.is_like(d),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            // Null stands for what an object, a time or an optional may not be.
            (Type::Null, other) | (other, Type::Null) => {
                matches!(
                    other,
                    Type::Null
                        | Type::Object(_)
                        | Type::Timestamp
                        | Type::Duration
                        | Type::Opaque(_)
                        | Type::Optional(_)
                )
            }
            _ => self == other,
        }
    }
}

/// What the parameters of a signature stand for in one call.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    bound: [Option<Type>; 6],
}

impl Bindings {
    /// Whether a value of type `given` can stand where `wanted` is; binds parameters on the way.
    pub(crate) fn accept(&mut self, wanted: &Type, given: &Type) -> bool {
        match (wanted, given) {
            (Type::Param(number), _) => match self.bound[usize::from(*number)].clone() {
                None | Some(Type::Dyn) => {
                    self.bound[usize::from(*number)] = Some(given.clone());
                    true
                }
                Some(bound) if bound.is_like(given) => {
                    // Of two the wider holds.
                    if *given == Type::Dyn || bound == Type::Null {
                        self.bound[usize::from(*number)] = Some(given.clone());
                    }
                    true
                }
                Some(_) => false,
            },
            (_, Type::Dyn) | (Type::Dyn, _) => true,
            (Type::List(a), Type::List(b))
            | (Type::Optional(a), Type::Optional(b))
            | (Type::Type(a), Type::Type(b)) => self.accept(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.accept(a, c) && self.accept(b, d),
            _ => wanted.is_like(given),
        }
    }

    /// A type of the signature with its parameters replaced; what nothing is known of is `dyn`.
    pub(crate) fn apply(&self, of: &Type) -> Type {
        match of {
            Type::Param(number) => self.bound[usize::from(*number)].clone().unwrap_or(Type::Dyn),
            Type::List(inner) => Type::list(self.apply(inner)),
            Type::Optional(inner) => Type::optional(self.apply(inner)),
            Type::Type(inner) => Type::Type(Arc::new(self.apply(inner))),
            Type::Map(key, value) => Type::map(self.apply(key), self.apply(value)),
            other => other.clone(),
        }
    }
}

/// Reads a type of the table of functions: `list<A>`, `map<string,A>`, `net.IP`.
pub(crate) fn read(text: &'static str) -> Type {
    let text = text.trim();
    let inside = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inside("list<") {
        return Type::list(read(inner));
    }
    if let Some(inner) = inside("optional<") {
        return Type::optional(read(inner));
    }
    if let Some(inner) = inside("type<") {
        return Type::Type(Arc::new(read(inner)));
    }
    if let Some((key, value)) = inside("map<").and_then(|inner| inner.split_once(',')) {
        return Type::map(read(key), read(value));
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::UInt,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ => match text.as_bytes() {
            [letter @ b'A'..=b'F'] => Type::Param(letter - b'A'),
            _ => Type::Opaque(text),
        },
    }
}
