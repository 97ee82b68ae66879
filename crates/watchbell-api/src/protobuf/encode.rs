//! JSON to a message, by the same shapes and numbers as the way back.
//!
//! Fields stand in the order of their numbers and maps in that of their keys, as Go writes them. What is not in the JSON
//! is not written: a reader sets it to what Go's types say of an absent JSON field, so that both forms make one object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::numbers::{self, Entry, Message};
use super::wire::{self, put_bytes, put_key, put_varint};
use crate::schema::{Field, Scalar, Shape, Table, Type, TypeId};

/// Writes an object as the message of its type.
pub(super) fn write(id: TypeId, object: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let owner = Table::get().type_of(id);
    let map = object.as_object().ok_or("it is no object")?;
    fields(owner, named(owner.name)?, map, out)
}

fn named(name: &str) -> Result<&'static Message, String> {
    numbers::message(name).ok_or_else(|| format!("the message of {name} is not known here"))
}

fn fields(
    owner: &Type,
    message: &Message,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for (number, entry) in message {
        match entry {
            Entry::Field(name) | Entry::Wrapped(name) => {
                let Some(value) = object.get(*name).filter(|value| !value.is_null()) else { continue };
                let Some(field) = owner.field(name) else { continue };
                let is_wrapped = matches!(entry, Entry::Wrapped(_));
                let wrote = if is_wrapped {
                    wire::nested(out, *number, |out| one(field, 1, value, out))
                } else {
                    one(field, *number, value, out)
                };
                wrote.map_err(|cause| format!("{name}: {cause}"))?;
            }
            Entry::Embedded(name) => {
                let start = out.len();
                let mut is_empty = true;
                wire::nested(out, *number, |out| {
                    let before = out.len();
                    let wrote = fields(owner, named(name)?, object, out);
                    is_empty = out.len() == before;
                    wrote
                })?;
                // Nothing of it is set: there is no such message.
                if is_empty {
                    out.truncate(start);
                }
            }
        }
    }
    Ok(())
}

/// A field with its key.
fn one(field: &Field, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match &field.shape {
        Shape::List(item) => {
            for value in value.as_array().ok_or("it is no list")? {
                whole(item, number, value, out)?;
            }
            Ok(())
        }
        Shape::Map(item) => {
            let map = value.as_object().ok_or("it is no map")?;
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                wire::nested(out, number, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    match &**item {
                        // Go gives the list a message of its own.
                        Shape::List(item) => wire::nested(out, 2, |out| {
                            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                            list.iter().try_for_each(|value| whole(item, 1, value, out))
                        }),
                        item => whole(item, 2, value, out),
                    }
                })?;
            }
            Ok(())
        }
        shape => whole(shape, number, value, out),
    }
}

/// A value that stands for itself: a field, an item of a list, the value of a map.
fn whole(shape: &Shape, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match shape {
        Shape::Object(id) => wire::nested(out, number, |out| match value {
            // An item that is null is an empty one to Go.
            Value::Null => Ok(()),
            value => write(*id, value, out),
        }),
        Shape::Scalar(kind) => scalar(*kind, number, value, out),
        Shape::List(_) | Shape::Map(_) => Err("a list of lists cannot be sent".into()),
    }
}

fn scalar(kind: Scalar, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let text = || value.as_str().ok_or("it is no text");
    match kind {
        Scalar::Bool => {
            put_key(out, number, wire::VARINT);
            put_varint(out, u64::from(value.as_bool().ok_or("it is neither true nor false")?));
        }
        Scalar::Int32 | Scalar::Int64 => {
            put_key(out, number, wire::VARINT);
            // A negative number is written with 64 bits.
            put_varint(out, value.as_i64().ok_or("it is no whole number")? as u64);
        }
        Scalar::Double => {
            put_key(out, number, wire::FIXED64);
            out.extend_from_slice(&value.as_f64().ok_or("it is no number")?.to_bits().to_le_bytes());
        }
        Scalar::String => put_bytes(out, number, text()?.as_bytes()),
        Scalar::Bytes => put_bytes(out, number, &bytes(text()?)?),
        Scalar::Quantity => wire::nested(out, number, |out| {
            match value {
                Value::Number(plain) => put_bytes(out, 1, plain.to_string().as_bytes()),
                _ => put_bytes(out, 1, text()?.as_bytes()),
            }
            Ok(())
        })?,
        Scalar::IntOrString => wire::nested(out, number, |out| {
            let (kind, int, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                _ => (0, value.as_i64().ok_or("it is neither a whole number nor a text")?, ""),
            };
            put_key(out, 1, wire::VARINT);
            put_varint(out, kind);
            put_key(out, 2, wire::VARINT);
            put_varint(out, int as u64);
            put_bytes(out, 3, text.as_bytes());
            Ok(())
        })?,
        Scalar::Time | Scalar::MicroTime => {
            let time: Timestamp = text()?.parse().map_err(|_| "it is no time")?;
            // Seconds go down and nanoseconds up, before 1970 too.
            let nanos = time.as_nanosecond();
            let second = nanos.div_euclid(1_000_000_000) as i64;
            let rest = match kind {
                // As precise as Go's type is.
                Scalar::MicroTime => nanos.rem_euclid(1_000_000_000) as u64 / 1000 * 1000,
                _ => 0,
            };
            wire::nested(out, number, |out| {
                put_key(out, 1, wire::VARINT);
                put_varint(out, second as u64);
                put_key(out, 2, wire::VARINT);
                put_varint(out, rest);
                Ok(())
            })?;
        }
        Scalar::Any => wire::nested(out, number, |out| {
            put_bytes(out, 1, value.to_string().as_bytes());
            Ok(())
        })?,
    }
    Ok(())
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    // Line ends are allowed in it.
    let decoded = if text.contains(['\r', '\n']) {
        STANDARD.decode(text.replace(['\r', '\n'], ""))
    } else {
        STANDARD.decode(text)
    };
    decoded.map_err(|_| "it is no base64".into())
}

#[cfg(test)]
mod tests;
