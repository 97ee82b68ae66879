//! From a pod and its image to what the sandbox is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchbell_api::node::{self, Assignment, Lookup, TRACE};
use watchbell_api::types::pod::{Container, PodSpec};
use watchbell_core::pod::{
    ConfigError, Identity, PodFacts, Tokens, command, environment, expand, hosts, identity, is_changing,
    merge_image_env, short_hostname, wanted_user,
};
use watchbell_sandbox::{
    ContainerId, EtcFiles, Extras, Interaction, LogTarget, Mount, PodEnvironment, PodVolume, Root, RunSpec,
    SeccompProfile, Sharing, Stdin, Sys, VolumeSource,
};

use super::claim::Bound;
use super::connections::resolv_conf;
use super::plan::{Machine, Missing, Plan, VolumePlan, scratch};
use super::remembered::Remembered;
use crate::LogLimits;
use crate::examine::Gate;
use crate::image::Prepared;
use crate::logs::{Here, LogDir};
use crate::place::{LogPlace, folder, volumes_dir};
use crate::seccomp::{Asker, SeccompProfiles};

/// The variable `PATH` of an image that sets none, as containerd has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's and containerd's /dev/shm.
const SHM_BYTES: u64 = 64 << 20;

/// What is the same for all pods of this node.
pub(crate) struct Site {
    pub data_dir: PathBuf,
    pub log_dir: LogDir,
    pub here: Arc<Here>,
    pub node_name: Arc<str>,
    pub host_ip: Arc<str>,
    pub machine: Machine,
    pub log: LogLimits,
    pub lookup: Lookup,
    pub tokens: node::Tokens,
    pub seccomp: SeccompProfiles,
    pub gate: Gate,
    /// The handlers of RuntimeClasses that the spawner was started with, beside our own.
    pub runtimes: Vec<String>,
    /// Reads the host's own files, for pods in its network: they change while the server runs.
    pub host_etc: fn() -> EtcFiles,
}

/// A run of one of a pod's containers.
pub(super) struct Which<'a> {
    pub(super) ordinal: usize,
    pub(super) attempt: u32,
    pub(super) arrays: &'a Given,
}

/// What a container has of arrays.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) variables: Vec<(String, String)>,
    pub(super) mounts: Vec<Mount>,
}

/// What must be there before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prerequisite {
    /// A directory of the node's own, with the group that owns it.
    Volume {
        path: PathBuf,
        gid: Option<u32>,
    },
    /// The folder of a persistent volume, which may be there already.
    Folder {
        path: PathBuf,
        gid: Option<u32>,
    },
    /// A path of the host that somebody else makes: its disk may not be mounted yet.
    HostPath(PathBuf),
    /// A path of the host, made only below what the spawner may mount.
    HostDirectory(PathBuf),
    HostFile(PathBuf),
    /// An empty file of the node's own that every user of the container may write to.
    Message(PathBuf),
    /// An empty directory that the spawner fills.
    Upper(PathBuf),
    /// What a server after this one is to know of the run.
    Image {
        path: PathBuf,
        image: Remembered,
    },
}

/// The volume that holds termination messages; no volume of a pod can have its name.
pub(super) const MESSAGES: &str = ".messages";
/// Kubernetes' default of `terminationMessagePath`.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// Where a container finds a file for its termination message, if it gets one of its own: not where a volume of the pod
/// lies, nor below directories that are the sandbox' own. The pods of an array get none at the default path: it would
/// cost each of them a file on disk.
pub(super) fn message_target<'a>(pod: &Assignment, container: &'a Container) -> Option<&'a str> {
    let path = container.termination_message_path.as_deref().filter(|p| p.starts_with('/'))?;
    let is_in_volume = container.volume_mounts.iter().any(|m| Path::new(path).starts_with(&m.mount_path));
    let is_sandboxs = ["/dev", "/proc", "/sys"].iter().any(|dir| Path::new(path).starts_with(dir));
    let is_offered = match path {
        MESSAGE_PATH => pod.index.is_none(),
        _ => !is_sandboxs,
    };
    (is_offered && !is_in_volume).then_some(path)
}

