//! The spawner's one loop: what happened becomes inputs of the machine, its effects are carried out.

mod carry_out;
mod client;
mod gate;
mod hooks;
mod keeper;
mod runs;
mod sessions;
mod timers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::ceiling::Guard;
use super::client_link::ClientLink;
use super::devices::Devices;
use super::gate_link::GateLink;
use super::keeper_link::KeeperLink;
use super::live::{Live, LiveRuns};
use super::machine::{Effect, Machine};
use super::sessions::Sessions;
use super::table_file::TableFile;
use crate::keeper::KeeperArgs;
use crate::start::Host;
use crate::wire::Settings;
use crate::{ContainerId, RunSpec};
use timers::Timers;

/// What an epoll event is about: below `RUNS` one of these, above it a run's descriptor.
const LISTENER: u64 = 0;
const CLIENT: u64 = 1;
const KEEPER: u64 = 2;
const STATE_DIR: u64 = 3;
const GATE: u64 = 4;
/// A multiple of four, so that the low bits of a run's token are its own.
const RUNS: u64 = 8;
/// Set in the tokens of hooks.
const HOOKS: u64 = 1 << 62;
/// Set in the tokens of sessions.
const SESSIONS: u64 = 1 << 63;
/// In the low bits of a run's token.
const STATUS: u64 = 0;
const PIDFD: u64 = 1;
const TRACER: u64 = 2;
/// Starts of one turn: each blocks for about a millisecond, and ends of others wait meanwhile.
const BEGIN_MAX: usize = 4;

/// What setup made.
pub(super) struct Parts {
    pub(super) machine: Machine,
    pub(super) table: TableFile,
    pub(super) host: Host,
    pub(super) guard: Guard,
    pub(super) devices: Devices,
    /// The host's mount namespace, for hooks.
    pub(super) host_mounts: OwnedFd,
    pub(super) state_dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) keeper: KeeperArgs,
    pub(super) state: OwnedFd,
    pub(super) listener: OwnedFd,
    /// Held while this process lives.
    pub(super) _lock: OwnedFd,
}

pub(super) struct EventLoop {
    parts: Parts,
    epoll: OwnedFd,
    changes: OwnedFd,
    client: Option<ClientLink>,
    client_waits: bool,
    keeper: Option<KeeperLink>,
    keeper_waits: bool,
    /// When the keeper was last started, by the monotonic clock.
    keeper_started: i64,
    /// How often in a row it died right after its start.
    keeper_failures: u32,
    gate: Option<GateLink>,
    gate_waits: bool,
    /// When the gate was last started, by the monotonic clock.
    gate_started: i64,
    notices: gate::Notices,
    /// Asked for, not begun.
    queue: VecDeque<ContainerId>,
    specs: HashMap<ContainerId, RunSpec>,
    /// Directories in memory that the connected server wants.
    memories: HashSet<u64>,
    live: LiveRuns,
    hooks: hooks::Hooks,
    sessions: Sessions,
    timers: Timers,
    effects: Vec<Effect>,
    /// The state directory is gone or has lost our socket: nobody can find us.
    orphaned: bool,
    ends: bool,
}

impl EventLoop {
    pub(super) fn new(parts: Parts) -> Result<Self, String> {
        let mut made = Self::make(parts).map_err(|error| format!("cannot make the event loop: {error}"))?;
        // Before the first task needs it, and before a server is told that all is well.
        made.need_keeper().map_err(|error| format!("cannot start the keeper of logs: {error}"))?;
        Ok(made)
    }

