//! All devices that the specs of this machine describe: which one a name means, whether it can be handed out, and how many
//! there are to be counted.
//!
//! Precedence is the reference library's: a later directory wins over an earlier one; a name that stands twice in one
//! directory means nothing, whatever a later one says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Policy;
use crate::edits::{Device, Spec};
use crate::hand_out::HandOut;
use crate::names::{QualifiedName, kind_is_resource};
use crate::read::{self, Stamp};

/// Devices of one container.
const HANDED_OUT_MAX: usize = 256;
/// The device of generated specs that is all others together.
const ALL: &str = "all";

/// The specs of some directories, as they were at one time.
#[derive(Debug, Clone)]
pub struct Registry {
    devices: BTreeMap<QualifiedName, Entry>,
    problems: Vec<Problem>,
    policy: Policy,
    stamp: Stamp,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: Arc<Spec>,
    at: usize,
    file: PathBuf,
    priority: usize,
    standing: Standing,
}

/// Whether a device is one by itself, whatever the host has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Own,
    Alias(QualifiedName),
    Several,
}

/// A file or directory that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    pub reason: String,
}

/// A device, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: QualifiedName,
    pub file: PathBuf,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It can be leased, and is counted.
    Usable,
    /// Another name of a device that is counted.
    Alias(QualifiedName),
    /// Several devices together: never leased, because each of them is.
    Several,
    /// Why it cannot be handed out.
    Unusable(String),
}

impl Registry {
    /// Reads the directories, the last one having the last word.
    pub fn load(dirs: &[PathBuf], policy: &Policy) -> Registry {
        // Before the files: what changes meanwhile is read again.
        let stamp = read::stamp(dirs);
        let mut registry =
            Registry { devices: BTreeMap::new(), problems: Vec::new(), policy: policy.clone(), stamp };
        let mut conflicts = BTreeSet::new();
        for (priority, dir) in dirs.iter().enumerate() {
            let files = read::directory(dir).unwrap_or_else(|reason| {
                registry.problems.push(Problem { path: dir.clone(), reason });
                Vec::new()
            });
            for file in files {
                match file.spec {
                    Ok(spec) => registry.add(&Arc::new(spec), &file.path, priority, &mut conflicts),
                    Err(reason) => registry.problems.push(Problem { path: file.path, reason }),
                }
            }
        }
        for name in conflicts {
            registry.devices.remove(&name);
        }
        registry.settle_standing();
        registry
    }

    fn add(
        &mut self,
        spec: &Arc<Spec>,
        file: &Path,
        priority: usize,
        conflicts: &mut BTreeSet<QualifiedName>,
    ) {
        for (at, device) in spec.devices.iter().enumerate() {
            let name = QualifiedName { kind: spec.kind.clone(), name: device.name.clone() };
            if let Some(known) = self.devices.get(&name).filter(|known| known.priority == priority) {
                let reason = format!("device {name} stands in {} too; neither is used", known.file.display());
                self.problems.push(Problem { path: file.to_owned(), reason });
                conflicts.insert(name);
                continue;
            }
            self.devices.insert(
                name,
                Entry { spec: spec.clone(), at, file: file.to_owned(), priority, standing: Standing::Own },
            );
        }
    }

    /// Whether the files are as they were when this was read.
    pub fn is_current(&self, dirs: &[PathBuf]) -> bool {
        self.stamp == read::stamp(dirs)
    }

    /// What could not be read, for people.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Of two kinds with the same devices the plain one comes first: `nvidia.com/gpu` before
    /// `k8s.device-plugin.nvidia.com/gpu`. Within a kind, numbers come before serial numbers.
    fn in_order(&self) -> Vec<&QualifiedName> {
        let mut order: Vec<&QualifiedName> = self.devices.keys().collect();
        order.sort_by_key(|name| (name.kind.len(), &name.kind, natural(&name.name)));
        order
    }

    fn settle_standing(&mut self) {
        let mut counted: BTreeMap<String, QualifiedName> = BTreeMap::new();
        let mut settled = Vec::with_capacity(self.devices.len());
        for name in self.in_order() {
            let identity = identity(self.devices[name].device(), &name.kind);
            let standing = match counted.get(&identity) {
                _ if self.is_several(name) => Standing::Several,
                Some(other) => Standing::Alias(other.clone()),
                None => {
                    counted.insert(identity, name.clone());
                    Standing::Own
                }
            };
            settled.push((name.clone(), standing));
        }
        for (name, standing) in settled {
            if let Some(entry) = self.devices.get_mut(&name) {
                entry.standing = standing;
            }
        }
    }

