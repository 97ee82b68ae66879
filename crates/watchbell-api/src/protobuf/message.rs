//! A message to JSON, field by field, by the shapes of the schema table.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::numbers::{self, Entry, Message};
use super::wire::{self, Reader, Wire};
use crate::decode::Nodes;
use crate::schema::{Field, Scalar, Shape, Table, Type, TypeId};

/// Fields that Go always writes, because they are no pointers: their zero says as little as their absence. Of all others
/// a zero or a false that is written is meant (`suspend: false`, `backoffLimit: 0`).
const ZERO_SAYS_NOTHING: &[&str] = &[
    "active",
    "authenticated",
    "availableReplicas",
    "chapAuthDiscovery",
    "chapAuthSession",
    "code",
    "count",
    "currentHealthy",
    "denied",
    "deprecatedCount",
    "desiredHealthy",
    "disruptionsAllowed",
    "expectedPods",
    "failed",
    "failureThreshold",
    "fullyLabeledReplicas",
    "generation",
    "globalDefault",
    "healthCheckNodePort",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "numberAvailable",
    "numberUnavailable",
    "observedGeneration",
    "partition",
    "periodSeconds",
    "publishNotReadyAddresses",
    "readOnly",
    "readyReplicas",
    "retryAfterSeconds",
    "signal",
    "sizeBytes",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "succeeded",
    "successThreshold",
    "timeoutSeconds",
    "tty",
    "unschedulable",
    "updatedNumberScheduled",
];

/// Where the reader is, as a list on the stack: no allocation unless a message prints it. Its root knows how much may still
/// be read.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root(&'a Nodes),
    Key(&'a Path<'a>, &'static str),
}

impl Path<'_> {
    fn nodes(&self) -> &Nodes {
        match self {
            Path::Root(nodes) => nodes,
            Path::Key(parent, _) => parent.nodes(),
        }
    }

    fn take(&self, count: usize) -> Result<(), String> {
        self.nodes().take(count).map_err(|e| e.to_string())
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Path::Root(_) => Ok(()),
            Path::Key(Path::Root(_), key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
        }
    }
}

/// Reads the message of a type into an object.
pub(super) fn read(
    id: TypeId,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    nodes: &Nodes,
) -> Result<(), String> {
    let read = Table::get().type_of(id);
    fields(read, named(read.name)?, bytes, object, &Path::Root(nodes))
}

fn named(name: &str) -> Result<&'static Message, String> {
    numbers::message(name).ok_or_else(|| format!("the message of {name} is not known here: send it as JSON"))
}

fn fields(
    owner: &Type,
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    path: &Path<'_>,
) -> Result<(), String> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next().map_err(|e| at(path, &e))? {
        match numbers::entry(message, number) {
            Some(Entry::Field(name)) => {
                let Some(field) = owner.field(name) else { continue };
                let path = Path::Key(path, field.name);
                one(field, value, object, &path)?;
            }
            Some(Entry::Wrapped(name)) => {
                let Some(field) = owner.field(name) else { continue };
                let path = Path::Key(path, field.name);
                let mut inner = Reader::new(bytes_of(value).map_err(|e| at(&path, &e))?);
                while let Some((number, value)) = inner.next().map_err(|e| at(&path, &e))? {
                    if number == 1 {
                        one(field, value, object, &path)?;
                    }
                }
            }
            Some(Entry::Embedded(name)) => {
                let inner = bytes_of(value).map_err(|e| at(path, &e))?;
                fields(owner, named(name)?, inner, object, path)?;
            }
            None => {
                path.take(1)?;
                object.insert(format!("protobuf field {number}"), Value::Bool(true));
            }
        }
    }
    Ok(())
}

fn at(path: &Path<'_>, what: &str) -> String {
    if matches!(path, Path::Root(_)) { what.into() } else { format!("{path}: {what}") }
}

fn bytes_of(value: Wire<'_>) -> Result<&[u8], String> {
    match value {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_) => {
            Err("it is no message, text or bytes".into())
        }
    }
}

/// One occurrence of a field.
fn one(
    field: &Field,
    value: Wire<'_>,
    object: &mut Map<String, Value>,
    path: &Path<'_>,
) -> Result<(), String> {
    path.take(1)?;
    match &field.shape {
        Shape::List(item) => {
            let slot = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = slot else { return Ok(()) };
            match (&**item, value) {
                // Packed: one field holds them all.
                (
                    Shape::Scalar(kind @ (Scalar::Int32 | Scalar::Int64 | Scalar::Bool)),
                    Wire::Bytes(packed),
                ) => {
                    let mut reader = Reader::new(packed);
                    while let Some(number) = reader.next_varint().map_err(|e| at(path, &e))? {
                        path.take(1)?;
                        list.extend(scalar(*kind, Wire::Varint(number), path).map_err(|e| at(path, &e))?);
                    }
                }
                (item, value) => list.push(whole(item, value, path)?),
            }
        }
        Shape::Map(item) => {
            let (key, value) = entry_of(value).map_err(|e| at(path, &e))?;
            let value = match (&**item, value) {
                // A map to lists: Go gives the list a message of its own.
                (Shape::List(item), Some(value)) => {
                    let mut reader = Reader::new(bytes_of(value).map_err(|e| at(path, &e))?);
                    let mut list = Vec::new();
                    while let Some((number, value)) = reader.next().map_err(|e| at(path, &e))? {
                        if number == 1 {
                            path.take(1)?;
                            list.push(whole(item, value, path)?);
                        }
                    }
                    Value::Array(list)
                }
                (Shape::List(_), None) => Value::Array(Vec::new()),
                (item, Some(value)) => whole(item, value, path)?,
                (item, None) => whole(item, Wire::Bytes(&[]), path)?,
            };
            let slot = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = slot {
                map.insert(key.into(), value);
            }
        }
        Shape::Object(id) => {
            let bytes = bytes_of(value).map_err(|e| at(path, &e))?;
            // A message in two parts is one.
            let slot = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = slot else { return Ok(()) };
            let read = Table::get().type_of(*id);
            fields(read, named(read.name)?, bytes, inner, path)?;
        }
        Shape::Scalar(kind) => {
            let value = scalar(*kind, value, path).map_err(|e| at(path, &e))?;
            match value.filter(|value| field.is_required || says_something(field.name, value)) {
                Some(value) => {
                    object.insert(field.name.into(), value);
                }
                None => {
                    object.shift_remove(field.name);
                }
            }
        }
    }
    Ok(())
}

