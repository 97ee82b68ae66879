//! Bytes from outside to JSON values, and values back to YAML. Everything is bounded; nothing ambiguous gets through.

mod json;
mod places;
mod scalar;
mod yaml;
mod yaml_write;

pub use json::json;
pub use places::{Misread, Place, Places, yaml_with_places};
pub use yaml::yaml;
pub use yaml_write::to_yaml;

#[cfg(test)]
mod tests;
