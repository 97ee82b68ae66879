//! One log, entry by entry: what its files must hold is made anew and compared with what they do hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::listing::LogFiles;
use super::{Demand, Journal, OpenLog, Verified, VerifiedLog};
use crate::Error;
use crate::edge::Edge;
use crate::hash::{Hash, leaf_hash};
use crate::reader::read_if_there;
use crate::tile::{self, HASH_BYTES, MAX_BUNDLE_BYTES, TILE_WIDTH, Tile, TileKind};

/// Rows of the journal that are held at once.
const ROWS: u64 = TILE_WIDTH as u64;

struct Walk<'a> {
    dir: &'a Path,
    files: LogFiles,
    /// Files that came after the list was made, in place of partial ones that it names.
    grown: BTreeSet<Tile>,
    published: u64,
    found: &'a mut Verified,
    edge: Edge,
    /// The hashes of each level's last tile.
    unfinished: Vec<Vec<Hash>>,
    demands: BTreeMap<u64, Vec<Demand>>,
}

pub(super) fn walk(
    dir: &Path,
    log: OpenLog,
    mut journal: Option<&mut Journal<'_>>,
    demands: Vec<Demand>,
    found: &mut Verified,
) -> Result<(), Error> {
    let name = log.verifier.name().to_owned();
    let in_journal = journal.as_ref().and_then(|journal| journal.logs.get(&name).cloned());
    if let (Some(rows), Some(journal)) = (&in_journal, &journal)
        && journal.current == name
        && rows.size < log.published
    {
        let what = format!(
            "it has {} rows of {name}, its published checkpoint {} entries: the journal was rolled back",
            rows.size, log.published
        );
        found.damaged("the journal", what);
    }
    let mut by_size: BTreeMap<u64, Vec<Demand>> = BTreeMap::new();
    for demand in demands {
        by_size.entry(demand.size).or_default().push(demand);
    }
    let where_it_is = log.files.dir.clone();
    let mut walk = Walk {
        dir,
        files: log.files,
        grown: BTreeSet::new(),
        published: log.published,
        found,
        edge: Edge::default(),
        unfinished: Vec::new(),
        demands: by_size,
    };
    walk.check_demands();
    let total = log.published.max(in_journal.as_ref().map_or(0, |rows| rows.size));
    let mut index = 0;
    while index * ROWS < total {
        let first = index * ROWS;
        let count = ROWS.min(total - first);
        let rows = match (&in_journal, &mut journal) {
            (Some(log), Some(journal)) => {
                let count = count.min(log.size.saturating_sub(first));
                walk.rows_of_journal(journal, log.first_sequence + first, count)
            }
            _ => Vec::new(),
        };
        walk.bundle(index, count as usize, rows)?;
        index += 1;
    }
    walk.finish()?;
    let (entries, root) = (walk.edge.size(), walk.edge.root());
    found.logs.push(VerifiedLog {
        dir: where_it_is,
        verifier: log.verifier,
        published: log.published,
        entries,
        root,
    });
    Ok(())
}

/// Entry 0 as the files have it.
pub(super) fn first_entry_of_files(dir: &Path, files: &LogFiles) -> Result<Option<Vec<u8>>, Error> {
    let Some(tile) = files.tiles.iter().find(|tile| tile.kind == TileKind::Entries && tile.index == 0) else {
        return Ok(None);
    };
    let bytes = read_if_there(&dir.join(files.path(&tile.path())), MAX_BUNDLE_BYTES)?.unwrap_or_default();
    Ok(tile::bundle_entries(&bytes).next().and_then(Result::ok).map(<[u8]>::to_vec))
}

