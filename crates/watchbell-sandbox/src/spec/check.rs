//! The bounds of a [`RunSpec`]. The spawner checks them itself: the server may have been taken over.

use std::path::{Component, Path};

use watchbell_cdi::{HandOut, QualifiedName};

use crate::gate::EGRESS_BYTES_MAX;

use super::{FileEntry, OwnedFile, PodEnvironment, RunSpec, Seccomp, Sharing, Upper, VolumeSource};

/// A field outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidSpec {
    /// Path of the field in the spec.
    pub field: String,
    pub reason: &'static str,
}

/// Ids inside a pod's range of 65,536.
pub(crate) const IDS: u32 = 65_536;
/// The kernel must rather kill any task than the spawner (-999), which would lose all of them.
const OOM_SCORE_ADJ_MIN: i16 = -998;
/// Directories on the way to all mount points of a container, and to all files of a pod: each is kernel memory that no
/// limit of the task counts.
const MOUNT_DEPTH_SUM_MAX: usize = 16_384;
const FILE_DEPTH_SUM_MAX: usize = 65_536;
const LAYERS_MAX: usize = 400;
const VOLUMES_MAX: usize = 512;
const MOUNTS_MAX: usize = 512;
const DEVICES_MAX: usize = 64;
const FILES_MAX: usize = 16_384;
const FILES_BYTES_MAX: usize = 64 << 20;
const STRINGS_BYTES_MAX: usize = 4 << 20;

fn invalid(field: impl Into<String>, reason: &'static str) -> InvalidSpec {
    InvalidSpec { field: field.into(), reason }
}

pub(super) fn require(holds: bool, field: &str, reason: &'static str) -> Result<(), InvalidSpec> {
    if holds { Ok(()) } else { Err(invalid(field, reason)) }
}

