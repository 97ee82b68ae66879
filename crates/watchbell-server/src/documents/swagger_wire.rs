//! The Swagger document in protobuf: the only form in which client-go (so kubectl, where version 3 has no answer) asks for
//! it. The messages are those of `openapi.v2` of gnostic; field numbers stand beside their names.
//!
//! One table a message: what is not in it is not sent. Fields of a message come in the order of the document.

use serde_json::Value;

/// How a value is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Flag,
    One(&'static Message),
    Many(&'static Message),
    /// A map as a list of (name, value) inside a message.
    Named(&'static Message),
    /// A message that wraps another in its field of this number.
    Wrapped(&'static [u32], &'static Message),
    /// `TypeItem`: a list of names.
    Type,
    /// `AdditionalPropertiesItem`: a schema or a switch.
    Additional,
}

struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// The field of `NamedAny` for keys that begin with `x-`.
    extensions: Option<u32>,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::One(&INFO)),
        ("definitions", 9, Form::Named(&SCHEMA)),
    ],
    extensions: Some(16),
};

static INFO: Message =
    Message { fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)], extensions: Some(7) };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("required", 19, Form::Texts),
        ("additionalProperties", 21, Form::Additional),
        ("type", 22, Form::Type),
        ("items", 23, Form::Wrapped(&[1], &SCHEMA)),
        ("allOf", 24, Form::Many(&SCHEMA)),
        ("properties", 25, Form::Named(&SCHEMA)),
    ],
    extensions: Some(31),
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::One(&OPERATION)),
        ("put", 3, Form::One(&OPERATION)),
        ("post", 4, Form::One(&OPERATION)),
        ("delete", 5, Form::One(&OPERATION)),
        ("patch", 8, Form::One(&OPERATION)),
    ],
    extensions: Some(10),
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
    ],
    extensions: Some(13),
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::One(&SCHEMA)),
    ],
    extensions: Some(6),
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("uniqueItems", 20, Form::Flag),
    ],
    extensions: Some(23),
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("uniqueItems", 18, Form::Flag),
    ],
    extensions: Some(22),
};

static RESPONSE: Message = Message {
    fields: &[("description", 1, Form::Text), ("schema", 2, Form::Wrapped(&[1], &SCHEMA))],
    extensions: Some(5),
};

/// The document of [`watchbell_api::openapi::v2`] as `openapi.v2.Document`.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = message(&DOCUMENT, document);
    let mut paths = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        field(&mut paths, 2, &named(path, &path_item(item)));
    }
    field(&mut out, 8, &paths);
    out
}

fn path_item(item: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in item.as_object().into_iter().flatten() {
        if key == "parameters" {
            parameters(&mut out, 9, value);
        } else if let Some((_, number, _)) = PATH_ITEM.fields.iter().find(|(name, ..)| name == key) {
            field(&mut out, *number, &operation(value));
        }
    }
    out
}

fn operation(operation: &Value) -> Vec<u8> {
    let mut out = message(&OPERATION, operation);
    parameters(&mut out, 8, &operation["parameters"]);
    let mut responses = Vec::new();
    for (code, response) in operation["responses"].as_object().into_iter().flatten() {
        let mut value = Vec::new();
        field(&mut value, 1, &message(&RESPONSE, response));
        field(&mut responses, 1, &named(code, &value));
    }
    field(&mut out, 9, &responses);
    out
}

/// `ParametersItem` of `Parameter` of a body's or another's.
fn parameters(out: &mut Vec<u8>, number: u32, list: &Value) {
    for parameter in list.as_array().into_iter().flatten() {
        let mut kind = Vec::new();
        match parameter["in"].as_str() {
            Some("body") => field(&mut kind, 1, &message(&BODY_PARAMETER, parameter)),
            place => {
                let mut other = Vec::new();
                match place {
                    Some("path") => field(&mut other, 4, &message(&PATH_PARAMETER, parameter)),
                    _ => field(&mut other, 3, &message(&QUERY_PARAMETER, parameter)),
                }
                field(&mut kind, 2, &other);
            }
        }
        let mut item = Vec::new();
        field(&mut item, 1, &kind);
        field(out, number, &item);
    }
}

