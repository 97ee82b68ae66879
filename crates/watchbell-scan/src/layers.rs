//! One pass over the files of an image: every layer is decompressed once, several at a time, nothing is unpacked.
//!
//! ```text
//!  layer 0 ─▶ files ─▶ each Interest: wants(facts)? takes(facts, content)   ─┐
//!  layer 1 ─▶ files ─▶   …                                                   ├─▶ Tree: what is left once whiteouts,
//!  layer n ─▶ files ─▶   …                                                  ─┘   links and replacements are applied
//! ```
//!
//! Whoever needs something of the files states an [`Interest`]: two functions, called from several threads, which put away
//! what they find by [`FileId`]. Both are told of **every** file of **every** layer, also of those that a later layer hides:
//! a secret in a lower layer is there for everybody who has the image. Once the pass is over, the [`Tree`] says which of
//! them are left and where: its nodes carry the same identities. Files come in no particular order across layers; whoever
//! collects sorts by identity.
//!
//! Memory is bounded whatever the image holds: names by [`NAMES_BYTES_MAX`], contents by [`CONTENT_BYTES_MAX`] together, and what an
//! interest keeps by a bound of its own for all files together.

mod content;
mod directory;
mod error;
mod overlay;
mod pass;
mod read_ahead;
mod tree;

pub use content::FileContent;
pub use directory::{Directory, read_directory};
pub use error::ReadError;
pub use pass::read_layers;
pub use tree::{Node, Tree};

/// Bytes from the start of a file that [`FileFacts::head`] shows.
pub const HEAD_BYTES: usize = 4096;
/// A file up to this size is given whole to whoever wants anything of it.
pub const PROGRAM_BYTES_MAX: u64 = 16 << 20;
/// A file up to this size is given whole to who asks for that.
pub const WHOLE_BYTES_MAX: u64 = 128 << 20;
/// All contents above [`PROGRAM_BYTES_MAX`] that are held at one time.
pub const CONTENT_BYTES_MAX: u64 = 160 << 20;
/// All names of all layers, with what is noted beside each.
pub const NAMES_BYTES_MAX: u64 = 512 << 20;

/// Which entry of which layer, both counted from 0, the bottom layer first. Hard links share the identity of the file that
/// they link to. In a plain directory all files are of layer 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    pub layer: u32,
    pub entry: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink {
        target: String,
    },
    /// Only while the layers are read; in a [`Tree`] it is the file that it links to. The target is a path from the root.
    HardLink {
        target: String,
    },
    CharDevice,
    BlockDevice,
    Fifo,
}

/// What is known of a file when its first bytes were read.
#[derive(Clone, Debug)]
pub struct FileFacts<'a> {
    pub id: FileId,
    /// As its layer names it: from the root, without a leading slash; bytes that are no UTF-8 stand as `\u{fffd}` and two
    /// hexadecimal digits, and so do those of `\u{fffd}` itself.
    pub path: &'a str,
    pub kind: &'a FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    /// It carries file capabilities (`security.capability`).
    pub capabilities: Capabilities,
    /// At most [`HEAD_BYTES`] of its start; empty for what is no regular file.
    pub head: &'a [u8],
}

/// Whether a file gives its process capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capabilities {
    None,
    Some,
}

/// How much of a file's content somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    Nothing,
    /// All of it up to [`PROGRAM_BYTES_MAX`]; of a larger one what loaders and build information need: its start, its end,
    /// and what its program headers name.
    Program,
    /// All of it up to [`WHOLE_BYTES_MAX`]; [`FileContent::whole`] is `None` above that.
    Whole,
}

/// What somebody wants of the files, and what is done with it.
#[derive(Clone, Copy)]
pub struct Interest<'a> {
    /// Asked for every file, directory and link of every layer, once.
    pub wants: &'a (dyn Fn(&FileFacts<'_>) -> Want + Sync),
    /// Called for the regular files of which something was wanted.
    pub takes: &'a (dyn Fn(&FileFacts<'_>, &FileContent) + Sync),
}

/// Stands before the two hexadecimal digits of a byte.
const ESCAPE: char = '\u{fffd}';

/// A name of an archive as text; what is no UTF-8 in it is escaped, and so is the escape itself: different names stay
/// different.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(ESCAPE) => text.to_owned(),
        _ => {
            let mut text = String::with_capacity(bytes.len() + 8);
            let escape = |bytes: &[u8], text: &mut String| {
                bytes.iter().for_each(|byte| text.push_str(&format!("{ESCAPE}{byte:02x}")));
            };
            for chunk in bytes.utf8_chunks() {
                for (at, part) in chunk.valid().split(ESCAPE).enumerate() {
                    if at > 0 {
                        escape(ESCAPE.to_string().as_bytes(), &mut text);
                    }
                    text.push_str(part);
                }
                escape(chunk.invalid(), &mut text);
            }
            text
        }
    }
}

#[cfg(test)]
mod tests;