impl RunSpec {
    /// Checks bounds and forms, without looking at the host.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.pod.check()?;
        require(self.id.pod_uid == self.pod.uid, "id.pod_uid", "is not the pod's uid")?;
        self.check_root()?;
        self.check_command()?;
        self.check_identity()?;
        self.check_mounts()?;
        self.check_devices()?;
        require(
            (OOM_SCORE_ADJ_MIN..=1000).contains(&self.oom_score_adj),
            "oom_score_adj",
            "must be between -998 and 1000: below is the spawner itself",
        )?;
        require(self.rlimits.len() <= 16, "rlimits", "has more entries than there are limits")?;
        require(
            self.rlimits.iter().all(|r| r.soft <= r.hard),
            "rlimits",
            "has a soft limit above the hard one",
        )?;
        if let Some(profile) = &self.extras.seccomp {
            profile.check()?;
            require(
                self.seccomp == Seccomp::Default,
                "extras.seccomp",
                "stands beside an unconfined container",
            )?;
            // It takes one filter, and would run the profile without the base below it.
            require(self.extras.runtime.is_none(), "extras.seccomp", "cannot be handed to an OCI runtime")?;
        }
        require(
            !self.extras.trace || self.extras.runtime.is_none(),
            "extras.trace",
            "is not for containers of an OCI runtime",
        )?;
        check_limits("limits", &self.limits)?;
        check_relative("log.path", &self.log.path)?;
        require(self.log.max_bytes >= 4096, "log.max_bytes", "must be at least 4096")?;
        require((1..=1000).contains(&self.log.max_files), "log.max_files", "must be between 1 and 1000")
    }

    fn check_root(&self) -> Result<(), InvalidSpec> {
        require(!self.root.layers.is_empty(), "root.layers", "is empty")?;
        require(self.root.layers.len() <= LAYERS_MAX, "root.layers", "has more than 400 layers")?;
        for layer in &self.root.layers {
            check_absolute("root.layers", layer)?;
        }
        if !self.root.read_only {
            require(
                self.root.upper.bytes > 0,
                "root.upper.bytes",
                "must be above 0 when the root is writable",
            )?;
            require(
                self.root.upper.inodes > 0,
                "root.upper.inodes",
                "must be above 0 when the root is writable",
            )?;
        }
        match self.tmp {
            Some(tmp) => require(tmp.bytes > 0 && tmp.inodes > 0, "tmp", "must be above 0"),
            None => Ok(()),
        }
    }

    pub(crate) fn check_command(&self) -> Result<(), InvalidSpec> {
        require(!self.argv.is_empty() && !self.argv[0].is_empty(), "argv", "names no program")?;
        let no_nul = |s: &String| !s.contains('\0');
        require(self.argv.iter().all(no_nul), "argv", "holds a NUL byte")?;
        require(self.env.iter().all(|(k, v)| no_nul(k) && no_nul(v)), "env", "holds a NUL byte")?;
        require(
            self.env.iter().all(|(k, _)| !k.is_empty() && !k.contains('=')),
            "env",
            "has a name that is empty or holds '='",
        )?;
        let bytes = self.argv.iter().map(|a| a.len() + 1).sum::<usize>()
            + self.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>();
        require(bytes <= STRINGS_BYTES_MAX, "argv", "and env take more than 4 MiB")?;
        require(self.cwd.starts_with('/') && !self.cwd.contains('\0'), "cwd", "is not an absolute path")?;
        require(self.cwd.len() < 4096, "cwd", "is longer than a path may be")
    }

    fn check_identity(&self) -> Result<(), InvalidSpec> {
        // 65535 in 16 bits and 2^32-1 in 32 mean "no change" to the kernel; the range ends below both.
        let bound = if self.pod.host_namespaces.users { u32::MAX } else { IDS };
        require(self.uid < bound, "uid", "must be below 65536 in a user namespace")?;
        require(self.gid < bound, "gid", "must be below 65536 in a user namespace")?;
        require(self.groups.iter().all(|g| *g < bound), "groups", "must be below 65536 in a user namespace")?;
        require(self.groups.len() <= 1024, "groups", "has more than 1024 entries")
    }

    fn check_devices(&self) -> Result<(), InvalidSpec> {
        let devices = &self.extras.devices;
        require(devices.len() <= DEVICES_MAX, "extras.devices", "has more than 64 entries")?;
        for (i, device) in devices.iter().enumerate() {
            let field = format!("extras.devices[{i}]");
            require(QualifiedName::parse(device).is_ok(), &field, "is not vendor.com/class=name")?;
            require(!devices[..i].contains(device), &field, "stands there twice")?;
        }
        require(self.extras.handed == HandOut::default(), "extras.handed", "is for the spawner to find")
    }

    fn check_mounts(&self) -> Result<(), InvalidSpec> {
        require(self.mounts.len() <= MOUNTS_MAX, "mounts", "has more than 512 entries")?;
        let depth = |path: &str| path.split('/').count();
        let depths = self.mounts.iter().map(|m| depth(&m.target)).sum::<usize>() + depth(&self.cwd);
        require(
            depths <= MOUNT_DEPTH_SUM_MAX,
            "mounts",
            "and the working directory need more than 16384 directories; use shorter paths",
        )?;
        for (i, mount) in self.mounts.iter().enumerate() {
            let field = |name: &str| format!("mounts[{i}].{name}");
            check_absolute(&field("target"), Path::new(&mount.target))?;
            require(mount.target != "/", &field("target"), "is the root itself")?;
            let volume = self.pod.volumes.iter().find(|v| v.id == mount.volume);
            require(volume.is_some(), &field("volume"), "names no volume of the pod")?;
            let layered = volume.is_some_and(|v| v.source.layer().is_some());
            // One that is missing would be made in the upper, by nobody's wish.
            require(!layered || mount.sub_path.is_none(), &field("sub_path"), "is not for a layered volume")?;
            if let Some(sub_path) = &mount.sub_path {
                check_relative(&field("sub_path"), Path::new(sub_path))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn check_egress(egress: &[u8]) -> Result<(), InvalidSpec> {
    require(
        egress.len() <= EGRESS_BYTES_MAX,
        "pod.egress",
        "is larger than 256 KiB: let fewer or shorter policies select the pod",
    )
}

impl PodEnvironment {
    pub(crate) fn check(&self) -> Result<(), InvalidSpec> {
        require(self.name.len() <= 512, "pod.name", "is longer than 512 bytes")?;
        require(self.hostname.len() <= 64, "pod.hostname", "is longer than 64 bytes")?;
        require(
            !self.hostname.contains(['\0', '\n', '/']),
            "pod.hostname",
            "holds a NUL, a newline or a slash",
        )?;
        require(self.etc.hosts.len() <= 1 << 20, "pod.etc.hosts", "is larger than 1 MiB")?;
        require(self.etc.resolv_conf.len() <= 1 << 20, "pod.etc.resolv_conf", "is larger than 1 MiB")?;
        require(self.volumes.len() <= VOLUMES_MAX, "pod.volumes", "has more than 512 entries")?;
        check_limits("pod.limits", &self.limits)?;
        if let Some(egress) = &self.egress {
            check_egress(egress)?;
            require(!self.host_namespaces.network, "pod.egress", "stands beside the host's network")?;
            // The door is of namespaces that are held from one run to the next.
            require(self.sharing == Sharing::Shared, "pod.egress", "is for pods that share namespaces")?;
        }
        let mut ids: Vec<u16> = self.volumes.iter().map(|v| v.id).collect();
        ids.sort_unstable();
        require(ids.windows(2).all(|w| w[0] != w[1]), "pod.volumes", "has an id twice")?;
        for volume in &self.volumes {
            let field = format!("pod.volumes[id {}]", volume.id);
            match &volume.source {
                VolumeSource::Tmpfs { bytes, inodes, .. } => {
                    require(*bytes > 0 && *inodes > 0, &field, "must be bounded above 0")?;
                }
                VolumeSource::Files { entries, .. } => check_files(&field, entries.iter())?,
                VolumeSource::Changing { files, .. } => check_changing(&field, files)?,
                VolumeSource::Dir { path } | VolumeSource::HostPath { path } => check_absolute(&field, path)?,
                VolumeSource::Layered(layered) => {
                    check_absolute(&field, &layered.lower)?;
                    self.check_layer(&field, (layered.uid, layered.gid), layered.upper.as_ref())?;
                    if let Some(Upper::Disk { path } | Upper::Image { path, .. }) = &layered.upper {
                        let apart = !path.starts_with(&layered.lower) && !layered.lower.starts_with(path);
                        require(apart, &field, "has an upper and a lower that lie in each other")?;
                    }
                }
                VolumeSource::LayeredMemory(layered) => {
                    self.check_layer(&field, (layered.uid, layered.gid), layered.upper.as_ref())?;
                    let on_disk = matches!(layered.upper, Some(Upper::Disk { .. } | Upper::Image { .. }));
                    // What is in memory for its secrecy is not written to a disk.
                    require(!on_disk, &field, "has an upper on the disk, and a lower in memory")?;
                }
            }
        }
        Ok(())
    }

    fn check_layer(
        &self,
        field: &str,
        (uid, gid): (u32, u32),
        upper: Option<&Upper>,
    ) -> Result<(), InvalidSpec> {
        let bound = if self.host_namespaces.users { u32::MAX } else { IDS };
        require(uid < bound && gid < bound, field, "has an owner beyond 65535")?;
        if let Some(Upper::Memory(bound) | Upper::Image { bound, .. }) = upper {
            require(bound.bytes > 0 && bound.inodes > 0, field, "must be bounded above 0")?;
        }
        match upper {
            Some(Upper::Disk { path } | Upper::Image { path, .. }) => check_absolute(field, path),
            Some(Upper::Memory(_)) | None => Ok(()),
        }
    }
}

/// As [`RunSpec::check`], for the files that come in the place of others.
pub(crate) fn check_changing(field: &str, files: &[OwnedFile]) -> Result<(), InvalidSpec> {
    check_files(field, files.iter().map(|owned| &owned.file))?;
    let is_ours = |owned: &OwnedFile| owned.file.path.starts_with("..");
    require(!files.iter().any(is_ours), field, "has a name that begins with '..'")?;
    let is_in_range = |owned: &OwnedFile| owned.uid < IDS - 1;
    require(files.iter().all(is_in_range), field, "has an owner beyond 65534")
}

fn check_files<'a>(
    field: &str,
    entries: impl Iterator<Item = &'a FileEntry> + Clone,
) -> Result<(), InvalidSpec> {
    require(entries.clone().count() <= FILES_MAX, field, "has more than 16384 files")?;
    let bytes: usize = entries.clone().map(|e| e.contents.len()).sum();
    require(bytes <= FILES_BYTES_MAX, field, "is larger than 64 MiB")?;
    let depths: usize = entries.clone().map(|e| e.path.split('/').count()).sum();
    require(depths <= FILE_DEPTH_SUM_MAX, field, "needs more than 65536 directories; use shorter paths")?;
    for entry in entries {
        check_relative(&format!("{field}.{}", entry.path), Path::new(&entry.path))?;
        require(entry.mode <= 0o777, field, "has a mode beyond permission bits")?;
    }
    Ok(())
}

fn check_limits(field: &str, limits: &super::CgroupLimits) -> Result<(), InvalidSpec> {
    let period = limits.cpu_period_us;
    require(
        period == 0 || (1000..=1_000_000).contains(&period),
        field,
        "has a cpu period outside 1 ms … 1 s",
    )?;
    require(limits.cpu_quota_us.is_none_or(|q| q >= 1000), field, "has a cpu quota below 1 ms")?;
    require(
        limits.cpu_weight.is_none_or(|w| (1..=10_000).contains(&w)),
        field,
        "has a cpu weight outside 1 … 10000",
    )?;
    require(limits.pids.is_none_or(|p| p > 0), field, "has a pids limit of 0")
}

fn check_absolute(field: &str, path: &Path) -> Result<(), InvalidSpec> {
    require(path.is_absolute(), field, "is not an absolute path")?;
    let bytes = path.as_os_str().as_encoded_bytes();
    require(
        bytes.len() < 4096 && !bytes.contains(&0),
        field,
        "is longer than a path may be, or holds a NUL byte",
    )?;
    require(!path.components().any(|c| c == Component::ParentDir), field, "holds '..'")
}

fn check_relative(field: &str, path: &Path) -> Result<(), InvalidSpec> {
    let bytes = path.as_os_str().as_encoded_bytes();
    require(!bytes.is_empty() && bytes.len() < 4096, field, "is empty or longer than a path may be")?;
    require(!bytes.contains(&0), field, "holds a NUL byte")?;
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    require(plain, field, "must be relative, without '.' and '..'")
}
