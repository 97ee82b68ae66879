//! The server's end: finds or starts the spawner, sends what it is asked to, receives events.

mod connection;
mod launch;
mod receiver;
mod session;
mod upper;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::Shutdown;
use serde::{Deserialize, Serialize};

use crate::spawner::Guard;
use crate::wire::{
    CHANGING_SINCE, DOORS_SINCE, EXEC_SINCE, EXTRAS_SINCE, IMAGE_SINCE, LAYERED_SINCE, MEMORY_SINCE, Outbox,
    Request, blank_pod,
};
use crate::{
    Bounds, ContainerId, Error, Event, Extras, Interaction, OciRuntime, OwnedFile, PodEnvironment, PodVolume,
    RunSpec, TableEntry, Upper, VolumeSource,
};
pub use session::{SandboxSession, SessionLink};
pub use upper::Memory;

/// How a spawner is found, or started.
#[derive(Debug, Clone)]
pub struct SpawnerOptions {
    /// Holds the lock, the socket, the table and the spawner's own log. `<data dir>/run`; made with mode 0700.
    pub state_dir: PathBuf,
    /// Root of all container logs, `<data dir>/logs`; given to the keeper, which alone writes below it.
    pub log_dir: PathBuf,
    /// The program that is run as `<exe> spawner …` and `<exe> keeper …`. It is copied into sealed memory first, so that
    /// no task can overwrite it (CVE-2019-5736). Usually `/proc/self/exe`.
    pub exe: PathBuf,
    /// What this spawner will never exceed, whoever asks.
    pub ceiling: Ceiling,
    /// What its tasks may take together, and how fast they may print.
    pub bounds: Bounds,
    /// The user that may connect besides root.
    pub client_uid: u32,
    /// The keeper's user and group: an id that owns nothing else.
    pub keeper_uid: u32,
    /// Seconds without task and without server after which the spawner ends.
    pub idle_seconds: u32,
    /// With N spawners, which one this is.
    pub shard: u16,
}

impl SpawnerOptions {
    /// The defaults for a data directory: nothing beyond the strict is allowed.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            state_dir: data_dir.join("run"),
            log_dir: data_dir.join("logs"),
            exe: PathBuf::from("/proc/self/exe"),
            ceiling: Ceiling::default(),
            bounds: Bounds::default(),
            client_uid: 0,
            keeper_uid: DEFAULT_KEEPER_UID,
            idle_seconds: 10,
            shard: 0,
        }
    }
}

/// Just below the task ranges of [`UidRanges::default`].
pub const DEFAULT_KEEPER_UID: u32 = 0x4fff_ffff;

/// The spawner's ceiling, fixed when it starts from what root configured. A server that was taken over cannot exceed it.
/// The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ceiling {
    pub privileged: bool,
    /// `hostUsers: true`.
    pub host_users: bool,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// A task may run without the seccomp allow-list, or with unmasked /proc.
    pub unconfined: bool,
    /// A profile of the machine may allow more than the default filter, down to a floor. On the wire since version 3, by
    /// [`Reply::Allowances`](crate::wire::Reply).
    #[serde(skip)]
    pub wider_seccomp: bool,
    /// Host directories below which host paths may lie.
    pub host_paths: Vec<PathBuf>,
    /// Directories below which image layers and volumes of the node lie: nothing else is ever mounted as one.
    /// Empty: the parent of the state directory.
    pub data_paths: Vec<PathBuf>,
    pub uid_ranges: UidRanges,
    /// Programs that may start containers in place of this one. They cross beside the welcome too.
    #[serde(skip)]
    pub runtimes: Vec<OciRuntime>,
    /// Devices that may be handed out. It crosses beside the welcome: spawners before the protocol's third version know none.
    #[serde(skip)]
    pub devices: DeviceCeiling,
}

/// What root says of devices, by the Container Device Interface. The spawner reads the specs itself: a server names devices,
/// and can name none that root did not describe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceCeiling {
    /// Directories of specs; a later one wins. None: no device is handed out.
    pub cdi_dirs: Vec<PathBuf>,
    /// Programs that specs may name as hooks, which then run as root on the host.
    pub cdi_hooks: Vec<PathBuf>,
}

/// Host user ids that pods get, 65,536 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidRanges {
    pub first: u32,
    /// How many pods can hold a range at the same time.
    pub count: u16,
}

impl Default for UidRanges {
    fn default() -> Self {
        Self { first: 0x5000_0000, count: 4096 }
    }
}

