//! Exports from a real journal to stand-ins that check the protocols to the letter, and fail in every way.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a child says that it started, and a test that it was left out"
)]

mod cluster;
mod elasticsearch;
mod file;
mod journal;
mod kill;
mod otlp;
mod receiver;
mod stand;
mod tls;
