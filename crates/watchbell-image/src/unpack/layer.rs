//! One layer's archive, entry by entry, into its root.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::root::{self, Fill, Found, Outside, ParentError, Root, group, os, owner};
use super::{RECORD_VERSION, SpecialFile, UnpackRecord};
use crate::codec;
use crate::digest::excerpt;
use crate::error::LayerError;
use crate::tar::{self, Archive, Entry, Kind};
use crate::{Digest, Limits};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
const AUFS_METADATA: &[u8] = b".wh..wh.";
/// The times of directories are set last, because making an entry changes them; their names are remembered until then.
const REMEMBERED_BYTES_MAX: usize = 64 << 20;

pub(super) struct LayerWriter<'a> {
    root: &'a Root,
    outside: &'a mut dyn Outside,
    limits: &'a Limits,
    image_bytes_left: u64,
    bytes: u64,
    entries: u64,
    opaque_root: bool,
    special: Vec<SpecialFile>,
    special_omitted: u64,
    directory_times: Vec<(Vec<Vec<u8>>, i64)>,
    remembered_bytes: usize,
    /// The directory of the entry before, which most often is this entry's too.
    last_parent: Option<Parent>,
    buffer: Vec<u8>,
}

/// The directory that an entry goes into.
struct Parent {
    /// As the archive names it.
    path: Vec<Vec<u8>>,
    /// Where it is when a link is on the way.
    real: Option<Vec<Vec<u8>>>,
    dir: OwnedFd,
}

impl Parent {
    fn real(&self) -> &[Vec<u8>] {
        self.real.as_ref().unwrap_or(&self.path)
    }

    /// The real path of what stands in it under a name.
    fn child(&self, name: &[u8]) -> Vec<Vec<u8>> {
        [self.real(), &[name.to_owned()]].concat()
    }
}

impl<'a> LayerWriter<'a> {
    pub(super) fn new(
        root: &'a Root,
        outside: &'a mut dyn Outside,
        limits: &'a Limits,
        image_bytes_left: u64,
    ) -> Self {
        Self {
            root,
            outside,
            limits,
            image_bytes_left,
            bytes: 0,
            entries: 0,
            opaque_root: false,
            special: Vec::new(),
            special_omitted: 0,
            directory_times: Vec::new(),
            remembered_bytes: 0,
            last_parent: None,
            buffer: vec![0; 256 << 10],
        }
    }

    /// Unpacks the whole archive, and reads `source` to its end.
    pub(super) fn unpack<R: Read>(&mut self, source: R) -> Result<R, LayerError> {
        let mut archive = Archive::new(source, self.limits.entry_header_bytes_max);
        while let Some(entry) = archive.next_entry().map_err(archive_error)? {
            self.entries += 1;
            if self.entries > self.limits.layer_entries_max {
                return Err(LayerError::Limit {
                    reason: format!("it has more than {} entries", self.limits.layer_entries_max),
                });
            }
            self.apply(&entry, &mut archive)?;
        }
        archive.drain().map_err(archive_error)?;
        Ok(archive.into_inner())
    }

    /// Sets what had to wait, and says what was done.
    pub(super) fn finish(mut self, diff_id: Digest) -> Result<UnpackRecord, LayerError> {
        self.last_parent = None;
        for (path, mtime) in self.directory_times.drain(..).rev() {
            match self.root.open_dir(&path) {
                Ok(dir) => {
                    fs::futimens(&dir, &times(mtime))
                        .map_err(io_error("set the times of", &path.join(&b'/')))?;
                }
                // A later entry put something else in its place.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {}
                Err(e) => return Err(io_error("open", &path.join(&b'/'))(e)),
            }
        }
        Ok(UnpackRecord {
            version: RECORD_VERSION,
            diff_id,
            bytes: self.bytes,
            entries: self.entries,
            opaque_root: self.opaque_root,
            // Known to who answers for the layers below.
            implicit_parents: false,
            special: self.special,
            special_omitted: self.special_omitted,
        })
    }

