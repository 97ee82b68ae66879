//! The pass over the layers of an image.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use watchbell_image::{EntryKind, ImageContent, LayerEntry, LayerReader};

use super::content::{self, Budget};
use super::overlay::{Change, LayerChanges};
use super::read_ahead::ReadAhead;
use super::tree::{Node, join};
use super::{
    Capabilities, FileFacts, FileId, FileKind, HEAD_BYTES, Interest, NAMES_BYTES_MAX, ReadError, Tree, Want,
    text,
};

const WHITEOUT: &str = ".wh.";
const OPAQUE_WHITEOUT: &str = ".wh..wh..opq";
/// Bookkeeping of the old aufs driver.
const AUFS_METADATA: &str = ".wh..wh.";
/// What an entry costs beside its names.
const NODE_BYTES: u64 = 160;

/// Reads every layer once, at most `threads` at a time, and tells the interests of every file. The first error ends it.
pub fn read_layers(
    image: &ImageContent,
    interests: &[Interest<'_>],
    threads: usize,
) -> Result<Tree, ReadError> {
    read_within(image, interests, threads, NAMES_BYTES_MAX)
}

/// The same, with the names of files in so many bytes.
pub(super) fn read_within(
    image: &ImageContent,
    interests: &[Interest<'_>],
    threads: usize,
    names_bytes_max: u64,
) -> Result<Tree, ReadError> {
    let layers = &image.image.layers;
    let mut order: Vec<usize> = (0..layers.len()).collect();
    // The largest first, so that none is left for the end.
    order.sort_by_key(|i| (std::cmp::Reverse(layers[*i].size), *i));
    let workers = threads.clamp(1, layers.len().max(1));
    let pass = Pass {
        image,
        interests,
        budget: Budget::new(),
        names: Names { left: AtomicU64::new(names_bytes_max) },
        ahead: threads > workers,
    };
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed: Mutex<Option<(usize, ReadError)>> = Mutex::new(None);
    let read: Mutex<Vec<Option<LayerChanges>>> = Mutex::new(layers.iter().map(|_| None).collect());
    let work = || {
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            match pass.layer(index, &stop) {
                Ok(changes) => {
                    read.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(changes);
                }
                Err(error) => {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert((index, error));
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    };
    if threads == 1 {
        // A process that may make no thread reads all the same.
        work();
    } else {
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
    }
    if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut tree = Tree::default();
    for changes in read.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let changes =
            changes.ok_or_else(|| ReadError::Thread { reason: "a layer was left out".to_owned() })?;
        tree.apply(changes, &pass.names)?;
    }
    Ok(tree)
}

struct Pass<'a> {
    image: &'a ImageContent,
    interests: &'a [Interest<'a>],
    budget: Budget,
    names: Names,
    /// There are processors left to decompress on another thread.
    ahead: bool,
}

impl Pass<'_> {
    fn layer(&self, index: usize, stop: &AtomicBool) -> Result<LayerChanges, ReadError> {
        let bytes = self.image.layer(index)?;
        if !self.ahead {
            return self.entries(index, self.image.entries(index, bytes), stop);
        }
        thread::scope(|scope| {
            let ahead = ReadAhead::start(scope, bytes);
            self.entries(index, self.image.entries(index, ahead), stop)
        })
    }

    fn entries(
        &self,
        index: usize,
        mut layer: LayerReader<'_, impl Read>,
        stop: &AtomicBool,
    ) -> Result<LayerChanges, ReadError> {
        let layer_number = index as u32;
        let mut changes = LayerChanges::default();
        let mut file = FileReader { interests: self.interests, budget: &self.budget, buffer: Vec::new() };
        let mut number = 0u32;
        while let Some(entry) = layer.next_entry()? {
            if stop.load(Ordering::Relaxed) {
                return Err(ReadError::Thread { reason: "another layer failed".to_owned() });
            }
            let id = FileId { layer: layer_number, entry: number };
            number = number.saturating_add(1);
            let path = text(&entry.path);
            let link = link_bytes(&entry);
            self.names.take_entry(&path)?;
            self.names.take(link)?;
            let Some(path) = note_whiteout(path, &mut changes) else { continue };
            let Some(kind) = kind(&entry) else { continue };
            let is_capable = entry.xattrs.iter().any(|(name, _)| name == b"security.capability");
            let node = Node {
                id,
                kind,
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                size: entry.size,
                capabilities: if is_capable { Capabilities::Some } else { Capabilities::None },
            };
            file.read(&path, &node, &mut layer).map_err(|e| layer.content_error(e))?;
            // No device is unpacked: what the layers below have in its place stays. The root has no name, and nobody looks for it.
            let is_device = matches!(node.kind, FileKind::CharDevice | FileKind::BlockDevice);
            if !path.is_empty() && !is_device {
                changes.push((path.into(), Change::Entry(node)));
            }
        }
        Ok(changes)
    }
}

