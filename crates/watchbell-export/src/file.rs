//! A file of lines, rotated by renaming: whoever follows it (Filebeat, Logstash, `tail -F`) sees whole lines and finds the
//! rest of a renamed file where it was.
//!
//! The file is its own memory: its last line says how far it came. A line that a crash cut short is cut off at the start.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, fcntl_getfl, fcntl_setfl, flock, renameat_with};
use serde_json::Value;
use watchbell_audit::export::rotation::{Due, Limits, is_rotated, rotated_name};
use watchbell_audit::export::shipper::{Answer, Item, Outcome};
use watchbell_audit::export::{EpochId, place_of};

use crate::options::FileOptions;

/// A group may read it, such as Filebeat's.
const MODE: u32 = 0o640;
/// The longest line that is looked for: an entry is at most 64 KiB, and is escaped and repeated in its fields.
const LINE_BYTES_MAX: u64 = 4 << 20;
const WRITTEN_AT_ONCE_BYTES: u64 = 1 << 20;

/// An open file.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    limits: Limits,
    /// `File::sync_data`, but in tests.
    sync_data: fn(&File) -> std::io::Result<()>,
    /// `None` while the next one is begun.
    open: Option<Open>,
    /// The last entry that is written, here or in the file before this one.
    last: Option<(EpochId, u64)>,
    /// The last one that is durable.
    durable: Option<(EpochId, u64)>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// So much of it is durable.
    durable: u64,
    /// A failure leaves in doubt what is behind that.
    is_in_doubt: bool,
    begun: SystemTime,
}

impl LineFile {
    /// Opens or makes the file, and cuts off half a line.
    ///
    /// # Errors
    /// The cause: it cannot be opened, another process writes it, or what it holds was not written by us.
    pub(crate) fn open(options: &FileOptions) -> Result<LineFile, String> {
        let mut file = LineFile {
            path: options.path.clone(),
            limits: options.limits.clone(),
            sync_data: File::sync_data,
            open: None,
            last: None,
            durable: None,
        };
        file.opened()?;
        Ok(file)
    }

    /// The last entry that is written: in this file, or in the newest of the old ones when this one is empty.
    pub(crate) fn last_written(&self) -> Result<Option<(EpochId, u64)>, String> {
        if self.last.is_some() {
            return Ok(self.last);
        }
        let Some(newest) = self.newest_old_name()? else { return Ok(None) };
        let path = self.path.with_file_name(newest);
        let mut file = File::open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        Ok(tail(&mut file).map_err(|e| format!("cannot read {}: {e}", path.display()))?.last)
    }

    /// Writes the lines of a batch: all of it or, as far as a reader that comes later sees, nothing.
    pub(crate) fn write(&mut self, items: &[Item]) -> Answer {
        match self.write_lines(items) {
            Ok(()) => Answer::Items(vec![Outcome::Done; items.len()]),
            Err(cause) => Answer::Retry {
                after: None,
                reason: format!("cannot write {}: {cause}", self.path.display()),
            },
        }
    }

    fn write_lines(&mut self, items: &[Item]) -> Result<(), String> {
        if self.is_in_doubt() {
            return Err("what was written before is in doubt".into());
        }
        self.look_again()?;
        let mut items = items;
        // After a failure the file may hold the beginning of the batch, or all of it: that is not written twice.
        if let Some((epoch, index)) = self.last {
            let written = items.iter().take_while(|i| i.index <= index && is_of(epoch, &i.id)).count();
            items = &items[written..];
        }
        let mut lines = Vec::new();
        let mut pending = None;
        for item in items {
            let more = item.document.len() as u64 + 1;
            let open = self.opened()?;
            let (length, age) = (open.length, open.begun.elapsed().unwrap_or(Duration::ZERO));
            if self.limits.due(length + lines.len() as u64, age, more) == Due::Rotate {
                self.flush(&mut lines, pending.take())?;
                self.rotate()?;
            }
            lines.extend_from_slice(&item.document);
            lines.push(b'\n');
            pending = place_of(&item.id);
        }
        self.flush(&mut lines, pending)
    }