fn message(shape: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        if let Some((_, number, form)) = shape.fields.iter().find(|(name, ..)| name == key) {
            write(&mut out, *number, *form, value);
        } else if let Some(number) = shape.extensions
            && key.starts_with("x-")
        {
            field(&mut out, number, &named(key, &any(value)));
        }
    }
    out
}

fn write(out: &mut Vec<u8>, number: u32, form: Form, value: &Value) {
    match form {
        Form::Text => field(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Form::Texts => {
            for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                field(out, number, text.as_bytes());
            }
        }
        Form::Flag => flag(out, number, value),
        Form::One(shape) => field(out, number, &message(shape, value)),
        Form::Many(shape) => {
            for item in value.as_array().into_iter().flatten() {
                field(out, number, &message(shape, item));
            }
        }
        Form::Named(shape) => {
            let mut list = Vec::new();
            for (name, item) in value.as_object().into_iter().flatten() {
                field(&mut list, 1, &named(name, &message(shape, item)));
            }
            field(out, number, &list);
        }
        Form::Wrapped(numbers, shape) => {
            let mut inner = message(shape, value);
            for wrapper in numbers {
                let mut outer = Vec::new();
                field(&mut outer, *wrapper, &inner);
                inner = outer;
            }
            field(out, number, &inner);
        }
        Form::Type => {
            let mut list = Vec::new();
            let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for name in names.iter().filter_map(Value::as_str) {
                field(&mut list, 1, name.as_bytes());
            }
            field(out, number, &list);
        }
        Form::Additional => {
            let mut inner = Vec::new();
            if value.is_object() {
                field(&mut inner, 1, &message(&SCHEMA, value));
            } else {
                flag(&mut inner, 2, value);
            }
            field(out, number, &inner);
        }
    }
}

/// (name, value) of a map.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, name.as_bytes());
    field(&mut out, 2, value);
    out
}

/// Any value, as YAML; JSON is YAML.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

fn flag(out: &mut Vec<u8>, number: u32, value: &Value) {
    if value == true {
        varint(out, u64::from(number) << 3);
        out.push(1);
    }
}

/// A field of the wire type 2: bytes with their length.
fn field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, (u64::from(number) << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: Value, expect: &[u8]) {
        assert_eq!(encode(&document), expect);
    }

    #[test]
    fn messages_by_hand() {
        check(json!({"swagger": "2.0", "paths": {}}), b"\x0a\x032.0\x42\x00");
        let definition = json!({"definitions": {"a": {"type": "string", "x-k": [1], "ignored": 1}}});
        // Document.definitions{NamedSchema{name, Schema{type{value}, vendor_extension{name, any{yaml}}}}}
        check(
            definition,
            b"\x4a\x22\x0a\x20\x0a\x01a\x12\x1b\xb2\x01\x08\x0a\x06string\xfa\x01\x0d\x0a\x03x-k\x12\x06\x12\x04[1]\n\x42\x00",
        );
    }

    #[test]
    fn long_values_have_long_lengths() {
        let title = "t".repeat(300);
        let wire = encode(&json!({"info": {"title": title}}));
        assert_eq!(&wire[..6], b"\x12\xaf\x02\x0a\xac\x02");
    }

    /// Walks through the whole document as any protobuf reader would.
    #[test]
    fn the_served_document_is_well_formed() {
        let document = watchbell_api::openapi::v2(&super::super::asked());
        let wire = encode(&document);
        let mut rest = &wire[..];
        let mut definitions = 0;
        while let Some((number, bytes)) = next(&mut rest) {
            if number == 9 {
                let mut rest = bytes;
                while next(&mut rest).is_some() {
                    definitions += 1;
                }
            }
        }
        assert!(rest.is_empty());
        assert_eq!(definitions, document["definitions"].as_object().map_or(0, serde_json::Map::len));
    }

    fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
        if rest.is_empty() {
            return None;
        }
        let key = read(rest);
        assert_eq!(key & 7, 2);
        let length = read(rest) as usize;
        let (bytes, after) = rest.split_at(length);
        *rest = after;
        Some((key >> 3, bytes))
    }

    fn read(rest: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, after) = rest.split_first().unwrap();
            *rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}
