//! Carries out effects until none is left.

use super::EventLoop;
use crate::StartFailureKind;
use crate::spawner::machine::{Effect, Input};

impl EventLoop {
    /// All records of a round are written before anything else of it is done: what happens is in the table first.
    pub(super) fn settle(&mut self) {
        while !self.effects.is_empty() {
            let effects = std::mem::take(&mut self.effects);
            for effect in &effects {
                if let Effect::Record(record) = effect {
                    self.parts.table.push(record);
                }
            }
            let written = self.parts.table.flush();
            if let Err(error) = &written {
                tracing::error!("cannot write the table: {error}");
            }
            for effect in effects {
                match effect {
                    Effect::Begin(id) => match &written {
                        Ok(()) => self.queue.push_back(id),
                        Err(error) => {
                            // A start that no later spawner would know of must not happen.
                            self.specs.remove(&id);
                            let message = format!("cannot start {id}: its start cannot be recorded: {error}");
                            let (kind, step) = (StartFailureKind::Sandbox, "record the start".to_owned());
                            self.feed(id, Input::NotBegun { kind, step, message });
                        }
                    },
                    effect => self.carry_out(effect),
                }
            }
        }
        if self.parts.table.wants_compaction()
            && let Err(error) = self.parts.table.compact(self.parts.machine.table())
        {
            tracing::error!("cannot shorten the table: {error}");
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            // Done above.
            Effect::Record(_) | Effect::Begin(_) => {}
            Effect::Unqueue(id) => {
                self.specs.remove(&id);
                self.hooks.cancel(id);
                self.queue.retain(|queued| *queued != id);
            }
            Effect::Watch(id) => {
                if let Some((serial, _)) = self.live.by_id(id) {
                    self.watch(serial);
                }
            }
            Effect::Signal(id, signal) => {
                if let Some((_, live)) = self.live.by_id(id)
                    && !live.reaped
                {
                    self.parts.host.signal(&live.begun, signal);
                }
            }
            Effect::Kill(id) => {
                if let Some((_, live)) = self.live.by_id(id) {
                    self.parts.host.kill(&mut live.begun);
                }
            }
            Effect::Empty(id) => {
                if let Some((serial, _)) = self.live.by_id(id) {
                    self.empty(serial);
                }
            }
            Effect::Drop(id) => drop(self.live.remove(id)),
            Effect::ReleasePod(uid) => {
                self.parts.host.release_pod(uid);
                self.drop_memories();
            }
            Effect::Tell(event) => {
                if let Some(client) = &mut self.client {
                    client.tell(event);
                }
            }
        }
    }
}
