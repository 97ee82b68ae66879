//! Which chunk of a Zarr hierarchy belongs to which index of a job array. Pure: documents and a rule go in, a plan or a
//! refusal comes out.
//!
//! ```text
//!  zarr.json, .zarray, .zattrs ──▶ Hierarchy ─┐
//!                                             ├─ plan ─▶ Plan ── owner(key) ──▶ index i · read-only · outside
//!  annotation watchbell.dev/array ──▶ Use ────┘            ├──── keys(i), parents(i), elements(i)
//!                                                          └──── judge(what lies in an upper) ──▶ keep · drop · violation
//! ```
//!
//! The documents come from whoever wrote the array: every count is bounded, and what is not understood is refused, because
//! an unknown grid or encoding would make the wrong task the owner. Formats: Zarr v3 core specification 3.1, sections "Chunk
//! grids" and "Chunk key encoding"; codec `sharding_indexed` 1.0; Zarr v2 specification. Dimension names of v2 are those of
//! xarray's attribute `_ARRAY_DIMENSIONS`.

mod artifact;
mod document;
mod grow;
mod hierarchy;
mod judge;
mod key;
mod metadata;
mod path;
mod plan;
mod rule;
mod span;

pub use document::DocumentError;
pub use grow::{GrowError, Grown, grow};
pub use hierarchy::{ARTIFACTS_DOCUMENT, Hierarchy, HierarchyError, MAX_DOCUMENT_BYTES, MAX_NODES};
pub use judge::{Entry, EntryKind, Judge, Verdict, Violation};
pub use key::{ChunkKey, KeyEncoding, Parsed};
pub use metadata::{ArrayMetadata, Format, MAX_DIMENSIONS, Node};
pub use path::{NodePath, PathError};
pub use plan::{DimensionRange, MAX_INDICES, MAX_OWNED, Owner, Plan, PlanError, plan, plan_within};
pub use rule::{Extend, Mode, OnConflict, ReadScope, Region, RuleError, Split, Upper, Use, uses};

#[cfg(test)]
mod tests;
