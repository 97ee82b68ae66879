//! The listener: accepts, bounds and ends connections.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use watchbell_api::node::{Images, LogSource};

use crate::identity::{Identity, IdentityError};
use crate::state::State;

/// Where and as whom to serve.
#[derive(Debug)]
pub struct ServerOptions {
    /// Port 0 takes a free one; see [`Server::local_addr`].
    pub listen: SocketAddr,
    pub identity: Identity,
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {source}; stop what holds it or name another address with --listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
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
    address: SocketAddr,
    admin_kubeconfig: PathBuf,
}

impl Server {
    /// Listens, then writes `admin.kubeconfig`. Requests are answered when this returns.
    pub fn start(
        options: ServerOptions,
        state: State,
        logs: Arc<dyn LogSource>,
        images: Arc<dyn Images>,
    ) -> Result<Server, ServerError> {
        let _ = (state, logs, images);
        let address = options.listen;
        let admin_kubeconfig = options.identity.write_admin(address, jiff::Timestamp::now())?;
        Ok(Server { address, admin_kubeconfig })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Blocks until the process is told to end (SIGTERM, SIGINT) or the state can go on no longer.
    pub fn wait(&self) -> Ended {
        unimplemented!("bodies follow")
    }

    /// Takes no more requests, ends watches and followed logs, and waits up to `grace` for the others.
    pub fn shutdown(self, grace: Duration) {
        let _ = grace;
        unimplemented!("bodies follow")
    }
}
