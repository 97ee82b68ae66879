//! `DIR/reserve`: disk space held back, so that deletes still work when the disk is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::Error;
use crate::directory::{RESERVE, remove};
use crate::error::is_full;

/// Whether the reserve is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveState {
    Held,
    /// Given to a batch on a full disk, or never filled, in part or whole. [`crate::Store::refill_reserve`] takes it back when
    /// there is room.
    Released,
}

/// What is taken at least, as a file system gives space.
const PIECE_BYTES: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, bytes: u64) -> Reserve {
        Reserve { path: dir.join(RESERVE), bytes }
    }

    fn held_bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |meta| meta.len())
    }

    /// Held when all of it is.
    pub(crate) fn state(&self) -> ReserveState {
        if self.held_bytes() >= self.bytes { ReserveState::Held } else { ReserveState::Released }
    }

    /// Gives the space back to the disk. Returns whether there was any.
    pub(crate) fn release(&self) -> Result<ReserveState, Error> {
        let before = if self.held_bytes() > 0 { ReserveState::Held } else { ReserveState::Released };
        remove(&self.path)?;
        Ok(before)
    }

    /// Takes the space, or what is missing of it. A disk too full for that is no error: the answer says so, and others have what
    /// there is.
    pub(crate) fn refill(&self) -> Result<ReserveState, Error> {
        self.take(Part::Whole)
    }

    /// The same after a use: as far as there is room. What others have they use up, and it would be missed the next time.
    pub(crate) fn take_back(&self) -> Result<ReserveState, Error> {
        self.take(Part::Any)
    }

    fn take(&self, part: Part) -> Result<ReserveState, Error> {
        if self.state() == ReserveState::Held {
            return Ok(ReserveState::Held);
        }
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        match opened
            .and_then(|file| fill(&file, self.bytes, part))
            .map_err(|e| Error::of_io("fill the reserve", &self.path, e))
        {
            Ok(()) => {}
            // Not even the name has room.
            Err(Error::DiskFull { .. }) => {}
            Err(other) => return Err(other),
        }
        if self.held_bytes() == 0 {
            remove(&self.path)?;
        }
        Ok(self.state())
    }
}

/// Of what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Any,
}

/// Makes the file `bytes` long, or with [`Part::Any`] as long as there is room: half as much is tried again, down to a piece.
fn fill(file: &File, bytes: u64, part: Part) -> io::Result<()> {
    let mut held = file.metadata()?.len();
    let mut more = bytes.saturating_sub(held);
    while more > 0 {
        match extend(file, held, more) {
            Ok(()) => {
                held += more;
                more = more.min(bytes.saturating_sub(held));
            }
            Err(error) if is_full(&error) => {
                // What was begun of it.
                file.set_len(held)?;
                more = if part == Part::Any { more / 2 / PIECE_BYTES * PIECE_BYTES } else { 0 };
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// ZFS says that there is room and sets nothing aside, which docs/bounds.md tells.
fn extend(mut file: &File, from: u64, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), from, bytes) {
        // A file system without fallocate gives the space to written bytes alone.
        Err(Errno::OPNOTSUPP) => {
            file.seek(SeekFrom::Start(from))?;
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            file.sync_all()
        }
        other => Ok(other?),
    }
}
