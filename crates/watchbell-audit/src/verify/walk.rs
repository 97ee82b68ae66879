//! One log, entry by entry: what its files must hold is made anew and compared with what they do hold.
//!
//! ```text
//!   journal's rows ──┐
//!   widest bundle ───┼─▶ leaves of 256 entries ──▶ edge ──▶ roots, compared with every checkpoint on the way
//!   tile/0 ──────────┘          │
//!                               └─▶ each file of these entries, then each tile above that became full
//! ```
//! One file is held at a time, beside what it is compared with; and nothing is asked for that no file and no row has, whatever
//! size a checkpoint claims.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::bundle::Bundle;
use super::listing::LogFiles;
use super::{Demand, Journal, JournalLog, OpenLog, Verified, VerifiedLog};
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
    source: Source,
    found: &'a mut Verified,
    edge: Edge,
    /// The hashes of each level's last tile.
    unfinished: Vec<Vec<Hash>>,
    demands: BTreeMap<u64, Vec<Demand>>,
}

/// What says how far the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The journal, which was read after the names of the files: nothing lies beyond it.
    Journal,
    /// The checkpoint alone. Files may be newer than it: who copies a directory beside its server copies them later.
    Files,
}

/// Whether the entries after these can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
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
        source: if in_journal.is_some() { Source::Journal } else { Source::Files },
        found,
        edge: Edge::default(),
        unfinished: Vec::new(),
        demands: by_size,
    };
    walk.check_demands();
    let total = log.published.max(in_journal.as_ref().map_or(0, |rows| rows.size));
    let (mut index, mut next) = (0, Next::Go);
    while next == Next::Go && index * ROWS < total {
        let first = index * ROWS;
        let count = ROWS.min(total - first);
        let rows = match (&in_journal, &mut journal) {
            (Some(log), Some(journal)) => walk.rows_of_journal(journal, log, first, count),
            _ => Bundle::default(),
        };
        next = walk.bundle(index, count as usize, rows, total)?;
        index += 1;
    }
    walk.finish(next)?;
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
    let full = Tile { kind: TileKind::Entries, index: 0, width: TILE_WIDTH as u16 };
    let listed = files.tiles.range(Tile { width: 1, ..full }..=full).copied();
    // A partial one may have gone since it was listed; then the full one is there.
    for tile in listed.chain([full]) {
        if let Some(bytes) = read_if_there(&dir.join(files.path(&tile.path())), MAX_BUNDLE_BYTES)? {
            return Ok(tile::bundle_entries(&bytes).next().and_then(Result::ok).map(<[u8]>::to_vec));
        }
    }
    Ok(None)
}

