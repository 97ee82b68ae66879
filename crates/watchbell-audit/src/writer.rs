//! Writing a log's files behind the journal. They are a copy of what the journal holds: written later, from its rows, up to a
//! checkpoint that the journal has signed; after a crash the same code goes on from the checkpoint that was published last.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::edge::Edge;
use crate::hash::{Hash, leaf_hash};
use crate::note::{Note, VerifierKey};
use crate::place::Place;
use crate::reader::{self, CHECKPOINT, VERIFIER};
use crate::tile::{self, TILE_WIDTH, Tile, TileKind};
use crate::{Error, MAX_NOTE_BYTES};

/// Full tiles are written out when so many wait.
const PENDING_MAX: usize = 128;

/// The unfinished right side of a log, and where its files go.
pub struct LogWriter {
    place: Place,
    verifier: VerifierKey,
    edge: Edge,
    /// The hashes of the last, unfinished tile of each level.
    unfinished: Vec<Vec<Hash>>,
    /// The unfinished bundle.
    bundle: Vec<u8>,
    /// Full tiles that are not written yet.
    pending: Vec<(String, Vec<u8>)>,
    /// Tiles that became full since the last checkpoint: their partial forms go when the next one is out.
    filled: Vec<Tile>,
}

impl LogWriter {
    /// Opens the log in `dir`, or begins it there. What lies at its right side must fit its published checkpoint.
    ///
    /// # Errors
    /// [`Error::Damaged`]: nothing is written over it. As all that a log's directory holds comes from the journal, moving
    /// the directory away has it written anew.
    pub fn open(dir: &Path, verifier: &VerifierKey) -> Result<LogWriter, Error> {
        let mut place = Place::open(dir)?;
        place.put_new(&[(VERIFIER.into(), format!("{verifier}\n").into_bytes())])?;
        let mut writer = LogWriter {
            place,
            verifier: verifier.clone(),
            edge: Edge::default(),
            unfinished: Vec::new(),
            bundle: Vec::new(),
            pending: Vec::new(),
            filled: Vec::new(),
        };
        let path = dir.join(CHECKPOINT);
        if let Some(bytes) = reader::read_if_there(&path, MAX_NOTE_BYTES)? {
            let (checkpoint, _) = Checkpoint::open(&bytes, verifier).map_err(Error::note(&path))?;
            writer.read_right_side(&checkpoint)?;
        }
        Ok(writer)
    }

    fn read_right_side(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let dir = self.place.dir();
        let size = checkpoint.size;
        let (edge, unfinished) = reader::right_side(dir, checkpoint)?;
        self.unfinished = unfinished;
        self.edge = edge;
        let index = size / TILE_WIDTH as u64;
        let width = tile::width_in(size, 0, index);
        if width > 0 {
            let tile = Tile { kind: TileKind::Entries, index, width: width as u16 };
            self.bundle = reader::read_bundle(dir, tile)?;
            let leaves: Result<Vec<Hash>, usize> =
                tile::bundle_entries(&self.bundle).map(|entry| entry.map(leaf_hash)).collect();
            if leaves.as_ref() != Ok(&self.unfinished[0]) {
                return Err(Error::damaged(&dir.join(tile.path()), "its entries are not those of the tree"));
            }
        }
        Ok(())
    }

    /// How many entries it holds, published or not.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Appends an entry of at most [`crate::MAX_ENTRY_BYTES`]. Full tiles are written now and then, the rest by
    /// [`LogWriter::publish`].
    ///
    /// # Errors
    /// Full tiles that wait cannot be written: nothing was appended.
    pub fn append(&mut self, entry: &[u8]) -> Result<(), Error> {
        if self.pending.len() >= PENDING_MAX {
            self.write_pending()?;
        }
        let index = self.edge.size() / TILE_WIDTH as u64;
        let leaf = leaf_hash(entry);
        self.edge.append_leaf(leaf);
        tile::push_entry(&mut self.bundle, entry);
        if self.edge.size().is_multiple_of(TILE_WIDTH as u64) {
            self.fill(TileKind::Entries, index, |writer| std::mem::take(&mut writer.bundle));
        }
        let (mut level, mut hash) = (0u8, leaf);
        loop {
            if self.unfinished.len() == usize::from(level) {
                self.unfinished.push(Vec::with_capacity(TILE_WIDTH));
            }
            let hashes = &mut self.unfinished[usize::from(level)];
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            hash = tile::subtree_root(hashes);
            let index = tile::hashes_at(self.edge.size(), level) / TILE_WIDTH as u64 - 1;
            self.fill(TileKind::Hashes { level }, index, |writer| {
                std::mem::take(&mut writer.unfinished[usize::from(level)]).concat()
            });
            level += 1;
        }
        Ok(())
    }

    fn fill(&mut self, kind: TileKind, index: u64, bytes: impl FnOnce(&mut LogWriter) -> Vec<u8>) {
        let tile = Tile { kind, index, width: TILE_WIDTH as u16 };
        let bytes = bytes(self);
        self.pending.push((tile.path(), bytes));
        self.filled.push(tile);
    }

    fn write_pending(&mut self) -> Result<(), Error> {
        self.place.put_new(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Publishes a checkpoint of all that was appended: its partial tiles are durable before it takes its place.
    pub fn publish(&mut self, note: &Note) -> Result<(), Error> {
        let path = self.place.dir().join(CHECKPOINT);
        note.verify(&self.verifier).map_err(Error::note(&path))?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(Error::note(&path))?;
        if checkpoint.size != self.edge.size() || checkpoint.root != self.edge.root() {
            let what = format!(
                "its {} entries are not those that the journal signed at size {}",
                self.edge.size(),
                checkpoint.size
            );
            return Err(Error::damaged(self.place.dir(), what));
        }
        self.write_pending()?;
        let partials = self.partials();
        self.place.put_new(&partials)?;
        self.place.replace(CHECKPOINT, note.to_string().as_bytes())?;
        self.remove_partials()
    }

    /// The unfinished tiles as they are now. Made for each checkpoint and not kept: while files cannot be written they would
    /// only gather.
    fn partials(&self) -> Vec<(String, Vec<u8>)> {
        let size = self.edge.size();
        let mut files = Vec::new();
        for (level, hashes) in (0u8..).zip(&self.unfinished).filter(|(_, hashes)| !hashes.is_empty()) {
            let index = tile::hashes_at(size, level) / TILE_WIDTH as u64;
            let tile = Tile { kind: TileKind::Hashes { level }, index, width: hashes.len() as u16 };
            files.push((tile.path(), hashes.concat()));
        }
        if let Some(hashes) = self.unfinished.first().filter(|hashes| !hashes.is_empty()) {
            let index = size / TILE_WIDTH as u64;
            let tile = Tile { kind: TileKind::Entries, index, width: hashes.len() as u16 };
            files.push((tile.path(), self.bundle.clone()));
        }
        files
    }

    /// A partial tile may go once the full one is there (tlog-tiles, "Partial Tiles"). After a crash some stay, which is no
    /// damage: [`crate::Verified::left_over`] counts them.
    fn remove_partials(&mut self) -> Result<(), Error> {
        while let Some(tile) = self.filled.last() {
            self.place.remove_dir(&tile.partials())?;
            self.filled.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
