//! The files of a plain directory, as if it were the root of an image.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::content::Budget;
use super::pass::{FileReader, Names};
use super::tree::{LayerChanges, Node};
use super::{Capabilities, FileId, FileKind, Interest, NAMES_BYTES_MAX, ReadError, Tree, text};

/// Directories above one another.
const DEPTH_MAX: usize = 256;

/// Reads every file below `root` once and tells the interests of each. Links are not followed while files are looked for, and
/// other file systems are not entered: what `/proc` and `/sys` show is no file of an image.
pub fn read_directory(root: &Path, interests: &[Interest<'_>]) -> Result<Tree, ReadError> {
    let failed = |step| move |cause| ReadError::Io { step, path: root.to_owned(), cause };
    let dir = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("open")(e.into()))?;
    let device = fs::metadata(root).map_err(failed("look at"))?.dev();
    let budget = Budget::new();
    let mut walk = Walk {
        root,
        dir,
        device,
        names: Names { left: AtomicU64::new(NAMES_BYTES_MAX) },
        file: FileReader { interests, budget: &budget, buffer: Vec::new() },
        links: HashMap::new(),
        changes: LayerChanges::default(),
        number: 0,
    };
    walk.directory(&mut PathBuf::new(), 0)?;
    let mut tree = Tree::default();
    tree.apply(walk.changes);
    Ok(tree)
}

struct Walk<'a> {
    root: &'a Path,
    dir: rustix::fd::OwnedFd,
    device: u64,
    names: Names,
    file: FileReader<'a>,
    /// The first name of a file that has several.
    links: HashMap<u64, String>,
    changes: LayerChanges,
    number: u32,
}

impl Walk<'_> {
    fn directory(&mut self, path: &mut PathBuf, depth: usize) -> Result<(), ReadError> {
        let here = self.root.join(&path);
        let failed = |step| {
            let here = here.clone();
            move |cause| ReadError::Io { step, path: here, cause }
        };
        if depth > DEPTH_MAX {
            return Err(ReadError::Limit {
                object: "the directory",
                reason: format!("it is more than {DEPTH_MAX} directories deep"),
            });
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&here).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            self.names.take(entry.file_name().len() as u64)?;
            entries.push(entry.file_name());
        }
        // The same order every time.
        entries.sort();
        for name in entries {
            path.push(&name);
            self.entry(path, depth)?;
            path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, path: &mut PathBuf, depth: usize) -> Result<(), ReadError> {
        let here = self.root.join(&path);
        let failed = |step, cause| ReadError::Io { step, path: here.clone(), cause };
        let metadata = match fs::symlink_metadata(&here) {
            Ok(metadata) => metadata,
            // It went away since the directory was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed("look at", e)),
        };
        let kind_of_file = metadata.file_type();
        let name = text(path.as_os_str().as_bytes());
        let kind = if kind_of_file.is_symlink() {
            let target = fs::read_link(&here).map_err(|e| failed("read the link", e))?;
            FileKind::Symlink { target: text(target.as_os_str().as_bytes()) }
        } else if kind_of_file.is_dir() {
            FileKind::Directory
        } else if kind_of_file.is_block_device() {
            FileKind::BlockDevice
        } else if kind_of_file.is_char_device() {
            FileKind::CharDevice
        } else if kind_of_file.is_fifo() {
            FileKind::Fifo
        } else if kind_of_file.is_file() {
            if metadata.nlink() > 1 {
                match self.links.get(&metadata.ino()) {
                    Some(first) => FileKind::HardLink { target: first.clone() },
                    None => {
                        self.links.insert(metadata.ino(), name.clone());
                        FileKind::File
                    }
                }
            } else {
                FileKind::File
            }
        } else {
            // A socket is of no image.
            return Ok(());
        };
        self.names.take(name.len() as u64 * 2 + 160)?;
        let mut capability = [0u8; 32];
        let is_capable = kind_of_file.is_file()
            && rustix::fs::lgetxattr(&here, c"security.capability", &mut capability[..]).is_ok();
        let id = FileId { layer: 0, entry: self.number };
        self.number = self.number.saturating_add(1);
        let mut node = Node {
            id,
            kind,
            mode: metadata.mode() & 0o7777,
            uid: u64::from(metadata.uid()),
            gid: u64::from(metadata.gid()),
            size: if kind_of_file.is_file() { metadata.len() } else { 0 },
            capabilities: if is_capable { Capabilities::Some } else { Capabilities::None },
        };
        if node.kind == FileKind::File {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
            let file = rustix::fs::openat2(&self.dir, path.as_path(), flags, Mode::empty(), resolve)
                .map_err(|e| failed("open", e.into()))?;
            let mut file = File::from(file);
            // What it has now, not when it was looked at.
            node.size = file.metadata().map_err(|e| failed("look at", e))?.len();
            self.file.read(&name, &node, &mut file).map_err(|e| failed("read", e))?;
        } else {
            self.file.read(&name, &node, &mut io::empty()).map_err(|e| failed("read", e))?;
        }
        let descend = node.kind == FileKind::Directory && metadata.dev() == self.device;
        self.changes.entries.push((name.into(), node));
        if descend {
            self.directory(path, depth + 1)?;
        }
        Ok(())
    }
}
