//! Containers by themselves: a process that waits, or one that is cloned now, gets its task. See [`super::ahead`].

use std::io;

use super::ahead::Waiting;
use super::cgroup::Memory;
use super::cloner::{Cloner, Known};
use super::ids::IdRange;
use super::modes::ExactModes;
use super::plan::Basis;
use super::{Begun, Cgroup, Failure, Host, failed, mounts, pipes, settle};
use crate::{HostNamespaces, RunSpec, Sharing};

impl Host {
    /// Makes one more process that waits for a task, as long as too few do.
    pub(crate) fn prepare(&mut self) {
        // One at a time, and nobody is kept waiting for it: the next round asks again.
        let is_busy = || self.cloner.as_ref().is_some_and(|cloner| !cloner.has_answered());
        if !self.ahead.is_short() || self.ahead.is_asking() && is_busy() {
            return;
        }
        if !self.ids.has_room() {
            return self.ahead.be_content();
        }
        let _modes = ExactModes::begin();
        let made = self.ids.lease().and_then(|ids| {
            let cgroup = self.cgroups.lease();
            match cgroup.and_then(|cgroup| self.ask(&ids, cgroup, self.ahead.basis)) {
                Ok(waiting) => Ok((ids, waiting)),
                Err(error) => {
                    self.ids.give_back(ids);
                    Err(error)
                }
            }
        });
        match made {
            Ok((ids, waiting)) => self.ahead.push(ids, waiting),
            Err(error) => {
                tracing::warn!("cannot make a process ahead of its task: {error}");
                self.ahead.be_content();
            }
        }
    }

    /// Whether [`Host::prepare`] has something to do at once.
    pub(crate) fn is_short(&self) -> bool {
        self.ahead.is_short() && !self.ahead.is_asking()
    }

    /// Ends the processes that wait: no task came for long.
    pub(crate) fn want_none(&mut self) {
        self.ahead.want_none();
        self.settle_ahead();
        while let Some((ids, waiting)) = self.ahead.pop() {
            self.give_up(ids, waiting);
        }
    }

    fn give_up(&mut self, ids: IdRange, waiting: Waiting) {
        self.cgroups.give_back(waiting.discard(), Memory::Ended);
        self.ids.give_back(ids);
    }

