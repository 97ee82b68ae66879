//! Connections: how many there may be, how long each may dawdle, and whom each belongs to.
//!
//! ```text
//!  accept ──▶ handshake ──▶ with a certificate that counts ──▶ known (many)
//!             (few)     └─▶ without                        ──▶ anonymous (few) ── a request with a token that counts ──▶ known
//!  accept at the local socket ─────────────────────────────▶ local (few, and their own)
//! ```
//!
//! Where all places of a kind are taken the newcomer gets one of those who hold most: by user, and of who is not known by where
//! he comes from. So who holds connections open cannot keep others out, and the machine's administrator has places that nobody
//! else can take. How many there are follows from how many files the process may open (`limits.rs`).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use watchbell_identity::{ClientCertificate, ClientCheck, Refusal, Source};

use crate::app::App;
use crate::body::PATIENCE;
use crate::limits::{ConnectionLimits, Holder, Number, Places};
use crate::patience::{Endless, Patient};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the head of a request, and for the pause between two.
const HEAD: Duration = Duration::from_secs(75);
/// The same for those over which nobody who is known has asked; they may only ask how the server is.
const ANONYMOUS_HEAD: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;

/// The other end of a connection.
pub(crate) struct Peer {
    end: End,
    clients: Arc<ClientCheck>,
    /// Dropped when nothing of the connection is left.
    _alive: watch::Receiver<()>,
    /// The outcome of the check, with the moment up to which it holds.
    checked: Mutex<Option<(Result<ClientCertificate, Refusal>, i64)>>,
    seat: Mutex<Seat>,
    endless: Endless,
}

/// Where the other end is, and what it showed when it connected.
enum End {
    Net {
        address: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
    },
    /// A process of this machine, as the kernel names it.
    Local(LocalUser),
}

/// Who connected to the local socket (SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalUser {
    pub(crate) uid: u32,
    /// 0 where it cannot be seen from here.
    pub(crate) pid: i32,
}

/// Which of the places a connection has.
struct Seat {
    place: Place,
    known: Arc<Room>,
    handle: AbortHandle,
    is_known: bool,
    /// When a request last came or was answered.
    at: Instant,
}

/// How long a verified certificate is trusted before it is looked at again.
const TRUSTED_SECONDS: i64 = 60;

impl Peer {
    /// `None`: it is on this machine.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match &self.end {
            End::Net { address, .. } => Some(address.ip()),
            End::Local(_) => None,
        }
    }

    pub(crate) fn local(&self) -> Option<LocalUser> {
        match self.end {
            End::Net { .. } => None,
            End::Local(user) => Some(user),
        }
    }

    /// The certificate that came with the connection, if it is one of ours whose time is now.
    pub(crate) fn certificate(&self, now: Timestamp) -> Result<ClientCertificate, Refusal> {
        let chain = match &self.end {
            End::Net { chain, .. } if !chain.is_empty() => chain,
            End::Net { .. } | End::Local(_) => return Err(Refusal::Nothing),
        };
        let now = now.as_second();
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((found, until)) = &*checked
            && now < *until
        {
            return found.clone();
        }
        let found = self.clients.identify(chain);
        *checked = Some((found.clone(), now + TRUSTED_SECONDS));
        found
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came over it, or was answered.
    pub(crate) fn stirs(&self) {
        self.seat().at = Instant::now();
    }

    /// Somebody who is known asked over it: from now on it counts as theirs. Whose it is first it stays, though another may ask
    /// over it later, as behind a proxy.
    pub(crate) fn is_of(&self, holder: &Holder) {
        let mut seat = self.seat();
        if !seat.is_known {
            seat.is_known = true;
            if !holder.is_local() {
                seat.place = seat.known.take(holder.clone(), seat.handle.clone());
            }
        }
    }

    /// A session begins over it: who does not read is waited for from now on.
    pub(crate) fn is_session(&self) {
        self.endless.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_known(&self) -> bool {
        self.seat().is_known
    }

    /// Waits until it has been a stranger's and idle for too long.
    async fn idles(&self) {
        loop {
            let (is_known, at) = {
                let seat = self.seat();
                (seat.is_known, seat.at)
            };
            let due = at + if is_known { HEAD } else { ANONYMOUS_HEAD };
            if !is_known && Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due.max(Instant::now() + ANONYMOUS_HEAD / 10)).await;
        }
    }
}

/// Places of connections, and the tasks that hold them.
struct Room {
    state: Mutex<Taken>,
}

struct Taken {
    places: Places,
    tasks: HashMap<Number, AbortHandle>,
}