    fn opened(&mut self) -> Result<&mut Open, String> {
        if self.open.is_none() {
            let (open, last) = Open::new(&self.path, self.sync_data)?;
            self.open = Some(open);
            self.last = last.or(self.last);
            self.durable = self.last;
        }
        self.open.as_mut().ok_or_else(|| "it is not open".to_owned())
    }

    /// Somebody else may have renamed or removed the file: then a new one is begun, as after our own rotation.
    fn look_again(&mut self) -> Result<(), String> {
        let there = std::fs::symlink_metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        let ours = self
            .open
            .as_ref()
            .and_then(|open| open.file.metadata().ok())
            .map(|meta| (meta.dev(), meta.ino()));
        if ours.is_none() || there != ours {
            // Its last lines are nowhere else: they are durable before it is let go of, or a place behind them would be noted.
            if self.open.is_some() {
                self.sync().map_err(|e| format!("cannot sync the file that was renamed: {e}"))?;
            }
            self.open = None;
            self.opened()?;
        }
        Ok(())
    }

    fn flush(&mut self, lines: &mut Vec<u8>, last: Option<(EpochId, u64)>) -> Result<(), String> {
        if lines.is_empty() {
            return Ok(());
        }
        let open = self.opened()?;
        if let Err(error) = open.file.write_all(lines) {
            // Part of it may be there.
            open.is_in_doubt = open.file.set_len(open.length).is_err();
            return Err(error.to_string());
        }
        open.length += lines.len() as u64;
        self.last = last.or(self.last);
        lines.clear();
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), String> {
        self.sync().map_err(|e| e.to_string())?;
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else {
            return Err("its name is not UTF-8".into());
        };
        let last = self.last.map_or(0, |(_, index)| index);
        let newest = self.newest_old_name()?;
        let to = self.path.with_file_name(rotated_name(name, Timestamp::now(), last, newest.as_deref()));
        renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE)
            .map_err(|e| format!("cannot rename it to {}: {e}", to.display()))?;
        self.open = None;
        self.opened()?;
        // The lines are safe; an old file too many is told and tried again with the next rotation.
        if let Err(error) = self.remove_surplus() {
            tracing::warn!(file = %self.path.display(), "cannot remove old files of the audit export: {error}");
        }
        Ok(())
    }

    fn old_names(&self) -> std::io::Result<Vec<String>> {
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory(&self.path))? {
            if let Ok(found) = entry?.file_name().into_string()
                && is_rotated(name, &found)
            {
                names.push(found);
            }
        }
        Ok(names)
    }

    fn newest_old_name(&self) -> Result<Option<String>, String> {
        let names = self.old_names().map_err(|e| format!("cannot list the old files: {e}"))?;
        Ok(names.into_iter().max())
    }

    fn remove_surplus(&self) -> std::io::Result<()> {
        for name in self.limits.surplus(self.old_names()?) {
            std::fs::remove_file(self.path.with_file_name(name))?;
        }
        Ok(())
    }

    /// Makes what was written durable. After a failure nobody knows what of it is, and another try would tell nothing: the kernel
    /// has told its error, and takes the pages for written. See [`LineFile::cut_back`].
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        let sync_data = self.sync_data;
        let open = self.opened().map_err(std::io::Error::other)?;
        if open.is_in_doubt {
            return Err(std::io::Error::other("what was written before is in doubt"));
        }
        if let Err(error) = sync_data(&open.file) {
            open.is_in_doubt = true;
            return Err(error);
        }
        open.durable = open.length;
        self.durable = self.last;
        Ok(())
    }

    /// Whether a failure left in doubt what was written since the last sync. Nothing more is written then.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_in_doubt)
    }

    /// Ends the doubt: cuts off what is not known to be durable, which is to be written anew.
    pub(crate) fn cut_back(&mut self) -> std::io::Result<()> {
        if let Some(open) = self.open.as_mut().filter(|open| open.is_in_doubt) {
            open.file.set_len(open.durable)?;
            (open.length, open.is_in_doubt) = (open.durable, false);
            self.last = self.durable;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn sync_by(&mut self, sync_data: fn(&File) -> std::io::Result<()>) {
        self.sync_data = sync_data;
    }
}

fn is_of(epoch: EpochId, id: &str) -> bool {
    place_of(id).is_some_and(|(own, _)| own == epoch)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Open {
    /// With the last entry in it. What is there is durable.
    fn new(
        path: &Path,
        sync_data: fn(&File) -> std::io::Result<()>,
    ) -> Result<(Open, Option<(EpochId, u64)>), String> {
        let failed = |e: std::io::Error| format!("cannot open it: {e}");
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            // A link that somebody put there could lead into any file of the machine; a pipe would hold us up.
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err("it is no ordinary file".into());
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err("another process writes it; give each server a file of its own".into());
        }
        if is_new {
            // Whatever the umask.
            file.set_permissions(std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
            File::open(directory(path)).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let tail = tail(&mut file).map_err(|e| format!("cannot read its end: {e}"))?;
        if !tail.is_ours {
            return Err("it holds lines that are not of this export; name a file of its own".into());
        }
        if tail.whole < meta.len() {
            tracing::warn!(file = %path.display(), bytes = meta.len() - tail.whole, "cut off a line that a crash left unfinished");
            file.set_len(tail.whole).map_err(|e| format!("cannot cut off half a line: {e}"))?;
        }
        // What a former process wrote last, too.
        write_again(&file, tail.whole)
            .and_then(|()| sync_data(&file))
            .map_err(|e| format!("cannot make what it holds durable: {e}"))?;
        let begun = meta.created().or_else(|_| meta.modified()).unwrap_or_else(|_| SystemTime::now());
        let open = Open { file, length: tail.whole, durable: tail.whole, is_in_doubt: false, begun };
        Ok((open, tail.last))
    }
}

/// Writes what a file holds once more, byte for byte. The kernel may have told a former process that it lost pages, and shows them
/// as if they were written: a sync alone would say that all is well, and a power cut take lines that nobody writes again.
fn write_again(file: &File, length: u64) -> std::io::Result<()> {
    let flags = fcntl_getfl(file)?;
    // On Linux such a file is written at its end, whatever place is named.
    fcntl_setfl(file, flags - OFlags::APPEND)?;
    let mut buffer = vec![0; WRITTEN_AT_ONCE_BYTES.min(length) as usize];
    let mut at = 0;
    while at < length {
        let piece = &mut buffer[..WRITTEN_AT_ONCE_BYTES.min(length - at) as usize];
        file.read_exact_at(piece, at)?;
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(fcntl_setfl(file, flags)?)
}

/// The end of a file.
struct Tail {
    /// Its length up to the last whole line.
    whole: u64,
    last: Option<(EpochId, u64)>,
    /// Whether what stands there was written by us.
    is_ours: bool,
}

fn tail(file: &mut File) -> std::io::Result<Tail> {
    let length = file.metadata()?.len();
    // Half a line, and a whole one before it.
    let start = length.saturating_sub(2 * LINE_BYTES_MAX);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(length - start).read_to_end(&mut end)?;
    let Some(last_end) = end.iter().rposition(|byte| *byte == b'\n') else {
        // The very first line, cut short: by us when it begins as ours do. (Some file systems leave zeros.)
        let begins = b"{\"@timestamp\":\"";
        let is_ours = start == 0 && end.iter().zip(begins).all(|(a, b)| a == b || *a == 0);
        return Ok(Tail { whole: 0, last: None, is_ours });
    };
    let line_start = end[..last_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let last = place_in(&end[line_start..last_end]);
    Ok(Tail { whole: start + last_end as u64 + 1, last, is_ours: last.is_some() })
}

fn place_in(line: &[u8]) -> Option<(EpochId, u64)> {
    let document: Value = serde_json::from_slice(line).ok()?;
    place_of(document["event"]["id"].as_str()?)
}

#[cfg(test)]
pub(crate) mod tests;
