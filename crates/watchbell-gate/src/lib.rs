//! The gate: the one process of the machine that opens connections for pods.
//!
//! ```text
//!   network of a pod                         │            network of the host
//!   task ── connection to anywhere ──▶ Tcp ──┼─▶ names ─▶ decide ─▶ dial ═ relay ══▶ who was meant
//!   task ── question for a name ─────▶ Dns ──┼─▶ may it? ─▶ lookup ───────────────▶ resolver
//!        ◀── an address that stands ─────────┤      └─ names: the name's own address in this pod
//!            for the name                    │
//!                         spawner ◀── notices: each decision, each end, or how many there were
//! ```
//!
//! A pod's sockets are made inside its network and handed over, so who speaks is known by where it arrives. What it may reach
//! says [`watchbell_core::egress::Egress`]. One thread, one loop; nothing waits for anybody.

mod choice;
pub mod dns;
mod event_loop;
mod names;
mod relay;
mod routes;
mod share;
mod tally;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::process::Resource;
use watchbell_sandbox::gate::{self, GateArgs};

pub use routes::Routes;

/// How much of everything there is. What is beyond is refused and told. No namespace has more than it leaves for others, nor a
/// pod more than its namespace could still take, and a part is for pods that have nothing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections: usize,
    pub connections_of_pod: usize,
    /// Questions to resolvers that wait for an answer.
    pub lookups: usize,
    pub lookups_of_pod: usize,
    /// Names that addresses stand for, of all pods together: about a kilobyte each.
    pub names: usize,
    /// How long one address has to answer, and one resolver.
    pub dial_ns: i64,
    pub answer_ns: i64,
}

impl Limits {
    /// As far as this process may ever have descriptors: doors and what they wait for have the larger part.
    pub fn of_process() -> Self {
        let files = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            connections: 8192.min(files / 6),
            connections_of_pod: 1024,
            lookups: 512.min(files / 6),
            lookups_of_pod: 64,
            names: 256 << 10,
            dial_ns: 10_000_000_000,
            answer_ns: 2_000_000_000,
        }
    }
}

/// What the gate runs with.
#[derive(Debug)]
pub struct GateOptions {
    /// To the spawner, which sends [`gate::Order`]s and reads [`gate::Notice`]s.
    pub socket: OwnedFd,
    pub routes: Routes,
    pub limits: Limits,
}

/// Serves doors until the spawner is gone.
pub fn run(options: GateOptions) -> io::Result<()> {
    event_loop::Gate::new(options)?.run()
}

/// Runs the gate process: `<exe> gate …`. `args` are those after the word; the caller has directed `tracing` to standard error.
pub fn gate_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let serve = || {
        let args = GateArgs::parse(args)?;
        let socket = gate::take_socket()?;
        // What cannot be made afterwards.
        let (routes, limits) = (Routes::open()?, Limits::of_process());
        let gate = event_loop::Gate::new(GateOptions { socket, routes, limits })?;
        gate::confine(args.uid)?;
        gate.run()
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the gate ends, and pods have no way out: {error}");
            ExitCode::FAILURE
        }
    }
}
