//! The files of one log, in order, while the keeper rotates them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use watchbell_sandbox::trace_path;

use super::dir::LogDir;
use super::lines::header;

/// More files than any log is given.
const FILES_MAX: u32 = 1000;

pub(super) struct Files {
    dir: LogDir,
    /// Below the directory.
    base: PathBuf,
    /// Still to be read, oldest first.
    queue: VecDeque<File>,
    current: Option<File>,
    /// The current file is no longer written to: it was looked at again after its successor was seen.
    successor: Option<File>,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    /// The next bytes are another file's.
    NewFile,
    /// Nothing more for now.
    End,
}

impl Files {
    /// Opens the files that there are; `tail_lines` skips all but so many of the last lines.
    pub(super) fn open(dir: LogDir, base: PathBuf, tail_lines: Option<u64>) -> io::Result<Files> {
        let mut newest_first: Vec<File> = Vec::new();
        // From the newest on: a rotation meanwhile shows a file twice, and never hides one.
        for number in 0..=FILES_MAX {
            let Some(file) = dir.open(&numbered(&base, number))? else {
                if number == 0 {
                    // The keeper may be between two files.
                    continue;
                }
                break;
            };
            let id = identity(&file)?;
            let mut is_known = false;
            for known in &newest_first {
                is_known |= identity(known)? == id;
            }
            if !is_known {
                newest_first.push(file);
            }
        }
        if let Some(wanted) = tail_lines {
            skip_to_tail(&mut newest_first, wanted)?;
        }
        let mut queue: VecDeque<File> = newest_first.into_iter().rev().collect();
        let current = queue.pop_front();
        Ok(Files { dir, base, queue, current, successor: None })
    }

    /// Whether there was none.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        loop {
            let Some(current) = &mut self.current else {
                // Nothing was there when the log was opened.
                let newest = self.dir.open(&self.base)?;
                match newest.map_or_else(|| self.dir.open(&numbered(&self.base, 1)), |f| Ok(Some(f)))? {
                    Some(file) => self.current = Some(file),
                    None => return Ok(Got::End),
                }
                continue;
            };
            let n = current.read(buffer)?;
            if n > 0 {
                return Ok(Got::Bytes(n));
            }
            if let Some(next) = self.queue.pop_front().or_else(|| self.successor.take()) {
                self.current = Some(next);
                return Ok(Got::NewFile);
            }
            self.successor = successor(&self.dir, &self.base, &identity(current)?)?;
            if self.successor.is_none() {
                return Ok(Got::End);
            }
            // It may have grown between the read and the rotation.
        }
    }

    /// Where news of this log shows: the file, or the nearest directory that is there. With whether it is the file.
    pub(super) fn watched(&self) -> io::Result<(OwnedFd, bool)> {
        self.dir.watched(&self.base)
    }
}

/// Removes a log with all the files that it was rotated into, and its trace. What follows it reads on from what it has open.
pub(crate) fn remove(dir: &LogDir, base: &Path) -> io::Result<()> {
    let Some(folder) = dir.folder(base)? else { return Ok(()) };
    folder.remove(&trace_path(base))?;
    for number in 0..=FILES_MAX {
        if !folder.remove(&numbered(base, number))? && number > 0 {
            break;
        }
    }
    Ok(())
}

/// Bytes of all its files, and of its trace.
pub(crate) fn size(dir: &LogDir, base: &Path) -> io::Result<u64> {
    let Some(folder) = dir.folder(base)? else { return Ok(0) };
    let mut sum = folder.size(&trace_path(base))?.unwrap_or(0);
    for number in 0..=FILES_MAX {
        match folder.size(&numbered(base, number))? {
            Some(bytes) => sum += bytes,
            None if number > 0 => break,
            None => {}
        }
    }
    Ok(sum)
}

/// `base` for 0, `base.<n>` else.
fn numbered(base: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return base.to_owned();
    }
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

type Identity = (u64, u64);

fn identity(file: &File) -> io::Result<Identity> {
    let data = file.metadata()?;
    Ok((data.dev(), data.ino()))
}

/// The file that came after this one, if it was rotated away.
fn successor(dir: &LogDir, base: &Path, current: &Identity) -> io::Result<Option<File>> {
    let mut newer: Option<File> = None;
    for number in 0..=FILES_MAX {
        match dir.open(&numbered(base, number))? {
            Some(file) if identity(&file)? == *current => return Ok(newer),
            Some(file) => newer = Some(file),
            None if number == 0 => {}
            // It has been removed meanwhile: the oldest that is left comes next.
            None => return Ok(newer),
        }
    }
    Ok(newer)
}

/// Leaves the last `wanted` lines: drops files before them and moves to the first of them. A line in several partial
/// records counts once.
fn skip_to_tail(newest_first: &mut Vec<File>, wanted: u64) -> io::Result<()> {
    let mut left = wanted;
    for i in 0..newest_first.len() {
        let file = &mut newest_first[i];
        if left == 0 {
            if i == 0 {
                file.seek(SeekFrom::End(0))?;
            }
            newest_first.truncate(i.max(1));
            return Ok(());
        }
        let starts = line_starts(file, left)?;
        let count = starts.len() as u64;
        if count >= left {
            file.seek(SeekFrom::Start(starts[starts.len() - left as usize]))?;
            newest_first.truncate(i + 1);
            return Ok(());
        }
        file.seek(SeekFrom::Start(0))?;
        left -= count;
    }
    Ok(())
}

/// Where the last lines of a file begin, at most `most` of them.
fn line_starts(file: &mut File, most: u64) -> io::Result<VecDeque<u64>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut starts: VecDeque<u64> = VecDeque::new();
    let mut buffer = vec![0u8; 64 << 10];
    let mut head: Vec<u8> = Vec::new();
    let (mut at, mut record_at) = (0u64, 0u64);
    let mut continues = false;
    let mut end_record = |head: &mut Vec<u8>, record_at: u64, starts: &mut VecDeque<u64>| {
        if !continues {
            if starts.len() == most {
                starts.pop_front();
            }
            starts.push_back(record_at);
        }
        continues = header(head).is_some_and(|h| h.is_partial);
        head.clear();
    };
    file.seek(SeekFrom::Start(0))?;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == b'\n');
            let piece = &rest[..end.unwrap_or(rest.len())];
            let room = 96usize.saturating_sub(head.len());
            head.extend_from_slice(&piece[..piece.len().min(room)]);
            match end {
                Some(end) => {
                    end_record(&mut head, record_at, &mut starts);
                    at += end as u64 + 1;
                    record_at = at;
                    rest = &rest[end + 1..];
                }
                None => {
                    at += rest.len() as u64;
                    rest = &[];
                }
            }
        }
    }
    if at > record_at {
        end_record(&mut head, record_at, &mut starts);
    }
    Ok(starts)
}
