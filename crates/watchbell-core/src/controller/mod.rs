//! What the controllers decide, one object at a time, from what is.

pub mod cronjob;
pub mod event;
pub mod job;
pub mod ttl;
