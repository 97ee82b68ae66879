//! What the controllers and the node read of an object, typed. Read from values that passed the schema.

pub mod cronjob;
pub mod job;
pub mod pod;
pub mod pod_status;
