//! The pipes between a container's streams and those who read and write them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::pipe::{PipeFlags, pipe_with};

use super::ids::IdRange;
use crate::RunSpec;

/// Both ends of a pipe whose inner one the task may open again by /dev/stdout, whoever it is.
pub(super) fn output(ids: &IdRange, spec: &RunSpec) -> io::Result<(OwnedFd, OwnedFd)> {
    let (outer, inner) = pipe_with(PipeFlags::CLOEXEC)?;
    let (uid, gid) = (ids.first + spec.uid, ids.first + spec.gid);
    fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(&inner, Mode::from(0o600))?;
    Ok((outer, inner))
}

/// As [`output`], the other way: the writing end comes first.
pub(super) fn input(ids: &IdRange, spec: &RunSpec) -> io::Result<(OwnedFd, OwnedFd)> {
    let (inner, outer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (uid, gid) = (ids.first + spec.uid, ids.first + spec.gid);
    fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(&inner, Mode::from(0o600))?;
    Ok((outer, inner))
}