impl Walk<'_> {
    /// Up to `count` rows from entry `first` on.
    fn rows_of_journal(
        &mut self,
        journal: &mut Journal<'_>,
        log: &JournalLog,
        first: u64,
        count: u64,
    ) -> Bundle {
        let count = count.min(log.size.saturating_sub(first));
        let first = log.first_sequence + first;
        let (mut rows, mut wrong, mut misdated) = (Bundle::default(), None, None);
        let read = (journal.rows)(first..first + count, &mut |row| {
            let expected = first + rows.len() as u64;
            if wrong.is_some() {
                return;
            }
            if row.sequence != expected {
                wrong = Some(format!("audit row {expected} is missing"));
            } else if rows.push(row.body).is_err() {
                wrong = Some(format!("audit row {expected} is longer than an entry can be"));
            } else if misdated.is_none() && !row.has_time_of_entry() {
                misdated = Some(expected);
            }
        });
        if let Err(error) = read {
            self.found.damaged("the journal", error);
        }
        if wrong.is_none() && (rows.len() as u64) < count {
            wrong = Some(format!("audit row {} is missing", first + rows.len() as u64));
        }
        if let Some(what) = wrong {
            self.found.damaged("the journal", what);
        }
        if let Some(sequence) = misdated {
            self.found.misdated(sequence);
        }
        rows
    }

    /// The `count` entries of bundle `index`, of which the journal has `rows`, in a log of `total`.
    fn bundle(&mut self, index: u64, count: usize, rows: Bundle, total: u64) -> Result<Next, Error> {
        let mut tiles = self.take(TileKind::Entries, index);
        let mut widest = None;
        // The journal is what was committed; the files go on where it has no rows.
        let known = rows.len();
        let mut content = rows;
        while let Some(tile) = tiles.pop() {
            if let Some((tile, bytes)) = self.read(tile)? {
                for entry in tile::bundle_entries(&bytes).skip(known).take(count - known).flatten() {
                    content.push(entry).expect("a bundle gives the length of an entry in 16 bits");
                }
                widest = Some((tile, bytes));
                break;
            }
        }
        let mut leaves: Vec<Hash> = content.entries().map(leaf_hash).collect();
        let next = self.judge(index, count, known, &mut content, &mut leaves, total)?;
        let required = tile::width_in(self.published, 0, index);
        self.require(TileKind::Entries, index, required, widest.as_ref().map(|(tile, _)| *tile), &tiles);
        if let Some((tile, bytes)) = widest {
            self.compare_entries(tile, &bytes, &content, &leaves);
        }
        while let Some(tile) = tiles.pop() {
            if let Some((tile, bytes)) = self.read(tile)? {
                self.compare_entries(tile, &bytes, &content, &leaves);
            }
        }
        for leaf in leaves {
            self.append(leaf)?;
        }
        Ok(next)
    }

    /// Where entries are known from files alone, their hashes in `tile/0` are a second word, and the signed roots and the
    /// tiles above are the judge. `leaves` become those of the log, so that what is wrong is named and nothing else.
    fn judge(
        &mut self,
        index: u64,
        count: usize,
        known: usize,
        content: &mut Bundle,
        leaves: &mut Vec<Hash>,
        total: u64,
    ) -> Result<Next, Error> {
        if known == count {
            return Ok(Next::Go);
        }
        let first = index * ROWS;
        let bundle = Tile { kind: TileKind::Entries, index, width: TILE_WIDTH as u16 }.path();
        let hashes = self.peek(0, index)?;
        let mut next = Next::Go;
        let read = leaves.len();
        if read < count {
            leaves.extend(hashes.iter().take(count).skip(read));
            let last = if leaves.len() < count { total } else { first + count as u64 } - 1;
            let mut what = format!("entries {} to {last} are nowhere", first + read as u64);
            if leaves.len() < count {
                what.push_str(", and without their hashes nothing behind them can be checked");
                next = Next::Stop;
            }
            self.found.damaged(self.files.path(&bundle), what);
        }
        let differ = |at: &usize| hashes.get(*at).is_some_and(|hash| *hash != leaves[*at]);
        let wrong: Vec<usize> = (known..read).filter(differ).collect();
        let Some(&example) = wrong.first() else { return Ok(next) };
        let mut by_tile = leaves.clone();
        for at in &wrong {
            by_tile[*at] = hashes[*at];
        }
        let needed = wrong.last().map_or(0, |last| last + 1);
        if self.is_vouched_for(index, &by_tile, needed)? {
            *leaves = by_tile;
            // What was read is not the log's: each file is looked at entry by entry.
            *content = Bundle::default();
        } else if !self.is_vouched_for(index, leaves, needed)? {
            let tile = Tile { kind: TileKind::Hashes { level: 0 }, index, width: TILE_WIDTH as u16 };
            let what = format!(
                "entry {} is not the one of its hash in {}, and nothing here tells which of them was changed",
                first + example as u64,
                tile.path()
            );
            self.found.damaged(self.files.path(&bundle), what);
        }
        Ok(next)
    }

    /// Whether these leaves of tile `index`, the first `needed` of them at least, are those of a checkpoint, or of the tile
    /// above.
    fn is_vouched_for(&self, index: u64, leaves: &[Hash], needed: usize) -> Result<bool, Error> {
        let sizes = self.edge.size() + needed as u64..=self.edge.size() + leaves.len() as u64;
        if let Some((size, demands)) = self.demands.range(sizes).next_back() {
            let mut edge = self.edge.clone();
            for leaf in &leaves[..(size - self.edge.size()) as usize] {
                edge.append_leaf(*leaf);
            }
            return Ok(demands.iter().any(|demand| demand.root == edge.root()));
        }
        if leaves.len() < TILE_WIDTH {
            return Ok(false);
        }
        let above = self.peek(1, index / TILE_WIDTH as u64)?;
        Ok(above.get((index % TILE_WIDTH as u64) as usize) == Some(&tile::subtree_root(leaves)))
    }

    /// The hashes in the widest file of a tile, which stays on the list.
    fn peek(&self, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
        let full = Tile { kind: TileKind::Hashes { level }, index, width: TILE_WIDTH as u16 };
        let listed = self.files.tiles.range(Tile { width: 1, ..full }..=full).next_back();
        // One that has grown since it was listed is not looked for: it is compared later, like any.
        let Some(tile) = listed else { return Ok(Vec::new()) };
        match read_if_there(&self.dir.join(self.files.path(&tile.path())), TILE_WIDTH * HASH_BYTES) {
            Ok(bytes) => Ok(tile::hashes(&bytes.unwrap_or_default()).unwrap_or_default()),
            // Told when it is compared.
            Err(Error::Damaged { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The files that the list has of a tile, by rising width. They are taken off it: what stays belongs to no tree.
    fn take(&mut self, kind: TileKind, index: u64) -> Vec<Tile> {
        let of = |width| Tile { kind, index, width };
        let listed: Vec<Tile> = self.files.tiles.range(of(0)..=of(TILE_WIDTH as u16)).copied().collect();
        for tile in &listed {
            self.files.tiles.remove(tile);
        }
        if listed.last().is_some_and(|widest| widest.is_full()) {
            self.found.left_over += listed.len() as u64 - 1;
        }
        listed
    }

    /// A file that was listed. A partial one that has gone since is read from the full one, unless that one was listed too.
    fn read(&mut self, tile: Tile) -> Result<Option<(Tile, Vec<u8>)>, Error> {
        let limit = match tile.kind {
            TileKind::Entries => MAX_BUNDLE_BYTES,
            TileKind::Hashes { .. } => TILE_WIDTH * HASH_BYTES,
        };
        let full = tile.full();
        let read = match read_if_there(&self.dir.join(self.files.path(&tile.path())), limit) {
            Ok(None) if tile != full && !self.grown.contains(&full) => {
                let read = read_if_there(&self.dir.join(self.files.path(&full.path())), limit);
                // It holds what was added since, too, and is compared as far as the log was read.
                self.grown.insert(full);
                read.map(|bytes| bytes.map(|bytes| (full, bytes)))
            }
            read => read.map(|bytes| bytes.map(|bytes| (tile, bytes))),
        };
        match read {
            Err(Error::Damaged { what, .. }) => {
                self.found.damaged(self.files.path(&tile.path()), what);
                Ok(None)
            }
            read => read,
        }
    }

    /// A tile that the published checkpoint needs is there in that width or whole.
    fn require(&mut self, kind: TileKind, index: u64, width: usize, widest: Option<Tile>, others: &[Tile]) {
        let fits = |tile: &Tile| tile.is_full() || usize::from(tile.width) == width;
        if width > 0 && !widest.iter().chain(others).any(fits) {
            let tile = Tile { kind, index, width: width as u16 };
            self.found.damaged(self.files.path(&tile.path()), "it is missing");
        }
    }

    /// How much of a file that is `width` wide the log has; `None` when it must not be there.
    fn covered(&mut self, tile: Tile, width: usize) -> Option<usize> {
        let own = usize::from(tile.width);
        if own <= width {
            return Some(own);
        }
        if self.grown.contains(&tile) {
            return Some(width);
        }
        match self.source {
            Source::Files => {
                self.found.ahead += 1;
                Some(width)
            }
            Source::Journal => {
                let what = format!("it goes beyond the log's end at {width} of its entries or hashes");
                self.found.damaged(self.files.path(&tile.path()), what);
                None
            }
        }
    }

    fn compare_entries(&mut self, tile: Tile, bytes: &[u8], content: &Bundle, leaves: &[Hash]) {
        let Some(covered) = self.covered(tile, leaves.len()) else { return };
        let path = self.files.path(&tile.path());
        let first = tile.index * ROWS;
        let mut count = 0;
        let is_same = content.len() == leaves.len() && content.begin(tile.width) == Some(bytes);
        for (at, entry) in tile::bundle_entries(bytes).enumerate().take_while(|_| !is_same) {
            match entry {
                Ok(entry) if at < covered && leaf_hash(entry) != leaves[at] => {
                    let what = format!("entry {} is not that of the log", first + at as u64);
                    return self.found.damaged(path, what);
                }
                Ok(_) => count += 1,
                Err(byte) => {
                    return self.found.damaged(path, format!("no whole entry begins at byte {byte}"));
                }
            }
        }
        if !is_same && count != usize::from(tile.width) {
            self.found.damaged(path, format!("it holds {count} entries, not {}", tile.width));
        }
    }

    fn compare_hashes(&mut self, tile: Tile, bytes: &[u8], hashes: &[Hash]) {
        let Some(covered) = self.covered(tile, hashes.len()) else { return };
        let path = self.files.path(&tile.path());
        let there = tile::hashes(bytes).filter(|there| there.len() == usize::from(tile.width));
        let Some(there) = there else {
            let what = format!("it holds {} bytes, not {} hashes", bytes.len(), tile.width);
            return self.found.damaged(path, what);
        };
        if let Some(at) = there.iter().zip(&hashes[..covered]).position(|(a, b)| a != b) {
            self.found.damaged(path, format!("its hash {at} is not that of the tree"));
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
        let mut tiles = self.take(kind, index);
        let mut there = Vec::new();
        while let Some(tile) = tiles.pop() {
            if let Some((tile, bytes)) = self.read(tile)? {
                self.compare_hashes(tile, &bytes, hashes);
                there.push(tile);
            }
        }
        let required = tile::width_in(self.published, level, index).min(hashes.len());
        self.require(kind, index, required, None, &there);
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

    fn finish(&mut self, next: Next) -> Result<(), Error> {
        let size = self.edge.size();
        for (level, hashes) in (0u8..).zip(std::mem::take(&mut self.unfinished)) {
            let index = tile::hashes_at(size, level) / TILE_WIDTH as u64;
            if !hashes.is_empty() {
                self.hash_tile(level, index, &hashes)?;
            }
        }
        let rest = std::mem::take(&mut self.files.tiles);
        match (next, self.source) {
            // Why was told.
            (Next::Stop, _) => self.found.unchecked += rest.len() as u64,
            (Next::Go, Source::Files) => self.found.ahead += rest.len() as u64,
            (Next::Go, Source::Journal) => {
                for tile in rest {
                    let what = format!("it lies beyond the log's {size} entries");
                    self.found.damaged(self.files.path(&tile.path()), what);
                }
            }
        }
        if next == Next::Stop {
            return Ok(());
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