/// The file of one run, below the volume of messages.
pub(super) fn message_file(ordinal: u16, attempt: u32) -> String {
    format!("{ordinal}.{attempt}")
}

/// Whether the pod has a directory below that of the volumes.
pub(super) fn has_directory(pod: &Assignment, plan: &Plan) -> bool {
    let on_disk = plan.volumes.iter().any(|volume| matches!(volume, VolumePlan::Dir { .. }));
    on_disk || has_messages(pod) || pod.arrays.is_some()
}

pub(super) fn has_messages(pod: &Assignment) -> bool {
    pod.spec.init_containers.iter().chain(&pod.spec.containers).any(|c| message_target(pod, c).is_some())
}

impl Site {
    pub(super) fn facts<'a>(&'a self, pod: &'a Assignment) -> PodFacts<'a> {
        PodFacts {
            uid: pod.uid,
            namespace: &pod.namespace,
            name: &pod.name,
            labels: &pod.labels,
            annotations: &pod.annotations,
            spec: &pod.spec,
            node_name: &self.node_name,
            host_ip: &self.host_ip,
            pod_ip: if pod.spec.host_network { &self.host_ip } else { "" },
            capacity: &self.machine.capacity,
        }
    }

    /// What the pod's containers share. What comes with it must be there before the first start.
    pub(super) fn pod_environment(
        &self,
        pod: &Assignment,
        plan: &Plan,
        tokens: Tokens<'_>,
    ) -> Result<(PodEnvironment, Vec<Prerequisite>), ConfigError> {
        let gid = pod.spec.security_context.fs_group.and_then(|g| u32::try_from(g).ok());
        let mut needed = Vec::new();
        let mut volumes = Vec::with_capacity(plan.volumes.len());
        for (id, (volume, planned)) in pod.spec.volumes.iter().zip(&plan.volumes).enumerate() {
            let source = match planned {
                VolumePlan::Tmpfs { bytes } => {
                    let bound = scratch(*bytes);
                    VolumeSource::Tmpfs { bytes: bound.bytes, inodes: bound.inodes, gid }
                }
                VolumePlan::Files => {
                    let files = self.owned_files(pod, volume, tokens)?;
                    if is_changing(volume) {
                        VolumeSource::Changing { files, gid }
                    } else {
                        let entries = files.into_iter().map(|owned| owned.file).collect();
                        VolumeSource::Files { entries, gid }
                    }
                }
                VolumePlan::Dir { .. } => {
                    let path = volumes_dir(&self.data_dir, pod.uid).join(&volume.name);
                    needed.push(Prerequisite::Volume { path: path.clone(), gid });
                    VolumeSource::Dir { path }
                }
                VolumePlan::HostPath { path, missing } => host_path(path, *missing, &mut needed),
                VolumePlan::Claim { claim, .. } => match self.bound_to(&pod.namespace, claim) {
                    Ok(Bound::Folder(name)) => {
                        let path = folder(&self.data_dir, &name);
                        needed.push(Prerequisite::Folder { path: path.clone(), gid });
                        VolumeSource::Dir { path }
                    }
                    Ok(Bound::HostPath { path, missing }) => host_path(&path, missing, &mut needed),
                    Err(why) => {
                        return Err(ConfigError(format!(
                            "MountVolume.SetUp failed for volume {:?} : {why}",
                            volume.name
                        )));
                    }
                },
            };
            volumes.push(PodVolume { id: id as u16, source });
        }
        if has_messages(pod) {
            let path = volumes_dir(&self.data_dir, pod.uid).join(MESSAGES);
            needed.push(Prerequisite::Volume { path: path.clone(), gid: None });
            volumes.push(PodVolume { id: volumes.len() as u16, source: VolumeSource::Dir { path } });
        }
        let hostname = short_hostname(&pod.hostname);
        let mut etc = if pod.spec.host_network { (self.host_etc)() } else { EtcFiles::default() };
        let egress = pod.egress.clone().filter(|_| !pod.spec.host_network);
        if egress.is_some() {
            etc.resolv_conf = resolv_conf();
        }
        if !pod.spec.host_aliases.is_empty() {
            etc.hosts = hosts(hostname, &pod.spec.host_aliases).into_bytes();
        }
        let environment = PodEnvironment {
            uid: pod.uid.0,
            name: format!("{}/{}", pod.namespace, pod.name),
            hostname: hostname.to_owned(),
            // A door is opened in namespaces that are held from one container to the next.
            sharing: if egress.is_some() { Sharing::Shared } else { plan.sharing },
            host_namespaces: plan.host_namespaces,
            limits: plan.pod_limits,
            etc,
            shm_bytes: SHM_BYTES,
            volumes,
            egress,
        };
        Ok((environment, needed))
    }

