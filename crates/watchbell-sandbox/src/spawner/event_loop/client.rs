//! Requests in, replies out.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{CLIENT, EventLoop};
use crate::clock;
use crate::gate::EGRESS_BYTES_MAX;
use crate::spawner::client_link::ClientLink;
use crate::spawner::machine::Input;
use crate::spawner::sessions::ClientSocket;
use crate::spec::check_changing;
use crate::wire::{
    BOUNDS_SINCE, EXTRAS_SINCE, Filled, Frame, Hello, IMAGE_SINCE, MemoryReply, OLDEST, POD_BYTES_MAX, Reply,
    Request, UpperReply, VERSION, Welcome, decode,
};
use crate::{ContainerId, OwnedFile, PodEnvironment, RunSpec, StartFailureKind};

/// Rows of the table in one frame.
const ROWS: usize = 256;
/// Real-time signals end at 64.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

impl EventLoop {
    pub(super) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(&self.parts.listener, flags) {
            match ClientLink::new(socket) {
                Ok(client) => self.accept_client(client),
                Err(error) => tracing::warn!("cannot see who connects: {error}"),
            }
        }
    }

    pub(super) fn accept_client(&mut self, mut client: ClientLink) {
        if client.uid != 0 && client.uid != self.parts.settings.client_uid {
            tracing::warn!("refused user {} (pid {})", client.uid, client.pid);
            return client.refuse("only root and the server's own user may connect");
        }
        // One that hung up before its turn came does not keep the place.
        while self.client.as_ref().is_some_and(ClientLink::is_gone) {
            self.take_requests();
        }
        if let Some(other) = &self.client {
            return client.send_last(&Reply::Busy { pid: other.pid });
        }
        let token = EventData::new_u64(CLIENT);
        match epoll::add(&self.epoll, client.socket(), token, EventFlags::IN) {
            Ok(()) => {
                self.client = Some(client);
                self.client_waits = false;
            }
            Err(error) => tracing::error!("cannot watch the server's connection: {error}"),
        }
    }

    fn drop_client(&mut self, why: &dyn std::fmt::Display) {
        if let Some(client) = self.client.take() {
            tracing::info!("the server (pid {}) is gone: {why}", client.pid);
            self.parts.machine.forget_unused_pods();
            self.memories.clear();
            self.drop_memories();
        }
    }

    pub(super) fn take_requests(&mut self) {
        // One read a turn: a server that never stops asking does not stop the rest.
        let filled = match &mut self.client {
            Some(client) => client.fill(),
            None => return,
        };
        // Frames that came before the end count.
        loop {
            let Some(client) = &mut self.client else { return };
            match client.next() {
                Ok(Some(frame)) => {
                    if let Err(why) = self.take_request(frame) {
                        tracing::warn!("the server broke the protocol: {why}");
                        return self.drop_client(&why);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("the server broke the protocol: {error}");
                    return self.drop_client(&error);
                }
            }
        }
        match filled {
            Ok(Filled::End) => self.drop_client(&"it hung up"),
            Ok(Filled::Bytes(_) | Filled::WouldBlock) => {}
            Err(error) => self.drop_client(&error),
        }
    }

    fn take_request(&mut self, frame: Frame) -> Result<(), String> {
        let request = decode::<Request>(&frame.body).map_err(|error| error.to_string())?;
        let greeted = self.client.as_ref().is_some_and(|client| client.greeted);
        let now = clock::now();
        match request {
            Request::Hello(hello) if !greeted => return self.greet(hello),
            _ if !greeted => return Err("it did not greet first".to_owned()),
            Request::Hello(_) => return Err("it greeted twice".to_owned()),
            Request::Pod(pod) => self.parts.machine.add_pod(pod, frame.body.len() as u64),
            Request::SealedPod => {
                let fd = frame.fds.into_iter().next().ok_or("a sealed pod came without its memory")?;
                let bytes = crate::seal::read_sealed(fd, POD_BYTES_MAX)
                    .map_err(|error| format!("the memory of a pod {error}"))?;
                let pod = decode::<Arc<PodEnvironment>>(&bytes).map_err(|error| error.to_string())?;
                self.parts.machine.add_pod(pod, bytes.len() as u64);
            }
            Request::Start(spec) => self.ask(*spec),
            Request::Signal { id, signal } => {
                if SIGNALS.contains(&signal) {
                    self.feed(id, Input::Signal(signal));
                }
            }
            Request::KillPod { uid } => self.parts.machine.kill_pod(uid, now, &mut self.effects),
            Request::ReleasePod { uid } => self.parts.machine.release_pod(uid, now, &mut self.effects),
            Request::Acknowledge { id } => self.feed(id, Input::Acknowledge),
            Request::StartWith { mut spec, interaction } => {
                spec.interaction = interaction;
                self.ask(*spec);
            }
            Request::StartExtended { mut spec, interaction, extras } => {
                spec.interaction = interaction;
                spec.extras = extras;
                self.ask(*spec);
            }
            Request::Session(ask) => {
                let socket = frame.fds.into_iter().next().ok_or("a session came without its socket")?;
                self.open_session(ask, socket)?;
            }
            Request::UpdateFiles { uid, volume } => {
                let fd = frame.fds.into_iter().next().ok_or("files came without their memory")?;
                let bytes = crate::seal::read_sealed(fd, POD_BYTES_MAX)
                    .map_err(|error| format!("the memory of files {error}"))?;
                let files = decode::<Vec<OwnedFile>>(&bytes).map_err(|error| error.to_string())?;
                check_changing("files", &files).map_err(|error| error.to_string())?;
                // What is there stays when it fails; the server tries again before it is out of date.
                if let Err(error) = self.parts.host.update_files(uid, volume, &files) {
                    tracing::error!("cannot change the files of volume {volume} of pod {uid:032x}: {error}");
                }
            }
            Request::Upper { uid, volume } => {
                let socket = frame.fds.into_iter().next().ok_or("a request came without its socket")?;
                let socket = ClientSocket::new(socket)?;
                // What was asked for before may be the pod's release.
                self.settle();
                let told = match self.parts.host.upper(uid, volume) {
                    Ok(directory) => socket.tell(&UpperReply::Held, [directory]),
                    Err(error) => socket.tell(&UpperReply::Refused { reason: error.to_string() }, []),
                };
                if let Err(error) = told {
                    tracing::info!("who asked for volume {volume} of pod {uid:032x} left: {error}");
                }
            }
            Request::Memory { bytes, inodes, bytes_max } => {
                let socket = frame.fds.into_iter().next().ok_or("a request came without its socket")?;
                let socket = ClientSocket::new(socket)?;
                // The release of a pod that was asked for before gives room.
                self.settle();
                let told = match self.parts.host.make_memory(bytes, inodes, bytes_max) {
                    Ok((memory, directory)) => {
                        self.memories.insert(memory);
                        socket.tell(&MemoryReply::Made { memory }, [directory])
                    }
                    Err(error) => socket.tell(&MemoryReply::Refused { reason: error.to_string() }, []),
                };
                if let Err(error) = told {
                    tracing::info!("who asked for {bytes} bytes of memory left: {error}");
                }
            }
            Request::ForgetMemory { memory } => {
                self.memories.remove(&memory);
                // What was asked for before may be the release of the last pod above it.
                self.settle();
                self.drop_memories();
            }
            Request::Egress { uid, egress } => {
                if egress.len() > EGRESS_BYTES_MAX {
                    return Err(format!("what pod {uid:032x} may reach is too long"));
                }
                self.set_egress(uid, egress);
            }
            Request::Heard { serial } => {
                self.notices.heard(serial);
                self.tell_what_waited();
            }
            Request::Retire => self.ends |= self.parts.machine.is_idle(),
        }
        Ok(())
    }

    /// Those that neither the server wants nor a pod that it asked for.
    pub(super) fn drop_memories(&mut self) {
        let (memories, machine) = (&self.memories, &self.parts.machine);
        self.parts.host.retain_memories(|memory| memories.contains(&memory) || machine.uses_memory(memory));
    }

    fn greet(&mut self, hello: Hello) -> Result<(), String> {
        let Some(client) = &mut self.client else { return Ok(()) };
        if hello.magic != Hello::OURS.magic {
            return Err("it is not a server of this program".to_owned());
        }
        if hello.oldest > VERSION || hello.newest < OLDEST {
            client.send_last(&Reply::Version { theirs: VERSION });
            return Err(format!("it speaks protocols {} to {}", hello.oldest, hello.newest));
        }
        client.greeted = true;
        client.version = hello.newest.min(VERSION);
        let version = client.version;
        client.send(&Reply::Welcome(Box::new(Welcome {
            version,
            pid: std::process::id(),
            settings: self.parts.settings.clone(),
            idle: self.parts.machine.is_idle(),
        })));
        if version >= EXTRAS_SINCE {
            let ceiling = &self.parts.settings.ceiling;
            client.send(&Reply::Devices(ceiling.devices.clone()));
            client.send(&Reply::Allowances(ceiling.told_by_name()));
            client.send(&Reply::Runtimes(ceiling.runtimes.clone()));
        }
        if let Some(bounds) = self.parts.settings.bounds.filter(|_| version >= BOUNDS_SINCE) {
            client.send(&Reply::Bounds(bounds));
        }
        if version >= IMAGE_SINCE {
            client.send(&Reply::Images(self.parts.host.without_images().map(str::to_owned)));
        }
        let mut rows = self.parts.machine.table().peekable();
        while rows.peek().is_some() {
            client.send(&Reply::Table(rows.by_ref().take(ROWS).collect()));
        }
        client.send(&Reply::TableEnd);
        self.notices.make_up();
        self.notices.all().cloned().for_each(|event| client.tell(event));
        client.allow_what_waits();
        tracing::info!("a server (pid {}) is connected", client.pid);
        Ok(())
    }

    /// A start, whoever asks: checked here, against bounds and against what root allowed.
    fn ask(&mut self, mut spec: RunSpec) {
        let id = spec.id;
        if !self.parts.machine.is_new(id) {
            return;
        }
        if let Some(pod) = self.parts.machine.pod(id.pod_uid) {
            spec.pod = pod.clone();
            let refusal = match spec.check() {
                Err(invalid) => Some(invalid.to_string()),
                Ok(()) => self.parts.guard.check(&spec).err().map(|above| above.to_string()),
            };
            if let Some(why) = refusal {
                let message = format!("cannot start container {} of pod {}: {why}", spec.name, spec.pod.name);
                return self.feed(id, Input::Refuse(StartFailureKind::Refused, message));
            }
        }
        self.specs.insert(id, spec);
        self.feed(id, Input::Start);
        if !self.parts.machine.is_queued(id) {
            self.specs.remove(&id);
        }
    }

    pub(super) fn feed(&mut self, id: ContainerId, input: Input) {
        self.parts.machine.run(id, input, clock::now(), &mut self.effects);
    }

    pub(super) fn flush_client(&mut self) {
        let Some(client) = &mut self.client else { return };
        let waits = &mut self.client_waits;
        let sent = client
            .flush()
            .and_then(|all| Self::watch_sends(&self.epoll, client.socket().as_fd(), CLIENT, waits, all));
        if let Err(error) = sent {
            self.drop_client(&error);
        }
    }
}