    fn make(parts: Parts) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &parts.listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        watch_directory(&changes, parts.state.as_fd())?;
        epoll::add(&epoll, &changes, EventData::new_u64(STATE_DIR), EventFlags::IN)?;
        Ok(Self {
            parts,
            epoll,
            changes,
            client: None,
            client_waits: false,
            keeper: None,
            keeper_waits: false,
            keeper_started: i64::MIN / 2,
            keeper_failures: 0,
            gate: None,
            gate_waits: false,
            gate_started: i64::MIN / 2,
            notices: gate::Notices::default(),
            queue: VecDeque::new(),
            specs: HashMap::new(),
            memories: HashSet::new(),
            live: LiveRuns::default(),
            hooks: hooks::Hooks::default(),
            sessions: Sessions::default(),
            timers: Timers::default(),
            effects: Vec::new(),
            orphaned: false,
            ends: false,
        })
    }

    pub(super) fn run(mut self, first: Option<ClientLink>) -> io::Result<()> {
        if let Some(client) = first {
            self.accept_client(client);
        }
        let mut events = Vec::with_capacity(256);
        while !self.ends {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // Hang-ups first: a server that follows another finds the place free.
            events.sort_unstable_by_key(|event: &epoll::Event| event.data.u64() == LISTENER);
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    CLIENT => self.take_requests(),
                    KEEPER => self.take_notices(),
                    GATE => self.take_gate_notices(),
                    STATE_DIR => self.look_at_directory(),
                    token if token & SESSIONS != 0 => self.session_event(token),
                    token if token & HOOKS != 0 => self.hook_ended(token & !HOOKS),
                    token => self.run_event((token - RUNS) >> 2, token & 3),
                }
            }
            self.settle();
            self.begin_some();
            self.keep_time();
            self.settle();
            self.tell_gate_of_doors();
            self.flush();
            // With nothing else to do; it is looked at what happened meanwhile before the next.
            if self.queue.is_empty() {
                self.parts.host.prepare();
            }
        }
        self.end()
    }

    /// Everything said and written, for good.
    fn end(mut self) -> io::Result<()> {
        let Parts { state, table, machine, .. } = &mut self.parts;
        // A directory that is being removed must not get a new file.
        if !self.orphaned {
            table.compact(machine.table())?;
            rustix::fs::unlinkat(&*state, super::setup::SOCKET, rustix::fs::AtFlags::empty())?;
        }
        // Who connected to the socket and was not answered finds the next spawner.
        self.client = None;
        if let Some(gate) = self.gate.take() {
            gate.discard();
        }
        match self.keeper.take() {
            Some(keeper) => keeper.end(),
            None => Ok(()),
        }
    }

    /// Of the runs that are meant.
    fn serials(&self, is_meant: impl Fn(&Live) -> bool) -> Vec<u64> {
        self.live.iter().filter(|(_, live)| is_meant(live)).map(|(serial, _)| serial).collect()
    }

    /// What is awaited of a socket, by whether all was sent to it.
    fn watch_sends(
        epoll: &OwnedFd,
        socket: BorrowedFd<'_>,
        token: u64,
        waits: &mut bool,
        all: bool,
    ) -> io::Result<()> {
        if all != *waits {
            return Ok(());
        }
        *waits = !all;
        let interest = if all { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        Ok(epoll::modify(epoll, socket, EventData::new_u64(token), interest)?)
    }

    fn flush(&mut self) {
        self.flush_client();
        self.flush_keeper();
        self.flush_gate();
    }

    fn look_at_directory(&mut self) {
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.changes, &mut space);
        while reader.next().is_ok() {}
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let found = rustix::fs::statat(&self.parts.state, super::setup::SOCKET, flags);
        if found.is_err() && !self.orphaned {
            tracing::warn!("the state directory is gone; tasks end once no server is connected");
            self.orphaned = true;
        }
    }
}

fn watch_directory(changes: &OwnedFd, state: rustix::fd::BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", state.as_raw_fd());
    let what =
        inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(changes, path, what)?;
    Ok(())
}

fn run_token(serial: u64, which: u64) -> EventData {
    EventData::new_u64(RUNS + (serial << 2 | which))
}

fn add_to(epoll: &OwnedFd, fd: impl AsFd, token: EventData) -> io::Result<()> {
    Ok(epoll::add(epoll, fd, token, EventFlags::IN)?)
}
