//! What is around a message: the envelope, lists, and the frames of a watch.

use serde_json::Value;

use super::wire::{nested, put_bytes, put_key, put_varint, varint_len};
use super::{MAGIC, encode};
use crate::schema::{Table, TypeId};

/// `contentEncoding` and `contentType` of `runtime.Unknown`, both empty: Go writes them.
const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];
const LENGTH_DELIMITED: u8 = 2;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The message of a type of the table.
    Of(TypeId),
    /// `metadata` alone.
    Metadata,
    /// `metadata` and `items`, each of which has that form.
    ListOf(ItemForm),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemForm {
    Of(TypeId),
    Metadata,
}

impl From<ItemForm> for Form {
    fn from(item: ItemForm) -> Form {
        match item {
            ItemForm::Of(id) => Form::Of(id),
            ItemForm::Metadata => Form::Metadata,
        }
    }
}

impl Form {
    pub(super) fn of(api_version: &str, kind: &str) -> Option<Form> {
        if api_version == "meta.k8s.io/v1" {
            return match kind {
                "PartialObjectMetadata" => Some(Form::Metadata),
                "PartialObjectMetadataList" => Some(Form::ListOf(ItemForm::Metadata)),
                _ => None,
            };
        }
        if let Some(id) = super::type_of(api_version, kind) {
            return Some(Form::Of(id));
        }
        let item = super::type_of(api_version, kind.strip_suffix("List")?)?;
        Some(Form::ListOf(ItemForm::Of(item)))
    }

    pub(super) fn write(self, object: &Value, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Form::Of(id) => encode::write(id, object, out),
            Form::Metadata => metadata("meta.v1.ObjectMeta", &object["metadata"], out),
            Form::ListOf(item) => {
                metadata("meta.v1.ListMeta", &object["metadata"], out)?;
                let items = object["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                items.iter().try_for_each(|object| nested(out, 2, |out| Form::from(item).write(object, out)))
            }
        }
    }
}

fn metadata(name: &str, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let id = Table::get().find(name).ok_or("no such type")?;
    if value.is_null() { Ok(()) } else { nested(out, 1, |out| encode::write(id, value, out)) }
}

/// What stands before a message of `length` bytes.
pub(super) fn head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(MAGIC);
    let mut meta = Vec::with_capacity(48);
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    put_bytes(&mut out, 1, &meta);
    put_key(&mut out, 2, LENGTH_DELIMITED);
    put_varint(&mut out, length as u64);
    out
}

/// What stands behind a message.
pub(super) const fn tail() -> &'static [u8] {
    TAIL
}

/// One event of a watch (`meta.v1.WatchEvent`) behind its length.
pub(super) fn watch_event(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    let raw = 1 + varint_len(object.len() as u64) + object.len();
    let text = 1 + varint_len(kind.len() as u64) + kind.len();
    let length = text + 1 + varint_len(raw as u64) + raw;
    out.extend_from_slice(&(length as u32).to_be_bytes());
    put_bytes(out, 1, kind.as_bytes());
    put_key(out, 2, LENGTH_DELIMITED);
    put_varint(out, raw as u64);
    put_bytes(out, 1, object);
}
