//! Bytes from outside to JSON values, and values back to YAML. Everything is bounded; nothing ambiguous gets through.

mod json;
mod nodes;
mod places;
mod scalar;
mod yaml;
mod yaml_write;

pub use json::{json, json_within};
pub use nodes::{NODES_MAX, Nodes, TooMany};
pub use places::{Misread, Place, Places, yaml_with_places};
pub use yaml::{yaml, yaml_within};
pub use yaml_write::to_yaml;

#[cfg(test)]
mod tests;
