//! Connections: how many there may be, how long each may dawdle, and whom each belongs to.
//!
//! ```text
//!  accept ──▶ handshake ──▶ with a certificate of ours ──▶ known (many)
//!             (few)     └─▶ without                    ──▶ anonymous (few) ── a request with a token that holds ──▶ known
//!  accept at the local socket ─────────────────────────▶ anonymous (few) ── of root or the owner ─▶ known
//! ```
//!
//! Where a place is full the newcomer takes that of the oldest: who holds connections open cannot keep others out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
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
use watchbell_identity::{ClientCertificate, ClientCheck, Refusal};

use crate::app::App;

const HANDSHAKES_MAX: usize = 256;
const ANONYMOUS_MAX: usize = 128;
const KNOWN_MAX: usize = 4096;
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
    place: Option<Place>,
    known: Arc<Places>,
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

    /// Somebody who is known asked over it: it no longer counts among those of strangers.
    pub(crate) fn is_of_somebody(&self) {
        let mut seat = self.seat();
        if !seat.is_known {
            seat.is_known = true;
            let place = seat.known.take(seat.handle.clone());
            seat.place = Some(place);
        }
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

/// A number of places; when all are taken the oldest is cleared.
struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    holders: VecDeque<(u64, AbortHandle)>,
}

impl Places {
    fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most, taken: Mutex::new(Taken::default()) })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a task.
    fn take(self: &Arc<Self>, task: AbortHandle) -> Place {
        let mut taken = self.lock();
        if taken.holders.len() == self.most
            && let Some((_, oldest)) = taken.holders.pop_front()
        {
            oldest.abort();
        }
        let number = taken.next;
        taken.next += 1;
        taken.holders.push_back((number, task));
        Place { places: self.clone(), number }
    }

    fn clear_oldest(&self) {
        if let Some((_, oldest)) = self.lock().holders.pop_front() {
            oldest.abort();
        }
    }
}

struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().holders.retain(|(number, _)| *number != self.number);
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
    handshakes: Arc<Places>,
    anonymous: Arc<Places>,
    known: Arc<Places>,
}

impl Connections {
    pub(crate) fn new(
        app: Arc<App>,
        acceptor: TlsAcceptor,
        clients: Arc<ClientCheck>,
        stop: watch::Receiver<bool>,
    ) -> Connections {
        Connections {
            app,
            acceptor,
            clients,
            stop,
            handshakes: Places::new(HANDSHAKES_MAX),
            anonymous: Places::new(ANONYMOUS_MAX),
            known: Places::new(KNOWN_MAX),
        }
    }

    /// Makes room when the process has no descriptor left for a newcomer.
    pub(crate) fn make_room(&self) {
        self.handshakes.clear_oldest();
        self.anonymous.clear_oldest();
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
        let place = self.handshakes.take(handle.clone());
        // Small answers go out at once; a peer that vanished is found out.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| Ok(probe(&stream)?)) {
            tracing::debug!(%address, "the connection closed at once: {error}");
            return;
        }
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
        self.serve(tls, End::Net { address, chain }, handle, alive).await;
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
                self.serve(stream, End::Local(user), handle, alive).await;
            }
            Err(error) => tracing::warn!("who connected to the local socket cannot be seen: {error}"),
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        end: End,
        handle: AbortHandle,
        alive: watch::Receiver<()>,
    ) {
        let peer = Arc::new(Peer {
            end,
            clients: self.clients.clone(),
            _alive: alive,
            checked: Mutex::new(None),
            seat: Mutex::new(Seat {
                place: Some(self.anonymous.take(handle.clone())),
                known: self.known.clone(),
                handle,
                is_known: false,
                at: Instant::now(),
            }),
        });
        if peer.certificate(Timestamp::now()).is_ok() {
            peer.is_of_somebody();
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
