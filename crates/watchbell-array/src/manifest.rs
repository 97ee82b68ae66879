use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;

/// A snapshot's content: every key with its object, in the order of the keys, and who wrote each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub runs: Vec<Run>,
    pub writers: Vec<Writer>,
    /// Sorted by key, each key once.
    pub entries: Vec<Entry>,
}

/// A Job's run, or an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    /// `namespace/job`, or what was imported.
    pub name: String,
    /// Of the Job; empty for an import.
    pub uid: String,
    /// The digest of the image that wrote; empty for an import. Indices of several images are a run of each in a manifest.
    pub image: String,
    /// In whose name. The same with several users.
    pub user: String,
    /// Seconds since 1970.
    pub started_at: i64,
}

/// One attempt of one index of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// Its place in [`Manifest::runs`].
    pub run: u32,
    pub index: u32,
    pub attempt: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub digest: Digest,
    pub size: u64,
    /// Its place in [`Manifest::writers`].
    pub writer: u32,
}

/// The file begins so. A file of another version is refused by an old program; a new one reads what stands here.
const MAGIC: &[u8; 8] = b"WBARRM\x00\x01";
/// Some sixty million chunks.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// As it is stored: a key shares its beginning with the one before.
#[derive(Serialize, Deserialize)]
struct Stored {
    runs: Vec<Run>,
    writers: Vec<Writer>,
    entries: Vec<(u16, String, Digest, u64, u32)>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut before = "";
        let entries = self.entries.iter().map(|entry| {
            let shared = shared(before, &entry.key);
            before = &entry.key;
            (shared as u16, entry.key[shared..].to_owned(), entry.digest, entry.size, entry.writer)
        });
        let stored =
            Stored { runs: self.runs.clone(), writers: self.writers.clone(), entries: entries.collect() };
        // Into memory, of types without a custom serializer: nothing that can fail.
        postcard::to_extend(&stored, MAGIC.to_vec()).unwrap_or_default()
    }

    /// Reads what `encode` wrote; anything else is refused, also keys out of order and writers that are none.
    pub fn decode(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        let damaged =
            |problem: &str| Error::Damaged { what: "manifest", digest, problem: problem.to_owned() };
        if Digest::of(bytes) != digest {
            return Err(damaged("its content has another digest"));
        }
        Self::read(digest, bytes)
    }

    /// The same of bytes that were found to be those of the digest.
    pub(crate) fn read(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        let damaged =
            |problem: &str| Error::Damaged { what: "manifest", digest, problem: problem.to_owned() };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it is of another format"))?;
        let stored: Stored = postcard::from_bytes(rest).map_err(|error| damaged(&error.to_string()))?;
        let mut entries: Vec<Entry> = Vec::with_capacity(stored.entries.len());
        for (shared, rest, digest, size, writer) in stored.entries {
            let before = entries.last().map_or("", |entry| entry.key.as_str());
            let Some(start) = before.get(..usize::from(shared)) else {
                return Err(damaged("a key shares more than there is"));
            };
            let key = format!("{start}{rest}");
            if !entries.is_empty() && key.as_str() <= before {
                return Err(damaged("its keys are out of order"));
            }
            if writer as usize >= stored.writers.len() {
                return Err(damaged("a key has no writer"));
            }
            if is_no_path(&key) {
                return Err(damaged("a key is no file's path"));
            }
            entries.push(Entry { key, digest, size, writer });
        }
        if stored.writers.iter().any(|writer| writer.run as usize >= stored.runs.len()) {
            return Err(damaged("a writer has no run"));
        }
        let read = Self { runs: stored.runs, writers: stored.writers, entries };
        read.check().map_err(|error| damaged(&error.to_string()))?;
        Ok(read)
    }

    /// Refuses keys that cannot lie in one directory: one is a file, and a directory of another.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match clash(self.entries.iter().map(|entry| entry.key.as_str()), |key| self.get(key).is_some()) {
            None => Ok(()),
            Some((file, below)) => Err(Error::Clash { file: file.to_owned(), below: below.to_owned() }),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.key.as_str().cmp(key)).ok()?;
        Some(&self.entries[at])
    }

    /// Who wrote an entry of this manifest.
    pub fn writer(&self, entry: &Entry) -> (&Run, Writer) {
        let writer = self.writers[entry.writer as usize];
        (&self.runs[writer.run as usize], writer)
    }

    /// Logical bytes of all keys.
    pub fn bytes(&self) -> u64 {
        // A manifest that somebody made may say anything.
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// This one with what was removed and written (object, size, and the place in `by` of who wrote it). Who wrote nothing that is
    /// still there is forgotten.
    pub(crate) fn with(
        &self,
        by: &[(Writer, Run)],
        removed: &std::collections::BTreeSet<String>,
        written: &std::collections::BTreeMap<String, (Digest, u64, u32)>,
    ) -> Self {
        let mut made = Self { runs: self.runs.clone(), writers: self.writers.clone(), entries: Vec::new() };
        let before = made.writers.len() as u32;
        let mut runs = std::collections::HashMap::new();
        for (writer, run) in by {
            let run = *runs.entry(run).or_insert_with(|| {
                made.runs.push(run.clone());
                made.runs.len() as u32 - 1
            });
            made.writers.push(Writer { run, ..*writer });
        }
        let mut new = written.iter().peekable();
        let put = |made: &mut Self, key: &str, what: &(Digest, u64, u32)| {
            let (digest, size, by) = *what;
            let writer = before + by;
            made.entries.push(Entry { key: key.to_owned(), digest, size, writer });
        };
        for entry in &self.entries {
            while let Some((key, what)) = new.next_if(|(key, _)| key.as_str() < entry.key.as_str()) {
                put(&mut made, key, what);
            }
            if let Some((key, what)) = new.next_if(|(key, _)| **key == entry.key) {
                // The same bytes again are still who wrote them last.
                put(&mut made, key, what);
            } else if !removed.contains(&entry.key) {
                made.entries.push(entry.clone());
            }
        }
        for (key, what) in new {
            put(&mut made, key, what);
        }
        made.forget_unused();
        made
    }

    fn forget_unused(&mut self) {
        const NONE: u32 = u32::MAX;
        let mut writers = vec![NONE; self.writers.len()];
        let mut kept = Vec::new();
        for entry in &mut self.entries {
            let number = &mut writers[entry.writer as usize];
            if *number == NONE {
                *number = kept.len() as u32;
                kept.push(self.writers[entry.writer as usize]);
            }
            entry.writer = *number;
        }
        let mut runs = vec![NONE; self.runs.len()];
        let mut kept_runs = Vec::new();
        for writer in &mut kept {
            let number = &mut runs[writer.run as usize];
            if *number == NONE {
                *number = kept_runs.len() as u32;
                kept_runs.push(self.runs[writer.run as usize].clone());
            }
            writer.run = *number;
        }
        self.writers = kept;
        self.runs = kept_runs;
    }
}

