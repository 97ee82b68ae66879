//! The names of a log's files (C2SP tlog-tiles) and what stands in them.

use crate::hash::{Hash, node_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: usize = 256;
pub(crate) const HASH_BYTES: usize = 32;
/// The largest entry: a bundle gives its length in 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// The largest file of a log.
pub(crate) const MAX_BUNDLE_BYTES: usize = TILE_WIDTH * (MAX_ENTRY_BYTES + 2);

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of subtrees of 256^level entries each.
    Hashes { level: u8 },
    /// Entries, each behind its length.
    Entries,
}

/// A file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    pub kind: TileKind,
    /// Its place among those of its kind.
    pub index: u64,
    /// 1 to 256; below 256 it is a partial tile.
    pub width: u16,
}

impl Tile {
    pub fn is_full(self) -> bool {
        usize::from(self.width) == TILE_WIDTH
    }

    /// The same tile, whole.
    pub fn full(self) -> Tile {
        Tile { width: TILE_WIDTH as u16, ..self }
    }

    /// Below the log's directory: `tile/0/x001/x234/067.p/5`.
    pub fn path(self) -> String {
        let mut path = self.stem();
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// The directory that holds this tile's partial forms.
    pub(crate) fn partials(self) -> String {
        format!("{}.p", self.stem())
    }

    fn stem(self) -> String {
        let kind = match self.kind {
            TileKind::Hashes { level } => level.to_string(),
            TileKind::Entries => "entries".to_owned(),
        };
        let mut number = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        format!("tile/{kind}/{number}")
    }

    /// The tile that such a path names; each tile has one path alone.
    pub fn parse(path: &str) -> Option<Tile> {
        let (kind, mut number) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: level.parse().ok().filter(|level| *level < 64)? },
        };
        let mut width = TILE_WIDTH as u16;
        if let Some((stem, partial)) = number.split_once(".p/") {
            number = stem;
            width = partial.parse().ok().filter(|w| (1..256).contains(w))?;
        }
        let mut index = 0u64;
        for element in number.split('/') {
            let digits: u64 = element.strip_prefix('x').unwrap_or(element).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let tile = Tile { kind, index, width };
        (tile.path() == path).then_some(tile)
    }
}

/// How many hashes of a level a tree of `size` entries has in full subtrees.
pub(crate) fn hashes_at(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// How many levels of tiles a tree of `size` entries has.
pub(crate) fn levels(size: u64) -> u8 {
    (0..8).take_while(|level| hashes_at(size, *level) > 0).count() as u8
}

/// The width that tile `index` of `level` has in a tree of `size` entries; 0 when it has no such tile.
pub(crate) fn width_in(size: u64, level: u8, index: u64) -> usize {
    let hashes = hashes_at(size, level);
    let before = index.saturating_mul(TILE_WIDTH as u64);
    hashes.saturating_sub(before).min(TILE_WIDTH as u64) as usize
}

/// The root of a full subtree whose leaves, a power of two of them, are these.
pub(crate) fn subtree_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// A tile's bytes as hashes; `None` when they are not whole hashes.
pub(crate) fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Appends an entry to a bundle.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    debug_assert!(entry.len() <= MAX_ENTRY_BYTES, "whoever appends has checked it");
    bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The entries of a bundle; an error names the first byte of what is no whole entry.
pub(crate) fn bundle_entries(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &bundle[at..];
        if rest.is_empty() {
            return None;
        }
        let entry = rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.get(..usize::from(u16::from_be_bytes(*length))));
        let Some(entry) = entry else {
            let broken = at;
            at = bundle.len();
            return Some(Err(broken));
        };
        at += 2 + entry.len();
        Some(Ok(entry))
    })
}

#[cfg(test)]
mod tests;
