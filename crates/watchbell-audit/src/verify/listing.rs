//! What lies in an audit directory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::reader::{CHECKPOINT, VERIFIER, WITNESSED, read_if_there};
use crate::tile::Tile;
use crate::{Error, MAX_NOTE_BYTES};

/// The names in an audit directory, and the notes that say what they must add up to.
#[derive(Debug)]
pub struct Listing {
    pub(super) dir: PathBuf,
    /// The log that is written now has an empty name; it comes last.
    pub(super) logs: Vec<LogFiles>,
    /// What does not belong there, and why.
    pub(super) strangers: Vec<(String, &'static str)>,
    pub(super) files: u64,
}

/// The files of one log.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// Below the audit directory: `epoch-1`, or empty.
    pub(super) dir: String,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) witnessed: Option<Vec<u8>>,
    pub(super) tiles: BTreeSet<Tile>,
}

impl LogFiles {
    pub(super) fn path(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.dir) }
    }

    fn read(dir: &Path, name: &str) -> Result<LogFiles, Error> {
        let at = dir.join(name);
        Ok(LogFiles {
            dir: name.to_owned(),
            checkpoint: read_if_there(&at.join(CHECKPOINT), MAX_NOTE_BYTES)?,
            witnessed: read_if_there(&at.join(WITNESSED), MAX_NOTE_BYTES)?,
            tiles: BTreeSet::new(),
        })
    }
}

impl Listing {
    /// Reads the audit directory `dir`.
    ///
    /// # Errors
    /// [`Error::NoLog`] when there is none.
    pub fn read(dir: &Path) -> Result<Listing, Error> {
        if !dir.is_dir() {
            return Err(Error::NoLog { path: dir.to_path_buf() });
        }
        let mut logs = Vec::new();
        let is_dir = |name: &str| dir.join(name).symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let names = names(dir)?.into_iter().filter_map(|name| name.into_string().ok());
        for name in names.filter(|name| is_epoch(name) && is_dir(name)) {
            logs.push(LogFiles::read(dir, &name)?);
        }
        logs.push(LogFiles::read(dir, "")?);
        let mut listing = Listing { dir: dir.to_path_buf(), logs, strangers: Vec::new(), files: 0 };
        listing.add_below("")?;
        Ok(listing)
    }

    fn add_below(&mut self, below: &str) -> Result<(), Error> {
        for name in names(&self.dir.join(below))? {
            let name = match name.into_string() {
                Ok(name) => name,
                Err(name) => {
                    let path = format!("{below}/{}", name.to_string_lossy());
                    self.strangers.push((path, "no name of a log's is like this"));
                    continue;
                }
            };
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let full = self.dir.join(&path);
            let kind = match full.symlink_metadata() {
                Ok(meta) => meta.file_type(),
                // A partial tile whose full one is there by now.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("look at", &full)(e)),
            };
            if kind.is_dir() {
                if !self.is_known_dir(&path) {
                    self.strangers.push((path.clone(), "this directory does not belong to a log"));
                }
                self.add_below(&path)?;
            } else if kind.is_file() {
                self.files += 1;
                self.add_file(path);
            } else {
                self.strangers.push((path, "it is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: String) {
        let (dir, rest) = split_epoch(&path);
        if let Some(log) = self.logs.iter_mut().find(|log| log.dir == dir) {
            if [CHECKPOINT, VERIFIER, WITNESSED].contains(&rest) {
                return;
            }
            if let Some(tile) = Tile::parse(rest) {
                log.tiles.insert(tile);
                return;
            }
        }
        self.strangers.push((path, "this file does not belong to a log"));
    }

    fn is_known_dir(&self, path: &str) -> bool {
        let (_, rest) = split_epoch(path);
        // What is in it is judged by itself.
        rest.is_empty() || rest == "tile" || rest.starts_with("tile/")
    }
}

/// `epoch-1/tile/0` is `tile/0` of `epoch-1`.
fn split_epoch(path: &str) -> (&str, &str) {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if is_epoch(first) { (first, rest) } else { ("", path) }
}

/// Where a closed log lies: `epoch-1`, or `epoch-1.2` when the name was taken.
pub(crate) fn is_epoch(name: &str) -> bool {
    let Some(number) = name.strip_prefix("epoch-") else { return false };
    let is_number = |text: &str| text.parse::<u64>().is_ok_and(|n| n.to_string() == text);
    number.split_once('.').map_or_else(|| is_number(number), |(n, copy)| is_number(n) && is_number(copy))
}

fn names(dir: &Path) -> Result<Vec<OsString>, Error> {
    let read = || -> std::io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    };
    match read() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::io("list", dir)),
    }
}
