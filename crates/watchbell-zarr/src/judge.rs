//! What an attempt left behind, judged entry by entry before anything of it is kept.

use crate::artifact;
use crate::key::Parsed;
use crate::path::NodePath;
use crate::plan::{Owner, Plan};

/// One thing in an attempt's upper directory, as its inode says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// From the root of the hierarchy, as bytes: what a task names its files is not ours.
    pub key: &'a [u8],
    pub kind: EntryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `is_opaque`: it hides what was below, which nobody needs who writes chunks.
    Directory {
        is_opaque: bool,
    },
    /// A regular file: logical bytes, links, and the bits of its mode.
    File {
        size: u64,
        links: u64,
        mode: u32,
    },
    /// The overlay's mark for a file that was removed.
    Whiteout,
    Symlink,
    Fifo,
    Socket,
    Device,
}

/// What is to be done with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An owned chunk: copy it into the store.
    Keep,
    /// An owned chunk was removed, which is how a library writes one that holds nothing but the fill value.
    Remove,
    /// A directory that owned chunks may lie in.
    Enter,
    /// A directory of artifacts that took the place of another: what was below is removed, what is below now is judged.
    Replace,
    /// What a killed writer leaves: it never had a chunk's name. It is not kept.
    Drop,
}

/// Why an attempt fails: the first thing that it may not have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("wrote {key}, which belongs to index {owner}, and not to index {index}")]
    Foreign { key: String, owner: u32, index: u32 },
    #[error("wrote {key}, which no index of this Job may write: the split does not cover it")]
    NotSplit { key: String },
    #[error(
        "wrote {key}: metadata are not written by a task; state growth by `extend` in the annotation, and change the rest with \
         `watchbell array import`"
    )]
    Metadata { key: String },
    #[error("wrote {key}: {problem}")]
    NotCanonical { key: String, problem: &'static str },
    #[error("wrote {key}, which is no chunk of this hierarchy")]
    NotAChunk { key: String },
    #[error("left {what} at {key}; only regular files belong in an array")]
    Kind { key: String, what: &'static str },
    #[error("{key} has {links} links: a chunk is a file of its own")]
    Linked { key: String, links: u64 },
    #[error("{key} has the bits setuid, setgid or sticky")]
    Mode { key: String },
    #[error("{key} has {size} bytes, and a chunk may have {max}")]
    TooLarge { key: String, size: u64, max: u64 },
    #[error(
        "replaced the directory {key} by a new one, as `mode=\"w\"` does: open the array to write a region (`mode=\"r+\"`)"
    )]
    Opaque { key: String },
    #[error("removed the directory {key}")]
    RemovedDirectory { key: String },
    #[error("wrote {key}, and index {index} writes below the directory {index} alone")]
    NotOwn { key: String, index: u32 },
    #[error("wrote {key}: {problem}")]
    Name { key: String, problem: &'static str },
}

/// Judges what index `index` wrote.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub index: u32,
    /// Bytes of a chunk's file at most.
    pub max_chunk_bytes: u64,
}

/// What writers call a file that is not whole yet: zarr-python, tensorstore, rsync-like tools.
const UNFINISHED: [&str; 3] = [".partial", ".__lock", ".tmp"];
const SPECIAL_BITS: u32 = 0o7000;

