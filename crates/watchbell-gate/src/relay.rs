//! One direction of a connection: from one socket to the other, with the end of what is said.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// What one read takes, and what waits at most for a side that does not read.
pub(crate) const PIECE: usize = 64 << 10;
/// Pieces of one connection before others have their turn.
const PIECES_A_TURN: usize = 4;

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Half {
    waiting: Vec<u8>,
    sent: usize,
    has_ended: bool,
    is_shut: bool,
    pub(crate) bytes: u64,
}

/// A side that is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    From,
    To,
}

impl Half {
    /// Whether there is room for more of what `from` says.
    pub(crate) fn reads(&self) -> bool {
        !self.has_ended && self.waiting.is_empty()
    }

    /// Whether something waits for `to`.
    pub(crate) fn writes(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether all was said, and `to` knows.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Carries over what there is, as far as `to` takes it.
    pub(crate) fn pump(&mut self, from: impl AsFd, to: impl AsFd, piece: &mut [u8]) -> Result<(), Gone> {
        for _ in 0..PIECES_A_TURN {
            if self.writes() {
                self.sent += write(&to, &self.waiting[self.sent..])?;
                if self.sent < self.waiting.len() {
                    return Ok(());
                }
                (self.waiting, self.sent) = (Vec::new(), 0);
            }
            if self.has_ended {
                return self.shut(&to);
            }
            let read = match recv(&from, &mut *piece, RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(_) => return Err(Gone::From),
            };
            if read == 0 {
                self.has_ended = true;
                return self.shut(&to);
            }
            self.bytes += read as u64;
            let sent = write(&to, &piece[..read])?;
            if sent < read {
                self.waiting = piece[sent..read].to_vec();
                return Ok(());
            }
            if read < piece.len() {
                // Most likely there is no more: whoever says more is heard by the next turn.
                return Ok(());
            }
        }
        Ok(())
    }

    fn shut(&mut self, to: impl AsFd) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.is_shut, true) {
            shutdown(to, Shutdown::Write).map_err(|_| Gone::To)?;
        }
        Ok(())
    }
}

/// Writes what is taken at once.
fn write(to: impl AsFd, bytes: &[u8]) -> Result<usize, Gone> {
    match send(to, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(_) => Err(Gone::To),
    }
}

/// Lets a socket end by a reset instead of an orderly end: who holds the other end is not left to think that all was said.
pub(crate) fn reset(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// What a task says, the gate's two ends, and what the other side hears.
    fn sockets() -> (UnixStream, UnixStream, UnixStream, UnixStream) {
        let (task, from) = UnixStream::pair().unwrap();
        let (to, peer) = UnixStream::pair().unwrap();
        (task, from, to, peer)
    }

    #[test]
    fn all_arrives_and_the_end_as_well() {
        let (mut task, from, to, mut peer) = sockets();
        let (mut half, mut piece) = (Half::default(), vec![0; PIECE]);
        task.write_all(b"one").unwrap();
        half.pump(&from, &to, &mut piece).unwrap();
        task.write_all(b"two").unwrap();
        drop(task);
        half.pump(&from, &to, &mut piece).unwrap();
        assert!(!half.is_shut());
        half.pump(&from, &to, &mut piece).unwrap();
        assert!(half.is_shut() && !half.reads() && !half.writes());
        let mut heard = String::new();
        peer.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), half.bytes), ("onetwo", 6));
    }

    #[test]
    fn who_does_not_read_holds_up_who_speaks_and_loses_nothing() {
        let (mut task, from, to, mut peer) = sockets();
        task.set_nonblocking(true).unwrap();
        let (mut half, mut piece) = (Half::default(), vec![0; PIECE]);
        let (mut said, mut next) = (0u64, 0u8);
        // Until neither the task's socket nor the gate takes more.
        loop {
            half.pump(&from, &to, &mut piece).unwrap();
            match task.write(&[next]) {
                Ok(_) => (said, next) = (said + 1, next.wrapping_add(1)),
                Err(_) if !half.reads() => break,
                Err(_) => {}
            }
        }
        assert!(half.writes() && half.waiting.len() <= PIECE);
        drop(task);
        let (mut heard, mut expected, mut buffer) = (0u64, 0u8, [0; 4096]);
        peer.set_nonblocking(true).unwrap();
        while !half.is_shut() || heard < said {
            half.pump(&from, &to, &mut piece).unwrap();
            while let Ok(read @ 1..) = peer.read(&mut buffer) {
                for byte in &buffer[..read] {
                    assert_eq!(*byte, expected);
                    expected = expected.wrapping_add(1);
                }
                heard += read as u64;
            }
        }
        assert_eq!((heard, half.bytes), (said, said));
    }

    #[test]
    fn who_is_gone_is_told() {
        let (mut task, from, to, peer) = sockets();
        let (mut half, mut piece) = (Half::default(), vec![0; PIECE]);
        drop(peer);
        task.write_all(b"x").unwrap();
        assert_eq!(half.pump(&from, &to, &mut piece), Err(Gone::To));
    }
}
