//! What a pod wrote into a layered volume, as the server asks for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Spawner;
use crate::Error;
use crate::wire::{Filled, Frame, Inbox, LAYERED_SINCE, Request, UpperReply, decode};

/// The spawner answers within a turn of its loop.
const PATIENCE: Duration = Duration::from_secs(60);
const REPLY_MAX: u32 = 64 << 10;

impl Spawner {
    /// The directory of what the pod's containers, which have all ended, wrote into a [`Layered`](crate::Layered) volume. It is
    /// there until the pod is released. It blocks until the spawner answers.
    pub fn upper(&self, pod_uid: u128, volume: u16) -> Result<OwnedFd, Error> {
        self.require(LAYERED_SINCE)?;
        let broken = |cause: io::Error| Error::Connection { cause };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| broken(e.into()))?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).map_err(|e| broken(e.into()))?;
        self.send(|sending| {
            sending.outbox.push(&Request::Upper { uid: pod_uid, volume }, [theirs]);
            Ok(())
        })?;
        let frame = receive(&ours).map_err(broken)?;
        match decode(&frame.body).map_err(|_| Error::Protocol)? {
            UpperReply::Held => frame.fds.into_iter().next().ok_or(Error::Protocol),
            UpperReply::Refused { reason } => Err(Error::Upper { reason }),
        }
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
