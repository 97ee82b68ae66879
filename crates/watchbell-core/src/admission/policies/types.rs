//! What is known of the fields of an object, by the schema of its kind.

use std::sync::Arc;

use watchbell_api::Resource;
use watchbell_api::schema::{self, Scalar, Shape, Table, TypeId};
use watchbell_cel::{ObjectType, Type};

/// How deep the fields of a kind are known; what lies deeper is of any type.
const DEPTH_MAX: usize = 12;

/// The type of the objects of a kind; of one that is not known nothing is known.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Type {
    let Some(resource) = Resource::from_kind(api_version, kind) else { return Type::Dyn };
    object(schema::type_of(resource), DEPTH_MAX)
}

fn object(id: TypeId, depth: usize) -> Type {
    if depth == 0 {
        return Type::Dyn;
    }
    let kind = Table::get().type_of(id);
    if kind.fields.is_empty() {
        return Type::Dyn;
    }
    let fields = kind.fields.iter().map(|field| (field.name.into(), of(&field.shape, depth - 1))).collect();
    Type::Object(Arc::new(ObjectType { name: kind.name, fields }))
}

fn of(shape: &Shape, depth: usize) -> Type {
    match shape {
        Shape::Object(id) => object(*id, depth),
        Shape::List(inner) => Type::list(of(inner, depth)),
        Shape::Map(inner) => Type::map(Type::String, of(inner, depth)),
        Shape::Scalar(scalar) => match scalar {
            Scalar::Bool => Type::Bool,
            Scalar::Int32 | Scalar::Int64 => Type::Int,
            Scalar::Double => Type::Double,
            // Bytes stand in JSON as text.
            Scalar::String | Scalar::Bytes => Type::String,
            Scalar::Time | Scalar::MicroTime => Type::Timestamp,
            Scalar::Quantity | Scalar::IntOrString | Scalar::Any => Type::Dyn,
        },
    }
}
