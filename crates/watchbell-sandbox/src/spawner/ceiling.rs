//! Checks a request against the ceiling. The server that asks may have been taken over; root fixed this before.

use std::path::{Path, PathBuf};

use crate::{
    Capabilities, Ceiling, DeviceCeiling, ProcMount, RunSpec, Seccomp, SeccompBase, Upper, VolumeSource,
};

/// A ceiling, with the directories it stands on.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    ceiling: Ceiling,
    /// Never mounted into a task: the spawner's socket and table are there.
    state_dir: PathBuf,
}

/// What is above the ceiling: the field, and how root would allow it. The server and the spawner take the same arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is above the spawner's ceiling: {reason}")]
pub(crate) struct AboveCeiling {
    field: String,
    reason: &'static str,
}

/// What a server may ask of a spawner that was started with another ceiling: what is in both. What a name stands for is looked at
/// here, as the same name may stand for other things there; all else the spawner refuses itself.
pub(crate) fn shared_ceiling(ours: Ceiling, theirs: &Ceiling) -> Ceiling {
    let is_ours = |theirs: &[PathBuf], ours: &[PathBuf]| theirs.iter().all(|path| ours.contains(path));
    let narrower = is_ours(&theirs.devices.cdi_dirs, &ours.devices.cdi_dirs)
        && is_ours(&theirs.devices.cdi_hooks, &ours.devices.cdi_hooks);
    let devices = if narrower { ours.devices } else { DeviceCeiling::default() };
    let runtimes = ours.runtimes.into_iter().filter(|runtime| theirs.runtimes.contains(runtime)).collect();
    Ceiling { devices, runtimes, ..ours }
}

fn allow(allowed: bool, field: &str, reason: &'static str) -> Result<(), AboveCeiling> {
    if allowed { Ok(()) } else { Err(AboveCeiling { field: field.to_owned(), reason }) }
}

impl Guard {
    /// Fills in the default data path.
    pub(crate) fn new(mut ceiling: Ceiling, state_dir: &Path) -> Self {
        if ceiling.data_paths.is_empty() {
            ceiling.data_paths.extend(state_dir.parent().map(Path::to_path_buf));
        }
        Self { ceiling, state_dir: state_dir.to_path_buf() }
    }

    /// Paths are compared as they are written; that no symbolic link leads elsewhere is for those who open them.
    pub(crate) fn check(&self, spec: &RunSpec) -> Result<(), AboveCeiling> {
        let ceiling = &self.ceiling;
        let host = spec.pod.host_namespaces;
        allow(ceiling.privileged || !spec.privileged, "privileged", "it needs --allow-privileged")?;
        allow(ceiling.host_users || !host.users, "hostUsers", "it needs --allow-host-users")?;
        allow(ceiling.host_network || !host.network, "hostNetwork", "it needs --allow-host-network")?;
        allow(ceiling.host_pid || !host.pid, "hostPID", "it needs --allow-host-pid")?;
        allow(ceiling.host_ipc || !host.ipc, "hostIPC", "it needs --allow-host-ipc")?;
        let unconfined = ceiling.unconfined || spec.privileged;
        allow(unconfined || spec.seccomp == Seccomp::Default, "seccomp", "it needs --allow-unconfined")?;
        let wider = spec.extras.seccomp.as_ref().is_some_and(|profile| profile.base != SeccompBase::Default);
        allow(
            ceiling.wider_seccomp || unconfined || !wider,
            "seccompProfile",
            "it allows more than the default, which needs --allow-wider-seccomp",
        )?;
        allow(
            unconfined || spec.proc_mount == ProcMount::Default,
            "procMount",
            "it needs --allow-unconfined",
        )?;
        if let Some(runtime) = &spec.extras.runtime {
            let known = ceiling.runtimes.iter().any(|known| known.name == *runtime);
            allow(known, "runtime", "it needs --runtime with its name and its program")?;
        }
        let may_have_devices = spec.extras.devices.is_empty() || !ceiling.devices.cdi_dirs.is_empty();
        allow(may_have_devices, "devices", "they need --cdi-dir, and no other hooks than --cdi-allow-hook")?;
        // Outside a user namespace a capability is the host's own.
        let beyond = spec.capabilities.without(Capabilities::RUNTIME_DEFAULT);
        allow(
            !host.users || spec.privileged || ceiling.privileged || beyond.is_empty(),
            "capabilities",
            "beyond the runtime's default they need a user namespace, or --allow-privileged",
        )?;
        for layer in &spec.root.layers {
            allow(self.is_data(layer), "root.layers", "it lies outside the data paths")?;
        }
        for volume in &spec.pod.volumes {
            let field = || format!("pod.volumes[id {}]", volume.id);
            match &volume.source {
                VolumeSource::Dir { path } => {
                    allow(self.is_data(path), &field(), "it lies outside the data paths")?;
                }
                VolumeSource::HostPath { path } => {
                    let allowed = ceiling.host_paths.iter().any(|allowed| path.starts_with(allowed));
                    allow(allowed, &field(), "it needs --allow-host-path of a directory that it lies in")?;
                    allow(
                        self.spares_data(path),
                        &field(),
                        "the server's own data lies in it, or it in them",
                    )?;
                }
                VolumeSource::Layered(layered) => {
                    let upper = match &layered.upper {
                        Some(Upper::Disk { path } | Upper::Image { path, .. }) => Some(path),
                        Some(Upper::Memory(_)) | None => None,
                    };
                    for path in upper.into_iter().chain([&layered.lower]) {
                        allow(self.is_data(path), &field(), "it lies outside the data paths")?;
                    }
                }
                // An upper on the disk it cannot have; the lower the spawner made itself.
                VolumeSource::LayeredMemory(_)
                | VolumeSource::Tmpfs { .. }
                | VolumeSource::Files { .. }
                | VolumeSource::Changing { .. } => {}
            }
        }
        Ok(())
    }

    fn is_data(&self, path: &Path) -> bool {
        self.ceiling.data_paths.iter().any(|data| path.starts_with(data)) && self.spares_state(path)
    }

    fn spares_state(&self, path: &Path) -> bool {
        !meet(path, &self.state_dir)
    }

    /// Who reads the server's directory has its keys, and with them every right; who writes there is every other pod.
    fn spares_data(&self, path: &Path) -> bool {
        self.spares_state(path) && !self.ceiling.data_paths.iter().any(|data| meet(path, data))
    }
}

/// Whether one of them lies in the other.
fn meet(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
