pub(crate) mod fixtures;
mod namespace;
mod policy;
mod words;