    /// The container's own filter, read anew where its file has changed.
    pub(super) fn seccomp_profile(
        &self,
        pod: &Assignment,
        plan: &Plan,
        ordinal: usize,
        runtime: Option<&str>,
    ) -> Result<Option<Arc<SeccompProfile>>, ConfigError> {
        let planned = &plan.containers[ordinal];
        let Some(name) = &planned.seccomp_profile else { return Ok(None) };
        let asker = Asker {
            // A namespace that says nothing of Pod Security is strict.
            is_labelled: !pod.private_tmp,
            capabilities: planned.capabilities,
            no_new_privs: planned.no_new_privs,
        };
        let read = self.seccomp.read(name, &asker);
        let profile =
            read.map_err(|why| ConfigError(format!("cannot load seccomp profile {name:?}: {why}")))?;
        if runtime.is_some() {
            let why = "an OCI runtime takes one filter, and a profile is laid over the default; leave seccompProfile of \
                       type Localhost or runtimeClassName out";
            return Err(ConfigError(why.to_owned()));
        }
        Ok(Some(profile))
    }

    /// Who a container is by its pod and its image.
    pub(super) fn user(
        &self,
        pod: &Assignment,
        ordinal: usize,
        image: &Prepared,
    ) -> Result<Identity, ConfigError> {
        let container = container_at(&pod.spec, ordinal);
        let wanted = wanted_user(&pod.spec, container, &image.config.user);
        identity(&pod.spec, container, &wanted, (&image.passwd, &image.group))
    }