impl Walk<'_> {
    fn rows_of_journal(&mut self, journal: &mut Journal<'_>, first: u64, count: u64) -> Vec<Vec<u8>> {
        let mut rows: Vec<Vec<u8>> = Vec::new();
        let mut wrong = None;
        let read = (journal.rows)(first..first + count, &mut |sequence, body| {
            let expected = first + rows.len() as u64;
            if sequence != expected && wrong.is_none() {
                wrong = Some(expected);
            }
            rows.push(body.to_vec());
        });
        if let Err(error) = read {
            self.found.damaged("the journal", error);
        }
        if wrong.is_none() && (rows.len() as u64) < count {
            wrong = Some(first + rows.len() as u64);
        }
        if let Some(sequence) = wrong {
            self.found.damaged("the journal", format!("audit row {sequence} is missing"));
            rows.truncate((sequence - first) as usize);
        }
        rows
    }

    /// The `count` entries of bundle `index`, of which the journal has `rows`.
    fn bundle(&mut self, index: u64, count: usize, rows: Vec<Vec<u8>>) -> Result<(), Error> {
        let mut files = self.files_of(TileKind::Entries, index)?;
        let mut entries: Vec<Vec<u8>> = Vec::new();
        // The widest file is looked into, the others must be its beginning.
        if let Some((tile, bytes)) = files.last() {
            entries = self.entries_of(*tile, bytes);
        }
        let first = index * TILE_WIDTH as u64;
        if let Some(at) = entries.iter().zip(&rows).position(|(entry, row)| entry != row) {
            let path = self.files.path(&files.last().map_or_else(String::new, |(tile, _)| tile.path()));
            self.found.damaged(path, format!("entry {} is not the journal's", first + at as u64));
        }
        // The journal is what was committed; the files go on where it has no rows.
        let known = rows.len();
        let mut content = rows;
        content.extend(entries.into_iter().skip(known));
        content.truncate(count);
        if content.len() < count {
            let what = format!(
                "entries {} to {} are nowhere",
                first + content.len() as u64,
                first + count as u64 - 1
            );
            self.found.damaged(self.files.path("tile/entries"), what);
        }
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for entry in &content {
            tile::push_entry(&mut bytes, entry);
            ends.push(bytes.len());
        }
        let required = tile::width_in(self.published, 0, index);
        self.compare(TileKind::Entries, index, &mut files, &bytes, &ends, required);
        for entry in &content {
            self.append(leaf_hash(entry))?;
        }
        Ok(())
    }

    fn entries_of(&mut self, tile: Tile, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for entry in tile::bundle_entries(bytes) {
            match entry {
                Ok(entry) => entries.push(entry.to_vec()),
                Err(at) => {
                    let path = self.files.path(&tile.path());
                    self.found.damaged(path, format!("no whole entry begins at byte {at}"));
                }
            }
        }
        if entries.len() != usize::from(tile.width) {
            let path = self.files.path(&tile.path());
            self.found.damaged(path, format!("it holds {} entries, not {}", entries.len(), tile.width));
        }
        entries
    }

    /// The files there are of a tile, by rising width. They are taken off the list: what stays on it belongs to no tree.
    fn files_of(&mut self, kind: TileKind, index: u64) -> Result<Vec<(Tile, Vec<u8>)>, Error> {
        let of = |width| Tile { kind, index, width };
        let listed: Vec<Tile> = self.files.tiles.range(of(0)..=of(TILE_WIDTH as u16)).copied().collect();
        let mut files = Vec::new();
        for tile in listed {
            self.files.tiles.remove(&tile);
            let limit = match kind {
                TileKind::Entries => MAX_BUNDLE_BYTES,
                TileKind::Hashes { .. } => TILE_WIDTH * HASH_BYTES,
            };
            match read_if_there(&self.dir.join(self.files.path(&tile.path())), limit) {
                Ok(Some(bytes)) => files.push((tile, bytes)),
                // It was listed: a partial one whose full one has come since is read instead.
                Ok(None) => {
                    let full = tile.full();
                    if !files.iter().any(|(there, _)| *there == full)
                        && let Some(bytes) =
                            read_if_there(&self.dir.join(self.files.path(&full.path())), limit)?
                    {
                        // It holds what was added since, too, and is compared as far as the log was read.
                        self.files.tiles.remove(&full);
                        self.grown.insert(full);
                        files.push((full, bytes));
                    }
                }
                Err(Error::Damaged { what, .. }) => self.found.damaged(self.files.path(&tile.path()), what),
                Err(error) => return Err(error),
            }
        }
        files.sort_by_key(|(tile, _)| tile.width);
        files.dedup_by_key(|(tile, _)| tile.width);
        Ok(files)
    }

    /// Compares the files of a tile with what it must hold: `ends[w]` bytes at width `w`.
    fn compare(
        &mut self,
        kind: TileKind,
        index: u64,
        files: &mut Vec<(Tile, Vec<u8>)>,
        content: &[u8],
        ends: &[usize],
        required: usize,
    ) {
        let is_there = |width: usize| files.iter().any(|(tile, _)| usize::from(tile.width) == width);
        if required > 0 && !is_there(required) && !is_there(TILE_WIDTH) {
            let tile = Tile { kind, index, width: required as u16 };
            self.found.damaged(self.files.path(&tile.path()), "it is missing");
        }
        for (tile, bytes) in files.drain(..) {
            let path = self.files.path(&tile.path());
            if self.grown.contains(&tile) && ends.len() <= usize::from(tile.width) {
                let known = ends.last().map_or(&[][..], |end| &content[..*end]);
                if !bytes.starts_with(known) {
                    self.found.damaged(path, "it differs from the log");
                }
                continue;
            }
            let Some(end) = ends.get(usize::from(tile.width)) else {
                let what =
                    format!("it goes beyond the log's end at {} of its entries or hashes", ends.len() - 1);
                self.found.damaged(path, what);
                continue;
            };
            let wanted = &content[..*end];
            if bytes == wanted {
                continue;
            }
            let at =
                bytes.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(bytes.len().min(wanted.len()));
            let what = match kind {
                TileKind::Entries => format!("it differs from the log at byte {at}, in entry {}", {
                    let within = ends.partition_point(|end| *end <= at).saturating_sub(1);
                    index * TILE_WIDTH as u64 + within as u64
                }),
                TileKind::Hashes { .. } => format!("its hash {} is not that of the tree", at / HASH_BYTES),
            };
            self.found.damaged(path, what);
        }
    }

    fn append(&mut self, leaf: Hash) -> Result<(), Error> {
        self.edge.append_leaf(leaf);
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
            let hashes = std::mem::take(hashes);
            let index = tile::hashes_at(self.edge.size(), level) / TILE_WIDTH as u64 - 1;
            self.hash_tile(level, index, &hashes)?;
            level += 1;
        }
        self.check_demands();
        Ok(())
    }

    fn hash_tile(&mut self, level: u8, index: u64, hashes: &[Hash]) -> Result<(), Error> {
        let kind = TileKind::Hashes { level };
        let mut files = self.files_of(kind, index)?;
        let ends: Vec<usize> = (0..=hashes.len()).map(|width| width * HASH_BYTES).collect();
        let required = tile::width_in(self.published, level, index);
        self.compare(kind, index, &mut files, &hashes.concat(), &ends, required);
        Ok(())
    }

    /// What is said of the tree at the size it has now.
    fn check_demands(&mut self) {
        let Some(demands) = self.demands.remove(&self.edge.size()) else { return };
        let root = self.edge.root();
        for demand in demands.into_iter().filter(|demand| demand.root != root) {
            let what = format!(
                "the first {} entries have another root: the log was rewritten, or this is forged",
                demand.size
            );
            self.found.damaged(demand.by, what);
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let size = self.edge.size();
        for (level, hashes) in (0u8..).zip(std::mem::take(&mut self.unfinished)) {
            let index = tile::hashes_at(size, level) / TILE_WIDTH as u64;
            if !hashes.is_empty() {
                self.hash_tile(level, index, &hashes)?;
            }
        }
        for tile in std::mem::take(&mut self.files.tiles) {
            self.found
                .damaged(self.files.path(&tile.path()), format!("it lies beyond the log's {size} entries"));
        }
        for demand in std::mem::take(&mut self.demands).into_values().flatten() {
            let what = format!(
                "it has {} entries, the log only {size}: the log was cut off or rolled back",
                demand.size
            );
            self.found.damaged(demand.by, what);
        }
        Ok(())
    }
}
