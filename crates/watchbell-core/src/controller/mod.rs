//! What the controllers decide, one object at a time, from what is.

pub mod job;
