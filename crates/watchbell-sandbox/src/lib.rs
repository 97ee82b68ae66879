//! Starts containers, directly and hardened, and outlives the server that asked for them.
//!
//! ```text
//!  server ── Spawner (client) ══ socket ══ spawner ──┬─ task   pid 1 of its own namespaces
//!                                  (root, one thread) ├─ task
//!                                                     ├─ cloner: makes them, some before they are asked for
//!                                                     └─ keeper (no privileges): pipes ──▶ log files
//!
//!  RunSpec ──▶ plan ──▶ steps of the spawner (slot, mounts, clone) ──▶ steps of the task (… seccomp, exec)
//! ```
//!
//! The only crate of Watchbell that holds `unsafe`.

mod bounds;
mod client;
mod clock;
pub mod doctor;
mod dumps;
mod error;
mod event;
mod fds;
pub mod gate;
mod keeper;
mod oci_profile;
mod oom;
mod part;
mod runtime;
mod seal;
mod session;
mod spawner;
mod spec;
mod start;
mod syscalls;
mod tracer;
mod wire;

pub use bounds::{Bounds, IoLimits, LogRate, Reserved, Totals};
pub use client::{
    Ceiling, DEFAULT_KEEPER_UID, DeviceCeiling, Memory, SandboxSession, SessionLink, Spawner, SpawnerOptions,
    UidRanges,
};
pub use dumps::forbid_dumps;
pub use error::Error;
pub use event::{
    Event, ExitRecord, ExitStatus, LogSummary, LogTrouble, StartFailure, StartFailureKind, TableEntry,
    UnixNanos, Usage,
};
pub use keeper::keeper_main;
pub use oci_profile::{ProfileError, ProfileFacts};
pub use runtime::{BadRuntime, OWN_HANDLER, OciRuntime, RuntimeVerdict, probe};
pub use session::{SessionFailure, SessionFailureKind, Streams};
pub use spawner::spawner_main;
pub use spec::{
    Capabilities, CgroupLimits, ContainerId, EtcFiles, Extras, FileEntry, HostNamespaces, Interaction,
    InvalidSpec, Layered, LayeredMemory, LogTarget, MEMORY_VIEW, Mount, OwnedFile, ParseCapabilityError,
    PodEnvironment, PodVolume, ProcMount, Rlimit, RlimitResource, Root, RunSpec, Scratch, Seccomp,
    SeccompAction, SeccompBase, SeccompCondition, SeccompOp, SeccompProfile, SeccompRule, Sharing, Stdin,
    Sys, Upper, VolumeSource,
};
pub use start::{
    Confinement, DOOR_V4, DOOR_V6, Directory, ExplainedMount, ExplainedStep, Explanation, HostIds, Limits,
    Namespace, Scope, Step, Sysfs, Values, confined, explain, landlock_abi, plan, plan_entry, values,
};
pub use syscalls::{Arch, Known};
pub use tracer::{trace_path, tracer_main};