fn says_something(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Bool(false) => !ZERO_SAYS_NOTHING.contains(&name),
        Value::Number(number) => number.as_i64() != Some(0) || !ZERO_SAYS_NOTHING.contains(&name),
        Value::Null | Value::Bool(true) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// A value that stands for itself: an item of a list, the value of a map.
fn whole(shape: &Shape, value: Wire<'_>, path: &Path<'_>) -> Result<Value, String> {
    match shape {
        Shape::Object(id) => {
            let read = Table::get().type_of(*id);
            let mut inner = Map::new();
            let bytes = bytes_of(value).map_err(|e| at(path, &e))?;
            fields(read, named(read.name)?, bytes, &mut inner, path)?;
            Ok(Value::Object(inner))
        }
        Shape::Scalar(kind) => {
            Ok(scalar(*kind, value, path).map_err(|e| at(path, &e))?.unwrap_or(Value::Null))
        }
        Shape::List(_) | Shape::Map(_) => Err(at(path, "a list of lists cannot be sent")),
    }
}

/// The entry of a map: key 1, value 2.
fn entry_of(value: Wire<'_>) -> Result<(&str, Option<Wire<'_>>), String> {
    let mut reader = Reader::new(bytes_of(value)?);
    let (mut key, mut found) = ("", None);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => key = wire::text(bytes_of(value)?)?,
            2 => found = Some(value),
            _ => {}
        }
    }
    Ok((key, found))
}

/// `None`: a time that was never set.
fn scalar(kind: Scalar, value: Wire<'_>, path: &Path<'_>) -> Result<Option<Value>, String> {
    let varint = || match value {
        Wire::Varint(number) => Ok(number),
        Wire::Fixed64(_) | Wire::Bytes(_) | Wire::Fixed32(_) => Err("it is no number".to_owned()),
    };
    Ok(Some(match kind {
        Scalar::Bool => Value::Bool(varint()? != 0),
        // Negative numbers are written with 64 bits.
        Scalar::Int32 => Value::from(varint()? as i32),
        Scalar::Int64 => Value::from(varint()? as i64),
        Scalar::Double => match value {
            Wire::Fixed64(bits) => Value::from(f64::from_bits(bits)),
            Wire::Varint(_) | Wire::Bytes(_) | Wire::Fixed32(_) => return Err("it is no number".into()),
        },
        Scalar::String => Value::from(wire::text(bytes_of(value)?)?),
        Scalar::Bytes => Value::from(STANDARD.encode(bytes_of(value)?)),
        Scalar::Quantity => {
            let text = part(bytes_of(value)?, 1)?.map(bytes_of).transpose()?.unwrap_or(b"0");
            Value::from(wire::text(text)?)
        }
        Scalar::IntOrString => int_or_string(bytes_of(value)?)?,
        Scalar::Time | Scalar::MicroTime => return time(kind, bytes_of(value)?),
        Scalar::Any => {
            let raw = part(bytes_of(value)?, 1)?.map(bytes_of).transpose()?.unwrap_or(b"null");
            crate::decode::json_within(raw, path.nodes()).map_err(|e| e.message)?
        }
    }))
}

/// The last occurrence of a field of a message.
fn part(bytes: &[u8], wanted: u32) -> Result<Option<Wire<'_>>, String> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Some((number, value)) = reader.next()? {
        if number == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let number = |part: Option<Wire<'_>>| match part {
        Some(Wire::Varint(number)) => number,
        _ => 0,
    };
    Ok(match number(part(bytes, 1)?) {
        0 => Value::from(number(part(bytes, 2)?) as i32),
        _ => Value::from(wire::text(part(bytes, 3)?.map(bytes_of).transpose()?.unwrap_or_default())?),
    })
}

fn time(kind: Scalar, bytes: &[u8]) -> Result<Option<Value>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let number = |part: Option<Wire<'_>>| match part {
        Some(Wire::Varint(number)) => number,
        _ => 0,
    };
    let seconds = number(part(bytes, 1)?) as i64;
    let nanos = number(part(bytes, 2)?) as i32;
    let wrong = |_| format!("{seconds} seconds and {nanos} nanoseconds are no time");
    Ok(Some(Value::from(match kind {
        Scalar::MicroTime => format!("{:.6}", Timestamp::new(seconds, nanos).map_err(wrong)?),
        _ => Timestamp::from_second(seconds).map_err(wrong)?.to_string(),
    })))
}
