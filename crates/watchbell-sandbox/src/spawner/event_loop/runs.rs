//! Begins runs and follows them to their end.

use rustix::event::epoll;

use super::{BEGIN_MAX, EventLoop, PIDFD, STATUS, TRACER, add_to, run_token};
use crate::spawner::keeper_link::prepare_log_dir;
use crate::spawner::live::Live;
use crate::spawner::machine::Input;
use crate::start::{Host, Outcome};
use crate::{ContainerId, Event, ExitStatus, Root, RunSpec, StartFailureKind, clock};

impl EventLoop {
    pub(super) fn begin_some(&mut self) {
        for _ in 0..BEGIN_MAX {
            let Some(id) = self.queue.pop_front() else { break };
            self.begin(id);
        }
    }

    fn begin(&mut self, id: ContainerId) {
        // Cancelled meanwhile.
        let Some(mut spec) = self.specs.remove(&id) else { return };
        if !spec.extras.devices.is_empty() {
            let held = self.live.iter().map(|(_, live)| &*live.spec).chain(self.hooks.waiting());
            if let Err(why) = self.parts.devices.equip(&mut spec, held) {
                let (kind, step) = (StartFailureKind::Refused, "hand out devices".to_owned());
                let message = format!("cannot start container {} of pod {}: {why}", spec.name, spec.pod.name);
                return self.feed(id, Input::NotBegun { kind, step, message });
            }
        }
        self.run_hooks(spec);
    }

    /// All that comes before it was done.
    pub(super) fn begin_now(&mut self, spec: RunSpec) {
        let id = spec.id;
        // A tracer works in the directory that the keeper makes at the first log.
        if spec.extras.trace
            && let Err(error) = prepare_log_dir(&self.parts.keeper, self.parts.settings.client_uid)
        {
            let (kind, step) = (StartFailureKind::Sandbox, "prepare the directory of logs".to_owned());
            let message = format!("cannot prepare the directory of logs for the trace of {id}: {error}");
            return self.feed(id, Input::NotBegun { kind, step, message });
        }
        let begun = match self.parts.host.begin(&spec) {
            Ok(begun) => begun,
            Err(failure) => {
                let (kind, step, message) = (failure.kind, failure.step, failure.message);
                return self.feed(id, Input::NotBegun { kind, step, message });
            }
        };
        let pid = begun.pid;
        if let Some(first_host_id) = begun.first_host_id
            && let Some(client) = &mut self.client
        {
            client.tell(Event::Mapped { id, first_host_id });
        }
        let live = Live {
            id,
            begun,
            target: spec.log.clone(),
            spec: Box::new(for_entries(spec)),
            settled: false,
            executed: false,
            reaped: false,
            watched: false,
            handed: false,
            handing_failures: 0,
        };
        let serial = self.live.insert(live);
        let now = clock::monotonic();
        self.timers.forget_later(now);
        if self.parts.host.leaves_runs_half_dead() {
            self.timers.look_for_half_dead(now);
        }
        self.feed(id, Input::Begun { pid });
        let Some(live) = self.live.get(serial) else { return };
        let watched = add_to(&self.epoll, &live.begun.status, run_token(serial, STATUS))
            .and_then(|()| add_to(&self.epoll, &live.begun.pidfd, run_token(serial, PIDFD)))
            .and_then(|()| match live.begun.tracer() {
                Some(tracer) => add_to(&self.epoll, tracer, run_token(serial, TRACER)),
                None => Ok(()),
            });
        if let Err(error) = watched {
            // Without these nobody would see it end: out of memory, or of watches.
            tracing::error!("cannot watch {id}: {error}");
            live.settled = true;
            let (kind, step) = (StartFailureKind::Sandbox, "watch the container".to_owned());
            let message = format!("cannot watch {id}: {error}");
            self.feed(id, Input::NotExecuted { kind, step, message });
            self.settle();
            self.reap_now(serial);
        }
    }

    pub(super) fn run_event(&mut self, serial: u64, which: u64) {
        match which {
            STATUS => self.read_status(serial),
            TRACER => self.tracer_ended(serial),
            _ => self.reap(serial),
        }
    }

    /// It ends once nothing of its container is left, or it has failed: every call of the task fails then, and a program that
    /// tries again for ever would never end.
    fn tracer_ended(&mut self, serial: u64) {
        let Some(live) = self.live.get(serial) else { return };
        if let Some(tracer) = live.begun.tracer() {
            let _ = epoll::delete(&self.epoll, tracer);
        }
        if !live.reaped {
            self.parts.host.kill(&mut live.begun);
        }
    }

    fn read_status(&mut self, serial: u64) {
        let Some(live) = self.live.get(serial) else { return };
        if live.settled {
            return;
        }
        let id = live.id;
        let input = match self.parts.host.read_status(&mut live.begun) {
            Outcome::Waiting => return,
            Outcome::Executed => Some(Input::Executed),
            Outcome::Failed(failure) => {
                Some(Input::NotExecuted { kind: failure.kind, step: failure.step, message: failure.message })
            }
            // It died on the way; its end says how.
            Outcome::Gone => None,
        };
        live.settled = true;
        live.executed = matches!(input, Some(Input::Executed));
        let _ = epoll::delete(&self.epoll, &live.begun.status);
        if let Some(input) = input {
            self.feed(id, input);
        }
    }

    /// Its first process ended.
    fn reap(&mut self, serial: u64) {
        // What it reported before comes first.
        self.read_status(serial);
        self.reap_now(serial);
    }

    fn reap_now(&mut self, serial: u64) {
        let Some(live) = self.live.get(serial) else { return };
        if live.reaped {
            return;
        }
        let ended = match self.parts.host.reap(&mut live.begun) {
            Ok(ended) => ended,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => {
                tracing::error!("cannot wait for {}: {error}", live.id);
                ExitStatus::Lost
            }
        };
        (live.reaped, live.handing_failures) = (true, 0);
        let _ = epoll::delete(&self.epoll, &live.begun.pidfd);
        let id = live.id;
        self.tell_watchers(id, ended);
        self.feed(id, Input::Ended(ended));
    }

    /// One process killed for want of memory leaves a task that may wait for it for ever: all of it goes.
    pub(super) fn end_half_dead(&mut self) {
        for serial in self.serials(|live| live.is_running() && Host::is_half_dead(&live.begun)) {
            if let Some(live) = self.live.get(serial) {
                self.parts.host.kill(&mut live.begun);
            }
        }
        if !self.live.is_empty() {
            self.timers.look_for_half_dead(clock::monotonic());
        }
    }

    /// Gives the cgroup back once nothing is in it.
    pub(super) fn empty(&mut self, serial: u64) {
        let Some(live) = self.live.get(serial) else { return };
        let now = clock::monotonic();
        match self.parts.host.empty(&mut live.begun) {
            Some((usage, oom_killed)) => {
                let (id, watched) = (live.id, live.watched);
                if watched {
                    self.timers.finish_later(serial, now);
                }
                self.feed(id, Input::Emptied { usage, oom_killed });
            }
            None => self.timers.empty_later(serial, now),
        }
    }
}

/// What is kept of a spec as long as its container runs: who a process is that enters it.
fn for_entries(spec: RunSpec) -> RunSpec {
    RunSpec { argv: Vec::new(), mounts: Vec::new(), root: Root { layers: Vec::new(), ..spec.root }, ..spec }
}
