//! Reading a published log: its checkpoint, its entries, and what its tiles prove.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::edge::Edge;
use crate::growth::Growth;
use crate::hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
use crate::note::{Note, NoteError, VerifierKey};
use crate::tile::{self, HASH_BYTES, MAX_BUNDLE_BYTES, TILE_WIDTH, Tile, TileKind};
use crate::tlog_proof::TlogProof;
use crate::{Error, MAX_NOTE_BYTES, place, proof};

pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const VERIFIER: &str = "verifier.pub";
/// The newest checkpoint that witnesses signed.
pub(crate) const WITNESSED: &str = "witnessed";

/// A log's directory at one checkpoint.
#[derive(Debug, Clone)]
pub struct Log {
    dir: PathBuf,
    /// As the directory gives it: trust it as far as the directory, or compare it with one that was held elsewhere.
    pub verifier: VerifierKey,
    pub checkpoint: Checkpoint,
    pub note: Note,
}

impl Log {
    /// Reads the checkpoint and checks its signature.
    ///
    /// # Errors
    /// [`Error::NoLog`] when nothing was published yet.
    pub fn open(dir: &Path) -> Result<Log, Error> {
        let verifier = read_verifier(dir)?.ok_or_else(|| Error::NoLog { path: dir.to_path_buf() })?;
        Log::open_signed_by(dir, verifier)
    }

