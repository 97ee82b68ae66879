//! What a pod wrote into a layered volume, and memory that such a volume lies above, as the server asks for them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Spawner;
use crate::Error;
use crate::wire::{
    Filled, Frame, Inbox, LAYERED_SINCE, MEMORY_SINCE, MemoryReply, Request, UpperReply, decode,
};

/// The spawner answers within a turn of its loop.
const PATIENCE: Duration = Duration::from_secs(60);
const REPLY_MAX: u32 = 64 << 10;

impl Spawner {
    /// The directory of what the pod's containers, which have all ended, wrote into a [`Layered`](crate::Layered) volume. It is
    /// there until the pod is released. It blocks until the spawner answers.
    pub fn upper(&self, pod_uid: u128, volume: u16) -> Result<OwnedFd, Error> {
        self.require(LAYERED_SINCE)?;
        let frame = self.answered(|| Request::Upper { uid: pod_uid, volume })?;
        match decode(&frame.body).map_err(|_| Error::Protocol)? {
            UpperReply::Held => frame.fds.into_iter().next().ok_or(Error::Protocol),
            UpperReply::Refused { reason } => Err(Error::Upper { reason }),
        }
    }

    /// A directory in memory of so many bytes, mounted where nobody sees it but the spawner, for the caller to fill; refused where all
    /// of them would take more than `bytes_max`. It blocks until the spawner answers. With what is given back it goes, and with the
    /// server; pods that were started above it keep theirs.
    pub fn memory(&self, bytes: u64, inodes: u64, bytes_max: u64) -> Result<Memory, Error> {
        self.require(MEMORY_SINCE)?;
        let frame = self.answered(|| Request::Memory { bytes, inodes, bytes_max })?;
        match decode(&frame.body).map_err(|_| Error::Protocol)? {
            MemoryReply::Made { memory } => {
                let dir = frame.fds.into_iter().next().ok_or(Error::Protocol)?;
                Ok(Memory { id: memory, dir, spawner: self.clone() })
            }
            MemoryReply::Refused { reason } => Err(Error::Memory { reason }),
        }
    }

    /// Asks with a socket for the answer.
    fn answered(&self, request: impl FnOnce() -> Request) -> Result<Frame, Error> {
        let broken = |cause: io::Error| Error::Connection { cause };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| broken(e.into()))?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).map_err(|e| broken(e.into()))?;
        self.send(|sending| {
            sending.outbox.push(&request(), [theirs]);
            Ok(())
        })?;
        receive(&ours).map_err(broken)
    }
}

/// A directory in memory that the spawner holds for the server.
pub struct Memory {
    id: u64,
    dir: OwnedFd,
    spawner: Spawner,
}

impl Memory {
    /// For a [`LayeredMemory`](crate::LayeredMemory).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its root, which is root's alone.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A spawner that cannot be told is gone, or sees that this connection is.
        let _ = self.spawner.ask(Request::ForgetMemory { memory: self.id });
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Frame> {
    let mut inbox = Inbox::new(REPLY_MAX);
    loop {
        if let Some(frame) = inbox.next().map_err(io::Error::other)? {
            return Ok(frame);
        }
        match inbox.fill(socket.as_fd())? {
            Filled::Bytes(_) => {}
            Filled::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Filled::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::client::session::tests::connected;
    use crate::{Error, Layered, LogTarget, PodEnvironment, PodVolume, RunSpec, VolumeSource};

    #[test]
    fn an_older_spawner_is_not_asked_for_what_it_does_not_know() -> std::io::Result<()> {
        let (spawner, theirs) = connected(5)?;
        let is_version = |result| matches!(result, Err(Error::Version { ours: 6, theirs: 5 }));
        assert!(is_version(spawner.upper(1, 0).map(drop)));
        let layered = Layered { lower: "/data/view".into(), uid: 1, gid: 1, upper: None };
        let volumes = vec![PodVolume { id: 0, source: VolumeSource::Layered(layered) }];
        let pod = Arc::new(PodEnvironment { volumes, ..PodEnvironment::alone(1) });
        let log = LogTarget { path: "x".into(), max_bytes: 4096, max_files: 1 };
        let spec = RunSpec::strict(pod, "/data/layer".into(), vec!["x".to_owned()], log);
        assert!(is_version(spawner.start(&spec)));
        theirs.set_nonblocking(true)?;
        assert!(std::io::Read::read(&mut &theirs, &mut [0; 1]).is_err(), "nothing was sent");
        Ok(())
    }
}