    fn apply(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), LayerError> {
        let path = self.checked_path(&entry.path, &entry.path)?;
        let Some((name, parents)) = path.split_last() else { return self.apply_root(entry) };
        let shown = || excerpt(&String::from_utf8_lossy(&entry.path));
        if let Some(parent) = parents.iter().find(|p| p.starts_with(WHITEOUT)) {
            if parent.starts_with(AUFS_METADATA) {
                self.note(SpecialFile::Metadata { path: shown() });
                return Ok(());
            }
            return Err(LayerError::entry(&entry.path, "it lies below a whiteout"));
        }
        if name == OPAQUE_WHITEOUT {
            return self.apply_opaque(entry, parents);
        }
        if name.starts_with(AUFS_METADATA) {
            self.note(SpecialFile::Metadata { path: shown() });
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.apply_whiteout(entry, parents, hidden);
        }
        if let Kind::CharDevice { .. } | Kind::BlockDevice { .. } = entry.kind {
            self.note(SpecialFile::Device { path: shown() });
            return Ok(());
        }
        let (uid, gid) = owner_ids(entry)?;
        let parent = self.open_parent(entry, parents)?;
        self.note_dropped(entry);
        self.apply_file(entry, &parent, name, (uid, gid), content)?;
        self.last_parent.get_or_insert(parent);
        Ok(())
    }

    fn apply_file(
        &mut self,
        entry: &Entry,
        parent: &Parent,
        name: &[u8],
        (uid, gid): (u32, u32),
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        let (dir, parents) = (parent.dir.as_fd(), parent.path.as_slice());
        let io = |step: &'static str| io_error(step, &entry.path);
        let mode = kept_mode(entry);
        let existing = root::look(dir, name).map_err(io("look at"))?;
        if let (Kind::Directory, Some(Found::Directory(existing))) = (&entry.kind, &existing) {
            root::set_owner_and_mode(existing.as_fd(), mode, uid, gid).map_err(io("set the owner of"))?;
            return self.remember_times(parents, name, entry.mtime);
        }
        let hides_lower = matches!(existing, Some(Found::Whiteout));
        // The link's target is looked up first: replacing a file by a link to itself must not lose it.
        let link_source = match &entry.kind {
            Kind::HardLink { target } => match self.link_source(entry, target, dir, name)? {
                LinkSource::SameFile => return Ok(()),
                LinkSource::At(dir, name) => Some((dir, name)),
            },
            _ => None,
        };
        if existing.is_some() {
            // What is removed may be on the way to a remembered directory.
            self.last_parent = None;
            root::remove(dir, name).map_err(io("replace"))?;
        }
        match &entry.kind {
            Kind::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(dir, os(name), flags, Mode::from_raw_mode(0o600))
                    .map_err(|e| io("create")(e.into()))?;
                let mut file = File::from(file);
                self.write_content(entry, &mut file, content)?;
                root::set_owner_and_mode(file.as_fd(), mode, uid, gid).map_err(io("set the owner of"))?;
                fs::futimens(&file, &times(entry.mtime)).map_err(|e| io("set the times of")(e.into()))?;
            }
            Kind::Directory => {
                root::make_dir(dir, name, mode, uid, gid).map_err(io("create"))?;
                if hides_lower {
                    // Removed and made anew in one layer: nothing of the old one may show.
                    self.outside.mark_opaque(&parent.child(name)).map_err(io("mark as opaque"))?;
                }
                self.remember_times(parents, name, entry.mtime)?;
            }
            Kind::Symlink { target } => {
                if target.is_empty() || target.len() > self.limits.path_bytes_max {
                    return Err(LayerError::entry(&entry.path, "its link target is empty or too long"));
                }
                root::make_symlink(dir, name, target, uid, gid).map_err(io("create"))?;
                fs::utimensat(dir, os(name), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| io("set the times of")(e.into()))?;
            }
            Kind::HardLink { .. } => {
                let (from, from_name) = link_source.expect("it was looked up above");
                fs::linkat(&from, os(&from_name), dir, os(name), AtFlags::empty())
                    .map_err(|e| io("link")(e.into()))?;
            }
            Kind::Fifo => {
                fs::mknodat(dir, os(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(|e| io("create")(e.into()))?;
                fs::chownat(dir, os(name), owner(uid), group(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| io("set the owner of")(e.into()))?;
                // Just made and not a link, in a directory that nobody else writes.
                fs::chmodat(dir, os(name), Mode::from_raw_mode(mode), AtFlags::empty())
                    .map_err(|e| io("set the mode of")(e.into()))?;
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                unreachable!("devices were left out before")
            }
            Kind::Other { type_flag } => {
                return Err(LayerError::entry(
                    &entry.path,
                    format!("its type '{}' is unknown", type_flag.escape_ascii()),
                ));
            }
        }
        Ok(())
    }

    /// The archive's own root: only its owner, mode and times count.
    fn apply_root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::Directory {
            return Err(LayerError::entry(&entry.path, "it would replace the root directory"));
        }
        let (uid, gid) = owner_ids(entry)?;
        root::set_owner_and_mode(self.root.dir(), kept_mode(entry), uid, gid)
            .map_err(io_error("set the owner of", b"/"))?;
        self.note_dropped(entry);
        self.directory_times.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn apply_opaque(&mut self, entry: &Entry, parents: &[Vec<u8>]) -> Result<(), LayerError> {
        if parents.is_empty() {
            self.opaque_root = true;
            self.outside.hide();
            return Ok(());
        }
        let parent = self.open_parent(entry, parents)?;
        self.outside.mark_opaque(parent.real()).map_err(io_error("mark as opaque", &entry.path))
    }

    /// `.wh.NAME` hides what the layers below have under NAME, never what this layer has.
    fn apply_whiteout(
        &mut self,
        entry: &Entry,
        parents: &[Vec<u8>],
        hidden: &[u8],
    ) -> Result<(), LayerError> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::entry(&entry.path, "it is a whiteout of no name"));
        }
        let parent = self.open_parent(entry, parents)?;
        let dir = parent.dir.as_fd();
        match root::look(dir, hidden).map_err(io_error("look at", &entry.path))? {
            None => fs::mknodat(dir, os(hidden), FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(io_error("create the whiteout", &entry.path)),
            Some(Found::Directory(_)) => self
                .outside
                .mark_opaque(&parent.child(hidden))
                .map_err(io_error("mark as opaque", &entry.path)),
            // The layer's own file hides the lower one as it is.
            Some(Found::Whiteout | Found::Symlink(_) | Found::Other) => Ok(()),
        }
    }

