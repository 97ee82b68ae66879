//! The API server: Kubernetes' REST protocol over TLS in front of the one state.
//!
//! ```text
//!  client ── TLS ──▶ connection ── authenticate ─ authorize ──▶ verb ──▶ State::write ──▶ writer ──▶ journal
//!                                                                │                          │
//!                                                                ├── get · list ◀── snapshot ◀ published when durable
//!                                                                ├── watch ◀─────── hub ◀─────┘
//!                                                                ├── log ◀───────── node's LogSource
//!                                                                ├── images ◀─────▶ node's Images
//!                                                                └── stream ◀─────▶ node's Sessions
//! ```
//!
//! The server decides nothing about objects: `watchbell-core` does. It never imports the node; they meet in
//! `watchbell_api::node` and the binary joins them.

// From the socket inwards.
mod access;
mod answers;
mod app;
mod authenticate;
mod blocking;
mod body;
mod connection;
mod credential;
mod discovery;
mod documents;
mod impersonate;
mod intake;
mod limits;
mod local;
mod metrics;
mod notes;
mod patience;
mod pins;
mod present;
mod probes;
mod request;
mod respond;
mod server;
mod verbs;
mod view;
pub mod websocket;
// From the state outwards.
mod clock;
mod hub;
mod journal;
mod log_files;
mod maintenance;
mod state;
mod writer;

pub use limits::ConnectionLimits;
pub use local::ADMIN_SOCKET;
pub use server::{Ended, Listener, Server, ServerError, ServerOptions};
pub use state::{StartError, State, Writer};
