//! What is said. Variants are only ever added at the end: an upgraded server speaks to an older spawner until that drains.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::WireError;
use crate::{
    Bounds, Ceiling, ContainerId, DeviceCeiling, Event, ExitStatus, Extras, Interaction, LogSummary,
    LogTarget, LogTrouble, OciRuntime, PodEnvironment, RunSpec, SessionFailure, Streams, TableEntry,
};

/// The version of the protocol between server and spawner, and the oldest that this program still speaks.
///
/// 1: start, signal, kill, release, acknowledge. 2: sessions (exec, attach), and containers with input or a terminal.
/// 3: [`Extras`], [`Bounds`], [`Event::LogTrouble`]. 4: [`Request::UpdateFiles`]. 5: [`Event::Mapped`].
/// 6: [`crate::VolumeSource::Layered`], [`Request::Upper`]. 7: [`crate::VolumeSource::LayeredMemory`], [`Request::Memory`].
/// 8: [`crate::Upper::Image`], [`Reply::Images`].
/// 9: [`Request::Egress`], [`Event::Connections`]. 10: [`Event::GateLost`].
pub(crate) const VERSION: u32 = 10;
pub(crate) const OLDEST: u32 = 1;
pub(crate) const EXEC_SINCE: u32 = 2;
pub(crate) const EXTRAS_SINCE: u32 = 3;
pub(crate) const BOUNDS_SINCE: u32 = 3;
pub(crate) const TROUBLE_SINCE: u32 = 3;
pub(crate) const CHANGING_SINCE: u32 = 4;
pub(crate) const MAPPED_SINCE: u32 = 5;
pub(crate) const LAYERED_SINCE: u32 = 6;
pub(crate) const MEMORY_SINCE: u32 = 7;
pub(crate) const IMAGE_SINCE: u32 = 8;
pub(crate) const DOORS_SINCE: u32 = 9;
pub(crate) const GATE_LOST_SINCE: u32 = 10;
/// Marks the first frame, so that a stray client is told apart from an old one.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"WBELLspn");
/// Bound of one pod's environment in its wire form, whose volumes hold ConfigMaps and Secrets.
pub(crate) const POD_BYTES_MAX: u64 = 128 << 20;

/// Server to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First, once.
    Hello(Hello),
    /// Surroundings of the starts that follow.
    Pod(Arc<PodEnvironment>),
    /// The same in sealed memory, beside this frame: large ones, which may hold Secrets.
    SealedPod,
    /// The pod in the spec is blank but for its uid; [`Request::Pod`] came before.
    Start(Box<RunSpec>),
    Signal {
        id: ContainerId,
        signal: i32,
    },
    KillPod {
        uid: u128,
    },
    ReleasePod {
        uid: u128,
    },
    Acknowledge {
        id: ContainerId,
    },
    /// End, if there is nothing to do: another spawner follows, with other settings.
    Retire,
    // --- since version 2 ---
    /// As [`Request::Start`], for a container that people attach to.
    StartWith {
        spec: Box<RunSpec>,
        interaction: Interaction,
    },
    /// Beside it: the session's socket, on which all about it is told. Its end is the session's end.
    Session(SessionAsk),
    // --- since version 3 ---
    /// As [`Request::StartWith`], for a container that asks for more.
    StartExtended {
        spec: Box<RunSpec>,
        interaction: Interaction,
        extras: Extras,
    },
    // --- since version 4 ---
    /// Other files for a volume of a pod: a list of [`crate::OwnedFile`] in sealed memory, beside this frame.
    UpdateFiles {
        uid: u128,
        volume: u16,
    },
    // --- since version 6 ---
    /// What the pod's containers, which have all ended, left in a layered volume. Beside it: the socket for the answer.
    Upper {
        uid: u128,
        volume: u16,
    },
    // --- since version 7 ---
    /// A directory in memory, for the server to fill. It goes when the server says so or is gone, and no pod that was asked for
    /// may still be started above it. Beside it: the socket for the answer.
    Memory {
        bytes: u64,
        inodes: u64,
        /// What all of them may take together: also those that pods of servers before this one still have.
        bytes_max: u64,
    },
    ForgetMemory {
        memory: u64,
    },
    // --- since version 9 ---
    /// What a pod may reach, as the gate reads it. Before its first start: it gets a door.
    Egress {
        uid: u128,
        egress: Vec<u8>,
    },
    /// All [`Event::Connections`] up to this one are durable.
    Heard {
        serial: u64,
    },
}

