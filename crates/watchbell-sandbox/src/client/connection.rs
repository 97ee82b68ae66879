//! Finds a spawner that answers, or starts one, and reads its table.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::SpawnerOptions;
use super::launch;
use crate::spawner::{Guard, SpawnerArgs, shared_ceiling, socket_address};
use crate::wire::{Filled, Frame, Hello, Inbox, Outbox, Reply, Request, Settings, VERSION, Welcome, decode};
use crate::{Error, TableEntry};

/// A frame of the table has at most some hundred rows, a row at most a message.
const REPLY_MAX: u32 = 16 << 20;
/// A spawner answers at once; one that starts first ends what another left.
const ANSWER: Duration = Duration::from_secs(60);

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Of the protocol, that both speak.
    pub(super) version: u32,
    /// Why the host has no images of file systems for what is written to the disk, if it has none.
    pub(super) without_images: Option<String>,
    pub(super) inbox: Inbox,
    pub(super) table: Vec<TableEntry>,
    /// What this program may ask for. The spawner has a ceiling of its own; the narrower of the two counts.
    pub(super) guard: Guard,
    /// It was started with other settings, or by another version.
    pub(super) is_outdated: bool,
}

struct Greeted {
    socket: OwnedFd,
    without_images: Option<String>,
    inbox: Inbox,
    table: Vec<TableEntry>,
    welcome: Welcome,
}

impl Greeted {
    fn connection(self, args: SpawnerArgs) -> Connection {
        let Self { socket, without_images, inbox, table, welcome } = self;
        let is_outdated = welcome.settings != settings(&args);
        let ceiling = shared_ceiling(args.ceiling, &welcome.settings.ceiling);
        let guard = Guard::new(ceiling, &args.state_dir);
        let version = welcome.version;
        Connection { socket, version, without_images, inbox, table, guard, is_outdated }
    }
}

enum Answer {
    Greeted(Box<Greeted>),
    /// It ended, or was about to, before it answered.
    Gone,
}

pub(super) fn establish(options: &SpawnerOptions) -> Result<Connection, Error> {
    let state = StateDir::prepare(options)?;
    // Two servers that start at once must not start two spawners.
    let _one_at_a_time = state.lock()?;
    let args = state.args(options)?;
    if let Some(socket) = state.connect()?
        && let Answer::Greeted(found) = greet(socket)?
    {
        if found.welcome.settings == settings(&args) {
            return Ok(found.connection(args));
        }
        if !found.welcome.idle {
            tracing::warn!(
                "the spawner (pid {}) was started with other settings or by another version, and stays until a server starts \
                 that finds it without tasks; what it allows beyond this server's settings it is not asked for",
                found.welcome.pid
            );
            return Ok(found.connection(args));
        }
        retire(*found)?;
    }
    let log = state.path.join("spawner.log");
    let did_not_start = |reason: String| Error::DidNotStart { reason, log: log.clone() };
    let socket = launch::launch(options, &args, &log)?;
    match greet(socket) {
        Ok(Answer::Greeted(started)) => Ok(started.connection(args)),
        Ok(Answer::Gone) => Err(did_not_start("it ended at once".to_owned())),
        Err(Error::Refused { reason }) => Err(did_not_start(reason)),
        Err(Error::Connection { cause }) if cause.kind() == io::ErrorKind::WouldBlock => {
            Err(did_not_start(format!("it did not answer within {} seconds", ANSWER.as_secs())))
        }
        Err(error) => Err(error),
    }
}

fn settings(args: &SpawnerArgs) -> Settings {
    Settings {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        ceiling: args.ceiling.clone(),
        bounds: Some(args.bounds),
        client_uid: args.client_uid,
        keeper_uid: args.keeper_uid,
        idle_seconds: args.idle_seconds,
    }
}

/// Says hello and reads up to the end of the table.
fn greet(socket: OwnedFd) -> Result<Answer, Error> {
    let broken = |cause: io::Error| Error::Connection { cause };
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER)).map_err(|e| broken(e.into()))?;
    let mut outbox = Outbox::default();
    outbox.push(&Request::Hello(Hello::OURS), []);
    // It may have refused and closed already: what it said can still be read.
    if let Err(error) = outbox.flush(socket.as_fd())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(broken(error));
    }
    let mut inbox = Inbox::new(REPLY_MAX);
    let (mut welcome, mut table) = (None, Vec::new());
    let mut without_images =
        Some("the spawner is of an older version; it is replaced once its tasks have ended".to_owned());
    loop {
        let Some(frame) = next(&mut inbox, &socket)? else { return Ok(Answer::Gone) };
        match decode::<Reply>(&frame.body).map_err(|_| Error::Protocol)? {
            Reply::Welcome(found) => welcome = Some::<Welcome>(*found),
            Reply::Devices(devices) => {
                welcome.as_mut().ok_or(Error::Protocol)?.settings.ceiling.devices = devices;
            }
            Reply::Runtimes(runtimes) => {
                welcome.as_mut().ok_or(Error::Protocol)?.settings.ceiling.runtimes = runtimes;
            }
            Reply::Bounds(bounds) => {
                welcome.as_mut().ok_or(Error::Protocol)?.settings.bounds = Some(bounds);
            }
            Reply::Images(cause) => without_images = cause,
            Reply::Table(mut rows) => table.append(&mut rows),
            Reply::TableEnd => break,
            Reply::Busy { pid } => return Err(Error::Busy { pid }),
            Reply::Version { theirs } => return Err(Error::Version { ours: VERSION, theirs }),
            Reply::Refused { reason } => return Err(Error::Refused { reason }),
            Reply::Event(_) => return Err(Error::Protocol),
            Reply::Allowances(names) => {
                welcome.as_mut().ok_or(Error::Protocol)?.settings.ceiling.learn(&names);
            }
        }
    }
    let welcome = welcome.ok_or(Error::Protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, None).map_err(|e| broken(e.into()))?;
    Ok(Answer::Greeted(Box::new(Greeted { socket, without_images, inbox, table, welcome })))
}