    /// Every device with what can be done with it.
    pub fn found(&self) -> Vec<Found> {
        let mut found = Vec::with_capacity(self.devices.len());
        for name in self.in_order() {
            let entry = &self.devices[name];
            let state = match &entry.standing {
                Standing::Several => State::Several,
                Standing::Alias(other) => State::Alias(other.clone()),
                Standing::Own if !kind_is_resource(&name.kind) => {
                    State::Unusable(format!("{} is no name of a Kubernetes resource", name.kind))
                }
                Standing::Own => match self.hand_out(std::slice::from_ref(name)) {
                    Ok(_) => State::Usable,
                    Err(reason) => State::Unusable(reason),
                },
            };
            found.push(Found { name: name.clone(), file: entry.file.clone(), state });
        }
        found
    }

    /// What is counted: the names of the devices of each kind that can be leased. A kind all of whose devices are unusable is
    /// there with none, so that it is told apart from one that nobody knows.
    pub fn pools(&self) -> BTreeMap<String, Vec<String>> {
        let mut pools: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for found in self.found() {
            if !kind_is_resource(&found.name.kind) {
                continue;
            }
            let pool = pools.entry(found.name.kind).or_default();
            if found.state == State::Usable {
                pool.push(found.name.name);
            }
        }
        pools
    }

    /// The places on the host whose coming and going makes a device usable or not.
    pub fn host_paths(&self) -> Vec<PathBuf> {
        let mut paths = BTreeSet::new();
        for entry in self.devices.values() {
            for edits in [&entry.spec.container_edits, &entry.device().container_edits] {
                let nodes = edits.device_nodes.iter();
                paths.extend(
                    nodes.map(|node| if node.host_path.is_empty() { &node.path } else { &node.host_path }),
                );
                paths.extend(edits.mounts.iter().map(|mount| &mount.host_path));
            }
        }
        paths.into_iter().filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
    }

    /// All that a container gets with these devices: the edits of each one's spec, once, and its own. One that is another by
    /// another name, or several, is refused: who holds a device could not be told any more.
    pub fn hand_out(&self, names: &[QualifiedName]) -> Result<HandOut, String> {
        if names.len() > HANDED_OUT_MAX {
            return Err(format!("more than {HANDED_OUT_MAX} devices are asked for"));
        }
        let mut out = HandOut::default();
        let mut specs: Vec<&Arc<Spec>> = Vec::new();
        for name in names {
            let entry = self.devices.get(name).ok_or_else(|| {
                format!("device {name} is in no CDI spec of this machine (any more); see the log for files that were refused")
            })?;
            match &entry.standing {
                Standing::Own => {}
                Standing::Alias(other) => {
                    return Err(format!("device {name} is another name of {other}; only that is leased"));
                }
                Standing::Several => {
                    return Err(format!("device {name} is several others together; each of them is leased"));
                }
            }
            let told = |why: String| format!("device {name} ({}): {why}", entry.file.display());
            if !specs.iter().any(|known| Arc::ptr_eq(known, &entry.spec)) {
                specs.push(&entry.spec);
                out.add(&entry.spec.container_edits, &self.policy).map_err(told)?;
            }
            out.add(&entry.device().container_edits, &self.policy).map_err(told)?;
        }
        out.link_libraries()?;
        Ok(out)
    }

    /// Whether it is made of two others of its kind, at least.
    fn is_several(&self, name: &QualifiedName) -> bool {
        if name.name == ALL {
            return true;
        }
        let own = nodes(self.devices[name].device());
        let parts: BTreeSet<BTreeSet<&str>> = self
            .devices
            .iter()
            .filter(|(other, _)| other.kind == name.kind && *other != name)
            .map(|(_, entry)| nodes(entry.device()))
            .filter(|nodes| !nodes.is_empty() && nodes.is_subset(&own) && *nodes != own)
            .collect();
        parts.len() > 1
    }
}

impl Entry {
    fn device(&self) -> &Device {
        &self.spec.devices[self.at]
    }
}

/// The nodes of the host that are a device's own.
fn nodes(device: &Device) -> BTreeSet<&str> {
    let nodes = device.container_edits.device_nodes.iter();
    nodes
        .map(|node| if node.host_path.is_empty() { node.path.as_str() } else { node.host_path.as_str() })
        .collect()
}

/// Generated specs name one device twice, by number and by serial number: what does the same is the same. Without a node
/// that holds within a kind only.
fn identity(device: &Device, kind: &str) -> String {
    let edits = serde_json::to_string(&device.container_edits).unwrap_or_default();
    if device.container_edits.device_nodes.is_empty() { format!("{kind} {edits}") } else { edits }
}

/// `2` before `10` before `GPU-…`; `0:1` by both its numbers.
fn natural(name: &str) -> (Vec<u64>, &str) {
    let numbers: Option<Vec<u64>> = name.split(':').map(|part| part.parse().ok()).collect();
    (numbers.unwrap_or_else(|| vec![u64::MAX]), name)
}
