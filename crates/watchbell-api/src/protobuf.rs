//! Kubernetes' protobuf bodies (`application/vnd.kubernetes.protobuf`) as JSON values.
//!
//! ```text
//!   "k8s\0"  Unknown { typeMeta, raw }  ──▶  raw is the message of the kind  ──▶  JSON, by schema table and numbers.txt
//! ```
//!
//! kubectl sends some objects only in this form (`create job --from`, `create secret`, `auth can-i`), and does not try
//! again in JSON when it is refused. Answers may be JSON, so nothing is encoded here.

mod message;
mod numbers;
#[cfg(test)]
mod tests;
mod wire;

use serde_json::{Map, Value};

use crate::ApiError;
use crate::schema::{Table, TypeId};
use wire::{Reader, Wire};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Reads a body: an object with `apiVersion` and `kind`, in the form in which it would have come as JSON. The size is
/// bounded by the caller; the nesting is that of the schema.
///
/// A field number without a name (a client newer than this server) becomes a field called `protobuf field 43`: nothing
/// has such a field, so it is treated as the request says of unknown ones, refused, warned about or dropped.
///
/// # Errors
/// `BadRequest`: no such envelope, a kind that is not known, a malformed message.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = Envelope::read(body).map_err(|e| refused(&e))?;
    let id = type_of(&envelope.api_version, &envelope.kind).ok_or_else(|| {
        let Envelope { api_version, kind, .. } = &envelope;
        refused(&format!("no kind {kind:?} is registered for version {api_version:?}: send it as JSON"))
    })?;
    let mut object = Map::new();
    object.insert("kind".into(), envelope.kind.into());
    object.insert("apiVersion".into(), envelope.api_version.into());
    message::read(id, envelope.raw, &mut object).map_err(|e| refused(&e))?;
    Ok(Value::Object(object))
}

fn refused(cause: &str) -> ApiError {
    ApiError::bad_request(format!("cannot read the protobuf body: {cause}"))
}

fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    // Options have the version of the object they are sent with.
    if kind == "DeleteOptions" {
        return Table::get().find("meta.v1.DeleteOptions");
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Table::get().find_kind(group, version, kind)
}

/// `runtime.Unknown` of apimachinery.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Envelope<'a>, String> {
        let rest = body.strip_prefix(MAGIC).ok_or("it does not begin with \"k8s\\0\"")?;
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(rest);
        while let Some((number, value)) = reader.next()? {
            match (number, value) {
                (1, Wire::Bytes(meta)) => {
                    let mut reader = Reader::new(meta);
                    while let Some((number, value)) = reader.next()? {
                        match (number, value) {
                            (1, Wire::Bytes(text)) => envelope.api_version = wire::text(text)?.into(),
                            (2, Wire::Bytes(text)) => envelope.kind = wire::text(text)?.into(),
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err("contentEncoding is not empty: send it plain".into());
                }
                _ => {}
            }
        }
        if envelope.kind.is_empty() || envelope.api_version.is_empty() {
            return Err("the envelope names no apiVersion and kind".into());
        }
        Ok(envelope)
    }
}