    fn link_source(
        &mut self,
        entry: &Entry,
        target: &[u8],
        dir: std::os::fd::BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<LinkSource, LayerError> {
        let shown = excerpt(&String::from_utf8_lossy(target));
        let path = self.checked_path(target, &entry.path)?;
        let Some((target_name, parents)) = path.split_last() else {
            return Err(LayerError::entry(&entry.path, "it is a hard link to the root directory"));
        };
        let missing = || {
            LayerError::entry(
                &entry.path,
                format!("it is a hard link to \"{shown}\", which this layer does not have as a file"),
            )
        };
        // Like every parent, but nothing is made on the way.
        let (source, _) =
            self.root.parent(parents, self.limits.path_depth_max, &mut Refuse).map_err(|_| missing())?;
        let stat = root::stat(source.as_fd(), target_name).map_err(io_error("look at", &entry.path))?;
        let stat = stat.ok_or_else(missing)?;
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(missing());
        }
        let own = root::stat(dir, name).map_err(io_error("look at", &entry.path))?;
        if own.is_some_and(|own| own.st_ino == stat.st_ino) {
            return Ok(LinkSource::SameFile);
        }
        Ok(LinkSource::At(source, target_name.clone()))
    }

    fn open_parent(&mut self, entry: &Entry, parents: &[Vec<u8>]) -> Result<Parent, LayerError> {
        match self.last_parent.take() {
            Some(parent) if parent.path == parents => return Ok(parent),
            _ => {}
        }
        let path = parents.to_vec();
        match self.root.open_dir(parents) {
            Ok(dir) => return Ok(Parent { path, real: None, dir }),
            // A parent is missing or is a link.
            Err(e) if e.kind() == io::ErrorKind::NotFound || is_link_or_no_directory(&e) => {}
            Err(e) => return Err(io_error("open the directory of", &entry.path)(e)),
        }
        match self.root.parent(parents, self.limits.path_depth_max, self.outside) {
            Ok((dir, real)) => Ok(Parent { path, real: Some(real), dir }),
            Err(ParentError::Refused(reason)) => Err(LayerError::entry(&entry.path, reason)),
            Err(ParentError::Io(e)) => Err(io_error("make the directory of", &entry.path)(e)),
        }
    }

