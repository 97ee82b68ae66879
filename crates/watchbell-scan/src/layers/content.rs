//! A file's bytes, or the pieces of a large one that matter.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, PoisonError};

use super::{CONTENT_BYTES_MAX, HEAD_BYTES, PROGRAM_BYTES_MAX, WHOLE_BYTES_MAX, Want};
use crate::elf;

/// What is kept of the start and of the end of a large program.
const START_BYTES: u64 = 4 << 20;
const END_BYTES: u64 = 8 << 20;

/// Bytes of a file: all, or pieces of it.
#[derive(Clone, Debug, Default)]
pub struct FileContent {
    size: u64,
    /// In order, apart from each other.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

impl FileContent {
    /// A whole file that lies in memory.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { size: bytes.len() as u64, pieces: vec![Piece { offset: 0, bytes }] }
    }

    /// Bytes of the file, whatever is here of it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All of it, unless it was larger than what was wanted allows.
    pub fn whole(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] if self.size == 0 => Some(&[]),
            [Piece { offset: 0, bytes }] if bytes.len() as u64 == self.size => Some(bytes),
            _ => None,
        }
    }

    /// `length` bytes from `offset` on, if they are here.
    pub fn range(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let rest = self.from(offset)?;
        rest.get(..usize::try_from(length).ok()?)
    }

    /// Everything from `offset` to the end of the piece that it lies in.
    pub fn from(&self, offset: u64) -> Option<&[u8]> {
        let piece = self.pieces.iter().rfind(|p| p.offset <= offset)?;
        piece.bytes.get(usize::try_from(offset - piece.offset).ok()?..)
    }
}

/// Which parts of a file are to be kept: ranges in order, apart from each other.
fn plan(size: u64, head: &[u8], want: Want) -> Vec<(u64, u64)> {
    let whole_max = if want == Want::Whole { WHOLE_BYTES_MAX } else { PROGRAM_BYTES_MAX };
    if size <= whole_max {
        return vec![(0, size)];
    }
    if want == Want::Whole && !elf::is_elf(head) {
        return vec![(0, (HEAD_BYTES as u64).min(size))];
    }
    let mut ranges = vec![(0, START_BYTES), (size.saturating_sub(END_BYTES), END_BYTES)];
    ranges.extend(elf::wanted_ranges(head));
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (offset, length) in ranges {
        let end = offset.saturating_add(length).min(size);
        if offset >= end {
            continue;
        }
        match merged.last_mut() {
            Some((start, length)) if offset <= *start + *length => *length = (end - *start).max(*length),
            _ => merged.push((offset, end - offset)),
        }
    }
    merged
}

/// Reads what is wanted of a file whose first bytes are `head`; `rest` goes on behind them. Returns with the contents what must
/// be held as long as they are.
pub(super) fn read<'b>(
    size: u64,
    head: &[u8],
    rest: &mut impl Read,
    want: Want,
    budget: &'b Budget,
    buffer: Vec<u8>,
) -> io::Result<(FileContent, Option<Held<'b>>)> {
    let plan = plan(size, head, want);
    let total: u64 = plan.iter().map(|(_, length)| length).sum();
    let held = (total > PROGRAM_BYTES_MAX).then(|| budget.take(total));
    let mut pieces = Vec::with_capacity(plan.len());
    let mut position = head.len() as u64;
    let mut reusable = Some(buffer);
    for (offset, length) in plan {
        let mut bytes = reusable.take().unwrap_or_default();
        bytes.clear();
        // Every plan begins with the start of the file.
        let known = if offset == 0 { &head[..head.len().min(length as usize)] } else { &[][..] };
        bytes.extend_from_slice(known);
        if offset > position {
            skip(rest, offset - position)?;
            position = offset;
        }
        let wanted = length - known.len() as u64;
        bytes.reserve_exact(usize::try_from(wanted).map_err(io::Error::other)?);
        let n = rest.by_ref().take(wanted).read_to_end(&mut bytes)? as u64;
        if n != wanted {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file ends before the size it states",
            ));
        }
        position += n;
        pieces.push(Piece { offset, bytes });
    }
    Ok((FileContent { size, pieces }, held))
}

fn skip(source: &mut impl Read, bytes: u64) -> io::Result<()> {
    let n = io::copy(&mut source.by_ref().take(bytes), &mut io::sink())?;
    if n == bytes {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file ends before the size it states"))
    }
}

impl FileContent {
    /// The memory of the first piece, to be used again.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.pieces.into_iter().next().map(|p| p.bytes).unwrap_or_default()
    }
}

/// What all threads together may hold of large contents. Each thread holds one at a time, so that nobody waits forever.
pub(super) struct Budget {
    left: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: Mutex::new(CONTENT_BYTES_MAX), freed: Condvar::new() }
    }

    fn take(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(CONTENT_BYTES_MAX);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left =
            self.freed.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Held { budget: self, bytes }
    }
}

/// A part of the budget, given back when it goes.
pub(super) struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_kept_in_pieces() {
        let size = WHOLE_BYTES_MAX + 1;
        let budget = Budget::new();
        let read =
            |want| read(size, &[7; HEAD_BYTES], &mut io::repeat(1), want, &budget, Vec::new()).unwrap();
        let (content, held) = read(Want::Program);
        assert!(content.whole().is_none() && held.is_none());
        assert_eq!(content.range(0, 2), Some(&[7, 7][..]));
        assert_eq!(content.range(START_BYTES - 1, 1), Some(&[1][..]));
        assert_eq!(content.range(START_BYTES, 1), None);
        assert_eq!(content.range(size - 2, 2), Some(&[1, 1][..]));
        assert_eq!(content.range(size - 2, 3), None);
        let (content, _) = read(Want::Whole);
        assert!(content.whole().is_none(), "it is larger than what is given whole");
    }

    #[test]
    fn what_ends_early_is_an_error() {
        for want in [Want::Program, Want::Whole] {
            let budget = Budget::new();
            let read = read(100, b"abc", &mut &b"def"[..], want, &budget, Vec::new());
            assert_eq!(read.err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn threads_hold_no_more_than_the_budget_together() {
        use std::sync::atomic::{AtomicU64, Ordering};
        let (budget, held, most) = (Budget::new(), AtomicU64::new(0), AtomicU64::new(0));
        let bytes = CONTENT_BYTES_MAX / 3 + 1;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let part = budget.take(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(part);
                    }
                });
            }
        });
        assert!(most.into_inner() <= CONTENT_BYTES_MAX);
        assert_eq!(*budget.left.lock().unwrap(), CONTENT_BYTES_MAX);
    }

    #[test]
    fn the_budget_is_given_back() {
        let budget = Budget::new();
        for _ in 0..3 {
            drop(budget.take(u64::MAX));
        }
        assert_eq!(*budget.left.lock().unwrap(), CONTENT_BYTES_MAX);
    }
}
