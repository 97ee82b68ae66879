//! The descriptors of runs that are not over, found by serial number from the event loop and by id from the machine.

use std::collections::HashMap;

use crate::start::Begun;
use crate::{ContainerId, LogTarget, RunSpec};

/// A begun run.
pub(crate) struct Live {
    pub(crate) id: ContainerId,
    pub(crate) begun: Begun,
    pub(crate) target: LogTarget,
    /// Who it is, for processes that enter it later.
    pub(crate) spec: Box<RunSpec>,
    /// What its first steps reported is known.
    pub(crate) settled: bool,
    pub(crate) executed: bool,
    pub(crate) reaped: bool,
    /// It was executed and its log is not complete.
    pub(crate) watched: bool,
    /// The keeper that is there now has its outputs.
    pub(crate) handed: bool,
    /// How often in a row they could not be handed over.
    pub(crate) handing_failures: u32,
}

impl Live {
    pub(crate) fn is_running(&self) -> bool {
        self.executed && !self.reaped
    }
}

#[derive(Default)]
pub(crate) struct LiveRuns {
    by_serial: HashMap<u64, Live>,
    serials: HashMap<ContainerId, u64>,
    last: u64,
}

impl LiveRuns {
    /// Serial numbers are never used twice: an event that is late finds nothing.
    pub(crate) fn insert(&mut self, live: Live) -> u64 {
        self.last += 1;
        self.serials.insert(live.id, self.last);
        self.by_serial.insert(self.last, live);
        self.last
    }

    pub(crate) fn get(&mut self, serial: u64) -> Option<&mut Live> {
        self.by_serial.get_mut(&serial)
    }

    pub(crate) fn by_id(&mut self, id: ContainerId) -> Option<(u64, &mut Live)> {
        let serial = *self.serials.get(&id)?;
        Some((serial, self.by_serial.get_mut(&serial)?))
    }

    pub(crate) fn remove(&mut self, id: ContainerId) -> Option<Live> {
        self.by_serial.remove(&self.serials.remove(&id)?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_serial.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Live)> {
        self.by_serial.iter().map(|(serial, live)| (*serial, live))
    }
}
