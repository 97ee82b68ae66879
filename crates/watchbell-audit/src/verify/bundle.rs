//! Up to 256 entries in the form of a bundle, and where each of them ends.

use crate::tile::{self, MAX_ENTRY_BYTES};

/// An entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

#[derive(Debug, Default)]
pub(super) struct Bundle {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bundle {
    /// # Errors
    /// The entry is longer than a bundle can say.
    pub(super) fn push(&mut self, entry: &[u8]) -> Result<(), TooLong> {
        if entry.len() > MAX_ENTRY_BYTES {
            return Err(TooLong);
        }
        tile::push_entry(&mut self.bytes, entry);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin + 2..*end])
    }

    /// The bytes of the first `width` entries, when there are so many.
    pub(super) fn begin(&self, width: u16) -> Option<&[u8]> {
        match width {
            0 => Some(&[]),
            _ => self.ends.get(usize::from(width) - 1).map(|end| &self.bytes[..*end]),
        }
    }
}
