//! The right edge of a tree: all that is needed to append to it and to know its root.

use crate::hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
use crate::tile::{TILE_WIDTH, hashes_at, subtree_root};

/// The roots of the full subtrees that a tree of `size` leaves falls into, largest first: one for each bit of `size` that is
/// set, so at most 64. Appending costs two hashes a leaf on average, the root at most 63.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Edge {
    /// The edge that [`Edge::subtrees`] told; `None` when there are not as many hashes as a tree of that size has.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Option<Edge> {
        (size.count_ones() as usize == subtrees.len()).then_some(Edge { size, subtrees })
    }

    /// The edge of a tree whose unfinished tiles hold these hashes, the lowest level's first; `None` when they are not as
    /// many as a tree of that size has.
    pub(crate) fn from_tiles(size: u64, unfinished: &[Vec<Hash>]) -> Option<Edge> {
        let mut subtrees = Vec::new();
        for (level, hashes) in unfinished.iter().enumerate().rev() {
            if hashes.len() as u64 != hashes_at(size, level as u8) % TILE_WIDTH as u64 {
                return None;
            }
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, right) = rest.split_at(1 << rest.len().ilog2());
                subtrees.push(subtree_root(subtree));
                rest = right;
            }
        }
        Edge::from_parts(size, subtrees)
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of full subtrees, largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: &[u8]) {
        self.append_leaf(leaf_hash(entry));
    }

    /// Appends the hash of an entry.
    pub fn append_leaf(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing one of the size is a full subtree that the new leaf completes to one twice as large.
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("one subtree for each bit of the size");
            hash = node_hash(&left, &hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The Merkle Tree Hash of all leaves.
    pub fn root(&self) -> Hash {
        let Some((last, larger)) = self.subtrees.split_last() else { return EMPTY_ROOT };
        larger.iter().rev().fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests;