/// What all names of an image may take, together.
pub(super) struct Names {
    pub(super) left: AtomicU64,
}

impl Names {
    /// For an entry under this path.
    pub(super) fn take_entry(&self, path: &str) -> Result<(), ReadError> {
        self.take(path.len() as u64 + NODE_BYTES)
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), ReadError> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .map(|_| ())
            .map_err(|_| ReadError::Limit {
                object: "the list of its files",
                reason: format!("it takes more than {NAMES_BYTES_MAX} bytes"),
            })
    }
}

/// Tells the interests of one file after another.
pub(super) struct FileReader<'a> {
    pub(super) interests: &'a [Interest<'a>],
    pub(super) budget: &'a Budget,
    pub(super) buffer: Vec<u8>,
}

impl FileReader<'_> {
    /// `source` is the file's content.
    pub(super) fn read(&mut self, path: &str, node: &Node, source: &mut impl Read) -> std::io::Result<()> {
        let mut head = [0u8; HEAD_BYTES];
        let mut length = 0;
        if node.kind == FileKind::File {
            let wanted = HEAD_BYTES.min(usize::try_from(node.size).unwrap_or(usize::MAX));
            source.read_exact(&mut head[..wanted])?;
            length = wanted;
        }
        let facts = FileFacts {
            id: node.id,
            path,
            kind: &node.kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            capabilities: node.capabilities,
            head: &head[..length],
        };
        let mut most = Want::Nothing;
        let mut takers: Vec<&Interest<'_>> = Vec::new();
        for interest in self.interests {
            let want = (interest.wants)(&facts);
            if want > Want::Nothing && node.kind == FileKind::File {
                takers.push(interest);
                most = most.max(want);
            }
        }
        if takers.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let (content, held) = content::read(node.size, &head[..length], source, most, self.budget, buffer)?;
        for interest in takers {
            (interest.takes)(&facts, &content);
        }
        if held.is_none() {
            self.buffer = content.into_buffer();
        }
        Ok(())
    }
}

/// Notes a whiteout; gives back the path of what is none.
fn note_whiteout(path: String, changes: &mut LayerChanges) -> Option<String> {
    if path.split('/').rev().skip(1).any(|parent| parent.starts_with(AUFS_METADATA)) {
        return None;
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    if name == OPAQUE_WHITEOUT {
        changes.push((parent.into(), Change::Opaque));
        return None;
    }
    if name.starts_with(AUFS_METADATA) {
        return None;
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        changes.push((join(parent, hidden).into(), Change::Whiteout));
        return None;
    }
    Some(path)
}

fn link_bytes(entry: &LayerEntry) -> u64 {
    match &entry.kind {
        EntryKind::Symlink { target } | EntryKind::HardLink { target } => target.len() as u64,
        _ => 0,
    }
}

/// `None` for what no file system has.
fn kind(entry: &LayerEntry) -> Option<FileKind> {
    Some(match &entry.kind {
        EntryKind::File => FileKind::File,
        EntryKind::Directory => FileKind::Directory,
        EntryKind::Symlink { target } => FileKind::Symlink { target: text(target) },
        EntryKind::HardLink { target } => FileKind::HardLink { target: text(target) },
        EntryKind::CharDevice { .. } => FileKind::CharDevice,
        EntryKind::BlockDevice { .. } => FileKind::BlockDevice,
        EntryKind::Fifo => FileKind::Fifo,
        EntryKind::Other { .. } => return None,
    })
}
