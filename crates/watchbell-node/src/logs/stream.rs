//! A log being read by a client.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use watchbell_api::node::LogStream;

use super::files::{Files, Got};
use super::lines::Lines;
use super::live::Watch;

const READ_BYTES: usize = 64 << 10;
/// A follower is told this often that nothing came, so that it can see whether its client is still there.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

pub(super) struct Stream {
    files: Files,
    lines: Lines,
    /// Read, and not taken by the client.
    ready: Vec<u8>,
    taken: usize,
    /// Bytes that the client still wants.
    left: Option<u64>,
    raw: Vec<u8>,
    /// `None`: what is there is all.
    follow: Option<Follow>,
    is_finished: bool,
}

struct Follow {
    watch: Watch,
    inotify: Option<OwnedFd>,
    /// The run has ended: one more look at the files, then that is all.
    has_ended: bool,
}

impl Stream {
    pub(super) fn new(files: Files, lines: Lines, watch: Option<Watch>, limit: Option<u64>) -> Stream {
        Stream {
            files,
            lines,
            ready: Vec::new(),
            taken: 0,
            left: limit,
            raw: vec![0; READ_BYTES],
            follow: watch.map(|watch| Follow { watch, inotify: None, has_ended: false }),
            is_finished: limit == Some(0),
        }
    }

    /// Gets something ready; `false` at the end of the files.
    fn fill(&mut self) -> io::Result<bool> {
        self.ready.clear();
        self.taken = 0;
        while self.ready.is_empty() {
            match self.files.read(&mut self.raw)? {
                Got::Bytes(n) => self.lines.feed(&self.raw[..n], &mut self.ready),
                Got::NewFile => self.lines.new_file(&mut self.ready),
                Got::End => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl LogStream for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.is_finished {
            if self.taken < self.ready.len() {
                let mut n = buffer.len().min(self.ready.len() - self.taken);
                if let Some(left) = &mut self.left {
                    n = n.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    self.is_finished = *left == 0;
                }
                buffer[..n].copy_from_slice(&self.ready[self.taken..self.taken + n]);
                self.taken += n;
                return Ok(n);
            }
            // Whether it ended is asked before the files are: nothing is written after the end.
            if let Some(follow) = &mut self.follow {
                follow.prepare(&self.files)?;
            }
            if self.fill()? {
                continue;
            }
            match &mut self.follow {
                Some(follow) if !follow.has_ended => {
                    if !follow.wait()? {
                        return Ok(0);
                    }
                }
                _ => {
                    // A last line without an end is shown as it stands.
                    self.lines.new_file(&mut self.ready);
                    self.is_finished = self.ready.is_empty();
                    self.follow = None;
                    if self.is_finished {
                        return Ok(0);
                    }
                }
            }
        }
        Ok(0)
    }

    fn finished(&self) -> bool {
        self.is_finished
    }
}

impl Follow {
    /// Sees whether the run has ended, and sets the watch before the files are read, so that nothing falls between.
    fn prepare(&mut self, files: &Files) -> io::Result<()> {
        let mut fds = [PollFd::new(&*self.watch.ended, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.has_ended = poll(&mut fds, Some(&now))? > 0;
        if self.has_ended || self.inotify.is_some() {
            return Ok(());
        }
        let (watched, is_the_file) = files.watched()?;
        let flags = if is_the_file {
            WatchFlags::MODIFY | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF
        } else {
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR
        };
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // By its descriptor: by the path a link would be followed.
        match inotify::add_watch(&fd, format!("/proc/self/fd/{}", watched.as_raw_fd()), flags) {
            Ok(_) => {}
            // Gone meanwhile: the next round looks again.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(e) => return Err(e.into()),
        }
        self.inotify = Some(fd);
        Ok(())
    }

    /// Waits until there may be more; `false` when patience ended first.
    fn wait(&mut self) -> io::Result<bool> {
        let Some(notify) = &self.inotify else { return Ok(true) };
        let ready = {
            let mut fds = [
                PollFd::new(&*self.watch.ended, PollFlags::IN),
                PollFd::from_borrowed_fd(notify.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&PATIENCE)) {
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => 0,
                Err(e) => return Err(e.into()),
            }
        };
        if ready == 0 {
            // The watch may have been on something that has been replaced.
            self.inotify = None;
            return Ok(false);
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(notify, &mut buffer);
        let mut is_stale = false;
        loop {
            match events.next() {
                // Anything but a write means that names have changed.
                Ok(event) => is_stale |= event.events() != inotify::ReadFlags::MODIFY,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        if is_stale {
            self.inotify = None;
        }
        Ok(true)
    }
}
