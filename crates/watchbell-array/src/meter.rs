use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::BorrowedFd;
use rustix::fs::{fstatfs, statvfs};

use crate::error::Error;
use crate::store::Array;

/// What the program that uses an array keeps it within, beside the array's own quota.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Of the disk that the array lies on: a copy that would leave less is given up.
    pub reserve_bytes: u64,
    /// Keys that a run may write, and that a snapshot may come to have by it: whoever publishes has all of them in memory.
    pub keys_max: Option<u64>,
    /// Once it is set, copies are given up.
    pub is_stopped: Arc<AtomicBool>,
}

impl Array {
    /// Says whether `bytes` more may be written to the disk: by whatever takes room that is not given back soon.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), Error> {
        self.check_free(bytes, self.limits.reserve_bytes)
    }

    /// The same for a manifest, for which half of the reserve is there: what was copied may have left no more than the reserve, and
    /// below it others make room, where at it nobody would.
    pub(crate) fn check_manifest_room(&self, bytes: u64) -> Result<(), Error> {
        self.check_free(bytes, self.limits.reserve_bytes / 2)
    }

    fn check_free(&self, bytes: u64, reserve: u64) -> Result<(), Error> {
        let is_stopped = &self.limits.is_stopped;
        if is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        if reserve > 0 {
            let disk = statvfs(&self.dir).map_err(Error::errno("measure the disk of", &self.dir))?;
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free.saturating_sub(bytes) < reserve {
                return Err(Error::Full { free, reserve });
            }
        }
        Ok(())
    }

    /// Says whether there may be so many keys.
    pub(crate) fn check_keys(&self, keys: u64) -> Result<(), Error> {
        match self.limits.keys_max {
            Some(max) if keys > max => Err(Error::TooManyKeys { keys, max }),
            _ => Ok(()),
        }
    }
}

/// Keeps what is staged within an array's quota and limits without looking at every object each time.
pub(crate) struct Meter {
    quota: Quota,
    known: Mutex<Known>,
}

enum Quota {
    /// As it is when something is taken: it may change while a run is at work.
    OfArray,
    Given(Option<u64>),
}

/// What was measured last.
#[derive(Default)]
struct Known {
    /// Bytes that were used, and the quota then.
    measured: Option<(u64, Option<u64>)>,
    /// Bytes since then.
    written: u64,
    /// The array's own quota when it was read last, and bytes since then.
    quota: Option<(Option<u64>, u64)>,
}

impl Meter {
    pub(crate) fn of_array() -> Self {
        Self { quota: Quota::OfArray, known: Mutex::default() }
    }

    pub(crate) fn within(quota_bytes: Option<u64>) -> Self {
        Self { quota: Quota::Given(quota_bytes), known: Mutex::default() }
    }

    /// Says whether `bytes` more may be written now. It is asked before each MiB of a copy.
    pub(crate) fn take(&self, array: &Array, bytes: u64) -> Result<(), Error> {
        /// To measure costs a look at every object, also when there is hardly room.
        const LEAST_BYTES: u64 = 8 << 20;
        array.check_room(bytes)?;
        self.count(array, bytes, LEAST_BYTES)
    }

    /// Says whether all that was taken is within the quota. It is measured anew once a quarter of the room that was left is
    /// written, so that several who write at once go little beyond it; publication measures in any case.
    pub(crate) fn check(&self, array: &Array) -> Result<(), Error> {
        self.count(array, 0, 0)
    }

    /// So much of what was taken is removed again.
    pub(crate) fn give_back(&self, bytes: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.written = known.written.saturating_sub(bytes);
    }

    /// Something that was counted is removed.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    fn count(&self, array: &Array, bytes: u64, least: u64) -> Result<(), Error> {
        /// To read it costs more than to write a small chunk.
        const READ_EVERY: u64 = 1 << 20;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = match (&self.quota, known.quota) {
            (Quota::Given(quota), _) => *quota,
            (Quota::OfArray, Some((quota, since)))
                if bytes > 0 && since.saturating_add(bytes) < READ_EVERY =>
            {
                known.quota = Some((quota, since.saturating_add(bytes)));
                quota
            }
            (Quota::OfArray, _) => {
                let quota = array.quota_bytes()?;
                known.quota = Some((quota, 0));
                quota
            }
        };
        known.written = known.written.saturating_add(bytes);
        let room = |used| quota.map_or(0, |quota| quota.saturating_sub(used) / 4);
        let used = match known.measured {
            Some((used, of)) if of == quota && known.written <= room(used).max(least) => used,
            _ => {
                // Without a bound nothing need be looked at.
                let used = quota.map_or(Ok(0), |_| array.used_bytes())?;
                (known.measured, known.written) = (Some((used, quota)), bytes);
                used
            }
        };
        match quota {
            Some(quota) if used > quota => Err(Error::Quota { bytes: used, quota }),
            _ => Ok(()),
        }
    }
}

/// A file in memory with holes is as long as it says and takes no memory: whoever writes it would have us write what it never
/// had. A compressing disk may hold little of an honest file, so that only a tmpfs is asked.
pub(crate) struct Holes {
    is_asked: bool,
    seen: AtomicU64,
    held: AtomicU64,
}

impl Holes {
    pub(crate) fn of(upper: BorrowedFd<'_>) -> Result<Self, Error> {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let of =
            fstatfs(upper).map_err(Error::errno("look at the file system of", &PathBuf::from("an upper")))?;
        Ok(Self {
            is_asked: of.f_type as u64 == TMPFS_MAGIC,
            seen: AtomicU64::new(0),
            held: AtomicU64::new(0),
        })
    }

    /// Of an index, before a file of it is read.
    pub(crate) fn see(&self, index: u32, file: &File) -> Result<(), Error> {
        /// A chunk that is all zeros may be a hole.
        const TIMES: u64 = 16;
        const LEAST_BYTES: u64 = 64 << 20;
        if !self.is_asked {
            return Ok(());
        }
        let of = file.metadata().map_err(Error::io("look at", &PathBuf::from("a file of an upper")))?;
        let bytes = self.seen.fetch_add(of.len(), Ordering::Relaxed).saturating_add(of.len());
        let here = of.blocks().saturating_mul(512);
        let held = self.held.fetch_add(here, Ordering::Relaxed).saturating_add(here);
        if bytes > held.saturating_mul(TIMES).saturating_add(LEAST_BYTES) {
            return Err(Error::Holes { index, bytes, held });
        }
        Ok(())
    }
}
