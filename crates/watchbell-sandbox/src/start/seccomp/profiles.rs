//! Profiles that were compiled: once each, by their content, and shared by all tasks that have them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::kernel::Instruction;
use super::profile::{TooLong, compile};
use crate::SeccompProfile;
use crate::syscalls::Arch;

/// Programs that are kept: a machine has few profiles, and a server that sends ever new ones costs no more memory than this.
pub(super) const KEPT_MAX: usize = 64;

/// A filter ready to be loaded.
pub(in crate::start) type Filter = Arc<[Instruction]>;

#[derive(Default)]
pub(in crate::start) struct Profiles {
    compiled: HashMap<SeccompProfile, Filter>,
    oldest_first: VecDeque<SeccompProfile>,
}

impl Profiles {
    pub(in crate::start) fn get(&mut self, profile: &SeccompProfile) -> Result<Filter, TooLong> {
        if let Some(filter) = self.compiled.get(profile) {
            return Ok(filter.clone());
        }
        let filter: Filter = compile(profile, Arch::NATIVE)?.into();
        if self.oldest_first.len() >= KEPT_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.compiled.remove(&oldest);
        }
        self.oldest_first.push_back(profile.clone());
        self.compiled.insert(profile.clone(), filter.clone());
        Ok(filter)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.compiled.len()
    }
}