/// A connection to the spawner. Clones share it. Calls return when the request is handed over; what became of it
/// arrives as an [`Event`].
#[derive(Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

struct Shared {
    socket: Arc<OwnedFd>,
    /// Of the protocol, as agreed.
    version: u32,
    without_images: Option<String>,
    guard: Guard,
    is_outdated: bool,
    sending: Mutex<Sending>,
}

#[derive(Default)]
struct Sending {
    outbox: Outbox,
    /// Pods whose surroundings this connection has sent.
    pods: HashSet<u128>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Ends the thread that receives, which holds the socket too. It may be gone already.
        let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
    }
}

impl Spawner {
    /// Finds the spawner that runs on this state directory, or starts one, and takes over what it runs. The table holds
    /// every run that is not acknowledged; events after it arrive on the receiver.
    pub fn connect_or_start(
        options: &SpawnerOptions,
    ) -> Result<(Spawner, Vec<TableEntry>, Receiver<Event>), Error> {
        let connection::Connection { socket, version, without_images, inbox, table, guard, is_outdated } =
            connection::establish(options)?;
        let socket = Arc::new(socket);
        let events = receiver::start(Arc::clone(&socket), inbox)?;
        let sending = Mutex::default();
        let shared = Arc::new(Shared { socket, version, without_images, guard, is_outdated, sending });
        Ok((Spawner { shared }, table, events))
    }

    /// Why there is no [`Upper::Image`], if there is none: what is written to the disk is not bounded then.
    pub fn without_images(&self) -> Option<&str> {
        self.shared.without_images.as_deref()
    }

    /// Starts a container, once: a second call with the same id changes nothing.
    pub fn start(&self, spec: &RunSpec) -> Result<(), Error> {
        spec.check()?;
        self.shared.guard.check(spec).map_err(|above| Error::AboveCeiling {
            container: spec.name.clone(),
            pod: spec.pod.name.clone(),
            why: above.to_string(),
        })?;
        if spec.interaction != Interaction::default() && self.shared.version < EXEC_SINCE {
            return Err(Error::Version { ours: EXEC_SINCE, theirs: self.shared.version });
        }
        let has_extras = spec.extras != Extras::default();
        if has_extras && self.shared.version < EXTRAS_SINCE {
            return Err(Error::Version { ours: EXTRAS_SINCE, theirs: self.shared.version });
        }
        if spec.pod.volumes.iter().any(|v| matches!(v.source, VolumeSource::Changing { .. })) {
            self.require(CHANGING_SINCE)?;
        }
        if spec.pod.volumes.iter().any(|v| matches!(v.source, VolumeSource::Layered(_))) {
            self.require(LAYERED_SINCE)?;
        }
        if spec.pod.volumes.iter().any(|v| matches!(v.source, VolumeSource::LayeredMemory(_))) {
            self.require(MEMORY_SINCE)?;
        }
        let is_image = |v: &PodVolume| matches!(v.source.layer(), Some(Some(Upper::Image { .. })));
        if spec.pod.volumes.iter().any(is_image) {
            self.require(IMAGE_SINCE)?;
        }
        if spec.pod.egress.is_some() {
            self.require(DOORS_SINCE)?;
        }
        let pod_uid = spec.pod.uid;
        // The pod went before, or goes now, alone: its containers and their restarts share it.
        let slim = RunSpec { pod: blank_pod(pod_uid), ..spec.clone() };
        self.send(|sending| {
            if sending.pods.insert(pod_uid) {
                send_pod(&mut sending.outbox, &spec.pod)?;
                if let Some(egress) = &spec.pod.egress {
                    let egress = egress.to_vec();
                    sending.outbox.push(&Request::Egress { uid: pod_uid, egress }, []);
                }
            }
            let (interaction, extras) = (slim.interaction, slim.extras.clone());
            let spec = Box::new(slim);
            let request = if has_extras {
                Request::StartExtended { spec, interaction, extras }
            } else if interaction == Interaction::default() {
                Request::Start(spec)
            } else {
                Request::StartWith { spec, interaction }
            };
            sending.outbox.push(&request, []);
            Ok(())
        })
    }

    /// Whether it was started with other settings than these, or by another version of the program.
    pub fn is_outdated(&self) -> bool {
        self.shared.is_outdated
    }

    /// Sends a signal to the container's first process. Nothing happens when it ended.
    pub fn signal(&self, id: ContainerId, signal: i32) -> Result<(), Error> {
        self.ask(Request::Signal { id, signal })
    }

