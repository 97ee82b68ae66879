//! The listener: accepts connections until it is told to end, and lets those that are open finish.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use watchbell_api::Resource;
use watchbell_api::node::{Images, LogSource, Sessions};
use watchbell_identity::oidc::Issuer;
use watchbell_identity::{Identity, IdentityError};

use crate::app::App;
use crate::authenticate::Authenticator;
use crate::connection::{Connections, Newcomer, stopped};
use crate::limits::ConnectionLimits;
use crate::local;
use crate::notes::{self, Note};
use crate::state::State;

/// How often the certificates are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(12 * 3600);
/// Threads for what blocks: reading logs, waiting for the processes of sessions, rendering lists, images.
const BLOCKING_THREADS: usize = 512;
/// How long the accept loop rests when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Where and as whom to serve.
#[derive(Debug)]
pub struct ServerOptions {
    pub listener: Listener,
    pub identity: Arc<Identity>,
    /// Whose ID tokens are taken.
    pub issuers: Vec<Issuer>,
    pub connections: ConnectionLimits,
}

/// The server's place on the network, taken before anything begins that could not be done twice.
#[derive(Debug)]
pub struct Listener {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Port 0 takes a free one; see [`Server::local_addr`]. Whoever connects waits until [`Server::start`].
    pub fn bind(listen: SocketAddr) -> Result<Listener, ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("server")
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .map_err(ServerError::Threads)?;
        let failed = |source| ServerError::Listen { address: listen, source };
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listener { runtime, listener, address })
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {source}; stop what holds it or name another address with --listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
    #[error("cannot hear the signals that end the server: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why the server should end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM or SIGINT.
    Signal,
    /// The state's writer ended by itself: the journal failed, only a new start heals it.
    Journal(String),
}

/// A running server with threads of its own.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    state: State,
    stop: watch::Sender<bool>,
    /// Closed when the last connection's task has ended.
    all_ended: watch::Sender<()>,
    address: SocketAddr,
    admin_kubeconfig: PathBuf,
    /// `None`: it could not be made.
    socket: Option<PathBuf>,
}

impl Server {
    /// Writes `admin.kubeconfig`, then accepts connections. Requests are answered when this returns.
    pub fn start(
        options: ServerOptions,
        state: State,
        logs: Arc<dyn LogSource>,
        images: Arc<dyn Images>,
        sessions: Arc<dyn Sessions>,
    ) -> Result<Server, ServerError> {
        let ServerOptions { listener, identity, issuers, connections: limits } = options;
        let Listener { runtime, listener, address } = listener;
        let admin_kubeconfig = match is_admin_revoked(&identity, &state) {
            true => identity.replace_admin(address, Timestamp::now())?,
            false => identity.write_admin(address, Timestamp::now())?,
        };
        let keys = note_keys(&identity, &state, &Value::Null)?;
        let (stop, stopped) = watch::channel(false);
        let all_ended = watch::Sender::new(());
        let connections = Arc::new(Connections::new(
            Arc::new(App::new(
                state.clone(),
                identity.clone(),
                Authenticator::new(identity.clone(), local::owner(identity.data_dir()), issuers),
                logs,
                images,
                sessions,
            )),
            TlsAcceptor::from(identity.tls()),
            identity.clients(),
            stopped.clone(),
            limits,
        ));
        let socket = match local::listen(identity.data_dir(), runtime.handle()) {
            Ok((local, path)) => {
                let accepted =
                    accept_local(local, connections.clone(), stopped.clone(), all_ended.subscribe());
                runtime.spawn(accepted);
                Some(path)
            }
            Err(error) => {
                tracing::warn!("there is no local socket: {error}; use admin.kubeconfig");
                None
            }
        };
        runtime.spawn(accept(listener, connections, stopped, all_ended.subscribe()));
        runtime.spawn(renew(identity, state.clone(), address, keys));
        Ok(Server { runtime, state, stop, all_ended, address, admin_kubeconfig, socket })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Blocks until the process is told to end (SIGTERM, SIGINT) or the state can go on no longer.
    ///
    /// From the first call on these signals no longer end the process by themselves.
    pub fn wait(&self) -> Result<Ended, ServerError> {
        self.runtime.block_on(async {
            let listen = |kind| signal(kind).map_err(ServerError::Signals);
            let (mut terminate, mut interrupt) =
                (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
            tokio::select! {
                () = heard(&mut terminate) => Ok(Ended::Signal),
                () = heard(&mut interrupt) => Ok(Ended::Signal),
                cause = self.state.ended() => Ok(Ended::Journal(cause)),
            }
        })
    }

    /// Takes no more requests, ends watches, followed logs and sessions in containers, and waits up to `grace` for the others.
    pub fn shutdown(self, grace: Duration) {
        self.state.close_watches();
        self.stop.send_replace(true);
        if let Some(path) = &self.socket {
            // Left behind, it would be replaced by the next server.
            let _ = std::fs::remove_file(path);
        }
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(grace, self.all_ended.closed()).await });
        if ended.is_err() {
            tracing::warn!("some requests did not end within {} s and are cut", grace.as_secs());
        }
        // Threads that block in a log or an image end with the process.
        self.runtime.shutdown_background();
    }
}

async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn accept(
    listener: TcpListener,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
    alive: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, address)) => connections.spawn(Newcomer::Net(stream, address), alive.clone()),
            // The client gave up in the queue.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                connections.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn accept_local(
    listener: UnixListener,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
    alive: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, _)) => connections.spawn(Newcomer::Local(stream), alive.clone()),
            Err(error) => {
                tracing::warn!("cannot accept a local connection: {error}");
                connections.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Whether the certificate in `admin.kubeconfig` was revoked: the machine's root gets another one.
fn is_admin_revoked(identity: &Identity, state: &State) -> bool {
    identity.admin_serial_number().is_some_and(|serial_number| {
        state.snapshot().get(Resource::CertificateRevocation, "", &serial_number).is_some()
    })
}

/// Notes the keys that count, where they are others than those that were noted. Files are not part of the journal's
/// transactions: a change that a crash kept from being noted is noted with the next start.
fn note_keys(identity: &Identity, state: &State, noted: &Value) -> Result<Value, IdentityError> {
    let keys = identity.keys_in_use()?;
    if keys != *noted {
        state.note(Note::Event(notes::keys_in_use(keys.clone(), Timestamp::now())));
    }
    Ok(keys)
}

async fn renew(identity: Arc<Identity>, state: State, address: SocketAddr, mut keys: Value) {
    let mut bell = state.credentials_bell();
    let mut due = Instant::now() + RENEW_EVERY;
    loop {
        let is_due = tokio::select! {
            () = tokio::time::sleep_until(due) => true,
            _ = bell.changed() => false,
        };
        if is_due {
            due = Instant::now() + RENEW_EVERY;
        }
        let (work, state, noted) = (identity.clone(), state.clone(), keys.clone());
        // Reading and writing files blocks.
        let done = tokio::task::spawn_blocking(move || {
            let is_revoked = is_admin_revoked(&work, &state);
            if is_revoked {
                work.replace_admin(address, Timestamp::now())?;
                tracing::info!(
                    "the administrator's certificate was revoked: admin.kubeconfig has another one"
                );
            }
            if is_due {
                work.renew(address, Timestamp::now())?;
            }
            if is_due || is_revoked { note_keys(&work, &state, &noted) } else { Ok(noted) }
        });
        match done.await {
            Ok(Ok(now)) => keys = now,
            Ok(Err(error)) => tracing::error!("the certificates were not renewed: {error}"),
            Err(_) => return,
        }
    }
}