impl Room {
    fn new(most: usize) -> Arc<Room> {
        Arc::new(Room { state: Mutex::new(Taken { places: Places::new(most), tasks: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a task, at the cost of another where all are taken.
    fn take(self: &Arc<Self>, holder: Holder, task: AbortHandle) -> Place {
        let mut taken = self.lock();
        let (number, cleared) = taken.places.take(&holder);
        taken.cut(cleared);
        taken.tasks.insert(number, task);
        Place { room: self.clone(), holder, number }
    }

    /// Whether there was one to clear.
    fn clear_one(&self) -> bool {
        let mut taken = self.lock();
        let cleared = taken.places.clear_one();
        taken.cut(cleared);
        cleared.is_some()
    }
}

impl Taken {
    fn cut(&mut self, cleared: Option<Number>) {
        if let Some(task) = cleared.and_then(|number| self.tasks.remove(&number)) {
            task.abort();
        }
    }
}

struct Place {
    room: Arc<Room>,
    holder: Holder,
    number: Number,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.tasks.remove(&self.number);
        taken.places.leave(&self.holder, self.number);
    }
}

/// A connection that was accepted.
pub(crate) enum Newcomer {
    Net(TcpStream, SocketAddr),
    Local(UnixStream),
}

/// What all connections share.
pub(crate) struct Connections {
    pub(crate) app: Arc<App>,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) clients: Arc<ClientCheck>,
    pub(crate) stop: watch::Receiver<bool>,
    handshakes: Arc<Room>,
    anonymous: Arc<Room>,
    known: Arc<Room>,
    local: Arc<Room>,
}

impl Connections {
    pub(crate) fn new(
        app: Arc<App>,
        acceptor: TlsAcceptor,
        clients: Arc<ClientCheck>,
        stop: watch::Receiver<bool>,
        limits: ConnectionLimits,
    ) -> Connections {
        Connections {
            app,
            acceptor,
            clients,
            stop,
            handshakes: Room::new(limits.handshakes),
            anonymous: Room::new(limits.anonymous),
            known: Room::new(limits.known),
            local: Room::new(limits.local),
        }
    }

    /// Makes room when the process has no descriptor left for a newcomer.
    pub(crate) fn make_room(&self) {
        let strangers = [self.handshakes.clear_one(), self.anonymous.clear_one()];
        if strangers == [false, false] {
            self.known.clear_one();
        }
    }

    /// Serves a connection in a task of its own.
    ///
    /// `alive` is dropped when nothing of it is left, a session that it was upgraded to included.
    pub(crate) fn spawn(self: &Arc<Self>, from: Newcomer, alive: watch::Receiver<()>) {
        let shared = self.clone();
        // The task learns its own handle, by which its place is cleared.
        let (hand, handle) = tokio::sync::oneshot::channel::<AbortHandle>();
        let task = tokio::spawn(async move {
            if let Ok(handle) = handle.await {
                match from {
                    Newcomer::Net(stream, address) => {
                        Box::pin(shared.serve_net(stream, address, handle, alive)).await;
                    }
                    Newcomer::Local(stream) => Box::pin(shared.serve_local(stream, handle, alive)).await,
                }
            }
        });
        // The task has just begun to wait for it.
        let _ = hand.send(task.abort_handle());
    }

    async fn serve_net(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        handle: AbortHandle,
        alive: watch::Receiver<()>,
    ) {
        let _counted = self.app.metrics.connection();
        let source = Holder::Source(Source::of(address.ip()));
        let place = self.handshakes.take(source.clone(), handle.clone());
        // Small answers go out at once; a peer that vanished is found out.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| Ok(probe(&stream)?)) {
            tracing::debug!(%address, "the connection closed at once: {error}");
            return;
        }
        let endless = Endless::default();
        // Below TLS, where it is known what the kernel takes.
        let stream = Patient::new(stream, PATIENCE, endless.clone());
        let tls = match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(%address, "no TLS: {error}");
                return;
            }
            Err(_) => {
                tracing::debug!(%address, "no TLS within {} s", HANDSHAKE.as_secs());
                return;
            }
        };
        let chain: Vec<CertificateDer<'static>> = tls
            .get_ref()
            .1
            .peer_certificates()
            .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
            .unwrap_or_default();
        drop(place);
        let place = self.anonymous.take(source, handle.clone());
        let end = End::Net { address, chain };
        self.serve(tls, (end, endless), place, handle, alive).await;
    }

    /// The kernel says who connected; whether he may is judged with each request, as with everybody else.
    async fn serve_local(
        self: Arc<Self>,
        stream: UnixStream,
        handle: AbortHandle,
        alive: watch::Receiver<()>,
    ) {
        let _counted = self.app.metrics.connection();
        match stream.peer_cred() {
            Ok(peer) => {
                let user = LocalUser { uid: peer.uid(), pid: peer.pid().unwrap_or(0) };
                let place = self.local.take(Holder::Local(user.uid), handle.clone());
                let endless = Endless::default();
                let stream = Patient::new(stream, PATIENCE, endless.clone());
                self.serve(stream, (End::Local(user), endless), place, handle, alive).await;
            }
            Err(error) => tracing::warn!("who connected to the local socket cannot be seen: {error}"),
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        (end, endless): (End, Endless),
        place: Place,
        handle: AbortHandle,
        alive: watch::Receiver<()>,
    ) {
        let peer = Arc::new(Peer {
            end,
            endless,
            clients: self.clients.clone(),
            _alive: alive,
            checked: Mutex::new(None),
            seat: Mutex::new(Seat {
                place,
                known: self.known.clone(),
                handle,
                is_known: false,
                at: Instant::now(),
            }),
        });
        // Whether what it came with counts, a revocation included: else it is a stranger's until a token says otherwise.
        if let Some(caller) = self.app.authenticator.by_connection(&peer, &self.app.state.snapshot()) {
            peer.is_of(&caller.holder());
        }
        let watched = peer.clone();
        let app = self.app.clone();
        let service = service_fn(move |request| {
            let (app, peer) = (app.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(app.answer(&peer, request).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(connection);
        let mut stop = self.stop.clone();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = watched.idles() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!("a connection broke: {error}");
        }
    }
}

/// Lets the kernel find out that a peer vanished: after a silence of two minutes at most.
fn probe(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)
}

/// Waits until the server is told to end.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender goes with the server, which is an end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
