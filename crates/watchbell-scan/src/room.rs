//! How much of what a stranger's files tell is kept: one sum for all files of all layers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a list of texts takes in memory.
pub(crate) fn bytes_of(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len()).sum()
}

/// Bytes that are left, whoever takes them.
#[derive(Debug)]
pub(crate) struct Room {
    left: AtomicUsize,
    left_out: AtomicUsize,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes), left_out: AtomicUsize::new(0) }
    }

    /// Whether there is room for one thing more. What there is none for is counted.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if taken.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    pub(crate) fn left_out(&self) -> usize {
        self.left_out.load(Ordering::Relaxed)
    }
}
