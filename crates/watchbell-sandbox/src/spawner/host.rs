//! Joins the loop to the part that starts containers, which follows: until then there is no host to open.

use std::os::fd::OwnedFd;

use super::args::SpawnerArgs;
use crate::{RunSpec, StartFailureKind, Usage};

/// None can exist yet.
pub(crate) enum Host {}

pub(crate) struct Failure {
    pub(crate) kind: StartFailureKind,
    pub(crate) step: String,
    pub(crate) message: String,
}

pub(crate) struct Begun {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

#[expect(dead_code, reason = "no host exists yet")]
pub(crate) enum Outcome {
    Waiting,
    Executed,
    Failed(Failure),
    Gone,
}

impl Host {
    pub(crate) fn open(_args: &SpawnerArgs) -> Result<Host, String> {
        Err("this build cannot start containers".to_owned())
    }

    pub(crate) fn begin(&mut self, _spec: &RunSpec) -> Result<Begun, Failure> {
        match *self {}
    }

    pub(crate) fn read_status(&mut self, _begun: &mut Begun) -> Outcome {
        match *self {}
    }

    pub(crate) fn kill(&mut self, _begun: &mut Begun) {
        match *self {}
    }

    pub(crate) fn signal(&mut self, _begun: &Begun, _signal: i32) {
        match *self {}
    }

    /// What it used and whether memory ran out, once nothing is in its cgroup.
    pub(crate) fn empty(&mut self, _begun: &mut Begun) -> Option<(Usage, bool)> {
        match *self {}
    }

    pub(crate) fn release_pod(&mut self, _uid: u128) {
        match *self {}
    }
}
