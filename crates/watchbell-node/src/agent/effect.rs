//! What the agent is told, and what it wants done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use watchbell_api::Uid;
use watchbell_api::network::EgressWire;
use watchbell_api::node::{Command, Report};
use watchbell_sandbox::{ContainerId, Event, OwnedFile, RunSpec, StartFailure, TableEntry};

use super::spec::Prerequisite;
use crate::examine::{News, Question};
use crate::image::{FetchRequest, Fetched};
use crate::measure::Use;

/// The time: of a clock that never steps, and of day in Unix seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub mono: Duration,
    pub wall: i64,
}

/// What the agent is told.
#[derive(Debug)]
pub(crate) enum Input {
    Command(Command),
    Sandbox(Event),
    /// Connected to the spawner again: all it knows.
    Reconnected(Vec<TableEntry>),
    /// The answer to [`Effect::Fetch`].
    Fetched(u64, Fetched),
    /// The answer to [`Effect::Examine`], or other advisories.
    Examiner(News),
    /// The answer to [`Effect::Array`], where there is one for the agent.
    Array(crate::arrays::News),
    /// Somebody brought images of these names into the store.
    ImagesCame(Vec<String>),
    /// The start never reached the spawner.
    NotStarted(StartFailure),
    /// Nor did this one, since what it needs could not be made.
    NotMade {
        id: ContainerId,
        message: String,
    },
    /// The answer to [`Effect::Measure`].
    Measured(Measured),
    /// The answer to [`Effect::RemoveFolder`].
    FolderRemoved {
        name: Arc<str>,
        error: Option<String>,
    },
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Make what it needs, then start. If something of it cannot be made, nothing of the pod starts in this round.
    Start {
        spec: Box<RunSpec>,
        needed: Vec<Prerequisite>,
    },
    Signal {
        id: ContainerId,
        signal: i32,
    },
    KillPod(u128),
    /// The pod is over; with `volumes` its directory of volumes goes too.
    ReleasePod {
        uid: Uid,
        volumes: bool,
    },
    AcknowledgeRun(ContainerId),
    Fetch(FetchRequest),
    /// Find out what policies ask of an image.
    Examine {
        id: u64,
        question: Question,
    },
    /// Of data arrays.
    Array(crate::arrays::Work),
    /// Look over all images that are referred to: the policies changed.
    LookOver,
    /// Look at these images, which something of the namespace refers to.
    LookAt {
        namespace: Arc<str>,
        images: Vec<Arc<str>>,
    },
    Report(Report),
    /// A directory below that of the logs.
    RemoveLogs(PathBuf),
    /// What an old run of a container left: its log, below the directory of the logs, and its last words.
    RemoveRun {
        log: PathBuf,
        message: PathBuf,
    },
    /// Replace the files of a volume whose tokens end soon.
    UpdateFiles {
        uid: Uid,
        volume: u16,
        files: Vec<OwnedFile>,
    },
    /// What a pod with a door may connect to.
    ChangeEgress {
        uid: Uid,
        egress: EgressWire,
    },
    /// What the gate said up to this is durable.
    HeardConnections(u64),
    /// See what these hold, and what the disk has left.
    Measure(Vec<Watched>),
    /// The folder of a persistent volume.
    RemoveFolder(Arc<str>),
    /// Remove the volumes of all pods but these: a crash may have left some.
    SweepVolumes(Vec<Uid>),
    /// Remove the logs, and what is kept beside them, of whom nobody knows any more.
    SweepLogs,
}

/// A directory, or the files of a log, whose size is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub pod: Uid,
    pub what: What,
    /// Of a log below the directory of logs.
    pub path: PathBuf,
    /// Nobody needs to know how much more it is.
    pub most: Use,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// By the volume's name.
    EmptyDir(String),
    /// Of the container at this position, init containers first. It counts towards limits.
    Log(usize),
    /// All logs of the pod. They count when the disk is short, and are looked at then.
    Logs,
    /// By the claim's name.
    Claim(String),
    /// The files of the pod's termination messages.
    Messages,
    /// What is written above an array, by its name, with the bound that was stated.
    Upper(String, u64),
}

/// What was found. A path that could not be measured is left out.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub sizes: Vec<(Uid, What, Use)>,
    /// With what was removed of logs just now, which shows in a moment. `None`: not known.
    pub disk: Option<Disk>,
}

/// The data directory's file system. One that counts no inodes has none and lacks none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    pub free_bytes: u64,
    pub inodes: u64,
    pub free_inodes: u64,
}

/// Of a file system's inodes, kubelet's threshold: one of so many is left.
const INODES_FREE_PART: u64 = 20;

impl Disk {
    pub(crate) fn inodes_reserve(&self) -> u64 {
        self.inodes / INODES_FREE_PART
    }

    /// When what was removed just now is free too.
    pub(crate) fn with(self, removed: Use) -> Disk {
        Disk {
            free_bytes: self.free_bytes.saturating_add(removed.bytes),
            free_inodes: self.free_inodes.saturating_add(removed.inodes),
            ..self
        }
    }

    /// What it has less than is kept free.
    pub(crate) fn lacking(&self, reserve_bytes: u64) -> Use {
        Use {
            bytes: reserve_bytes.saturating_sub(self.free_bytes),
            inodes: self.inodes_reserve().saturating_sub(self.free_inodes),
        }
    }
}
