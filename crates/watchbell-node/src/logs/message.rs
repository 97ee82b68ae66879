//! What a container left to say when it ended.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};

use super::dir::LogDir;
use super::lines::Lines;

/// kubelet's bounds of a termination message.
const FILE_BYTES_MAX: u64 = 4096;
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;
/// Frames included, this much of the log holds the last words.
const LOG_WINDOW: u64 = 64 << 10;

/// The file that the container wrote below a volume's directory. The container may have put anything there: no link is
/// followed and nothing but a regular file is opened.
pub(crate) fn read_message(volume: &Path, path: &str) -> Option<String> {
    let root =
        rustix::fs::open(volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let open = |flags| openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).ok();
    let found = open(OFlags::PATH)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    // Should a pipe have taken its place by now, this does not wait for it.
    let file = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let mut bytes = Vec::new();
    File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log.
pub(crate) fn last_words(dir: &LogDir, path: &Path) -> Option<String> {
    let mut file = dir.open(path).ok()??;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LOG_WINDOW);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut raw = Vec::new();
    file.take(LOG_WINDOW).read_to_end(&mut raw).ok()?;
    let whole = match from {
        0 => &raw[..],
        // The first record of the window is cut.
        _ => &raw[raw.iter().position(|b| *b == b'\n').map_or(raw.len(), |i| i + 1)..],
    };
    let mut text = Vec::new();
    Lines::new(None, false).feed(whole, &mut text);
    let mut last: VecDeque<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    while last.len() > LOG_LINES_MAX {
        last.pop_front();
    }
    let lines: Vec<u8> = last.into_iter().flatten().copied().collect();
    let words = &lines[lines.len().saturating_sub(LOG_BYTES_MAX)..];
    (!words.is_empty()).then(|| String::from_utf8_lossy(words).into_owned())
}
