//! `DIR/reserve`: disk space held back, so that deletes still work when the disk is full.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::Error;
use crate::directory::{RESERVE, remove};

/// Whether the reserve is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveState {
    Held,
    /// Given to a batch on a full disk, or never filled. [`crate::Store::refill_reserve`] takes it back when there is room.
    Released,
}

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, bytes: u64) -> Reserve {
        Reserve { path: dir.join(RESERVE), bytes }
    }

    pub(crate) fn state(&self) -> ReserveState {
        match self.path.metadata() {
            Ok(meta) if meta.len() >= self.bytes => ReserveState::Held,
            _ => ReserveState::Released,
        }
    }

    /// Gives the space back to the disk. Returns whether there was any.
    pub(crate) fn release(&self) -> Result<ReserveState, Error> {
        let before = self.state();
        remove(&self.path)?;
        Ok(before)
    }

    /// Takes the space. A disk too full for it is no error: the answer says so, and nothing stays half taken.
    pub(crate) fn refill(&self) -> Result<ReserveState, Error> {
        if self.state() == ReserveState::Held {
            return Ok(ReserveState::Held);
        }
        let filled = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|file| match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
                // A file system without fallocate gives the space to written bytes alone.
                Err(Errno::OPNOTSUPP) => fill(file, self.bytes),
                other => Ok(other?),
            })
            .map_err(|e| Error::of_io("fill the reserve", &self.path, e));
        match filled {
            Ok(()) => Ok(ReserveState::Held),
            Err(Error::DiskFull { .. }) => {
                remove(&self.path)?;
                Ok(ReserveState::Released)
            }
            Err(other) => Err(other),
        }
    }
}

fn fill(mut file: std::fs::File, bytes: u64) -> std::io::Result<()> {
    use std::io::Read;
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut file)?;
    file.sync_all()
}
