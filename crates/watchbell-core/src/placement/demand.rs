//! What a pod asks of the machine, and amounts of its resources.

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::{Container, PodSpec};

/// A container that says nothing of a resource is taken to need this much of it, so that thousands of such pods are not
/// all started at once.
const CPU_MILLIS_UNSAID: u64 = 10;
const MEMORY_BYTES_UNSAID: u64 = 16 << 20;

/// What a pod asks of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
    /// The first resource asked for that this machine has none of (`nvidia.com/gpu`).
    pub missing: Option<Arc<str>>,
}

impl Demand {
    /// The effective request of a pod as Kubernetes computes it: the containers together with the sidecars, or an init
    /// container with the sidecars started before it, whichever is more, and the overhead. Without a request the limit
    /// is the request.
    pub fn of(spec: &PodSpec) -> Demand {
        let mut demand = Demand::default();
        let mut sidecars = Amounts::default();
        let mut start = Amounts::default();
        for container in &spec.init_containers {
            let asked = demand.ask(container);
            if PodSpec::is_sidecar(container) {
                sidecars = sidecars.plus(asked);
                start = start.max(sidecars);
            } else {
                start = start.max(sidecars.plus(asked));
            }
        }
        let mut run = sidecars;
        for container in &spec.containers {
            run = run.plus(demand.ask(container));
        }
        let mut overhead = Amounts::default();
        for (name, value) in &spec.overhead {
            demand.read(name, value, &mut overhead);
        }
        let total = start.max(run).plus(overhead);
        Demand {
            cpu_millis: total.cpu_millis,
            memory_bytes: total.memory_bytes,
            ephemeral_storage_bytes: total.ephemeral_storage_bytes,
            ..demand
        }
    }

    fn ask(&mut self, container: &Container) -> Amounts {
        let resources = &container.resources;
        let mut asked = Amounts {
            cpu_millis: CPU_MILLIS_UNSAID,
            memory_bytes: MEMORY_BYTES_UNSAID,
            ephemeral_storage_bytes: 0,
            pods: 0,
        };
        let limits = resources.limits.iter().filter(|(name, _)| !resources.requests.contains_key(*name));
        for (name, value) in limits.chain(&resources.requests) {
            self.read(name, value, &mut asked);
        }
        asked
    }

    /// Reads one resource into `amounts`. One that the machine has not, or that is no quantity, makes the pod wait.
    fn read(&mut self, name: &str, value: &Value, amounts: &mut Amounts) {
        let missing = match (name, Quantity::from_value(value)) {
            ("cpu", Ok(quantity)) => {
                amounts.cpu_millis = u64::try_from(quantity.as_millis()).unwrap_or(0);
                false
            }
            ("memory", Ok(quantity)) => {
                amounts.memory_bytes = quantity.as_bytes();
                false
            }
            ("ephemeral-storage", Ok(quantity)) => {
                amounts.ephemeral_storage_bytes = quantity.as_bytes();
                false
            }
            (_, Ok(quantity)) => !quantity.is_zero(),
            (_, Err(_)) => true,
        };
        if missing {
            self.missing.get_or_insert_with(|| name.into());
        }
    }

    pub(super) fn amounts(&self) -> Amounts {
        Amounts {
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes,
            ephemeral_storage_bytes: self.ephemeral_storage_bytes,
            pods: 1,
        }
    }
}

/// An amount of each resource the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Amounts {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
    pub pods: u64,
}

impl Amounts {
    pub(super) fn of_machine(capacity: &Capacity) -> Amounts {
        Amounts {
            cpu_millis: capacity.cpu_millis,
            memory_bytes: capacity.memory_bytes,
            ephemeral_storage_bytes: capacity.ephemeral_storage_bytes,
            pods: u64::from(capacity.pods),
        }
    }

    fn zip(self, other: Amounts, join: impl Fn(u64, u64) -> u64) -> Amounts {
        Amounts {
            cpu_millis: join(self.cpu_millis, other.cpu_millis),
            memory_bytes: join(self.memory_bytes, other.memory_bytes),
            ephemeral_storage_bytes: join(self.ephemeral_storage_bytes, other.ephemeral_storage_bytes),
            pods: join(self.pods, other.pods),
        }
    }

    pub(super) fn plus(self, other: Amounts) -> Amounts {
        self.zip(other, u64::saturating_add)
    }

    /// What is left; nothing where `other` is more (pods that ran before the machine shrank).
    pub(super) fn minus(self, other: Amounts) -> Amounts {
        self.zip(other, u64::saturating_sub)
    }

    pub(super) fn min(self, other: Amounts) -> Amounts {
        self.zip(other, u64::min)
    }

    fn max(self, other: Amounts) -> Amounts {
        self.zip(other, u64::max)
    }

    pub(super) fn fits_in(&self, room: &Amounts) -> bool {
        self.cpu_millis <= room.cpu_millis
            && self.memory_bytes <= room.memory_bytes
            && self.ephemeral_storage_bytes <= room.ephemeral_storage_bytes
            && self.pods <= room.pods
    }

    /// The largest part this is of any resource of the machine, in 2⁻³² (dominant resource fairness).
    pub(super) fn dominant_share(&self, machine: &Amounts) -> u64 {
        let part = |used: u64, all: u64| match all {
            0 => 0,
            all => u64::try_from((u128::from(used) << 32) / u128::from(all)).unwrap_or(u64::MAX),
        };
        part(self.cpu_millis, machine.cpu_millis)
            .max(part(self.memory_bytes, machine.memory_bytes))
            .max(part(self.ephemeral_storage_bytes, machine.ephemeral_storage_bytes))
            .max(part(self.pods, machine.pods))
    }
}
