//! The files of a plain directory, as if it were the root of an image.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::content::Budget;
use super::overlay::{Change, LayerChanges};
use super::pass::{FileReader, Names};
use super::tree::Node;
use super::{Capabilities, FileId, FileKind, Interest, NAMES_BYTES_MAX, ReadError, Tree, text};

/// Directories above one another.
const DEPTH_MAX: usize = 256;
/// Places that could not be read which are told one by one.
const UNREAD_MAX: usize = 10_000;

/// File systems of the kernel's own making, and such as are gone with the machine (`statfs(2)`): none has a file of an image.
const PASSING: [i64; 17] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0102_1994, // tmpfs, devtmpfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
    0xde5e_81e4, // efivarfs
];

/// What was read of a directory.
#[derive(Debug)]
pub struct Directory {
    pub tree: Tree,
    /// What could not be read, or was not: the path and the reason.
    pub unread: Vec<(String, String)>,
}

/// Reads every file below `root` once and tells the interests of each. Links are not followed while files are looked for, and
/// other file systems are not entered; those that are more than the kernel's own view of itself are told, as is what cannot be read.
pub fn read_directory(root: &Path, interests: &[Interest<'_>]) -> Result<Directory, ReadError> {
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
        unread: Vec::new(),
        more_unread: 0,
    };
    let entries = walk.list(Path::new("")).map_err(|e| match e {
        Trouble::Limit(error) => error,
        Trouble::Io(step, cause) => failed(step)(cause),
    })?;
    walk.entries(entries, &mut PathBuf::new(), 0)?;
    let mut tree = Tree::default();
    tree.apply(walk.changes, &walk.names)?;
    if walk.more_unread > 0 {
        walk.unread.push((String::new(), format!("{} more places cannot be read", walk.more_unread)));
    }
    Ok(Directory { tree, unread: walk.unread })
}

/// Why a place is not read: a bound of all places ends everything, the others are told.
enum Trouble {
    Limit(ReadError),
    Io(&'static str, io::Error),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Trouble::Limit(error)
    }
}

fn io_trouble<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Trouble {
    move |cause| Trouble::Io(step, cause.into())
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
    unread: Vec<(String, String)>,
    more_unread: usize,
}

impl Walk<'_> {
    fn tell(&mut self, path: &Path, reason: String) {
        if self.unread.len() < UNREAD_MAX {
            self.unread.push((text(path.as_os_str().as_bytes()), reason));
        } else {
            self.more_unread += 1;
        }
    }

    /// What lies in a directory, in the same order every time.
    fn list(&mut self, path: &Path) -> Result<Vec<OsString>, Trouble> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(path)).map_err(io_trouble("list"))? {
            let name = entry.map_err(io_trouble("list"))?.file_name();
            self.names.take(name.len() as u64)?;
            entries.push(name);
        }
        entries.sort();
        Ok(entries)
    }

    fn entries(&mut self, entries: Vec<OsString>, path: &mut PathBuf, depth: usize) -> Result<(), ReadError> {
        for name in entries {
            path.push(&name);
            let below = match self.entry(path) {
                Ok(Below::Nothing) => Ok(Vec::new()),
                Ok(Below::Directory) if depth >= DEPTH_MAX => {
                    self.tell(path, format!("it is more than {DEPTH_MAX} directories deep"));
                    Ok(Vec::new())
                }
                Ok(Below::Directory) => self.list(path),
                Err(trouble) => Err(trouble),
            };
            match below {
                Ok(below) => self.entries(below, path, depth + 1)?,
                // It went away since it was listed.
                Err(Trouble::Io(_, cause)) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(Trouble::Io(step, cause)) => self.tell(path, format!("cannot {step} it: {cause}")),
                Err(Trouble::Limit(error)) => return Err(error),
            }
            path.pop();
        }
        Ok(())
    }

    /// Whether a mounted file system has files that an image could have.
    fn is_passing(here: &Path) -> bool {
        rustix::fs::statfs(here).is_ok_and(|found| PASSING.contains(&found.f_type))
    }

    fn entry(&mut self, path: &Path) -> Result<Below, Trouble> {
        let here = self.root.join(path);
        let metadata = fs::symlink_metadata(&here).map_err(io_trouble("look at"))?;
        let kind_of_file = metadata.file_type();
        let name = text(path.as_os_str().as_bytes());
        let kind = if kind_of_file.is_symlink() {
            let target = fs::read_link(&here).map_err(io_trouble("read the link"))?;
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
            return Ok(Below::Nothing);
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
            let file = rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve)
                .map_err(io_trouble("open"))?;
            let mut file = File::from(file);
            // What it has now, not when it was looked at.
            node.size = file.metadata().map_err(io_trouble("look at"))?.len();
            self.file.read(&name, &node, &mut file).map_err(io_trouble("read"))?;
        } else {
            self.file.read(&name, &node, &mut io::empty()).map_err(io_trouble("read"))?;
        }
        let is_directory = node.kind == FileKind::Directory;
        self.changes.push((name.into(), Change::Entry(node)));
        if is_directory && metadata.dev() != self.device {
            if !Self::is_passing(&here) {
                self.tell(path, "another file system is mounted here, which is not entered".to_owned());
            }
            return Ok(Below::Nothing);
        }
        Ok(if is_directory { Below::Directory } else { Below::Nothing })
    }
}

/// What there is to be looked at below an entry.
enum Below {
    Nothing,
    Directory,
}