    /// The same by a key that is known from elsewhere: what the directory names as its key is not looked at.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_signed_by(dir: &Path, verifier: VerifierKey) -> Result<Log, Error> {
        let path = dir.join(CHECKPOINT);
        let bytes =
            read_if_there(&path, MAX_NOTE_BYTES)?.ok_or_else(|| Error::NoLog { path: dir.to_path_buf() })?;
        let (checkpoint, note) = Checkpoint::open(&bytes, &verifier).map_err(Error::note(&path))?;
        Ok(Log { dir: dir.to_path_buf(), verifier, checkpoint, note })
    }

    /// The right edge of its tree, to append to what is published.
    ///
    /// # Errors
    /// The tiles at its right side are not those of the checkpoint.
    pub fn edge(&self) -> Result<Edge, Error> {
        right_side(&self.dir, &self.checkpoint).map(|(edge, _)| edge)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Hands the entries of `range` to `each` until it breaks. A bundle is read at a time.
    ///
    /// # Errors
    /// Those of reading, and those of `each`.
    #[expect(clippy::type_complexity, reason = "a callback that may fail, named nowhere else")]
    pub fn entries<E: From<Error>>(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = range.end.min(self.checkpoint.size);
        let mut index = range.start;
        while index < end {
            let bundle_index = index / TILE_WIDTH as u64;
            let tile = self.tile(TileKind::Entries, 0, bundle_index);
            let bundle = read_bundle(&self.dir, tile)?;
            let first = bundle_index * TILE_WIDTH as u64;
            for (at, entry) in (first..end).zip(tile::bundle_entries(&bundle)) {
                let entry = entry.map_err(|at| {
                    let what = format!("no whole entry begins at byte {at}");
                    Error::damaged(&self.dir.join(tile.path()), what)
                })?;
                if at >= index {
                    each(at, entry)?;
                }
            }
            index = first + TILE_WIDTH as u64;
        }
        Ok(())
    }

    /// One entry.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        let mut found = None;
        self.entries::<Error>(index..index.saturating_add(1), &mut |_, entry| {
            found = Some(entry.to_vec());
            Ok(())
        })?;
        found.ok_or(Error::NoEntry { index, size: self.checkpoint.size })
    }

    /// The proof that entry `index` is in the log, with the entry, checked before it is given out.
    pub fn prove_inclusion(&self, index: u64) -> Result<TlogProof, Error> {
        let entry = self.entry(index)?;
        let size = self.checkpoint.size;
        let hashes = proof::inclusion(index, size, &mut |range| self.subtree(range))?;
        if !proof::includes(&leaf_hash(&entry), index, size, &hashes, &self.checkpoint.root) {
            return Err(self.unfit());
        }
        Ok(TlogProof { extra: Some(entry), index, hashes, checkpoint: self.note.clone() })
    }

    /// The proof that the log grew from `old` and changed nothing of it, checked before it is given out.
    pub fn prove_growth(&self, old: &Checkpoint) -> Result<Growth, Error> {
        let now = &self.checkpoint;
        if old.origin != now.origin {
            let why = format!("the checkpoint is of the log {}, this is {}", old.origin, now.origin);
            return Err(Error::Unprovable(why));
        }
        if old.size > now.size {
            let why = format!(
                "the checkpoint has {} entries, the log only {}: it was rolled back",
                old.size, now.size
            );
            return Err(Error::Unprovable(why));
        }
        let hashes = proof::consistency(old.size, now.size, &mut |range| self.subtree(range))?;
        if !proof::is_consistent(old.size, &old.root, now.size, &now.root, &hashes) {
            let why = format!(
                "the first {} entries are not those of the checkpoint: the log was rewritten",
                old.size
            );
            return Err(Error::Unprovable(why));
        }
        Ok(Growth { old_size: old.size, hashes, checkpoint: self.note.clone() })
    }

    /// The newest checkpoint that witnesses signed, if any did.
    pub fn witnessed(&self) -> Result<Option<Note>, Error> {
        let path = self.dir.join(WITNESSED);
        let Some(bytes) = read_if_there(&path, MAX_NOTE_BYTES)? else { return Ok(None) };
        Note::parse(&bytes).map(Some).map_err(Error::note(&path))
    }

    fn unfit(&self) -> Error {
        let what = "its tiles are not those of its checkpoint; `watchbell audit verify` says which";
        Error::damaged(&self.dir, what)
    }

    /// The Merkle Tree Hash of a range of entries that is a node of the tree.
    fn subtree(&self, range: Range<u64>) -> Result<Hash, Error> {
        let width = range.end - range.start;
        if width == 0 {
            return Ok(EMPTY_ROOT);
        }
        if !width.is_power_of_two() || !range.start.is_multiple_of(width) {
            let middle = range.start + proof::split(width);
            let left = self.subtree(range.start..middle)?;
            return Ok(node_hash(&left, &self.subtree(middle..range.end)?));
        }
        let level = (width.ilog2() / 8) as u8;
        let (first, count) = (range.start >> (8 * level), (width >> (8 * level)) as usize);
        let index = first / TILE_WIDTH as u64;
        let tile = self.tile(TileKind::Hashes { level }, level, index);
        let hashes = read_hashes(&self.dir, tile)?;
        let at = (first % TILE_WIDTH as u64) as usize;
        hashes.get(at..at + count).map(tile::subtree_root).ok_or_else(|| self.unfit())
    }

    /// A tile as wide as it is at this checkpoint.
    fn tile(&self, kind: TileKind, level: u8, index: u64) -> Tile {
        Tile { kind, index, width: tile::width_in(self.checkpoint.size, level, index) as u16 }
    }
}

/// Keeps a checkpoint that the witness `key` signed, if the log grew from it. Signatures of other witnesses under the same
/// checkpoint stay; an older one is replaced.
///
/// # Errors
/// It is not signed by both, or the log does not begin with it, or a newer one is there.
pub fn add_witnessed(log: &Log, note: &Note, key: &VerifierKey) -> Result<Checkpoint, Error> {
    let unprovable = |e: NoteError| Error::Unprovable(e.to_string());
    note.verify(&log.verifier).map_err(unprovable)?;
    note.cosigned_at(key).map_err(unprovable)?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(unprovable)?;
    log.prove_growth(&checkpoint)?;
    let mut note = note.clone();
    if let Some(before) = log.witnessed()? {
        let old = Checkpoint::parse(&before.text).map_err(unprovable)?;
        if old.size > checkpoint.size {
            let why = format!(
                "a witnessed checkpoint of {} entries is there, this has {}",
                old.size, checkpoint.size
            );
            return Err(Error::Unprovable(why));
        }
        if before.text == note.text {
            let ours: Vec<_> =
                before.signatures.into_iter().filter(|s| !note.signatures.contains(s)).collect();
            note.signatures.extend(ours);
        }
    }
    place::replace_beside(&log.dir, WITNESSED, note.to_string().as_bytes())?;
    Ok(checkpoint)
}

