//! The keeper's one loop: orders in, pipes to logs, notices out.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::cri::{Records, Stamp, Stream, StreamName};
use super::log_file::LogFile;
use super::viewer::Viewer;
use crate::clock;
use crate::wire::{Filled, Frame, Inbox, Notice, Order, Outbox, decode};
use crate::{LogSummary, LogTarget};

/// An order holds a path and three numbers.
const ORDER_MAX: u32 = 64 << 10;
/// What one turn reads of one stream: a pipe's default capacity.
const READ_MAX: usize = 64 << 10;
/// The largest pipe a task can make of its streams (fs.pipe-max-size is 1 MiB unless root raised it).
const PIPE_MAX: usize = 4 << 20;
const SOCKET: u64 = u64::MAX;

struct Task {
    streams: [Option<(OwnedFd, Stream)>; 2],
    log: LogFile,
    summary: LogSummary,
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
    buffer: Vec<u8>,
    records: Records,
}

enum Read {
    Some,
    Nothing,
    End,
}

impl Keeper {
    pub(crate) fn new(root: OwnedFd, socket: OwnedFd) -> io::Result<Self> {
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
            buffer: vec![0; READ_MAX],
            records: Records::default(),
        })
    }

    /// Ends when the spawner is gone and nothing is left to read: tasks outlive it until another one ends them.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        while self.socket.is_some() || !self.tasks.is_empty() {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    SOCKET => self.take_orders(),
                    token => self.read_pipe(token >> 1, (token & 1) as usize),
                }
            }
            self.send_notices();
        }
        Ok(())
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
            Ok(Order::Show { serial, streams }) => self.show(serial, streams, frame.fds),
            Err(error) => tracing::error!("an order to the keeper cannot be read: {error}"),
        }
    }

    fn watch(&mut self, serial: u64, target: LogTarget, fds: Vec<OwnedFd>) {
        let names = [StreamName::Stdout, StreamName::Stderr];
        let mut streams = [None, None];
        for (i, (fd, name)) in fds.into_iter().zip(names).enumerate() {
            let token = EventData::new_u64(serial << 1 | i as u64);
            let watched =
                set_nonblocking(&fd).and_then(|()| Ok(epoll::add(&self.epoll, &fd, token, EventFlags::IN)?));
            match watched {
                Ok(()) => streams[i] = Some((fd, Stream::new(name))),
                Err(error) => tracing::error!("cannot watch {name:?} of {}: {error}", target.path.display()),
            }
        }
        let (log, summary) = (LogFile::new(target), LogSummary::default());
        let task = Task { streams, log, summary, viewers: Vec::new() };
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

    /// Reads a stream that epoll named.
    fn read_pipe(&mut self, serial: u64, stream: usize) {
        self.read_once(serial, stream);
        self.complete_if_ended(serial);
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
        if let Err(error) = task.log.write(self.root.as_fd(), &self.records)
            && task.log.first_failure()
        {
            tracing::warn!("a log loses lines: {error}");
        }
        self.records.clear();
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
            let summary = LogSummary { dropped_bytes: task.log.dropped_bytes(), ..task.summary };
            if self.socket.is_some() {
                self.outbox.push(&Notice::Complete { serial, summary }, []);
            }
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

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}
