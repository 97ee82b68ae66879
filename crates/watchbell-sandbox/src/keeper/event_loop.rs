//! The keeper's one loop: orders in, pipes to logs, notices out.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::bucket::Bucket;
use super::cri::{Records, Stamp, Stream, StreamName};
use super::log_file::LogFile;
use super::viewer::Viewer;
use crate::clock;
use crate::wire::{Filled, Frame, Inbox, Notice, Order, Outbox, decode};
use crate::{LogRate, LogSummary, LogTarget, LogTrouble};

/// An order holds a path and three numbers.
const ORDER_MAX: u32 = 64 << 10;
/// What one turn reads of one stream: a pipe's default capacity.
const READ_MAX: usize = 64 << 10;
/// The largest pipe a task can make of its streams (fs.pipe-max-size is 1 MiB unless root raised it).
const PIPE_MAX: usize = 4 << 20;
const SOCKET: u64 = u64::MAX;
/// What a notice says of why a log cannot be written.
const CAUSE_MAX: usize = 512;

struct Task {
    streams: [Option<(OwnedFd, Stream)>; 2],
    log: LogFile,
    summary: LogSummary,
    bucket: Bucket,
    /// While it holds, the streams are not in the epoll set and this is when they come back.
    held_until: Option<i64>,
    was_held: bool,
    /// Clients that watch.
    viewers: Vec<Viewer>,
}

pub(crate) struct Keeper {
    root: OwnedFd,
    /// `None` once the spawner is gone.
    socket: Option<OwnedFd>,
    epoll: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    waits_to_send: bool,
    tasks: HashMap<u64, Task>,
    log_rate: LogRate,
    /// When which task's streams are read again.
    held: BTreeSet<(i64, u64)>,
    buffer: Vec<u8>,
    records: Records,
}

enum Read {
    Some,
    Nothing,
    End,
}

