use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::store::Array;

/// Keeps what is staged within an array's quota without looking at every object each time.
pub(crate) struct Meter {
    quota_bytes: Option<u64>,
    /// What was used when it was last measured, and what was written since.
    known: Mutex<(Option<u64>, u64)>,
}

impl Meter {
    pub(crate) fn new(quota_bytes: Option<u64>) -> Self {
        Self { quota_bytes, known: Mutex::default() }
    }

    /// Says whether what was written, `bytes` more, is still within the quota. It is measured anew once a quarter of the room that
    /// was left is written, so that several who write at once go little beyond it; publication measures in any case.
    pub(crate) fn check(&self, array: &Array, bytes: u64) -> Result<(), Error> {
        let Some(quota) = self.quota_bytes else { return Ok(()) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.1 = known.1.saturating_add(bytes);
        let used = match known.0 {
            Some(used) if known.1 <= quota.saturating_sub(used) / 4 => used,
            _ => {
                let used = array.used_bytes()?;
                *known = (Some(used), 0);
                used
            }
        };
        if used > quota { Err(Error::Quota { bytes: used, quota }) } else { Ok(()) }
    }
}
