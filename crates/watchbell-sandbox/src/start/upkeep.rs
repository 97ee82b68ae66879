//! What the spawner sees to between starts and ends: mounts that nobody uses any more, and runs that memory left half dead.

use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::{Begun, Host};

/// Mounts that are taken away in one turn: ends of tasks wait meanwhile.
const FORGOTTEN_AT_ONCE: usize = 16;

impl Host {
    /// Whether runs have to be looked at for [`Host::is_half_dead`].
    pub(crate) fn leaves_runs_half_dead(&self) -> bool {
        !self.cgroups.kills_whole_groups()
    }

    /// Whether a process of the run was killed for want of memory, and others of it were left.
    pub(crate) fn is_half_dead(begun: &Begun) -> bool {
        begun.cgroup.as_ref().is_some_and(Cgroup::has_lost_some)
    }

    /// Lets go of the roots that were kept for a next task and that none came for in so long: their layers may belong to images that
    /// are removed. `true`: there are more, and each costs a moment.
    pub(crate) fn forget_roots(&mut self, unused: Duration) -> bool {
        let Some(before) = Instant::now().checked_sub(unused) else { return false };
        let mut most = FORGOTTEN_AT_ONCE;
        for range in self.ids.idle().chain(self.ahead.ranges()) {
            range.roots.forget(before, false, &mut most);
        }
        // The last one of a pod is of the image that it runs.
        for pod in self.pods.values_mut() {
            pod.ids.roots.forget(before, true, &mut most);
        }
        most == 0
    }
}

/// Of a pid namespace of its own nothing is left once its first process is reaped, and newer kernels (6.19) only count a moment
/// later: a group that is killed is never used again, so it is looked at once more before.
pub(super) fn kills_what_is_left(own_pids: bool, looks: u32) -> bool {
    !own_pids || looks > 1
}

#[cfg(test)]
mod tests {
    use super::kills_what_is_left;

    #[test]
    fn what_has_pids_of_its_own_is_looked_at_twice_before_it_is_killed() {
        let looks = |own_pids: bool| [1, 2, 3].map(|looks| kills_what_is_left(own_pids, looks));
        assert_eq!((looks(true), looks(false)), ([false, true, true], [true, true, true]));
    }
}
