//! Frames in and out of a socket, buffered on both sides.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;

const HEADER: usize = 8;
/// What Linux carries with one message (SCM_MAX_FD).
const FDS_PER_MESSAGE: usize = 253;
/// Descriptors of one frame; ours have at most four.
const FDS_PER_FRAME: u32 = 8;
/// Descriptors received and not yet claimed by a frame. One full message may run ahead of its bytes.
const FDS_WAITING_MAX: usize = 2 * FDS_PER_MESSAGE;
const READ_CHUNK: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {0} bytes is above the limit")]
    TooLarge(u32),
    #[error("a frame claims {0} descriptors")]
    Descriptors(u32),
    #[error("descriptors came that no frame claims")]
    StrayDescriptors,
    #[error("a message cannot be read")]
    Message,
}

#[derive(Debug)]
pub struct Frame {
    pub body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Bytes(usize),
    WouldBlock,
    End,
}

/// What was received and not yet taken: `taken..filled` of a buffer that is cleared once.
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
    filled: usize,
    fds: VecDeque<OwnedFd>,
    frame_max: u32,
}

impl Inbox {
    /// `frame_max` bounds the memory that the other side can claim.
    pub fn new(frame_max: u32) -> Self {
        Self { bytes: Vec::new(), taken: 0, filled: 0, fds: VecDeque::new(), frame_max }
    }

    /// Reads once from the socket.
    pub fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<Filled> {
        self.bytes.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let end = self.filled + READ_CHUNK;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut self.bytes[self.filled..end])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        self.filled += received.as_ref().map_or(0, |r| r.bytes);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        match received {
            Ok(r) if r.flags.contains(ReturnFlags::CTRUNC) => {
                Err(io::Error::other("descriptors were lost: this process has too many open"))
            }
            Ok(r) if r.bytes == 0 => Ok(Filled::End),
            Ok(r) => Ok(Filled::Bytes(r.bytes)),
            Err(Errno::AGAIN) => Ok(Filled::WouldBlock),
            Err(Errno::INTR) => Ok(Filled::Bytes(0)),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(test)]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.filled);
        self.bytes.extend_from_slice(bytes);
        self.filled = self.bytes.len();
    }

    /// Takes the next whole frame. After an error the stream cannot be trusted any more.
    #[expect(clippy::should_implement_trait, reason = "there may be more after none")]
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        let waiting = &self.bytes[self.taken..self.filled];
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER>() else {
            return self.none_yet();
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let (length, fds) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if length > self.frame_max {
            return Err(WireError::TooLarge(length));
        }
        if fds > FDS_PER_FRAME {
            return Err(WireError::Descriptors(fds));
        }
        let Some(body) = rest.get(..length as usize) else {
            return self.none_yet();
        };
        if self.fds.len() < fds as usize {
            return Err(WireError::Descriptors(fds));
        }
        let frame = Frame { body: body.to_vec(), fds: self.fds.drain(..fds as usize).collect() };
        self.taken += HEADER + length as usize;
        Ok(Some(frame))
    }

    fn none_yet(&self) -> Result<Option<Frame>, WireError> {
        if self.fds.len() > FDS_WAITING_MAX {
            return Err(WireError::StrayDescriptors);
        }
        Ok(None)
    }
}

/// What waits to be sent.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Descriptors, each with the place in `bytes` where its frame begins.
    fds: VecDeque<(usize, OwnedFd)>,
}

impl Outbox {
    /// Appends a frame. Nothing is sent before [`Outbox::flush`].
    pub fn push<M: Serialize>(&mut self, message: &M, fds: impl IntoIterator<Item = OwnedFd>) {
        self.drop_sent();
        let start = self.bytes.len();
        for fd in fds {
            self.fds.push_back((start, fd));
        }
        let count = self.fds.iter().rev().take_while(|(at, _)| *at == start).count() as u32;
        self.bytes.extend_from_slice(&[0; HEADER]);
        let bytes = std::mem::take(&mut self.bytes);
        // Plain data into a growing vector cannot fail: no sequence of ours has an unknown length.
        self.bytes = postcard::to_extend(message, bytes).unwrap_or_default();
        let length = (self.bytes.len() - start - HEADER) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + HEADER].copy_from_slice(&count.to_le_bytes());
    }

    /// A socket that never takes all does not make this grow for ever.
    fn drop_sent(&mut self) {
        if self.sent > 1 << 20 {
            self.bytes.drain(..self.sent);
            for (at, _) in &mut self.fds {
                *at -= self.sent;
            }
            self.sent = 0;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends what the socket takes; `false` when something still waits.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        self.flush_with(socket, SendFlags::NOSIGNAL)
    }

    /// The same, on a socket that the other side may have made blocking.
    pub(crate) fn flush_at_once(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        self.flush_with(socket, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn flush_with(&mut self, socket: BorrowedFd<'_>, flags: SendFlags) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            let (end, fds) = self.next_piece();
            let borrowed: Vec<BorrowedFd<'_>> = self.fds.iter().take(fds).map(|(_, fd)| fd.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if fds > 0 {
                control.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let piece = [IoSlice::new(&self.bytes[self.sent..end])];
            match sendmsg(socket, &piece, &mut control, flags) {
                Ok(sent) => {
                    self.sent += sent;
                    // They go with the first byte, even when not all bytes went.
                    self.fds.drain(..fds);
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
        Ok(true)
    }

    /// Up to where to send next, and how many descriptors go along.
    fn next_piece(&self) -> (usize, usize) {
        match self.fds.get(FDS_PER_MESSAGE) {
            // A frame's descriptors stay together: stop before the frame of the first that has no room.
            Some((at, _)) if *at > self.sent => {
                (*at, self.fds.iter().take(FDS_PER_MESSAGE).take_while(|(start, _)| start < at).count())
            }
            _ => (self.bytes.len(), self.fds.len().min(FDS_PER_MESSAGE)),
        }
    }
}
