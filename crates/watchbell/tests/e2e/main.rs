//! The program as a stranger runs it: real containers, real clients, real signals. Needs root.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod array_uses;
mod arrays;
mod audit;
mod audit_export;
mod bad_input;
mod bounds;
mod claims;
mod devices;
mod doctor;
mod exec;
mod explain;
mod follow;
mod full_disk;
mod hardened;
mod image_policy;
mod kill;
mod kubectl;
mod lifecycle;
mod lost_output;
mod network;
mod python;
mod runtimes;
mod schedule;
mod seccomp;
mod secret_arrays;
mod shared;
mod stand;
mod tokens;
mod transcript;
mod users;
mod watching;
