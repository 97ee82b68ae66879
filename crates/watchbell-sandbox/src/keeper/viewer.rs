//! A client that watches what a task prints. It is never waited for: what its pipe does not take is left out and counted, and
//! the client is told where. The log has all of it.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub(super) struct Viewer {
    outputs: [Option<Output>; 2],
}

struct Output {
    pipe: OwnedFd,
    /// Bytes since the last that it took.
    left_out: u64,
}

impl Viewer {
    /// `fds` has an end for each stream that is wanted, in their order.
    pub(super) fn new(streams: [bool; 2], fds: Vec<OwnedFd>) -> Self {
        let mut fds = fds.into_iter();
        let outputs = streams.map(|wanted| {
            let pipe = if wanted { fds.next() } else { None }?;
            Some(Output { pipe, left_out: 0 })
        });
        Self { outputs }
    }

    pub(super) fn show(&mut self, stream: usize, bytes: &[u8]) {
        let Some(output) = self.outputs.get_mut(stream) else { return };
        if output.as_mut().is_some_and(|o| !o.show(bytes)) {
            *output = None;
        }
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, stream: usize) {
        if let Some(mut output) = self.outputs.get_mut(stream).and_then(Option::take) {
            output.tell();
        }
    }

    /// Nothing will ever be shown again.
    pub(super) fn is_over(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Whether anybody still reads.
    pub(super) fn is_there(&self) -> bool {
        self.outputs.iter().flatten().any(Output::is_read)
    }
}

impl Output {
    /// `false`: nobody reads it any more.
    fn show(&mut self, bytes: &[u8]) -> bool {
        if !self.tell() {
            return false;
        }
        let taken = if self.left_out > 0 { Err(Errno::AGAIN) } else { rustix::io::write(&self.pipe, bytes) };
        match taken {
            Ok(taken) => self.left_out += (bytes.len() - taken) as u64,
            Err(Errno::AGAIN | Errno::INTR) => self.left_out += bytes.len() as u64,
            Err(_) => return false,
        }
        true
    }

    /// Says what was left out, if anything was and there is room to say so. The sentence is short enough to go whole or not at
    /// all.
    fn tell(&mut self) -> bool {
        if self.left_out == 0 {
            return true;
        }
        let note = format!(
            "\r\n[{} bytes are left out here: they were not read in time; the log has them]\r\n",
            self.left_out
        );
        match rustix::io::write(&self.pipe, note.as_bytes()) {
            Ok(_) => self.left_out = 0,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    fn is_read(&self) -> bool {
        let mut fds = [PollFd::new(&self.pipe, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)) {
            Ok(_) => !fds[0].revents().intersects(PollFlags::ERR),
            // Then the next write tells.
            Err(_) => true,
        }
    }
}