    /// One run of one container.
    pub(super) fn run_spec(
        &self,
        pod: &Assignment,
        plan: &Plan,
        environment_of_pod: Arc<PodEnvironment>,
        Which { ordinal, attempt, arrays }: Which<'_>,
        image: &Prepared,
    ) -> Result<RunSpec, ConfigError> {
        let container = container_at(&pod.spec, ordinal);
        let planned = &plan.containers[ordinal];
        let user = self.user(pod, ordinal, image)?;
        let facts = self.facts(pod);
        let objects = |resource, name: &str| (self.lookup)(resource, &pod.namespace, name);
        let mut own = environment(&facts, container, &objects)?;
        // What the pod says itself counts.
        let unsaid = |(name, _): &&(String, String)| !own.iter().any(|(known, _)| known == name);
        let more: Vec<(String, String)> = arrays.variables.iter().filter(unsaid).cloned().collect();
        own.extend(more);
        let argv = command(container, &image.config.entrypoint, &image.config.cmd, &own)?;
        let mut mounts = mounts(container, plan, ordinal, &own)?;
        if let Some(target) = message_target(pod, container) {
            mounts.push(Mount {
                target: target.to_owned(),
                volume: plan.volumes.len() as u16,
                sub_path: Some(message_file(ordinal as u16, attempt)),
                read_only: false,
            });
        }
        mounts.extend(arrays.mounts.iter().cloned());
        let cwd = match container.working_dir.as_deref().filter(|d| !d.is_empty()) {
            Some(dir) => dir,
            None => &image.config.working_dir,
        };
        let cwd = if cwd.starts_with('/') { cwd.to_owned() } else { format!("/{cwd}") };
        let mut env = merge_image_env(&image.config.env, own);
        let mut default = |name: &str, value: &str| {
            if !env.iter().any(|(n, _)| n == name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        };
        default("PATH", PATH);
        default("HOSTNAME", &environment_of_pod.hostname);
        default("HOME", &user.home);
        let tmp = pod.private_tmp && planned.read_only_root && planned.has_tmp_free;
        let bound = scratch(self.machine.scratch_bytes);
        Ok(RunSpec {
            id: ContainerId { pod_uid: pod.uid.0, container: ordinal as u16, attempt },
            name: container.name.clone(),
            pod: environment_of_pod,
            root: Root { layers: image.layers.clone(), read_only: planned.read_only_root, upper: bound },
            argv,
            env,
            cwd,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            capabilities: planned.capabilities,
            no_new_privs: planned.no_new_privs,
            seccomp: planned.seccomp,
            proc_mount: planned.proc_mount,
            // A task of a namespace without a Pod Security level has no use for /sys.
            sys: if pod.private_tmp { Sys::None } else { Sys::ReadOnly },
            mounts,
            tmp: tmp.then_some(bound),
            rlimits: planned.rlimits.clone(),
            oom_score_adj: planned.oom_score_adj,
            limits: planned.limits,
            log: LogTarget {
                path: LogPlace::of(pod).file(ordinal as u16, attempt),
                max_bytes: self.log.max_bytes,
                max_files: self.log.max_files,
            },
            interaction: Interaction {
                stdin: match (container.stdin, container.stdin_once) {
                    (false, _) => Stdin::None,
                    (true, false) => Stdin::Open,
                    (true, true) => Stdin::Once,
                },
                tty: container.tty,
            },
            extras: Extras {
                devices: devices(pod, ordinal),
                trace: pod.annotations.get(TRACE).is_some_and(|value| value == "true"),
                ..Extras::default()
            },
            privileged: planned.privileged,
        })
    }
}

/// The devices of a container, of those that its pod holds.
fn devices(pod: &Assignment, ordinal: usize) -> Vec<String> {
    let names = watchbell_api::devices::of_container(&pod.spec, &pod.status.devices, ordinal);
    names.iter().map(ToString::to_string).collect()
}

fn host_path(path: &str, missing: Missing, needed: &mut Vec<Prerequisite>) -> VolumeSource {
    match missing {
        Missing::MakeDirectory => needed.push(Prerequisite::HostDirectory(path.into())),
        Missing::MakeFile => needed.push(Prerequisite::HostFile(path.into())),
        Missing::Fail => needed.push(Prerequisite::HostPath(path.into())),
    }
    VolumeSource::HostPath { path: path.into() }
}

/// Init containers first.
pub(super) fn container_at(spec: &PodSpec, ordinal: usize) -> &Container {
    match spec.init_containers.get(ordinal) {
        Some(container) => container,
        None => &spec.containers[ordinal - spec.init_containers.len()],
    }
}

fn mounts(
    container: &Container,
    plan: &Plan,
    ordinal: usize,
    env: &[(String, String)],
) -> Result<Vec<Mount>, ConfigError> {
    let planned = &plan.containers[ordinal];
    let find = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let one = |&i: &usize| {
        let mount = &container.volume_mounts[i];
        let volume = planned.mount_volumes[i];
        let sub_path = match (&mount.sub_path_expr, &mount.sub_path) {
            (Some(expression), _) if !expression.is_empty() => {
                let path = expand(expression, find);
                if path.contains("$(") {
                    return Err(ConfigError(format!(
                        "failed to expand subPath: {expression:?} of volumeMount {:?} names a variable that is not set",
                        mount.name
                    )));
                }
                Some(path)
            }
            (_, Some(path)) if !path.is_empty() => Some(path.clone()),
            _ => None,
        };
        if let Some(path) = &sub_path
            && Path::new(path).components().any(|c| !matches!(c, std::path::Component::Normal(_)))
        {
            return Err(ConfigError(format!(
                "subPath {path:?} of volumeMount {:?} must be relative and must not contain '..'",
                mount.name
            )));
        }
        Ok(Mount {
            target: mount.mount_path.clone(),
            volume,
            sub_path,
            read_only: mount.read_only || plan.volumes[usize::from(volume)].is_read_only(),
        })
    };
    planned.mount_order.iter().map(one).collect()
}
