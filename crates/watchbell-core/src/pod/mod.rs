//! What the node does with a pod: which container next, with what command, environment and files.
//!
//! ```text
//!   status of the journal ─┐
//!   what the sandbox tells ┼─▶ Life ── step(now) ──▶ create · terminate · kill, and when to look again
//!   stop, deadline ────────┘    └── status() ──▶ phase, container states, reasons
//!
//!   PodFacts + objects ──▶ environment · command · files of volumes · QoS
//! ```
//!
//! The rules are kubelet's.

mod backoff;
mod command;
mod environment;
mod expand;
mod field;
mod files;
mod hosts;
mod identity;
mod life;
mod qos;
mod status;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::node::Capacity;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{Resource, Uid};

pub use backoff::{BLOCKED, CRASH, Growth};
pub use command::command;
pub use environment::{environment, merge_image_env};
pub use expand::expand;
pub use field::resource_amount;
pub use files::{File, Tokens, files_of, is_changing, is_files};
pub use hosts::{HOSTNAME_BYTES_MAX, hosts, short_hostname};
pub use identity::{Identity, Names, WantedUser, identity, wanted_user};
pub use life::{Action, Container, EndCause, Life, State, Step};
pub use qos::{Qos, oom_score_adj, qos};

/// What a pod may learn of itself (`fieldRef`, `resourceFieldRef`).
#[derive(Debug, Clone, Copy)]
pub struct PodFacts<'a> {
    pub uid: Uid,
    pub namespace: &'a str,
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
    pub spec: &'a PodSpec,
    pub node_name: &'a str,
    pub host_ip: &'a str,
    /// Empty for a pod without a network.
    pub pod_ip: &'a str,
    /// A limit that a container leaves unsaid reads as what the machine offers.
    pub capacity: &'a Capacity,
}

/// Finds a ConfigMap or Secret of the pod's namespace.
pub type Objects<'a> = &'a dyn Fn(Resource, &str) -> Option<Arc<Value>>;

/// Why a container's configuration cannot be made, in kubelet's words. It may be mended by making what is missing, so it
/// is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