    /// Ends every process of the pod at once; an `Exited` follows for each that ran.
    pub fn kill_pod(&self, pod_uid: u128) -> Result<(), Error> {
        self.ask(Request::KillPod { uid: pod_uid })
    }

    /// The pod is over: kills what still runs, drops its namespaces, volumes and uid range.
    pub fn release_pod(&self, pod_uid: u128) -> Result<(), Error> {
        self.send(|sending| {
            sending.pods.remove(&pod_uid);
            sending.outbox.push(&Request::ReleasePod { uid: pod_uid }, []);
            Ok(())
        })
    }

    /// Replaces the files of a [`VolumeSource::Changing`] of the pod, all at once, while its containers run. The bytes cross in
    /// sealed memory.
    pub fn update_files(&self, pod_uid: u128, volume: u16, files: &[OwnedFile]) -> Result<(), Error> {
        crate::spec::check_changing("files", files)?;
        self.require(CHANGING_SINCE)?;
        self.send(|sending| {
            let bytes = postcard::to_allocvec(files).map_err(io::Error::other)?;
            let memory = crate::seal::sealed_bytes(&bytes)?;
            sending.outbox.push(&Request::UpdateFiles { uid: pod_uid, volume }, [memory]);
            Ok(())
        })
    }

    /// A pod that began with a door may reach this from now on: `egress` is what the gate reads. Connections that it may no longer have are
    /// cut.
    pub fn change_egress(&self, pod_uid: u128, egress: Vec<u8>) -> Result<(), Error> {
        crate::spec::check_egress(&egress)?;
        if self.shared.version < DOORS_SINCE {
            // It has opened none.
            return Ok(());
        }
        self.ask(Request::Egress { uid: pod_uid, egress })
    }

    /// All [`Event::Connections`] up to this one are durable elsewhere: forget them.
    pub fn heard(&self, serial: u64) -> Result<(), Error> {
        self.ask(Request::Heard { serial })
    }

    /// The outcome of this run is durable elsewhere: forget it.
    pub fn acknowledge(&self, id: ContainerId) -> Result<(), Error> {
        self.ask(Request::Acknowledge { id })
    }

    /// The spawner may be of an older program.
    fn require(&self, version: u32) -> Result<(), Error> {
        match self.shared.version {
            theirs if theirs < version => Err(Error::Version { ours: version, theirs }),
            _ => Ok(()),
        }
    }

    fn ask(&self, request: Request) -> Result<(), Error> {
        self.send(|sending| {
            sending.outbox.push(&request, []);
            Ok(())
        })
    }

    fn send(&self, fill: impl FnOnce(&mut Sending) -> io::Result<()>) -> Result<(), Error> {
        // A thread that panicked while it held this has sent a frame or none: frames are pushed whole.
        let mut sending = self.shared.sending.lock().unwrap_or_else(PoisonError::into_inner);
        fill(&mut sending)
            .and_then(|()| sending.outbox.flush(self.shared.socket.as_fd()))
            .map(drop)
            .map_err(|cause| Error::Connection { cause })
    }
}

/// Small surroundings travel in a frame; large ones, whose volumes hold ConfigMaps and Secrets, in sealed memory.
fn send_pod(outbox: &mut Outbox, pod: &Arc<PodEnvironment>) -> io::Result<()> {
    let held: usize = pod.volumes.iter().map(volume_bytes).sum();
    if held + pod.etc.hosts.len() + pod.etc.resolv_conf.len() <= IN_FRAME_MAX {
        outbox.push(&Request::Pod(Arc::clone(pod)), []);
        return Ok(());
    }
    let bytes = postcard::to_allocvec(&**pod).map_err(io::Error::other)?;
    outbox.push(&Request::SealedPod, [crate::seal::sealed_bytes(&bytes)?]);
    Ok(())
}

/// Above this a pod's surroundings are not copied through the socket's buffer.
const IN_FRAME_MAX: usize = 16 << 10;

fn volume_bytes(volume: &PodVolume) -> usize {
    match &volume.source {
        VolumeSource::Files { entries, .. } => entries.iter().map(|e| e.path.len() + e.contents.len()).sum(),
        VolumeSource::Changing { files, .. } => {
            files.iter().map(|owned| owned.file.path.len() + owned.file.contents.len()).sum()
        }
        VolumeSource::Dir { path } | VolumeSource::HostPath { path } => path.as_os_str().len(),
        VolumeSource::Tmpfs { .. } | VolumeSource::Layered(_) | VolumeSource::LayeredMemory(_) => 0,
    }
}
