//! The doors of all pods, for who tells the gate of them.

use super::{DoorSockets, Host};

impl Host {
    /// The pods with a door.
    pub(crate) fn doors(&self) -> Vec<u128> {
        self.pods.keys().copied().filter(|uid| self.has_door(*uid)).collect()
    }

    pub(crate) fn has_door(&self, uid: u128) -> bool {
        self.door(uid).is_some()
    }

    pub(crate) fn door(&self, uid: u128) -> Option<&DoorSockets> {
        Some(&self.pods.get(&uid)?.shared.as_ref()?.door.as_ref()?.sockets)
    }

    /// Those that were opened since this was last asked.
    pub(crate) fn opened_doors(&mut self) -> Vec<u128> {
        let mut opened = std::mem::take(&mut self.opened);
        // Made anew within one turn, or gone again.
        opened.retain(|uid| {
            self.pods.get_mut(uid).is_some_and(|pod| !std::mem::replace(&mut pod.announced, true))
        });
        opened
    }

    /// Those that went since this was last asked.
    pub(crate) fn closed_doors(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.closed)
    }
}
