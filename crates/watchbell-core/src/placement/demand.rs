//! What a pod asks of the machine, and amounts of its resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::{Container, PodSpec};

use super::devices::Counts;

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
    /// Devices by their kind (`nvidia.com/gpu`).
    pub devices: BTreeMap<Arc<str>, u64>,
    /// The first resource asked for that no machine of this program has.
    pub missing: Option<Arc<str>>,
}

impl Demand {
    /// The effective request of a pod as Kubernetes computes it: the containers together with the sidecars, or an init
    /// container with the sidecars started before it, whichever is more, and the overhead. Without a request the limit
    /// is the request.
    pub fn of(spec: &PodSpec) -> Demand {
        let mut demand = Demand::default();
        let mut sidecars = Asked::default();
        let mut start = Asked::default();
        for container in &spec.init_containers {
            let asked = demand.ask(container);
            if PodSpec::is_sidecar(container) {
                sidecars = sidecars.plus(&asked);
                start = start.max(&sidecars);
            } else {
                start = start.max(&sidecars.clone().plus(&asked));
            }
        }
        let mut run = sidecars;
        for container in &spec.containers {
            run = run.plus(&demand.ask(container));
        }
        let mut overhead = Asked::default();
        for (name, value) in &spec.overhead {
            demand.read(name, value, &mut overhead);
        }
        let Asked { amounts: total, devices } = start.max(&run).plus(&overhead);
        Demand {
            cpu_millis: total.cpu_millis,
            memory_bytes: total.memory_bytes,
            ephemeral_storage_bytes: total.ephemeral_storage_bytes,
            devices,
            ..demand
        }
    }

    fn ask(&mut self, container: &Container) -> Asked {
        let resources = &container.resources;
        let amounts = Amounts {
            cpu_millis: CPU_MILLIS_UNSAID,
            memory_bytes: MEMORY_BYTES_UNSAID,
            ..Amounts::default()
        };
        let mut asked = Asked { amounts, devices: BTreeMap::new() };
        let limits = resources.limits.iter().filter(|(name, _)| !resources.requests.contains_key(*name));
        for (name, value) in limits.chain(&resources.requests) {
            self.read(name, value, &mut asked);
        }
        asked
    }

    /// Reads one resource into `amounts`. One that the machine has not, or that is no quantity, makes the pod wait.
    fn read(&mut self, name: &str, value: &Value, asked: &mut Asked) {
        let amounts = &mut asked.amounts;
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
            (_, Ok(quantity)) if quantity.is_zero() => false,
            // Kubernetes' own names have no domain, or its own.
            (_, Ok(quantity)) if name.contains('/') && !name.contains("kubernetes.io/") => {
                asked.devices.insert(name.into(), quantity.as_bytes());
                false
            }
            (_, Ok(_)) => true,
            (_, Err(_)) => true,
        };
        if missing {
            self.missing.get_or_insert_with(|| name.into());
        }
    }

    /// Without the devices, whose places the queue knows.
    pub(super) fn amounts(&self) -> Amounts {
        Amounts {
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes,
            ephemeral_storage_bytes: self.ephemeral_storage_bytes,
            pods: 1,
            devices: Counts::default(),
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
    pub devices: Counts,
}

/// What is asked of the machine, devices by their kind.
#[derive(Debug, Clone, Default)]
struct Asked {
    amounts: Amounts,
    devices: BTreeMap<Arc<str>, u64>,
}

impl Asked {
    fn plus(self, other: &Asked) -> Asked {
        self.join(other, Amounts::plus, u64::saturating_add)
    }

    fn max(self, other: &Asked) -> Asked {
        self.join(other, Amounts::max, Ord::max)
    }

    fn join(
        mut self,
        other: &Asked,
        amounts: fn(Amounts, Amounts) -> Amounts,
        count: fn(u64, u64) -> u64,
    ) -> Asked {
        for (kind, more) in &other.devices {
            let own = self.devices.entry(kind.clone()).or_default();
            *own = count(*own, *more);
        }
        Asked { amounts: amounts(self.amounts, other.amounts), devices: self.devices }
    }
}

impl Amounts {
    pub(super) fn of_machine(capacity: &Capacity) -> Amounts {
        Amounts {
            cpu_millis: capacity.cpu_millis,
            memory_bytes: capacity.memory_bytes,
            ephemeral_storage_bytes: capacity.ephemeral_storage_bytes,
            pods: u64::from(capacity.pods),
            devices: Counts::default(),
        }
    }

    fn zip(self, other: Amounts, join: impl Fn(u64, u64) -> u64) -> Amounts {
        Amounts {
            cpu_millis: join(self.cpu_millis, other.cpu_millis),
            memory_bytes: join(self.memory_bytes, other.memory_bytes),
            ephemeral_storage_bytes: join(self.ephemeral_storage_bytes, other.ephemeral_storage_bytes),
            pods: join(self.pods, other.pods),
            devices: std::array::from_fn(|i| {
                u32::try_from(join(self.devices[i].into(), other.devices[i].into())).unwrap_or(u32::MAX)
            }),
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
            && self.devices.iter().zip(&room.devices).all(|(asked, free)| asked <= free)
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
            .max(
                self.devices
                    .iter()
                    .zip(&machine.devices)
                    .map(|(used, all)| part((*used).into(), (*all).into()))
                    .max()
                    .unwrap_or(0),
            )
    }
}