/// Whether a key names no file below the directory that it is joined to.
pub(crate) fn is_no_path(key: &str) -> bool {
    key.chars().any(char::is_control)
        || key.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255)
}

/// The directories that a key lies in, the deepest first.
pub(crate) fn above(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(key.rsplit_once('/'), |(above, _)| above.rsplit_once('/')).map(|(above, _)| above)
}

/// Of sorted keys the first that is a directory of another, with that one.
pub(crate) fn clash<'a>(
    keys: impl Iterator<Item = &'a str>,
    is_key: impl Fn(&str) -> bool,
) -> Option<(&'a str, &'a str)> {
    let mut before = "";
    for key in keys {
        // Those that it shares with the one before were asked for with that.
        let is_new = |dir: &&str| {
            before.get(dir.len()..).is_none_or(|rest| !rest.starts_with('/')) || !before.starts_with(dir)
        };
        if let Some(file) = above(key).take_while(is_new).find(|dir| is_key(dir)) {
            return Some((file, key));
        }
        before = key;
    }
    None
}

/// Bytes at the beginning that two keys share, at a border of characters and within what is stored.
fn shared(before: &str, key: &str) -> usize {
    let same = before.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
    let mut length = same.min(usize::from(u16::MAX));
    while !key.is_char_boundary(length) {
        length -= 1;
    }
    length
}

#[cfg(test)]
mod tests;
