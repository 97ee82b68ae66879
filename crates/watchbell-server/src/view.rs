//! An object as bytes, in the form in which it stands in an answer.

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::{ApiError, Resource, convert, protobuf};
use watchbell_core::world::Stored;

use crate::present::{self, Include};
use crate::request::accept::{Answer, Encoding, Shape};

/// What of an object is shown, and in which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Json,
    /// With its envelope.
    Protobuf,
    MetadataJson,
    /// With its envelope.
    MetadataProtobuf,
    /// A row of a Table, in JSON.
    Row(Include),
}

impl View {
    /// The view of an element of a list or watch. They are not sent in YAML piece by piece.
    pub(crate) fn of(answer: Answer, include: Include) -> View {
        match (answer.shape, answer.encoding) {
            (Shape::Table, _) => View::Row(include),
            (Shape::Metadata | Shape::MetadataList, Encoding::Protobuf) => View::MetadataProtobuf,
            (Shape::Metadata | Shape::MetadataList, _) => View::MetadataJson,
            (Shape::Object | Shape::Discovery | Shape::DiscoveryBeta, Encoding::Protobuf) => View::Protobuf,
            (Shape::Object | Shape::Discovery | Shape::DiscoveryBeta, _) => View::Json,
        }
    }

    pub(crate) fn is_protobuf(self) -> bool {
        matches!(self, View::Protobuf | View::MetadataProtobuf)
    }

    /// Writes an object as it stands, as an object of the resource that was asked for.
    pub(crate) fn stored(self, asked: Resource, stored: &Stored, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self == View::Json && asked == stored.resource {
            stored.write_json(out);
            return Ok(());
        }
        self.rendered(asked, stored.render(), out)
    }

    /// The same of an object that was rendered as it is stored.
    pub(crate) fn rendered(self, asked: Resource, object: Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let object = convert::from_stored(asked, object);
        let shown = match self {
            View::Json | View::Protobuf => object,
            View::MetadataJson | View::MetadataProtobuf => present::metadata_only(object),
            View::Row(include) => present::row(asked, include, object, Timestamp::now().as_second()),
        };
        if self.is_protobuf() {
            out.extend_from_slice(&protobuf::encode(&shown)?);
            return Ok(());
        }
        serde_json::to_writer(out, &shown).map_err(|e| ApiError::internal(format!("cannot make JSON: {e}")))
    }
}
