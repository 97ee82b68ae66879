//! The kinds Watchbell speaks and the rules that Kubernetes' API server applies to them. No I/O.
//!
//! ```text
//!   bytes ──decode──▶ JSON value ──schema──▶ known fields only ──defaults──▶ ──validate──▶ typed facts
//!                         ▲                                                                    │
//!                         └────────────────── patch · table · status ◀────────────────────────┘
//! ```
//!
//! An object at rest is JSON, in the order its author wrote it. The typed structs of [`types`] hold what the
//! controllers and the node read; they are made from a value that has been checked against the schema.

pub mod array;
pub mod convert;
pub mod decode;
pub mod defaults;
pub mod devices;
pub mod error;
pub mod image;
pub mod managed_fields;
pub mod name;
pub mod network;
pub mod node;
pub mod openapi;
pub mod patch;
mod path;
pub mod protobuf;
pub mod quantity;
pub mod render_pod;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod table;
pub mod types;
pub mod uid;
pub mod validate;

pub use error::{ApiError, Cause, FieldError, Reason};
pub use resource::{Resource, ResourceInfo};
pub use uid::Uid;
