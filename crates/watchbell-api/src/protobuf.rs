//! Kubernetes' protobuf bodies (`application/vnd.kubernetes.protobuf`) as JSON values.
//!
//! ```text
//!   "k8s\0"  Unknown { typeMeta, raw }  ──▶  raw is the message of the kind  ──▶  JSON, by schema table and numbers.txt
//! ```
//!
//! kubectl sends some objects only in this form (`create job --from`, `create secret`, `auth can-i`), and does not try
//! again in JSON when it is refused. Clients in Go ask for answers in it, which takes the same way back.

mod encode;
mod frame;
mod message;
mod numbers;
#[cfg(test)]
mod tests;
mod wire;

use serde_json::{Map, Value};

use crate::decode::Nodes;
use crate::schema::{Table, TypeId};
use crate::{ApiError, Reason};
use frame::Form;
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
/// `BadRequest`: no such envelope, a kind that is not known, a malformed message, more than [`crate::decode::NODES_MAX`] values.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    decode_within(body, &Nodes::of_request())
}

/// The same of no more values than are left, which it takes.
pub fn decode_within(body: &[u8], nodes: &Nodes) -> Result<Value, ApiError> {
    let envelope = Envelope::read(body).map_err(|e| refused(&e))?;
    let id = type_of(&envelope.api_version, &envelope.kind).ok_or_else(|| {
        let Envelope { api_version, kind, .. } = &envelope;
        refused(&format!("no kind {kind:?} is registered for version {api_version:?}: send it as JSON"))
    })?;
    let mut object = Map::new();
    object.insert("kind".into(), envelope.kind.into());
    object.insert("apiVersion".into(), envelope.api_version.into());
    message::read(id, envelope.raw, &mut object, nodes).map_err(|e| refused(&e))?;
    Ok(Value::Object(object))
}

/// Writes an object, a list or a `Status` by its `apiVersion` and `kind`, in its envelope. What the JSON does not have is not
/// written; what has no number (fields of alpha features that nothing sets) is left out.
///
/// # Errors
/// `NotAcceptable` where the kind has no such form, `InternalError` where the object is not of its kind's shape.
pub fn encode(object: &Value) -> Result<Vec<u8>, ApiError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let encoder = Encoder::of(text("apiVersion"), text("kind"))?;
    let mut message = Vec::with_capacity(1024);
    encoder.message(object, &mut message)?;
    Ok([encoder.head(message.len()).as_slice(), &message, Encoder::tail()].concat())
}

/// Writes objects of one kind, piece by piece.
#[derive(Debug, Clone)]
pub struct Encoder {
    api_version: String,
    kind: String,
    form: Form,
}

impl Encoder {
    /// # Errors
    /// `NotAcceptable` where the kind has no such form.
    pub fn of(api_version: &str, kind: &str) -> Result<Encoder, ApiError> {
        let form = Form::of(api_version, kind).ok_or_else(|| {
            ApiError::new(
                Reason::NotAcceptable,
                format!(
                    "{kind:?} of {api_version:?} cannot be sent as {MEDIA_TYPE}: ask for application/json"
                ),
            )
        })?;
        Ok(Encoder { api_version: api_version.into(), kind: kind.into(), form })
    }

    /// What stands before a message of so many bytes.
    pub fn head(&self, length: usize) -> Vec<u8> {
        frame::head(&self.api_version, &self.kind, length)
    }

    /// What stands behind it.
    pub fn tail() -> &'static [u8] {
        frame::tail()
    }

    /// The bare message.
    ///
    /// # Errors
    /// `InternalError` where the object is not of its kind's shape.
    pub fn message(&self, object: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.form.write(object, out).map_err(|cause| self.wrong(&cause))
    }

    /// One item of the list whose kind this is.
    ///
    /// # Errors
    /// `InternalError` where the object is not of its kind's shape, or this is no list.
    pub fn item(&self, object: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let Form::ListOf(item) = self.form else { return Err(self.wrong("it is no list")) };
        wire::nested(out, 2, |out| Form::from(item).write(object, out)).map_err(|cause| self.wrong(&cause))
    }

    fn wrong(&self, cause: &str) -> ApiError {
        let Encoder { api_version, kind, .. } = self;
        ApiError::internal(format!("cannot write a {kind} of {api_version} as protobuf: {cause}"))
    }
}

/// Writes an event of a watch; `object` has its envelope.
pub fn watch_event(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    frame::watch_event(kind, object, out);
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