impl Judge<'_> {
    pub fn judge(&self, entry: Entry<'_>) -> Result<Verdict, Violation> {
        let key = shown(entry.key);
        let what = match entry.kind {
            EntryKind::Symlink => Some("a symbolic link"),
            EntryKind::Fifo => Some("a named pipe"),
            EntryKind::Socket => Some("a socket"),
            EntryKind::Device => Some("a device"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(Violation::Kind { key, what });
        }
        if self.plan.hierarchy().is_artifacts {
            return self.artifact(entry, key);
        }
        // A name that is not UTF-8 is the name of nothing that Zarr knows.
        let Ok(name) = std::str::from_utf8(entry.key) else { return Err(Violation::NotAChunk { key }) };
        match entry.kind {
            EntryKind::Directory { is_opaque: true } => Err(Violation::Opaque { key }),
            EntryKind::Directory { is_opaque: false } if self.is_parent(name) => Ok(Verdict::Enter),
            EntryKind::Directory { .. } => Err(Violation::NotAChunk { key }),
            EntryKind::Whiteout if self.is_parent(name) => Err(Violation::RemovedDirectory { key }),
            EntryKind::Whiteout if is_unfinished(name) => Ok(Verdict::Drop),
            EntryKind::Whiteout => self.owned(name, key).map(|()| Verdict::Remove),
            EntryKind::File { size, links, mode } => {
                if is_unfinished(name) {
                    return Ok(Verdict::Drop);
                }
                self.owned(name, key.clone())?;
                self.file(key, size, links, mode)
            }
            EntryKind::Symlink | EntryKind::Fifo | EntryKind::Socket | EntryKind::Device => {
                Err(Violation::NotAChunk { key })
            }
        }
    }

    /// Below an index's own directory all is kept, whatever it is called, and what was there may be removed.
    fn artifact(&self, entry: Entry<'_>, key: String) -> Result<Verdict, Violation> {
        let Ok(name) = std::str::from_utf8(entry.key) else {
            return Err(Violation::Name { key, problem: "its name is not UTF-8" });
        };
        match artifact::owner(name, self.plan.completions) {
            Some(owner) if owner != self.index => {
                return Err(Violation::Foreign { key, owner, index: self.index });
            }
            None => return Err(Violation::NotOwn { key, index: self.index }),
            Some(_) => {}
        }
        if let Some(problem) = artifact::problem(name) {
            return Err(Violation::Name { key, problem });
        }
        match entry.kind {
            EntryKind::Directory { is_opaque: false } => Ok(Verdict::Enter),
            EntryKind::Directory { is_opaque: true } => Ok(Verdict::Replace),
            EntryKind::Whiteout => Ok(Verdict::Remove),
            EntryKind::File { .. } if !name.contains('/') => {
                Err(Violation::NotOwn { key, index: self.index })
            }
            EntryKind::File { size, links, mode } => self.file(key, size, links, mode),
            EntryKind::Symlink | EntryKind::Fifo | EntryKind::Socket | EntryKind::Device => {
                Err(Violation::NotAChunk { key })
            }
        }
    }

    fn file(&self, key: String, size: u64, links: u64, mode: u32) -> Result<Verdict, Violation> {
        if links != 1 {
            return Err(Violation::Linked { key, links });
        }
        if mode & SPECIAL_BITS != 0 {
            return Err(Violation::Mode { key });
        }
        if size > self.max_chunk_bytes {
            return Err(Violation::TooLarge { key, size, max: self.max_chunk_bytes });
        }
        Ok(Verdict::Keep)
    }

    fn owned(&self, name: &str, key: String) -> Result<(), Violation> {
        if crate::document::is_name(name.rsplit('/').next().unwrap_or(name)) {
            return Err(Violation::Metadata { key });
        }
        match self.plan.hierarchy().locate(name) {
            Some((path, Parsed::Chunk(chunk))) if self.plan.owns(self.index, path, &chunk) => Ok(()),
            Some((_, Parsed::Chunk(_))) => match self.plan.owner(name) {
                Owner::Index(owner) => Err(Violation::Foreign { key, owner, index: self.index }),
                Owner::Nobody | Owner::NotAChunk => Err(Violation::NotSplit { key }),
            },
            Some((_, Parsed::NotCanonical(problem))) => Err(Violation::NotCanonical { key, problem }),
            Some((_, Parsed::Foreign)) | None => Err(Violation::NotAChunk { key }),
        }
    }

    /// Whether a key of any index could lie in this directory: a group (also one without a document), an array, or the front part
    /// of a chunk's key.
    fn is_parent(&self, name: &str) -> bool {
        if NodePath::new(name).is_ok_and(|path| self.plan.hierarchy().is_node(&path)) {
            return true;
        }
        let Some((path, _)) = self.plan.hierarchy().locate(name) else { return false };
        let (Some(array), Some(rest)) = (self.plan.hierarchy().array(path), path.strip(name)) else {
            return false;
        };
        // Some chunk whose key begins so: the numbers that are missing are all 0.
        let depth = array.encoding.encode(&vec![0; array.shape.len()]).matches('/').count();
        let given = rest.matches('/').count() + 1;
        let Some(missing) = (depth + 1).checked_sub(given).filter(|n| *n > 0) else { return false };
        let full = format!("{rest}{}", "/0".repeat(missing));
        matches!(array.parse(&full), Parsed::Chunk(_))
    }
}

fn is_unfinished(name: &str) -> bool {
    UNFINISHED.iter().any(|ending| name.ends_with(ending))
}

/// A key for a message: what does not print is escaped, and it is cut.
fn shown(key: &[u8]) -> String {
    const MAX: usize = 256;
    let cut = &key[..key.len().min(MAX)];
    let text: String = cut.escape_ascii().to_string();
    if key.len() > MAX { format!("{text}…") } else { text }
}