/// The right edge of a published tree, and the hashes of the last, unfinished tile of each level.
pub(crate) fn right_side(dir: &Path, checkpoint: &Checkpoint) -> Result<(Edge, Vec<Vec<Hash>>), Error> {
    let size = checkpoint.size;
    let mut unfinished = Vec::new();
    for level in 0..tile::levels(size) {
        let index = tile::hashes_at(size, level) / TILE_WIDTH as u64;
        let width = tile::width_in(size, level, index);
        let kind = TileKind::Hashes { level };
        unfinished.push(match width {
            0 => Vec::new(),
            _ => read_hashes(dir, Tile { kind, index, width: width as u16 })?,
        });
    }
    match Edge::from_tiles(size, &unfinished).filter(|edge| edge.root() == checkpoint.root) {
        Some(edge) => Ok((edge, unfinished)),
        None => {
            let what = format!("the tiles beside it are not those of its {size} entries");
            Err(Error::damaged(&dir.join(CHECKPOINT), what))
        }
    }
}

/// The key that a log's directory names.
pub(crate) fn read_verifier(dir: &Path) -> Result<Option<VerifierKey>, Error> {
    let path = dir.join(VERIFIER);
    let Some(bytes) = read_if_there(&path, MAX_NOTE_BYTES)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let text = text.ok_or_else(|| Error::damaged(&path, "it is no line of text"))?;
    text.parse().map(Some).map_err(Error::note(&path))
}

/// The hashes of a tile of the wanted width; a partial one that has gone since is read from the full one.
pub(crate) fn read_hashes(dir: &Path, tile: Tile) -> Result<Vec<Hash>, Error> {
    let wanted = usize::from(tile.width);
    let (path, bytes) = read_tile(dir, tile, TILE_WIDTH * HASH_BYTES)?;
    let mut hashes =
        tile::hashes(&bytes).ok_or_else(|| Error::damaged(&path, "it does not hold whole hashes"))?;
    if hashes.len() < wanted {
        return Err(Error::damaged(&path, format!("it holds {} hashes, not {wanted}", hashes.len())));
    }
    hashes.truncate(wanted);
    Ok(hashes)
}

/// The same for a bundle of entries.
pub(crate) fn read_bundle(dir: &Path, tile: Tile) -> Result<Vec<u8>, Error> {
    let wanted = usize::from(tile.width);
    let (path, mut bytes) = read_tile(dir, tile, MAX_BUNDLE_BYTES)?;
    let (mut count, mut end) = (0, 0);
    for entry in tile::bundle_entries(&bytes).take(wanted) {
        let entry =
            entry.map_err(|at| Error::damaged(&path, format!("no whole entry begins at byte {at}")))?;
        count += 1;
        end += 2 + entry.len();
    }
    if count < wanted {
        return Err(Error::damaged(&path, format!("it holds {count} entries, not {wanted}")));
    }
    bytes.truncate(end);
    Ok(bytes)
}

fn read_tile(dir: &Path, tile: Tile, limit: usize) -> Result<(PathBuf, Vec<u8>), Error> {
    for tile in [tile, tile.full()] {
        let path = dir.join(tile.path());
        if let Some(bytes) = read_if_there(&path, limit)? {
            return Ok((path, bytes));
        }
    }
    Err(Error::damaged(&dir.join(tile.path()), "it is missing"))
}

/// The bytes of a regular file of at most `limit` bytes; `None` when it is not there.
pub(crate) fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let open = || -> std::io::Result<Option<File>> {
        // Nobody waits for a pipe's other end, and a link leads elsewhere.
        Ok(if path.symlink_metadata()?.is_file() { Some(File::open(path)?) } else { None })
    };
    let file = match open() {
        Ok(Some(file)) => file,
        Ok(None) => return Err(Error::damaged(path, "it is no regular file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() > limit {
        return Err(Error::damaged(path, format!("it is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}