    /// The components of a path of the archive. A leading `/` means the archive's root; `..` is refused wherever it
    /// stands (attack: `../../etc/cron.d/x`).
    fn checked_path(&self, path: &[u8], entry: &[u8]) -> Result<Vec<Vec<u8>>, LayerError> {
        if path.len() > self.limits.path_bytes_max {
            return Err(LayerError::entry(
                entry,
                format!(
                    "its path has {} bytes, at most {} are allowed",
                    path.len(),
                    self.limits.path_bytes_max
                ),
            ));
        }
        if path.contains(&0) {
            return Err(LayerError::entry(entry, "its path contains a NUL"));
        }
        let mut components = Vec::new();
        for component in path.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(LayerError::entry(entry, "its path goes up (..), out of the layer")),
                _ => components.push(component.to_owned()),
            }
        }
        if components.len() > self.limits.path_depth_max {
            return Err(LayerError::entry(
                entry,
                format!("it lies more than {} directories deep", self.limits.path_depth_max),
            ));
        }
        Ok(components)
    }

    fn write_content(
        &mut self,
        entry: &Entry,
        file: &mut File,
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        self.bytes = self
            .bytes
            .checked_add(entry.size)
            .filter(|bytes| *bytes <= self.image_bytes_left)
            .ok_or(LayerError::ImageTooLarge { bytes_max: self.limits.image_unpacked_bytes_max })?;
        match &entry.sparse {
            None => self.copy(entry, file, content, entry.size),
            Some(segments) => {
                for segment in segments {
                    file.seek(SeekFrom::Start(segment.offset)).map_err(io_error("write", &entry.path))?;
                    self.copy(entry, file, content, segment.length)?;
                }
                file.set_len(entry.size).map_err(io_error("write", &entry.path))
            }
        }
    }

    /// Copies exactly `length` bytes; a broken archive and a full disk are told apart.
    fn copy(
        &mut self,
        entry: &Entry,
        file: &mut File,
        content: &mut impl Read,
        length: u64,
    ) -> Result<(), LayerError> {
        let mut left = length;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(LayerError::entry(&entry.path, "its content ends early")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(archive_error(tar::Error::Io(e))),
            };
            file.write_all(&self.buffer[..n]).map_err(io_error("write", &entry.path))?;
            left -= n as u64;
        }
        Ok(())
    }

    fn remember_times(&mut self, parents: &[Vec<u8>], name: &[u8], mtime: i64) -> Result<(), LayerError> {
        let mut path = parents.to_vec();
        path.push(name.to_owned());
        self.remembered_bytes += path.iter().map(|c| c.len() + size_of::<Vec<u8>>()).sum::<usize>();
        if self.remembered_bytes > REMEMBERED_BYTES_MAX {
            return Err(LayerError::Limit {
                reason: "the names of its directories are too long together".to_owned(),
            });
        }
        self.directory_times.push((path, mtime));
        Ok(())
    }

    fn note_dropped(&mut self, entry: &Entry) {
        let shown = || excerpt(&String::from_utf8_lossy(&entry.path));
        if entry.mode & 0o6000 != 0 && entry.kind == Kind::File {
            self.note(SpecialFile::Setuid { path: shown(), mode: entry.mode });
        }
        for (name, _) in &entry.xattrs {
            if name == b"security.capability" {
                self.note(SpecialFile::Capabilities { path: shown() });
            } else {
                let name = excerpt(&String::from_utf8_lossy(name));
                self.note(SpecialFile::Xattr { path: shown(), name });
            }
        }
    }

    fn note(&mut self, special: SpecialFile) {
        if self.special.len() < UnpackRecord::SPECIAL_MAX {
            self.special.push(special);
        } else {
            self.special_omitted += 1;
        }
    }
}

enum LinkSource {
    /// The entry links a file to itself.
    SameFile,
    At(OwnedFd, Vec<u8>),
}

/// Makes nothing: for paths that must exist.
struct Refuse;

impl Outside for Refuse {
    fn parent(&mut self, _: &[Vec<u8>]) -> io::Result<Fill> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn mark_opaque(&mut self, _: &[Vec<u8>]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn hide(&mut self) {}
}

/// An id that the kernel could take for "unchanged", or cannot hold, is no owner.
fn owner_ids(entry: &Entry) -> Result<(u32, u32), LayerError> {
    let id = |n: u64, what: &str| {
        u32::try_from(n)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| LayerError::entry(&entry.path, format!("its {what} {n} is not an id of Linux")))
    };
    Ok((id(entry.uid, "uid")?, id(entry.gid, "gid")?))
}

/// The mode without the bits that lend rights. On a directory, setgid only passes the group on.
fn kept_mode(entry: &Entry) -> u32 {
    entry.mode & if entry.kind == Kind::Directory { 0o3777 } else { 0o1777 }
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn is_link_or_no_directory(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotADirectory
        || e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn io_error<E: Into<io::Error>>(step: &'static str, entry: &[u8]) -> impl FnOnce(E) -> LayerError {
    let entry = excerpt(&String::from_utf8_lossy(entry));
    move |cause| LayerError::Io { step: step.into(), entry, cause: cause.into() }
}

fn archive_error(e: tar::Error) -> LayerError {
    match e {
        tar::Error::Malformed { offset, reason } => LayerError::Archive { offset, reason },
        tar::Error::Limit(reason) => LayerError::Limit { reason },
        tar::Error::Io(cause) => match codec::limit_in(&cause) {
            Some(limit) => LayerError::Limit { reason: limit.to_string() },
            None => LayerError::Decompress { cause },
        },
    }
}
