//! Every decision of Watchbell, as synchronous functions of state and `now`.
//!
//! ```text
//!   request ─┐                         ┌─▶ changes (one commit, with their audit entries)
//!   report  ─┼─▶ world ── reconcile ───┼─▶ commands for the node
//!   wake-up ─┘     │                   └─▶ wake me at …
//!                  ├── cron          which slot is due
//!                  ├── controller    which Job, which pod, which index next
//!                  ├── placement     which pod has room
//!                  ├── storage       which volume a claim gets
//!                  ├── access        who may what
//!                  ├── egress        where a pod may connect to
//!                  ├── arrays        which index owns which chunks
//!                  ├── pod           which container next, with what environment
//!                  └── service_account  what a token is bound to, and whether it still counts
//! ```
//!
//! No async, no clock, no environment, no file, no socket: the caller brings time and randomness.

pub mod access;
pub mod admission;
pub mod arrays;
pub mod controller;
pub mod copies;
pub mod cron;
pub mod egress;
pub mod image_policy;
pub mod index_set;
pub mod login;
pub mod placement;
pub mod pod;
pub mod request;
pub mod service_account;
pub mod storage;
pub mod world;
