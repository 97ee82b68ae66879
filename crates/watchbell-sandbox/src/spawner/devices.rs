//! Looks devices up in root's specs and makes them part of a start. What root's files do not say, no server can ask for.

use watchbell_cdi::{HandOut, Policy, QualifiedName, Registry};

use crate::{DeviceCeiling, RunSpec};

/// The list by which the loader finds libraries that its cache does not have.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// The bit of the capability that passes by permission bits.
const DAC_OVERRIDE: u64 = 1 << 1;

pub(crate) struct Devices {
    ceiling: DeviceCeiling,
    policy: Policy,
    /// As the files were last; read again when they are not so any more.
    registry: Option<Registry>,
}

impl Devices {
    pub(crate) fn new(ceiling: DeviceCeiling) -> Self {
        let policy = Policy { hooks: ceiling.cdi_hooks.clone() };
        Self { ceiling, policy, registry: None }
    }

    /// Adds to a start what its devices are. `running` are the runs that are not over: a device of another pod's is refused,
    /// whatever the server believes.
    pub(crate) fn equip<'a>(
        &mut self,
        spec: &mut RunSpec,
        mut running: impl Iterator<Item = &'a RunSpec>,
    ) -> Result<(), String> {
        let holder = running.find_map(|other| {
            let theirs =
                |name: &&String| other.pod.uid != spec.pod.uid && other.extras.devices.contains(name);
            spec.extras.devices.iter().find(theirs).map(|name| (name, other))
        });
        if let Some((name, other)) = holder {
            return Err(format!("device {name} is held by pod {}", other.pod.name));
        }
        let names = spec
            .extras
            .devices
            .iter()
            .map(|name| QualifiedName::parse(name))
            .collect::<Result<Vec<_>, _>>()?;
        let handed = self.registry().hand_out(&names)?;
        fit(spec, handed)?;
        // With what was added they are still what exec and the kernel take.
        spec.check_command().map_err(|e| e.to_string())
    }

    fn registry(&mut self) -> &Registry {
        let dirs = &self.ceiling.cdi_dirs;
        let current = self.registry.take().filter(|registry| registry.is_current(dirs));
        let registry = current.unwrap_or_else(|| {
            let read = Registry::load(dirs, &self.policy);
            for problem in read.problems() {
                tracing::warn!("{} is not used: {}", problem.path.display(), problem.reason);
            }
            read
        });
        self.registry.insert(registry)
    }
}

/// Pure: the spec with what was handed out, or why they do not go together.
fn fit(spec: &mut RunSpec, handed: HandOut) -> Result<(), String> {
    let overrides = spec.privileged || (spec.uid == 0 && spec.capabilities.bits() & DAC_OVERRIDE != 0);
    if let Some(node) = handed.nodes.iter().find(|node| overrides && !node.access.is_full()) {
        return Err(format!(
            "{} is handed out with fewer permissions than rw, which the capability DAC_OVERRIDE would pass by; drop it",
            node.path.display()
        ));
    }
    let is_taken = |target: &str| {
        spec.mounts.iter().any(|m| m.target.trim_end_matches('/') == target.trim_end_matches('/'))
    };
    if let Some(mount) = handed.mounts.iter().find(|mount| is_taken(&mount.target)) {
        return Err(format!("both a volume of the pod and a device's file belong at {}", mount.target));
    }
    for (name, value) in &handed.env {
        set(&mut spec.env, name, value.clone());
    }
    if !handed.library_dirs.is_empty() {
        // Behind what the image and the pod say: they know which of two libraries they mean.
        let own =
            spec.env.iter().rev().find(|(name, _)| name == LIBRARY_PATH).map(|(_, value)| value.clone());
        let all = own.into_iter().filter(|own| !own.is_empty()).chain(handed.library_dirs.iter().cloned());
        let all = all.collect::<Vec<_>>().join(":");
        set(&mut spec.env, LIBRARY_PATH, all);
    }
    for gid in &handed.gids {
        if !spec.groups.contains(gid) {
            spec.groups.push(*gid);
        }
    }
    spec.extras.handed = handed;
    Ok(())
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    env.retain(|(known, _)| known != name);
    env.push((name.to_owned(), value));
}
