//! From the command line to a running loop. A straight list; each step relies on those before it.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Gid, Resource, Rlimit, Uid};

use super::args::SpawnerArgs;
use super::ceiling::Guard;
use super::client_link::ClientLink;
use super::devices::Devices;
use super::event_loop::EventLoop;
use super::machine::Machine;
use super::table_file::TableFile;
use crate::clock;
use crate::keeper::KeeperArgs;
use crate::start::Host;
use crate::start::Io;
use crate::wire::Settings;
use crate::{IoLimits, Totals};

pub(crate) const SOCKET: &str = "spawner.sock";
const LOCK: &str = "spawner.lock";

/// What failed, in words for the server that waits for this spawner.
fn step<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> Result<T, String> {
    result.map_err(|cause| format!("cannot {what}: {cause}"))
}

pub(super) fn run(args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let stdin = step(crate::fds::take_stdin(), "take the connection to the server")?;
    // A lock or a socket of the server that came along would live as long as this process.
    step(crate::fds::close_all_but(&[&stdin]), "close what was inherited")?;
    // The server that started us is our first client; without one we are found by the socket.
    let mut first = ClientLink::from_stdin(stdin);
    match start(args, &mut first) {
        Ok(event_loop) => event_loop.run(first).map_err(|error| error.to_string()),
        Err(reason) => {
            // In the log first: who was refused looks there.
            tracing::error!("the spawner did not start: {reason}");
            if let Some(client) = &mut first {
                client.refuse(&reason);
            }
            Err(reason)
        }
    }
}

fn start(args: impl Iterator<Item = OsString>, first: &mut Option<ClientLink>) -> Result<EventLoop, String> {
    let args = step(SpawnerArgs::parse(args), "read the command line")?;
    // No terminal, no process group of the server: its Ctrl-C is not for us.
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(format!("cannot make a session: {error}")),
    }
    step(rustix::process::chdir("/"), "leave the server's directory")?;
    rustix::process::umask(Mode::from(0o077));
    if let Ok(name) = CString::new("watchbell-spawn") {
        step(rustix::thread::set_name(&name), "name the process")?;
    }
    // Several descriptors a task.
    let files = rustix::process::getrlimit(Resource::Nofile);
    let files = Rlimit { current: files.maximum, ..files };
    step(rustix::process::setrlimit(Resource::Nofile, files), "raise the number of open files")?;
    step(crate::dumps::forbid_core_files(), "forbid core files")?;
    // The last that a machine out of memory should kill: it would lose every task. Some containers forbid it.
    if let Err(error) = crate::oom::shield() {
        tracing::info!("the spawner is not shielded from the OOM killer: {error}");
    }

    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let state = step(open(&args.state_dir, directory, Mode::empty()), "open the state directory")?;
    // A spawner before us that is about to end still holds it: wait, its socket is gone already.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = step(openat(&state, LOCK, flags, Mode::from(0o600)), "open the lock")?;
    step(flock(&lock, FlockOperation::LockExclusive), "take the lock")?;

    // Before the spawner leaves it: hooks run among the host's own mounts.
    let host_mounts = step(
        open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()),
        "open the mount namespace",
    )?;
    // What a spawner that died left is ended before anything is said about it.
    for runtime in &args.ceiling.runtimes {
        step(runtime.check(), "use an OCI runtime")?;
    }
    let runtimes = args.ceiling.runtimes.clone();
    let totals = args.bounds.reserved.leave(Totals::of_machine()?)?;
    let data = args.state_dir.parent().unwrap_or(&args.state_dir);
    let io = Some(args.bounds.io).filter(|io| *io != IoLimits::default());
    let io = io.and_then(|limits| match Io::find(limits, data) {
        Ok(io) => Some(io),
        Err(why) => {
            tracing::warn!("reads and writes of disks are not limited: {why}");
            None
        }
    });
    let host = Host::open(&args.state_dir, args.ceiling.uid_ranges, args.shard, totals, io)?
        .with_runtimes(runtimes)
        .with_traces(&args.log_dir, args.keeper_uid);
    let log_rate = args.bounds.log_rate;
    let keeper = KeeperArgs { log_dir: args.log_dir.clone(), uid: args.keeper_uid, log_rate };
    let table_dir = step(state.try_clone(), "keep the state directory")?;
    let (table, loaded) = step(TableFile::open(table_dir, clock::now()), "read the table")?;
    if !loaded.this_boot && !loaded.entries.is_empty() {
        tracing::info!("the machine was booted since; runs that were under way are lost");
    }
    let listener = step(listen_in(&state, args.client_uid), "listen")?;
    let settings = Settings {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        ceiling: args.ceiling.clone(),
        bounds: Some(args.bounds),
        client_uid: args.client_uid,
        keeper_uid: args.keeper_uid,
        idle_seconds: args.idle_seconds,
    };
    let devices = Devices::new(args.ceiling.devices.clone());
    let guard = Guard::new(args.ceiling, &args.state_dir);
    let machine = Machine::restore(loaded.entries);
    // A server that gave up meanwhile is no client.
    if first.as_ref().is_some_and(ClientLink::is_gone) {
        *first = None;
    }
    let parts = super::event_loop::Parts {
        machine,
        table,
        host,
        guard,
        devices,
        host_mounts,
        state_dir: args.state_dir,
        settings,
        keeper,
        state,
        listener,
        _lock: lock,
    };
    EventLoop::new(parts)
}

fn listen_in(state: &OwnedFd, client_uid: u32) -> io::Result<OwnedFd> {
    match unlinkat(state, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&listener, &socket_address(state.as_fd())?)?;
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(state, SOCKET, Some(Uid::from_raw(client_uid)), Some(Gid::from_raw(0)), no_follow)?;
    listen(&listener, 16)?;
    Ok(listener)
}

/// The socket by way of the directory's descriptor: a socket's path may have 108 bytes, a state directory's more.
pub(crate) fn socket_address(state: rustix::fd::BorrowedFd<'_>) -> io::Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", state.as_raw_fd()))?)
}