fn next(inbox: &mut Inbox, socket: &OwnedFd) -> Result<Option<Frame>, Error> {
    loop {
        if let Some(frame) = inbox.next().map_err(|_| Error::Protocol)? {
            return Ok(Some(frame));
        }
        match inbox.fill(socket.as_fd()) {
            Ok(Filled::Bytes(_)) => {}
            Ok(Filled::WouldBlock) => {
                return Err(Error::Connection { cause: io::ErrorKind::WouldBlock.into() });
            }
            Ok(Filled::End) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(cause) => return Err(Error::Connection { cause }),
        }
    }
}

/// Ends a spawner that has nothing to do; returns when it took its socket away.
fn retire(found: Greeted) -> Result<(), Error> {
    let Greeted { socket, mut inbox, .. } = found;
    let mut outbox = Outbox::default();
    outbox.push(&Request::Retire, []);
    outbox.flush(socket.as_fd()).map_err(|cause| Error::Connection { cause })?;
    while next(&mut inbox, &socket)?.is_some() {}
    Ok(())
}

struct StateDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl StateDir {
    /// Only root enters it; another user of the server gets through to the socket and sees nothing.
    fn prepare(options: &SpawnerOptions) -> Result<Self, Error> {
        let path = &options.state_dir;
        let failed = |step| move |cause: io::Error| Error::State { step, path: path.clone(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make"))?;
        let path = path.canonicalize().map_err(failed("resolve"))?;
        let file = File::open(&path).map_err(failed("open"))?;
        let mode = if options.client_uid == 0 { 0o700 } else { 0o711 };
        let is = file.metadata().map_err(failed("look at"))?.permissions().mode() & 0o7777;
        if is != mode && rustix::process::geteuid().is_root() {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed("protect"))?;
        }
        Ok(Self { path, fd: file.into() })
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(Errno) -> Error {
        let path = self.path.clone();
        move |cause| Error::State { step, path, cause: cause.into() }
    }

    fn lock(&self) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, "connect.lock", flags, Mode::from(0o600)) {
            Ok(lock) => {
                flock(&lock, FlockOperation::LockExclusive).map_err(self.failed("lock"))?;
                Ok(Some(lock))
            }
            // Not root's server: it can find a spawner and cannot start one.
            Err(Errno::ACCESS) => Ok(None),
            Err(error) => Err(self.failed("lock")(error)),
        }
    }

    /// `None` when nobody listens.
    fn connect(&self) -> Result<Option<OwnedFd>, Error> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(self.failed("make a socket for"))?;
        let address = socket_address(self.fd.as_fd()).map_err(|cause| Error::State {
            step: "name the socket of",
            path: self.path.clone(),
            cause,
        })?;
        match connect(&socket, &address) {
            Ok(()) => Ok(Some(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(self.failed("connect to the spawner in")(error)),
        }
    }

    fn args(&self, options: &SpawnerOptions) -> Result<SpawnerArgs, Error> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|cause| Error::State {
                step: "resolve",
                path: path.to_path_buf(),
                cause,
            })
        };
        let mut ceiling = options.ceiling.clone();
        if ceiling.data_paths.is_empty() {
            // As it is written, and as it is: the node may name layers by either.
            let written = absolute(&options.state_dir)?;
            let parents = [written.parent(), self.path.parent()];
            ceiling.data_paths.extend(parents.into_iter().flatten().map(Path::to_path_buf));
            ceiling.data_paths.dedup();
        }
        Ok(SpawnerArgs {
            state_dir: self.path.clone(),
            log_dir: absolute(&options.log_dir)?,
            ceiling,
            bounds: options.bounds,
            client_uid: options.client_uid,
            keeper_uid: options.keeper_uid,
            idle_seconds: options.idle_seconds,
            shard: options.shard,
        })
    }
}
