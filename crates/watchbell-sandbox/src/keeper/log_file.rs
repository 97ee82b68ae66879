//! The log of one run on disk: made at the first byte, rotated by size, never above its bounds.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, ftruncate, mkdirat, openat, openat2, renameat,
    unlinkat,
};
use rustix::io::Errno;

use super::cri::{RecordEnd, Records};
use crate::LogTarget;

/// The directory is the keeper's, but nothing says that nobody else ever wrote there: no name leads out of it, and no
/// symbolic link is followed.
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

pub(crate) struct LogFile {
    target: LogTarget,
    file: Option<File>,
    /// Bytes of the current file.
    length: u64,
    /// Bytes of the task in each file that is kept, the current one first. Empty: nothing was written yet.
    held: VecDeque<u64>,
    dropped: u64,
    /// A failure was reported; one line in the keeper's own log is enough for a disk that is full.
    reported: bool,
}

impl LogFile {
    pub(crate) fn new(target: LogTarget) -> Self {
        Self { target, file: None, length: 0, held: VecDeque::new(), dropped: 0, reported: false }
    }

    /// Bytes of the task that the log does not hold.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    /// Gives the descriptor back; the next write opens the file again.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// Writes whole records, in as few calls as rotation allows. What cannot be written is counted, never waited for.
    pub(crate) fn write(&mut self, root: BorrowedFd<'_>, records: &Records) -> io::Result<()> {
        let (mut start, mut first, mut failure) = (0, 0, None);
        while first < records.ends.len() {
            if let Err(error) = self.open(root) {
                self.drop_records(&records.ends[first..]);
                return Err(error);
            }
            let room = self.target.max_bytes.saturating_sub(self.length);
            let mut next = first;
            while next < records.ends.len() && (records.ends[next].at - start) as u64 <= room {
                next += 1;
            }
            if next == first {
                if self.length > 0 {
                    if let Err(error) = self.rotate(root) {
                        self.drop_records(&records.ends[first..]);
                        return Err(error);
                    }
                    continue;
                }
                // Longer than a whole file may be: it gets one of its own.
                next += 1;
            }
            let group = &records.ends[first..next];
            let end = records.ends[next - 1].at;
            if let Err(error) = self.append(&records.bytes[start..end], start, group) {
                failure = Some(error);
            }
            (start, first) = (end, next);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether this failure is the first of its run.
    pub(crate) fn first_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }

    fn append(&mut self, mut bytes: &[u8], start: usize, group: &[RecordEnd]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut written = 0;
        let result = loop {
            if bytes.is_empty() {
                break Ok(());
            }
            match file.write(bytes) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    written += n;
                    bytes = &bytes[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = group.iter().take_while(|record| record.at - start <= written).count();
        let whole_bytes = whole.checked_sub(1).map_or(0, |last| group[last].at - start);
        self.length += whole_bytes as u64;
        if whole_bytes < written {
            // Half a record would spoil the line that is written once there is room again.
            let _ = ftruncate(&*file, self.length);
        }
        let held: u64 = group[..whole].iter().map(|record| u64::from(record.task_bytes)).sum();
        if let Some(current) = self.held.front_mut() {
            *current += held;
        }
        self.drop_records(&group[whole..]);
        result
    }

    fn drop_records(&mut self, records: &[RecordEnd]) {
        self.dropped += records.iter().map(|record| u64::from(record.task_bytes)).sum::<u64>();
    }

    /// Opens or makes the file, if it is not open.
    pub(crate) fn open(&mut self, root: BorrowedFd<'_>) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let file = match open_log(root, &self.target.path) {
            Err(Errno::NOENT) => {
                make_parents(root, &self.target.path)?;
                open_log(root, &self.target.path)?
            }
            other => other?,
        };
        let stat = fstat(&file)?;
        // O_NONBLOCK kept a FIFO from stopping us; a hard link would let us write elsewhere.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::other("it is not a plain file of its own"));
        }
        self.length = u64::try_from(stat.st_size).unwrap_or(0);
        if self.held.is_empty() {
            // What another keeper wrote before it died: the size is the best that is known.
            self.held.push_front(self.length);
        }
        self.file = Some(File::from(file));
        Ok(())
    }

    /// `<path>` becomes `<path>.1`, that becomes `<path>.2` …; what falls off the end is counted.
    fn rotate(&mut self, root: BorrowedFd<'_>) -> io::Result<()> {
        self.file = None;
        let parent = match self.target.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => open_dir(root, parent)?,
            _ => open_dir(root, Path::new("."))?,
        };
        let name = PathBuf::from(self.target.path.file_name().unwrap_or_default());
        let numbered = |n: u32| {
            let mut numbered = name.clone().into_os_string();
            if n > 0 {
                numbered.push(format!(".{n}"));
            }
            numbered
        };
        let last = self.target.max_files - 1;
        match unlinkat(&parent, numbered(last), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        for n in (0..last).rev() {
            match renameat(&parent, numbered(n), &parent, numbered(n + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.held.push_front(0);
        while self.held.len() > self.target.max_files as usize {
            self.dropped += self.held.pop_back().unwrap_or(0);
        }
        self.length = 0;
        Ok(())
    }
}

fn open_log(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::from(0o640), INSIDE)
}

fn open_dir(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    openat2(root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), INSIDE)
}

fn make_parents(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let mut dir = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in path.parent().into_iter().flat_map(Path::components) {
        match mkdirat(&dir, name.as_os_str(), Mode::from(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        dir = open_dir(dir.as_fd(), Path::new(name.as_os_str()))?;
    }
    Ok(())
}