impl Keeper {
    pub(crate) fn new(root: OwnedFd, socket: OwnedFd, log_rate: LogRate) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        set_nonblocking(&socket)?;
        epoll::add(&epoll, &socket, EventData::new_u64(SOCKET), EventFlags::IN)?;
        Ok(Self {
            root,
            socket: Some(socket),
            epoll,
            inbox: Inbox::new(ORDER_MAX),
            outbox: Outbox::default(),
            waits_to_send: false,
            tasks: HashMap::new(),
            log_rate,
            held: BTreeSet::new(),
            buffer: vec![0; READ_MAX],
            records: Records::default(),
        })
    }

    /// Ends when the spawner is gone and nothing is left to read: tasks outlive it until another one ends them.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        while self.socket.is_some() || !self.tasks.is_empty() {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    SOCKET => self.take_orders(),
                    token => self.read_pipe(token >> 1, (token & 1) as usize),
                }
            }
            self.let_go();
            self.send_notices();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Timespec> {
        let wait = self.held.first()?.0.saturating_sub(clock::monotonic()).max(0);
        Some(Timespec { tv_sec: wait / 1_000_000_000, tv_nsec: wait % 1_000_000_000 })
    }

    fn take_orders(&mut self) {
        let Some(socket) = &self.socket else { return };
        let alive = match self.inbox.fill(socket.as_fd()) {
            Ok(Filled::End) => false,
            Ok(Filled::Bytes(_) | Filled::WouldBlock) => true,
            Err(error) => {
                tracing::error!("the keeper lost the spawner: {error}");
                false
            }
        };
        loop {
            match self.inbox.next() {
                Ok(Some(frame)) => self.carry_out(frame),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!("the keeper cannot read what the spawner says: {error}");
                    return self.leave_spawner();
                }
            }
        }
        if !alive {
            self.leave_spawner();
        }
    }

    fn leave_spawner(&mut self) {
        // Closing takes it out of the epoll set: no other process holds this end.
        self.socket = None;
        self.outbox = Outbox::default();
    }

    fn carry_out(&mut self, frame: Frame) {
        match decode::<Order>(&frame.body) {
            Ok(Order::Watch { serial, target }) => self.watch(serial, target, frame.fds),
            Ok(Order::Finish { serial }) => self.finish(serial),
            Ok(Order::Show { serial, session, streams }) => {
                self.show(serial, streams, frame.fds);
                self.tell(Notice::Shown { session });
            }
            Err(error) => tracing::error!("an order to the keeper cannot be read: {error}"),
        }
    }

    fn watch(&mut self, serial: u64, target: LogTarget, fds: Vec<OwnedFd>) {
        let names = [StreamName::Stdout, StreamName::Stderr];
        let mut streams = [None, None];
        for (i, (fd, name)) in fds.into_iter().zip(names).enumerate() {
            let watched = set_nonblocking(&fd)
                .and_then(|()| Ok(epoll::add(&self.epoll, &fd, token(serial, i), EventFlags::IN)?));
            match watched {
                Ok(()) => streams[i] = Some((fd, Stream::new(name))),
                Err(error) => tracing::error!("cannot watch {name:?} of {}: {error}", target.path.display()),
            }
        }
        let (log, summary) = (LogFile::new(target), LogSummary::default());
        let bucket = Bucket::new(self.log_rate, clock::monotonic());
        let task =
            Task { streams, log, summary, bucket, held_until: None, was_held: false, viewers: Vec::new() };
        self.tasks.insert(serial, task);
        self.complete_if_ended(serial);
    }

    /// From now on what the task prints is shown to a client too. Of a task that has closed its streams nothing is left to
    /// show: the ends are dropped.
    fn show(&mut self, serial: u64, streams: [bool; 2], fds: Vec<OwnedFd>) {
        let Some(task) = self.tasks.get_mut(&serial) else { return };
        task.viewers.retain(Viewer::is_there);
        let mut viewer = Viewer::new(streams, fds);
        for (index, stream) in task.streams.iter().enumerate() {
            if stream.is_none() {
                viewer.end(index);
            }
        }
        task.viewers.push(viewer);
    }

    /// Reads a stream that epoll named, unless the task was held since.
    fn read_pipe(&mut self, serial: u64, stream: usize) {
        if self.tasks.get(&serial).is_some_and(|task| task.held_until.is_some()) {
            return;
        }
        self.read_once(serial, stream);
        self.hold_if_fast(serial);
        self.complete_if_ended(serial);
    }

    /// Leaves the pipes of a task that printed more than its rate alone for a while, so that it waits in its own write.
    fn hold_if_fast(&mut self, serial: u64) {
        let Some(task) = self.tasks.get_mut(&serial) else { return };
        if task.bucket.has_some(clock::monotonic()) {
            return;
        }
        for (fd, _) in task.streams.iter().flatten() {
            // Out of the set: a stream that ends would report it again and again. One that is not there is not read anyway.
            let _ = epoll::delete(&self.epoll, fd);
        }
        let until = task.bucket.some_at();
        task.held_until = Some(until);
        self.held.insert((until, serial));
        if !std::mem::replace(&mut task.was_held, true) {
            self.tell(Notice::Trouble { serial, trouble: LogTrouble::Held });
        }
    }

    /// Goes on with the tasks whose time has come. Each stream gets its turn, so that one does not keep the other silent.
    fn let_go(&mut self) {
        let now = clock::monotonic();
        while let Some(&(at, serial)) = self.held.first()
            && at <= now
        {
            self.held.pop_first();
            let Some(task) = self.tasks.get_mut(&serial) else { continue };
            task.held_until = None;
            for (index, stream) in task.streams.iter().enumerate() {
                let Some((fd, _)) = stream else { continue };
                if let Err(error) = epoll::add(&self.epoll, fd, token(serial, index), EventFlags::IN) {
                    tracing::error!("cannot watch a task's stream again: {error}");
                }
            }
            for index in 0..2 {
                self.read_once(serial, index);
            }
            self.hold_if_fast(serial);
            self.complete_if_ended(serial);
        }
    }

    fn tell(&mut self, notice: Notice) {
        if self.socket.is_some() {
            self.outbox.push(&notice, []);
        }
    }

    fn read_once(&mut self, serial: u64, index: usize) -> Read {
        let Some(task) = self.tasks.get_mut(&serial) else { return Read::End };
        let Some((fd, stream)) = &mut task.streams[index] else { return Read::End };
        self.records.clear();
        let read = match rustix::io::read(&*fd, &mut self.buffer[..]) {
            Ok(0) => Read::End,
            Ok(n) => {
                let stamp = Stamp::new(clock::now());
                task.summary.bytes += n as u64;
                task.bucket.take(n);
                task.summary.lines += stream.feed(&self.buffer[..n], &stamp, &mut self.records);
                task.viewers.iter_mut().for_each(|viewer| viewer.show(index, &self.buffer[..n]));
                task.viewers.retain(|viewer| !viewer.is_over());
                Read::Some
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal that nobody has open any more.
            Err(Errno::IO) => Read::End,
            Err(error) => {
                tracing::error!("cannot read a task's stream: {error}");
                Read::End
            }
        };
        if matches!(read, Read::End) {
            self.end_stream(serial, index);
        } else {
            self.write_records(serial);
        }
        read
    }

    fn end_stream(&mut self, serial: u64, index: usize) {
        let Some(task) = self.tasks.get_mut(&serial) else { return };
        let Some((fd, mut stream)) = task.streams[index].take() else { return };
        // The spawner holds this end too, so closing it does not take it out of the epoll set.
        let _ = epoll::delete(&self.epoll, &fd);
        task.viewers.iter_mut().for_each(|viewer| viewer.end(index));
        task.viewers.retain(|viewer| !viewer.is_over());
        stream.finish(&Stamp::new(clock::now()), &mut self.records);
        self.write_records(serial);
    }

    fn write_records(&mut self, serial: u64) {
        if self.records.ends.is_empty() {
            return;
        }
        let full = |error: &io::Error| {
            let errno = Errno::from_io_error(error);
            errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
        };
        let Some(task) = self.tasks.get_mut(&serial) else { return };
        if task.log.open(self.root.as_fd()).is_err_and(|error| full(&error)) {
            // Logs that are not being written can be opened again; pipes cannot.
            self.tasks.values_mut().for_each(|task| task.log.close());
        }
        let Some(task) = self.tasks.get_mut(&serial) else { return };
        let lost =
            task.log.write(self.root.as_fd(), &self.records).err().filter(|_| task.log.first_failure());
        self.records.clear();
        if let Some(error) = lost {
            tracing::warn!("a log loses lines: {error}");
            let mut cause = error.to_string();
            cause.truncate(cause.floor_char_boundary(CAUSE_MAX));
            self.tell(Notice::Trouble { serial, trouble: LogTrouble::Lost { cause } });
        }
    }

    /// Nothing of the task is left: reads what stands in its pipes, and no more even if somebody else holds them open.
    fn finish(&mut self, serial: u64) {
        for index in 0..2 {
            for _ in 0..PIPE_MAX / READ_MAX {
                if !matches!(self.read_once(serial, index), Read::Some) {
                    break;
                }
            }
            self.end_stream(serial, index);
        }
        self.complete_if_ended(serial);
    }

    fn complete_if_ended(&mut self, serial: u64) {
        let ended = self.tasks.get(&serial).is_some_and(|task| task.streams.iter().all(Option::is_none));
        if !ended {
            return;
        }
        if let Some(task) = self.tasks.remove(&serial) {
            if let Some(until) = task.held_until {
                self.held.remove(&(until, serial));
            }
            let summary = LogSummary { dropped_bytes: task.log.dropped_bytes(), ..task.summary };
            self.tell(Notice::Complete { serial, summary });
        }
    }

    fn send_notices(&mut self) {
        let Some(socket) = &self.socket else { return };
        match self.outbox.flush(socket.as_fd()) {
            Ok(all) => {
                if all == self.waits_to_send {
                    self.waits_to_send = !all;
                    let interest = if all { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
                    let _ = epoll::modify(&self.epoll, socket, EventData::new_u64(SOCKET), interest);
                }
            }
            Err(error) => {
                tracing::error!("the keeper lost the spawner: {error}");
                self.leave_spawner();
            }
        }
    }
}

fn token(serial: u64, stream: usize) -> EventData {
    EventData::new_u64(serial << 1 | stream as u64)
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}
