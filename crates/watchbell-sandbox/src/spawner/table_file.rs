//! Appends records to the table's file and keeps it short.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::record::{self, BOOT_ID, Loaded, Record};
use crate::{TableEntry, UnixNanos};

const NAME: &str = "spawner.table";
const NEXT: &str = "spawner.table.next";
/// Room taken ahead, so that the ends of runs can still be written when tasks or logs have filled the disk.
const AHEAD: u64 = 1 << 20;
/// Below this nothing is gained by rewriting.
const COMPACT_MIN: u64 = 1 << 20;

pub(crate) struct TableFile {
    dir: OwnedFd,
    boot_id: [u8; BOOT_ID],
    file: File,
    length: u64,
    /// `length` right after the last rewrite.
    compacted: u64,
    taken: u64,
    pending: Vec<u8>,
}

impl TableFile {
    /// Reads the table that a spawner before this one left, and goes on with its open accounts closed.
    pub(crate) fn open(dir: OwnedFd, now: UnixNanos) -> io::Result<(Self, Loaded)> {
        let boot_id = boot_id()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let loaded = match openat(&dir, NAME, flags, Mode::empty()) {
            Ok(fd) => {
                let mut bytes = Vec::new();
                File::from(fd).read_to_end(&mut bytes)?;
                record::load(&bytes, &boot_id, now)
                    .map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?
            }
            Err(Errno::NOENT) => Loaded::default(),
            Err(error) => return Err(error.into()),
        };
        let (file, length) = write_whole(dir.as_fd(), &boot_id, loaded.entries.iter().cloned())?;
        let mut table = Self { dir, boot_id, file, length, compacted: length, taken: 0, pending: Vec::new() };
        table.take_ahead();
        Ok((table, loaded))
    }

    pub(crate) fn push(&mut self, record: &Record) {
        record::append(&mut self.pending, record);
    }

    /// Writes what was pushed. After an error it still waits, and the next call tries again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.pending.drain(..written);
                    self.length += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.length + AHEAD / 2 > self.taken {
            self.take_ahead();
        }
        Ok(())
    }

    /// Drops what was pushed and not written: the run it speaks of was refused.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.length > COMPACT_MIN.max(self.compacted * 4)
    }

    /// Rewrites the file with the live entries alone.
    pub(crate) fn compact(&mut self, entries: impl Iterator<Item = TableEntry>) -> io::Result<()> {
        let written = write_whole(self.dir.as_fd(), &self.boot_id, entries);
        // Success or not, do not try again at each turn.
        self.compacted = self.length;
        let (file, length) = written?;
        (self.file, self.length, self.compacted, self.taken) = (file, length, length, 0);
        // All of the present is in the new file, what waited included.
        self.pending.clear();
        self.take_ahead();
        Ok(())
    }

    fn take_ahead(&mut self) {
        // Some file systems cannot; then a full disk refuses starts a little earlier.
        if fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, AHEAD).is_ok() {
            self.taken = self.length + AHEAD;
        } else {
            self.taken = self.length + AHEAD / 2;
        }
    }
}

fn write_whole(
    dir: rustix::fd::BorrowedFd<'_>,
    boot_id: &[u8; BOOT_ID],
    entries: impl Iterator<Item = TableEntry>,
) -> io::Result<(File, u64)> {
    let mut bytes = record::header(boot_id);
    for entry in entries {
        record::append(&mut bytes, &as_record(entry));
    }
    // One that was left half written is not trusted, and not followed.
    match unlinkat(dir, NEXT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, NEXT, flags, Mode::from(0o600))?);
    file.write_all(&bytes)?;
    renameat(dir, NEXT, dir, NAME)?;
    Ok((file, bytes.len() as u64))
}

fn as_record(entry: TableEntry) -> Record {
    match entry {
        TableEntry::Starting { id } => Record::Asked { id, at: 0 },
        TableEntry::Running { id, pid, started_at } => Record::Running { id, pid, at: started_at },
        TableEntry::Failed(failure) => Record::Failed(failure),
        TableEntry::Exited(record) => Record::Exited(record),
    }
}

fn boot_id() -> io::Result<[u8; BOOT_ID]> {
    let text = std::fs::read("/proc/sys/kernel/random/boot_id")?;
    text.first_chunk::<BOOT_ID>()
        .copied()
        .ok_or_else(|| io::Error::other("/proc/sys/kernel/random/boot_id is not a boot id"))
}
