//! What images leave free on the disk: the journal, and pods that have nothing to do with them, live off it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;
use crate::Error;

/// How much of a transfer may come between two looks at the disk.
pub(crate) const LOOK_EVERY_BYTES: u64 = 8 << 20;

/// What one unpacking may take of the disk, at most: half of what is free and nobody's share. It is bounded beforehand, and given
/// back as a whole.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) bytes: u64,
    given: Arc<AtomicU64>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.given.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// The store, with so many bytes left free on the disk by what is pulled and unpacked. 0 looks at nothing.
    pub fn leaving_free(self, reserve_bytes: u64) -> Self {
        Self { reserve_bytes, ..self }
    }

    /// Whether there is room to pull and unpack in: as much again as is left free.
    pub fn has_room(&self) -> Result<bool, Error> {
        Ok(self.reserve_bytes == 0 || free(&self.images)? >= self.reserve_bytes.saturating_mul(2))
    }

    /// Refuses so many bytes more where they leave too little free.
    pub(crate) fn check_room(&self, of: &dyn std::fmt::Display, bytes: u64) -> Result<(), Error> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let free = free(&self.images)?;
        if free >= self.reserve_bytes.saturating_add(bytes) {
            return Ok(());
        }
        Err(self.no_room(of, format!("{bytes} more bytes are to come"), free))
    }

    /// A share for the unpacking of `of`.
    pub(crate) fn share(&self, of: &dyn std::fmt::Display) -> Result<Share, Error> {
        let given = self.given.clone();
        if self.reserve_bytes == 0 {
            return Ok(Share { bytes: 0, given });
        }
        let free = free(&self.layers)?;
        let share = |given: u64| free.saturating_sub(self.reserve_bytes).saturating_sub(given) / 2;
        let before = given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| {
            given.checked_add(share(given)).filter(|_| share(given) > 0)
        });
        match before {
            Ok(before) => Ok(Share { bytes: share(before), given }),
            Err(given) => Err(self.no_room(of, format!("{given} bytes are for others"), free)),
        }
    }

    pub(crate) fn no_room(&self, of: &dyn std::fmt::Display, why: String, free: u64) -> Error {
        Error::NoRoom { of: of.to_string(), why, free, reserve: self.reserve_bytes }
    }

    /// What the share does not allow is no fault of the image.
    pub(crate) fn too_large_for(&self, share: &Share, of: &dyn std::fmt::Display) -> Result<Error, Error> {
        Ok(self.no_room(
            of,
            format!("it unpacks to more than its share of {} bytes", share.bytes),
            free(&self.layers)?,
        ))
    }

    /// Bytes that an unpacking may take of the `bytes_max` that its image may.
    pub(crate) fn within(&self, share: &Share, bytes_max: u64) -> u64 {
        if self.reserve_bytes == 0 { bytes_max } else { bytes_max.min(share.bytes) }
    }
}

fn free(dir: &Path) -> Result<u64, Error> {
    let found =
        rustix::fs::statvfs(dir).map_err(|e| Error::io("see what the disk has left at", dir)(e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