    /// Asks for a process that waits. A cloner that somebody killed is started anew, once.
    fn ask(&mut self, ids: &IdRange, cgroup: Cgroup, basis: Basis) -> io::Result<Waiting> {
        for _ in 0..2 {
            self.settle_ahead();
            let known = Known {
                views: self.cgroups.views(),
                landlock: self.landlock,
                command_line: self.command_line,
            };
            let cloner = match &self.cloner {
                Some(cloner) => cloner,
                None => match Cloner::start(&self.bare, &known) {
                    Ok(cloner) => self.cloner.insert(cloner),
                    Err(error) => {
                        self.cgroups.give_back(cgroup, Memory::Ended);
                        return Err(error);
                    }
                },
            };
            match Waiting::ask(cloner, ids, &cgroup, basis) {
                Ok(line) => return Ok(Waiting::new(cgroup, basis, line)),
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => self.cloner = None,
                Err(error) => {
                    self.cgroups.give_back(cgroup, Memory::Ended);
                    return Err(error);
                }
            }
        }
        self.cgroups.give_back(cgroup, Memory::Ended);
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "the process that clones does not stay"))
    }

    /// Hears of what was asked for last, which has to be before anything else is asked for.
    fn settle_ahead(&mut self) {
        let Some(cloner) = &self.cloner else { return };
        if let Some((error, ids, cgroup)) = self.ahead.settle(cloner) {
            tracing::warn!("a process made ahead of its task is gone: {error}");
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.cloner = None;
            }
            self.cgroups.give_back(cgroup, Memory::Ended);
            self.ids.give_back(ids);
        }
    }

    /// The ids of a pod that begins, with a process that waits for its task if there is one that fits.
    pub(super) fn lease_ids(&mut self, spec: &RunSpec) -> io::Result<(IdRange, Option<Waiting>)> {
        let pod = &spec.pod;
        if pod.host_namespaces.users {
            return Ok((IdRange::of_host(), None));
        }
        let is_single = pod.sharing == Sharing::Single && spec.extras.runtime.is_none();
        if is_single && pod.host_namespaces == HostNamespaces::default() {
            let basis = Basis::of(spec);
            loop {
                // Who is there needs no word of who was asked for since.
                if !self.ahead.has_settled(basis) {
                    self.settle_ahead();
                }
                let Some((ids, waiting)) = self.ahead.take(basis) else { break };
                if waiting.is_fit() {
                    return Ok((ids, Some(waiting)));
                }
                self.give_up(ids, waiting);
            }
            // Those that wait are for another kind of task; the next ones will be for this.
            if !self.ahead.is_short()
                && let Some((ids, waiting)) = self.ahead.pop()
            {
                self.give_up(ids, waiting);
            }
        }
        if !self.ids.has_room() {
            self.want_none();
        }
        Ok((self.ids.lease()?, None))
    }

    /// Starts a container by itself.
    pub(super) fn begin_single(
        &mut self,
        spec: &RunSpec,
        waiting: Option<Waiting>,
    ) -> Result<Begun, Failure> {
        let mut waiting = match waiting {
            Some(waiting) => waiting,
            None => {
                let leased = self.cgroups.lease();
                self.clone_waiting(spec, leased)?
            }
        };
        if let Err(error) = self.cgroups.limit(&mut waiting.cgroup, &spec.limits) {
            // Memory that outlived the run before may be more than this one's limit: a fresh group has none.
            tracing::debug!("a control group is made anew: {error}");
            self.cgroups.give_back(waiting.discard(), Memory::MayStay);
            let leased = self.cgroups.lease_new();
            waiting = self.clone_waiting(spec, leased)?;
            if let Err(error) = self.cgroups.limit(&mut waiting.cgroup, &spec.limits) {
                self.cgroups.give_back(waiting.discard(), Memory::MayStay);
                return Err(failed("limit", &spec.name, &error));
            }
        }
        match self.hand_over(spec, &mut waiting) {
            Ok(held) => {
                let parts = waiting.into_parts();
                let (pid, pidfd, cgroup) =
                    parts.map_err(|e| failed("find the process of", &spec.name, &e))?;
                Ok(Begun { cgroup: Some(cgroup), ..held.begun(spec, pid, pidfd) })
            }
            Err(failure) => {
                self.cgroups.give_back(waiting.discard(), Memory::Ended);
                Err(failure)
            }
        }
    }

    fn hand_over(&mut self, spec: &RunSpec, waiting: &mut Waiting) -> Result<pipes::Held, Failure> {
        waiting
            .pid()
            .and_then(|pid| settle(pid, spec))
            .map_err(|e| failed("prepare the process of", &spec.name, &e))?;
        let sys = waiting
            .cgroup
            .show(&mut self.stash, self.cgroups.views(), mounts::has_sysfs(spec))
            .map_err(|e| failed("mount the control group files of", &spec.name, &e))?;
        let outfit = self.outfit(spec, sys)?;
        let profile = self.profile(spec)?;
        let gone = || failed("find", "the pod", &io::ErrorKind::NotFound.into());
        let pod = self.pods.get(&spec.pod.uid).ok_or_else(gone)?;
        let (inner, held) = pipes::streams(&pod.ids, spec, self.trace(spec)?)?;
        waiting
            .hand_over(spec, profile.as_deref(), &outfit, &inner)
            .map_err(|e| failed("hand over the task of", &spec.name, &e))?;
        Ok(held)
    }

    /// A process for a pod that has its ids.
    fn clone_waiting(&mut self, spec: &RunSpec, leased: io::Result<Cgroup>) -> Result<Waiting, Failure> {
        let fault = |e: io::Error| failed("clone the process of", &spec.name, &e);
        let cgroup = leased.map_err(|e| failed("lease a control group for", &spec.name, &e))?;
        // Out of the map while the rest of the host is needed too.
        let Some(pod) = self.pods.remove(&spec.pod.uid) else {
            self.cgroups.give_back(cgroup, Memory::Ended);
            return Err(fault(io::ErrorKind::NotFound.into()));
        };
        let asked = self.ask(&pod.ids, cgroup, Basis::of(spec));
        self.pods.insert(spec.pod.uid, pod);
        let mut waiting = asked.map_err(fault)?;
        let heard = self.cloner.as_ref().map_or(Ok(()), |cloner| waiting.settle(cloner));
        if let Err(error) = heard {
            self.cgroups.give_back(waiting.discard(), Memory::Ended);
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.cloner = None;
            }
            return Err(fault(error));
        }
        Ok(waiting)
    }
}
