//! Which waiting pod starts next on this one machine, and why the others wait.

use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::node::Capacity;
use watchbell_api::types::pod::PodSpec;

/// What a pod asks of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Demand {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
    /// The first resource asked for that this machine has none of (`nvidia.com/gpu`).
    pub missing: Option<Arc<str>>,
}

/// A pod that waits for room.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub uid: Uid,
    pub namespace: Arc<str>,
    /// Of its PriorityClass; higher goes first.
    pub priority: i32,
    /// Order of creation within the namespace.
    pub seq: u64,
    pub request: Demand,
}

#[derive(Debug)]
pub struct Queue {
    capacity: Capacity,
}

impl Demand {
    pub fn of(spec: &PodSpec) -> Demand {
        let _ = spec;
        Demand::default()
    }
}

impl Queue {
    pub fn new(capacity: Capacity) -> Queue {
        Queue { capacity }
    }
    pub fn push(&mut self, pod: Waiting) {
        let _ = (pod, &self.capacity);
    }
    pub fn started(&mut self, pod: Waiting) {
        let _ = pod;
    }
    pub fn remove(&mut self, uid: Uid) {
        let _ = uid;
    }
    pub fn next(&mut self) -> Option<Uid> {
        None
    }
    pub fn reason(&self, uid: Uid) -> Option<String> {
        let _ = uid;
        None
    }
}