/// Spawner to server, on the socket of a [`Request::Memory`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MemoryReply {
    /// Beside it: the directory.
    Made {
        memory: u64,
    },
    Refused {
        reason: String,
    },
}

/// Spawner to server, on the socket of a [`Request::Upper`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum UpperReply {
    /// Beside it: the directory.
    Held,
    Refused {
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionAsk {
    pub(crate) id: ContainerId,
    /// `None`: attach to the container's own process.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) streams: Streams,
}

/// Spawner to server, on a session's socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SessionReply {
    /// The program was executed. Beside it: a descriptor for each part.
    Opened {
        parts: Vec<Part>,
    },
    Refused(SessionFailure),
    /// The last word.
    Ended(ExitStatus),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    Stdin,
    Stdout,
    Stderr,
    Terminal,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) magic: u64,
    /// The versions that this client speaks.
    pub(crate) oldest: u32,
    pub(crate) newest: u32,
}

impl Hello {
    pub(crate) const OURS: Self = Self { magic: MAGIC, oldest: OLDEST, newest: VERSION };
}

/// Spawner to server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Welcome(Box<Welcome>),
    /// Another server is connected.
    Busy {
        pid: u32,
    },
    /// No common version; this is the spawner's newest.
    Version {
        theirs: u32,
    },
    Refused {
        reason: String,
    },
    /// Part of the table, after the welcome.
    Table(Vec<TableEntry>),
    TableEnd,
    Event(Event),
    // --- since version 3 ---
    /// After the welcome: the part of the ceiling that it does not hold.
    Devices(DeviceCeiling),
    /// After the welcome: allowances of the ceiling that its older form lacks.
    Allowances(Vec<String>),
    /// As much.
    Runtimes(Vec<OciRuntime>),
    /// After the welcome: what of [`Settings`] it does not hold.
    Bounds(Bounds),
    // --- since version 8 ---
    /// After the welcome: why this host has no [`crate::Upper::Image`]. `None`: it has.
    Images(Option<String>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The version that both speak from here on.
    pub(crate) version: u32,
    pub(crate) pid: u32,
    pub(crate) settings: Settings,
    /// It runs nothing and holds no pod.
    pub(crate) idle: bool,
}

/// What a spawner was started with and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Version of the program.
    pub(crate) program: String,
    pub(crate) ceiling: Ceiling,
    /// It crosses beside the welcome. `None`: a spawner that knows none.
    #[serde(skip)]
    pub(crate) bounds: Option<Bounds>,
    pub(crate) client_uid: u32,
    pub(crate) keeper_uid: u32,
    pub(crate) idle_seconds: u32,
}

/// Spawner to keeper. Both are of one program, started together, so this needs no versions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Beside it: the read ends of stdout and stderr.
    Watch { serial: u64, target: LogTarget },
    /// Nothing of the task is left: what is in the pipes now is all there will be, whoever else holds them open.
    Finish { serial: u64 },
    /// Beside it: writing ends for a client that watches the task's stdout and stderr from now on, those that are wanted. It is
    /// answered, for this session, with [`Notice::Shown`].
    Show { serial: u64, session: u64, streams: [bool; 2] },
}

/// Keeper to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    Complete {
        serial: u64,
        summary: LogSummary,
    },
    /// Once a run and kind.
    Trouble {
        serial: u64,
        trouble: LogTrouble,
    },
    /// What the run prints from now on goes to the session too.
    Shown {
        session: u64,
    },
}

/// Reads a whole message: nothing may follow it.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Message),
    }
}

/// Stands in a [`Request::Start`] for the pod that was sent before.
pub(crate) fn blank_pod(uid: u128) -> Arc<PodEnvironment> {
    Arc::new(PodEnvironment::alone(uid))
}
